//go:build integration

package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// newest returns the highest generation that some instances have been in.
func newest(processes []*process) (generation, members int) {
	for _, p := range processes {
		if g, n := p.generation(); g > generation {
			generation, members = g, n
		}
	}
	return generation, members
}

// regrouped waits until the others are in a later generation than one, and
// returns what it is.
func (r *run) regrouped(p *process, before int) (string, error) {
	var generation, members int
	err := r.await("the group's generation changes", sight, func() bool {
		generation, members = newest(r.others(p))
		return generation > before
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("generation %d became %d, of %d members", before, generation, members), nil
}

// back starts a slot's instance and waits until it runs.
func (r *run) back(s *slot) error {
	if err := r.start(s); err != nil {
		return err
	}
	return r.running(s)
}

func (r *run) running(s *slot) error {
	p := s.proc
	if err := r.await(s.name+" runs", patience, func() bool { return p.running() >= 0 }); err != nil {
		return fmt.Errorf("%w", beyond(err))
	}
	return nil
}

// beyond makes a time-out of a wait for something that must happen one that ends
// the run, and is not an effect that was not seen.
func beyond(err error) error { return fmt.Errorf("%v", err) }

// killed kills an instance and starts it again when others have its tasks.
func killed(r *run, s *slot, _ *rand.Rand) (string, error) {
	p := s.proc
	before, _ := newest(r.processes())
	held := p.holds()
	p.kill()
	seen, err := r.regrouped(p, before)
	if err == nil && len(held) > 0 {
		err = r.await("others run the tasks", sight, func() bool {
			for _, o := range r.others(p) {
				for task := range o.holds() {
					delete(held, task)
				}
			}
			return len(held) == 0
		})
		seen += ", and others have its tasks"
	}
	if err != nil {
		return "", firstOf(r.back(s), err)
	}
	return seen, r.back(s)
}

// firstOf returns the error of healing, which ends the run, or else that of a
// fault.
func firstOf(heal, err error) error {
	if heal != nil {
		return heal
	}
	return err
}

// restarted kills an instance and starts it again at once: it comes back while the
// group still has its older self.
func restarted(r *run, s *slot, _ *rand.Rand) (string, error) {
	p := s.proc
	before, _ := newest(r.processes())
	p.kill()
	if err := r.start(s); err != nil {
		return "", err
	}
	again := s.proc
	seen, err := r.regrouped(again, before)
	if err != nil {
		return "", firstOf(r.running(s), err)
	}
	return seen, r.running(s)
}

// frozen stops an instance until the group has expelled it, and wakes it.
func frozen(r *run, s *slot, rnd *rand.Rand) (string, error) {
	p := s.proc
	if err := r.await(s.name+" runs tasks", sight, func() bool { return p.running() > 0 }); err != nil {
		return "", err
	}
	before, _ := newest(r.processes())
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return "", err
	}
	mark := p.mark()
	seen, err := r.regrouped(p, before)
	if err == nil {
		r.pause(time.Duration(rnd.IntN(3000)) * time.Millisecond)
	}
	if wake := p.signal(syscall.SIGCONT); wake != nil {
		return "", wake
	}
	if err != nil {
		return "", err
	}
	var fenced []line
	err = r.await("the zombie is fenced", sight, func() bool {
		fenced = p.since(mark, thrownAway)
		return len(fenced) > 0
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; awake, it logged %q: %s", seen, fenced[0].Msg, fenced[0].Error), r.running(s)
}

// pause lets time go by, for what is drawn to last.
func (r *run) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.ctx.Done():
	}
}

// end kills an instance or stops it, as chance has it.
func (p *process) end(rnd *rand.Rand) (how string, err error) {
	if rnd.IntN(2) == 0 {
		p.kill()
		return "killed", nil
	}
	return "stopped", p.stop()
}

// stateDeleted takes an instance's state folder away while it does not run.
func stateDeleted(r *run, s *slot, rnd *rand.Rand) (string, error) {
	how, err := s.proc.end(rnd)
	if err != nil {
		return "", err
	}
	if err := os.RemoveAll(s.stateDir); err != nil {
		return "", err
	}
	if err := r.start(s); err != nil {
		return "", err
	}
	p := s.proc
	whole := func(l line) bool { return l.Msg == "restoring a store from its changelog's start" }
	err = r.await("its stores are restored", sight, func() bool { return len(p.since(0, whole)) > 0 && p.running() > 0 })
	if err != nil {
		return "", firstOf(r.running(s), err)
	}
	return fmt.Sprintf("%s; %d stores were restored from the start of their changelogs", how, len(p.since(0, whole))), r.running(s)
}

// stateCorrupted flips a byte of each table of an instance while it does not run.
func stateCorrupted(r *run, s *slot, rnd *rand.Rand) (string, error) {
	how, err := s.proc.end(rnd)
	if err != nil {
		return "", err
	}
	tables, err := flip(s.stateDir, rnd)
	if err != nil {
		return "", err
	}
	if err := r.start(s); err != nil {
		return "", err
	}
	p := s.proc
	corrupt := func(l line) bool { return strings.HasPrefix(l.Msg, "local state is corrupt") }
	if tables > 0 {
		err = r.await("the damage is found", sight/2, func() bool { return len(p.since(0, corrupt)) > 0 })
	}
	if err != nil || tables == 0 {
		return "", firstOf(r.running(s), err)
	}
	found := p.since(0, corrupt)
	return fmt.Sprintf("%s; a byte of each of %d tables was flipped, and the state of %d tasks found corrupt: %.100s",
		how, tables, len(found), found[0].Error), r.running(s)
}

// flip flips a bit of each table below a folder, and returns how many there are.
func flip(dir string, rnd *rand.Rand) (tables int, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*", "*.sst"))
	if err != nil {
		return 0, err
	}
	slices.Sort(paths)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return tables, err
		}
		if len(b) == 0 {
			continue
		}
		b[rnd.IntN(len(b))] ^= byte(1 << rnd.IntN(8))
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return tables, err
		}
		tables++
	}
	return tables, nil
}

// added starts an instance more.
func added(r *run, s *slot, _ *rand.Rand) (string, error) {
	before, _ := newest(r.processes())
	if err := r.start(s); err != nil {
		return "", err
	}
	p := s.proc
	seen, err := r.regrouped(p, before)
	if err == nil {
		err = r.await(s.name+" runs tasks", sight, func() bool { return p.running() > 0 })
	}
	if err != nil {
		return "", firstOf(r.running(s), err)
	}
	return fmt.Sprintf("%s; it runs %d tasks", seen, p.running()), nil
}

// removed stops an instance for good.
func removed(r *run, s *slot, _ *rand.Rand) (string, error) {
	p := s.proc
	before, _ := newest(r.processes())
	if err := p.stop(); err != nil {
		return "", err
	}
	r.mu.Lock()
	s.proc = nil
	r.mu.Unlock()
	return r.regrouped(p, before)
}
