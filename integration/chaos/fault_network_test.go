//go:build integration

package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// nodes are the brokers' numbers.
func nodes() []int { return []int{1, 2, 3} }

// brokerKilled kills a broker, waits until its partitions have other leaders, and
// starts it again. It is whole when each replica is in sync, before which no other
// broker may fail.
func brokerKilled(r *run, _ *slot, rnd *rand.Rand) (string, error) {
	node := int32(1 + rnd.IntN(3))
	before, _, err := metadata(r.ctx, r.client)
	if err != nil {
		return "", err
	}
	if err := r.kafka.Kill(int(node)); err != nil {
		return "", err
	}
	moved := 0
	err = r.await("leaders move", sight, seldom(func() bool {
		after, _, err := metadata(r.ctx, r.client)
		if err != nil {
			return false
		}
		moved = 0
		for at, leader := range before {
			if leader != node {
				continue
			}
			if after[at] == node || after[at] < 0 {
				return false
			}
			moved++
		}
		return true
	}))
	if err == nil {
		r.pause(time.Duration(rnd.IntN(4000)) * time.Millisecond)
	}
	if restart := r.kafka.Restart(r.ctx, int(node)); restart != nil {
		return "", restart
	}
	whole := r.await("all replicas are in sync", patience, seldom(func() bool {
		_, short, err := metadata(r.ctx, r.client)
		return err == nil && short == 0
	}))
	if whole != nil {
		return "", beyond(whole)
	}
	if err != nil || moved == 0 {
		return "", err
	}
	return fmt.Sprintf("%d leaders moved away from node %d", moved, node), nil
}

// works waits until an instance commits again.
func (r *run) works(s *slot) error {
	p := s.proc
	before, _ := p.commits()
	if err := r.await(s.name+" commits", patience, func() bool {
		now, _ := p.commits()
		return now > before || p.running() == 0 // it has no tasks any more
	}); err != nil {
		return beyond(err)
	}
	return nil
}

// cut closes all connections of an instance, several times.
func cut(r *run, s *slot, rnd *rand.Rand) (string, error) {
	p := s.proc
	if err := r.await(s.name+" runs tasks", sight, func() bool { return p.running() > 0 }); err != nil {
		return "", err
	}
	before, mark := r.mesh.connections(s.name), p.mark()
	times := 1 + rnd.IntN(5)
	for range times {
		if err := r.mesh.cut(s.name, nodes()); err != nil {
			return "", err
		}
		r.pause(time.Duration(100+rnd.IntN(900)) * time.Millisecond)
	}
	err := r.await("it connects again", sight, func() bool {
		return r.mesh.connections(s.name) > before && len(p.since(mark, networkTrouble)) > 0
	})
	if err != nil {
		return "", firstOf(r.works(s), err)
	}
	first := p.since(mark, networkTrouble)[0]
	return fmt.Sprintf("cut %d times; %d new connections; it logged %q: %.80s", times, r.mesh.connections(s.name)-before,
		first.Msg, first.Error), r.works(s)
}

// slowed delays what an instance sends or is sent, or narrows its way.
func slowed(r *run, s *slot, rnd *rand.Rand) (string, error) {
	p := s.proc
	if err := r.await(s.name+" runs tasks", sight, func() bool { return p.running() > 0 }); err != nil {
		return "", err
	}
	latency := 200 + rnd.IntN(600)
	direction := []string{"upstream", "downstream"}[rnd.IntN(2)]
	err := r.mesh.poison(s.name, nodes(), "latency", direction, map[string]int{"latency": latency, "jitter": latency / 4})
	if err == nil && rnd.IntN(2) == 0 {
		err = r.mesh.poison(s.name, nodes(), "bandwidth", direction, map[string]int{"rate": 50}) // KB a second
	}
	if err != nil {
		return "", err
	}
	commits, seconds := p.commits()
	until := time.Now().Add(time.Duration(4000+rnd.IntN(4000)) * time.Millisecond)
	var mean float64
	err = r.await("commits take longer", sight, func() bool {
		n, sum := p.commits()
		if n-commits < 3 {
			return false
		}
		mean = (sum - seconds) / float64(n-commits)
		return mean > float64(latency)/2000 && time.Now().After(until)
	})
	r.mesh.cure(s.name, nodes())
	if err != nil {
		return "", firstOf(r.works(s), err)
	}
	return fmt.Sprintf("%d ms %s; a commit took %.2f s on average", latency, direction, mean), r.works(s)
}

// halfOpen lets nothing through, in one direction or both, and keeps the
// connections open.
func halfOpen(r *run, s *slot, rnd *rand.Rand) (string, error) {
	p := s.proc
	if err := r.await(s.name+" runs tasks", sight, func() bool { return p.running() > 0 }); err != nil {
		return "", err
	}
	which := nodes()
	if rnd.IntN(3) == 0 {
		which = []int{1 + rnd.IntN(3)}
	}
	mark := p.mark()
	var directions []string
	for _, d := range []string{"upstream", "downstream"} {
		if rnd.IntN(2) == 0 {
			directions = append(directions, d)
		}
	}
	if len(directions) == 0 {
		directions = []string{"upstream", "downstream"}
	}
	var err error
	for _, d := range directions {
		err = errors.Join(err, r.mesh.poison(s.name, which, "timeout", d, map[string]int{"timeout": 0}))
	}
	if err != nil {
		return "", err
	}
	r.pause(time.Duration(3000+rnd.IntN(9000)) * time.Millisecond)
	// Before the cure, which closes the connections: that anybody would notice.
	err = r.await("it notices", sight/2, func() bool { return len(p.since(mark, networkTrouble)) > 0 })
	r.mesh.cure(s.name, which)
	if err != nil {
		return "", firstOf(r.works(s), err)
	}
	trouble := p.since(mark, networkTrouble)
	last := trouble[len(trouble)-1]
	return fmt.Sprintf("nothing came through to brokers %v, %s; it logged %d troubles, the last %q: %.80s", which,
		strings.Join(directions, " and "), len(trouble), last.Msg, last.Error), r.works(s)
}
