//go:build integration

package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// fault is a kind of fault.
type fault struct {
	name string
	// strike breaks something, waits until the effect is seen, and heals it.
	// seen is empty if nothing was. An error ends the run. rnd is the fault's own.
	strike func(r *run, s *slot, rnd *rand.Rand) (seen string, err error)
	// target picks a slot, among those that no fault is at work on. nil: the
	// fault is on a broker.
	target func(r *run, free []*slot, rnd *rand.Rand) *slot
}

// faults are all kinds. Each comes once before one comes twice.
func faults() []fault {
	return []fault{
		{"kill", killed, present},
		{"restart", restarted, present},
		{"freeze", frozen, present},
		{"broker", brokerKilled, nil},
		{"cut", cut, present},
		{"slow", slowed, present},
		{"half-open", halfOpen, present},
		{"state deleted", stateDeleted, present},
		{"state corrupted", stateCorrupted, present},
		{"add", added, absent},
		{"remove", removed, spare},
	}
}

// present picks an instance that runs, if another one does that no fault is at
// work on.
func present(_ *run, free []*slot, rnd *rand.Rand) *slot {
	free = slices.DeleteFunc(slices.Clone(free), func(s *slot) bool { return s.proc == nil })
	if len(free) < 2 {
		return nil
	}
	return free[rnd.IntN(len(free))]
}

// spare picks one that may be removed.
func spare(r *run, free []*slot, rnd *rand.Rand) *slot {
	n := 0
	for _, s := range r.slots {
		if s.proc != nil {
			n++
		}
	}
	if n <= fewest {
		return nil
	}
	return present(r, free, rnd)
}

// absent picks a slot without an instance.
func absent(_ *run, free []*slot, rnd *rand.Rand) *slot {
	free = slices.DeleteFunc(slices.Clone(free), func(s *slot) bool { return s.proc != nil })
	if len(free) == 0 {
		return nil
	}
	return free[rnd.IntN(len(free))]
}

// drawn is a fault of the deck with its own source of chance.
type drawn struct {
	fault
	rnd *rand.Rand
}

// faulting draws faults until enough were seen.
func (r *run) faulting(l *load) error {
	var deck []drawn
	var wait sync.WaitGroup
	done := make(chan error, atOnce)
	atWork, count := 0, 0
	defer wait.Wait()
	finish := func(err error) error {
		atWork--
		if err == nil {
			err = cmp.Or(l.failed(), r.strayed())
		}
		if err != nil {
			r.mu.Lock()
			r.broken = cmp.Or(r.broken, err)
			r.mu.Unlock()
			r.notify()
		}
		return err
	}
	for r.total(r.seen)+atWork < r.faults || atWork > 0 {
		enough := r.total(r.seen)+atWork >= r.faults || r.limit > 0 && time.Since(r.log.began) > r.limit
		if enough && atWork == 0 {
			return nil
		}
		if r.total(r.unseen) > 5+r.faults/2 {
			return fmt.Errorf("%d faults had no effect: %v", r.total(r.unseen), r.unseen)
		}
		if !enough && atWork < atOnce {
			if len(deck) == 0 {
				deck = r.shuffled()
			}
			if s, at := r.draw(deck, atWork); at >= 0 {
				d := deck[at]
				deck = slices.Delete(deck, at, at+1)
				atWork++
				count++
				n := count
				wait.Go(func() { done <- r.strike(n, d, s) })
				if r.rnd.IntN(2) == 0 {
					continue // another one beside it
				}
			}
		}
		if atWork == 0 {
			return errors.New("no fault can be drawn")
		}
		if err := finish(<-done); err != nil {
			return err
		}
	}
	return nil
}

// shuffled returns a deck of all kinds.
func (r *run) shuffled() (deck []drawn) {
	for _, f := range faults() {
		deck = append(deck, drawn{f, rand.New(rand.NewPCG(r.rnd.Uint64(), r.rnd.Uint64()))})
	}
	r.rnd.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	return deck
}

// draw returns the first fault of the deck for which there is a target, and marks
// that busy.
func (r *run) draw(deck []drawn, atWork int) (*slot, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var free []*slot
	for _, s := range r.slots {
		if !s.busy {
			free = append(free, s)
		}
	}
	for i, d := range deck {
		if d.target == nil {
			if r.broker {
				continue
			}
			r.broker = true
			return nil, i
		}
		if s := d.target(r, free, d.rnd); s != nil {
			s.busy = true
			return s, i
		}
	}
	return nil, -1
}

// strike has a fault happen, and notes whether its effect was seen.
func (r *run) strike(n int, d drawn, s *slot) error {
	name := d.name
	if s != nil {
		name += " " + s.name
	}
	began := time.Now()
	r.log.note("%3d %s", n, name)
	seen, err := d.strike(r, s, d.rnd)
	if errors.Is(err, errTimeout) && seen == "" {
		r.log.note("%3d %s: not seen: %v", n, name, err)
		err = nil
	}
	r.mu.Lock()
	if s != nil {
		s.busy = false
	} else {
		r.broker = false
	}
	if err == nil && seen != "" {
		r.seen[d.name]++
	} else if err == nil {
		r.unseen[d.name]++
	}
	r.mu.Unlock()
	switch {
	case err != nil:
		return fmt.Errorf("fault %d, %s: %w", n, name, err)
	case seen != "":
		r.log.note("%3d %s: seen after %.1fs: %s", n, name, time.Since(began).Seconds(), seen)
	}
	return nil
}

// total sums up counts by kind.
func (r *run) total(of map[string]int) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for v := range maps.Values(of) {
		n += v
	}
	return n
}
