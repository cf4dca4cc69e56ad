package streams

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

// machine has a disk, and an instance while it is on.
type machine struct {
	name   string
	disk   *vfs.MemFS
	on     *process // nil while it is off
	starts int
	trap   *trap
}

// trap crashes a machine in a commit.
type trap struct {
	fault  fault
	passed int
	sprung chan struct{} // closed when it has crashed
}

// relic is a disk as an instance left it, and where the changelogs then ended.
type relic struct {
	what string
	disk *vfs.MemFS
	ends map[string]map[int32]int64
}

// start switches a machine on. mu is held.
func (s *simulation) start(m *machine, fresh bool) {
	if m.on != nil || s.over {
		return
	}
	if fresh {
		m.disk = newDisk()
	}
	m.starts++
	life := m.starts
	m.on = s.world.start(fmt.Sprint(m.name, ".", life), m.disk, s.topology, func(c *Config) {
		c.Storage = flushing{c.Storage, func() bool { return s.luck.chance(s.plan.flush) }}
		c.Workers, c.CommitInterval = s.plan.workers, s.plan.commit
		c.SessionTimeout, c.Heartbeat = session, session/10
		c.Standby = s.plan.standby
		if s.plan.static {
			c.InstanceID = m.name
		}
		if s.plan.racks {
			c.Rack = fmt.Sprint("r", int(m.name[len(m.name)-1])%2)
		}
		c.hooks.stateFirst, c.hooks.unfenced = s.mutant, s.plan.unfenced
		c.hooks.step = func(_ int, step string) error { return s.atStep(m, life, step) }
	})
}

// atStep crashes the machine if that is to happen at this step of a commit.
func (s *simulation) atStep(m *machine, life int, step string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := m.trap
	if t == nil || m.on == nil || m.starts != life || t.fault.step != step {
		return nil
	}
	if t.passed++; t.passed < t.fault.nth {
		return nil
	}
	m.trap = nil
	s.crash(m, t.fault)
	close(t.sprung)
	return errDead
}

// crash switches a machine off at once. mu is held.
func (s *simulation) crash(m *machine, f fault) {
	what := fmt.Sprintf("%s, %v", m.on.name, f)
	m.disk = m.on.crash(vfs.CrashCloneCfg{UnsyncedDataPercent: f.keeps, RNG: s.luck.fork()})
	s.killed[m.on] = true
	m.on = nil
	s.keep(what, m.disk)
}

// keep notes what a disk holds now, for the ledger.
func (s *simulation) keep(what string, disk *vfs.MemFS) {
	r := relic{what, disk.CrashClone(vfs.CrashCloneCfg{}), map[string]map[int32]int64{}}
	for _, sub := range s.topology.SubTopologies() {
		for _, store := range sub.Changelogs() {
			topic := s.topology.Application() + "-" + store + "-changelog"
			r.ends[topic] = s.ends(topic)
		}
	}
	s.relics = append(s.relics, r)
}

// ends returns where the partitions of a topic end.
func (w *world) ends(topic string) map[int32]int64 {
	ends := map[int32]int64{}
	for _, info := range w.cluster.Fake().PartitionInfos(topic) {
		ends[info.Partition] = info.HighWatermark
	}
	return ends
}

// choose returns one of the machines that are on, or off, or nil. mu is held.
func (s *simulation) choose(f fault, on bool) *machine {
	var among []*machine
	for _, m := range s.machines {
		if (m.on != nil) == on {
			among = append(among, m)
		}
	}
	if len(among) == 0 {
		return nil
	}
	return among[f.machine%len(among)]
}

// inflict makes a fault happen and returns when it is over.
func (s *simulation) inflict(f fault) {
	s.pass(f.at)
	s.log.note("fault: %v", f)
	switch f.kind {
	case join:
		s.mu.Lock()
		defer s.mu.Unlock()
		if m := s.choose(f, false); m != nil {
			s.start(m, f.fresh)
			s.tally.add(join, 1)
		}
	case leave:
		s.leave(f)
	case crash:
		s.mu.Lock()
		m := s.choose(f, true)
		if m != nil {
			s.crash(m, f)
			s.tally.add(crash, 1)
		}
		s.mu.Unlock()
		s.restart(m, f)
	case crashAt:
		s.crashAt(f)
	case stuck:
		if p := s.victim(f); p != nil {
			before := s.log.count(logged[lost])
			p.wire.freeze()
			s.pass(f.lasts)
			p.wire.unfreeze()
			s.pass(time.Second)
			if s.log.count(logged[lost]) > before {
				s.tally.add(stuck, 1)
			}
		}
	case moveLeaders:
		if s.moveLeaders() {
			s.tally.add(moveLeaders, 1)
		}
	case moveGroup:
		before := s.cluster.Fake().CoordinatorFor(s.topology.Application())
		s.cluster.Fake().RehashCoordinators()
		if s.cluster.Fake().CoordinatorFor(s.topology.Application()) != before {
			s.tally.add(moveGroup, 1)
		}
	case cut:
		if p := s.victim(f); p != nil && p.wire.cut() > 0 {
			s.tally.add(cut, 1)
		}
	case slow:
		if p := s.victim(f); p != nil {
			p.wire.slow(session / 5)
			s.pass(f.lasts)
			p.wire.slow(0)
			s.tally.add(slow, 1)
		}
	case throttle:
		if p := s.victim(f); p != nil {
			p.wire.throttle(f.count, throttled)
		}
	case crews:
		if p := s.victim(f); p != nil && p.in.SetWorkers(f.workers) == nil { // else it starts, or has ended
			s.tally.add(crews, 1)
		}
	case refuse:
		h := s.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{f.refusal.key}, Err: f.refusal.err, Count: f.count})
		s.pass(max(0, simulated-f.at))
		h.Remove()
		if h.Hits() > 0 {
			s.tally.add(refuse, 1)
		}
	}
}

// victim returns the instance on one of the machines.
func (s *simulation) victim(f fault) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.choose(f, true); m != nil {
		return m.on
	}
	return nil
}

// leave stops an instance gracefully.
func (s *simulation) leave(f fault) {
	s.mu.Lock()
	m := s.choose(f, true)
	if m == nil {
		s.mu.Unlock()
		return
	}
	p := m.on
	p.cancel()
	s.mu.Unlock()
	_ = p.result() // the ledger looks at it
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.add(leave, 1)
	if m.on == p { // it has not crashed on the way
		m.on = nil
		s.keep(p.name+", stopped", p.disk)
	}
}

// crashAt crashes a machine at a step of a commit, if it comes to one.
func (s *simulation) crashAt(f fault) {
	t := &trap{fault: f, sprung: make(chan struct{})}
	s.mu.Lock()
	m := s.choose(f, true)
	if m == nil || m.trap != nil {
		s.mu.Unlock()
		return
	}
	m.trap = t
	s.mu.Unlock()
	select {
	case <-t.sprung:
		s.tally.add(crashAt, 1)
		s.tally.add(crashedAt(f.step), 1)
		s.restart(m, f)
	case <-time.After(max(time.Second, simulated-f.at)):
		s.mu.Lock()
		defer s.mu.Unlock()
		if m.trap == t {
			m.trap = nil
		}
	}
}

// restart switches a machine on again that has crashed.
func (s *simulation) restart(m *machine, f fault) {
	if m == nil {
		return
	}
	s.pass(f.lasts)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start(m, f.fresh)
}

// moveLeaders reports whether a partition has another leader now.
func (s *simulation) moveLeaders() bool {
	fake := s.cluster.Fake()
	leaders := func() (all []int32) {
		for _, topic := range []string{"events", s.repartition()} {
			for p := range s.plan.partitions {
				all = append(all, fake.LeaderFor(topic, p))
			}
		}
		return all
	}
	before := leaders()
	fake.ShufflePartitionLeaders()
	return !slices.Equal(before, leaders())
}

// flushing is a Storage whose databases flush after some batches, as those do
// whose memtables are full.
type flushing struct {
	Storage
	flushes func() bool
}

func (f flushing) Open(id processors.TaskID, onFailure func(error)) (stores.Engine, error) {
	e, err := f.Storage.Open(id, onFailure)
	if err != nil {
		return nil, err
	}
	return flushingEngine{e, f.flushes}, nil
}

type flushingEngine struct {
	stores.Engine
	flushes func() bool
}

func (e flushingEngine) Apply(b *stores.Batch) error {
	if err := e.Engine.Apply(b); err != nil || !e.flushes() {
		return err
	}
	return e.Engine.Flush()
}

// luck is a random source for several goroutines.
type luck struct {
	mu sync.Mutex
	r  *rand.Rand
}

func newLuck(seed uint64) *luck { return &luck{r: rand.New(rand.NewPCG(seed, 1))} }

func (l *luck) chance(share float64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Float64() < share
}

func (l *luck) upTo(d time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.r.Int64N(int64(d) + 1))
}

// fork returns a source for one goroutine.
func (l *luck) fork() *rand.Rand {
	l.mu.Lock()
	defer l.mu.Unlock()
	return rand.New(rand.NewPCG(l.r.Uint64(), 0))
}
