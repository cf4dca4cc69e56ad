package streams

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// simulation is one seed's run: machines that go on and off over a cluster, a
// load, faults, and what the ledger needs to know of it all.
type simulation struct {
	*world
	plan     *plan
	topology *topology.Topology
	luck     *luck
	tally    *tally
	// mutant has state written before the changelog.
	mutant bool

	mu       sync.Mutex // guards what follows
	machines []*machine
	killed   map[*process]bool
	relics   []relic
	over     bool

	faults sync.WaitGroup
	want   truth
}

// verdict is what came of a seed.
type verdict struct {
	problems []string
	log      string
	tally    *tally
}

// simulate runs a plan in a bubble of its own.
func simulate(t *testing.T, p *plan, mutant bool) *verdict {
	v := &verdict{tally: &tally{}}
	synctest.Test(t, func(t *testing.T) {
		j := &jury{TB: t}
		w := newWorld(j, 3, map[string]int32{"events": p.partitions, "results": 2})
		strategy := window.BoundedDelay(delay).IdleAfter(p.idle)
		if p.align > 0 {
			strategy = strategy.AlignWithin(p.align)
		}
		s := &simulation{
			world: w, plan: p, topology: countsBy(j, strategy), luck: newLuck(p.luck), tally: v.tally, mutant: mutant,
			killed: map[*process]bool{}, want: truth{},
		}
		w.guarantee = p.guarantee
		if p.latency > 0 {
			w.latency = func() time.Duration { return s.luck.upTo(p.latency) }
		}
		for i := range p.machines {
			s.machines = append(s.machines, &machine{name: fmt.Sprint("m", i), disk: newDisk()})
		}
		done := make(chan struct{})
		go func() { // which a Fatal ends
			defer close(done)
			s.run()
			s.judge()
		}()
		<-done
		s.end()
		v.problems, v.log = j.problems, w.log.String()
	})
	return v
}

// run lets the plan happen, the world heal, and everything drain.
func (s *simulation) run() {
	s.mu.Lock()
	for _, m := range s.machines[:s.plan.running] {
		s.start(m, false)
	}
	s.mu.Unlock()
	loaded := make(chan struct{})
	s.wg.Go(func() {
		defer close(loaded)
		s.load()
	})
	for _, f := range s.plan.faults {
		s.faults.Go(func() { s.inflict(f) })
	}
	s.faults.Wait()
	<-loaded
	running := s.heal()
	s.log.note("healed")
	s.pass(3 * session)
	s.expelGhosts(running)
	s.settled(2*int(s.plan.partitions), running...)
	s.caughtUp("events")
	s.caughtUp(s.repartition())
	for _, p := range running {
		p.cancel()
	}
	for _, p := range running {
		_ = p.result() // the ledger looks at it
		s.keep(p.name+", stopped", p.disk)
	}
	s.world.start("drain", newDisk(), s.topology, func(c *Config) { c.UntilEnd = true }).wait()
	s.stable("results")
}

// load writes the plan's bursts.
func (s *simulation) load() {
	began := time.Now()
	for _, b := range s.plan.bursts {
		s.pass(b.at - time.Since(began))
		now := time.Now()
		var events []event
		for _, d := range b.events {
			events = append(events, count(d.partition, d.key, now.Add(-d.behind)))
		}
		s.want.add(events...)
		s.write(events...)
	}
}

// heal ends what is left of the faults, and returns the instances that run.
func (s *simulation) heal() []*process {
	s.mu.Lock()
	defer s.mu.Unlock()
	var running []*process
	for _, m := range s.machines {
		if m.on != nil {
			running = append(running, m.on)
		}
	}
	if len(running) == 0 {
		s.start(s.machines[0], false)
		running = append(running, s.machines[0].on)
	}
	return running
}

// expelGhosts has members leave whose processes are gone. Kafka expels them by their
// sessions; the embedded broker begins no session if the answer to a join cannot be
// delivered, since the process has died meanwhile, and the member stays for ever.
func (s *simulation) expelGhosts(running []*process) {
	group := s.cluster.Fake().GroupInfo(s.topology.Application())
	if group == nil {
		return
	}
	alive := map[string]bool{}
	for _, p := range running {
		if m := p.in.group.Load(); m != nil {
			alive[m.current().id] = true
		}
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = group.Group
	for _, m := range group.Members {
		if !alive[m.MemberID] {
			s.log.note("expel %s, which nobody is", m.MemberID)
			ghost := kmsg.NewLeaveGroupRequestMember()
			ghost.MemberID, ghost.InstanceID = m.MemberID, m.InstanceID
			req.Members = append(req.Members, ghost)
		}
	}
	if len(req.Members) == 0 {
		return
	}
	c := s.client()
	defer c.Close()
	if _, err := req.RequestWith(context.Background(), c); err != nil {
		s.t.Errorf("expel ghosts: %v", err)
	}
}

func (s *simulation) repartition() string { return s.topology.Application() + "-by-key-repartition" }

// caughtUp waits until what a topic now holds is committed.
func (s *simulation) caughtUp(topic string) {
	ends := s.ends(topic)
	s.until("everything in "+topic+" is committed", func() bool {
		group := s.cluster.Fake().GroupInfo(s.topology.Application())
		for p, end := range ends {
			if end > 0 && (group == nil || group.Commits[topic][p].Offset < end) {
				return false
			}
		}
		return true
	})
}

// end stops everything, also after a failure in the middle.
func (s *simulation) end() {
	s.mu.Lock()
	s.over = true
	for _, m := range s.machines {
		if m.on != nil {
			m.on.wire.unfreeze()
			m.on.cancel()
		}
	}
	s.mu.Unlock()
	s.faults.Wait()
	ended := make(chan struct{})
	go func() { s.wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		panic(fmt.Sprintf("an instance does not end\n%v\n%s\n%s", s.plan, s.log, stacks))
	}
	s.shut()
}

// jury takes what the harness says to a test. A Fatal ends the goroutine.
type jury struct {
	testing.TB
	mu       sync.Mutex
	problems []string
}

func (j *jury) note(problem string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.problems = append(j.problems, problem)
}

func (j *jury) Helper()                   {}
func (j *jury) Error(a ...any)            { j.note(fmt.Sprint(a...)) }
func (j *jury) Errorf(f string, a ...any) { j.note(fmt.Sprintf(f, a...)) }
func (j *jury) Fatal(a ...any)            { j.note(fmt.Sprint(a...)); runtime.Goexit() }
func (j *jury) Fatalf(f string, a ...any) { j.note(fmt.Sprintf(f, a...)); runtime.Goexit() }
