package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/stores"
)

// stateful is how many tasks of the counts topology have state: the sub-topology
// that reads the input has none.
const stateful = partitions

// with has an instance keep standbys, and nothing else changed.
func with(replicas int) func(*Config) {
	return func(c *Config) { c.Standby = Standby{Replicas: replicas, AcceptableLag: 20} }
}

// caughtUp returns how many copies of the instances have caught up.
func caughtUp(processes ...*process) (n int) {
	for _, p := range processes {
		for _, s := range p.in.Standbys() {
			if s.CaughtUp {
				n++
			}
		}
	}
	return n
}

func TestAStandbyTakesOverWithoutCopying(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 3, topics(), func(w *world) {
				w.guarantee = guarantee
				l := w.startLoad(partitions, 20*time.Millisecond)
				top := counts(t)
				registry := prometheus.NewRegistry()
				a := w.start("a", newDisk(), top, with(1))
				b := w.start("b", newDisk(), top, func(c *Config) { with(1)(c); c.Metrics = registry })
				w.settled(tasks, a, b)
				w.until("every task has a copy that has caught up", func() bool { return caughtUp(a, b) == stateful })
				w.pass(3 * time.Second)
				for _, s := range b.in.Standbys() {
					if s.Lag < 0 || s.Lag > 20 {
						t.Errorf("the copy of task %v is %d records behind", s.Task, s.Lag)
					}
					if db, _, ok := b.in.StandbyDB(s.Task); !ok || db == nil {
						t.Errorf("the copy of task %v cannot be read", s.Task)
					}
				}
				expectGauge(t, registry, "millrace_task_state", "standby", float64(len(b.in.Standbys())))
				copies := b.in.Standbys()
				opened := b.opened()
				a.kill()
				w.settled(tasks, b)
				for _, s := range copies {
					if n := b.opened()[s.Task] - opened[s.Task]; n != 0 {
						t.Errorf("the database of task %v was opened %d times for its promotion", s.Task, n)
					}
				}
				if n := w.log.count("state=promoted"); n != len(copies) || n == 0 {
					t.Errorf("%d copies were promoted, want %d", n, len(copies))
				}
				w.pass(time.Second)
				want := l.end()
				b.stop()
				w.drain()
				if guarantee == ExactlyOnce {
					w.expectOnce(want)
				} else {
					w.expectAtLeast(want)
				}
				if _, err := w.checkDisk(b.disk, top, logs{}); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// opened returns how often the database of each task was opened.
func (p *process) opened() map[TaskID]int { return p.opens.all() }

func expectGauge(t *testing.T, registry *prometheus.Registry, name, state string, want float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == state && m.GetGauge().GetValue() != want {
					t.Errorf("%s{%s} is %v, want %v", name, state, m.GetGauge().GetValue(), want)
				}
			}
		}
		return
	}
	t.Errorf("there is no metric %s", name)
}

// TestATaskMovesWhenItsWarmupHasCaughtUp lets a second instance join whose reading
// of changelogs is held back: everything stays where it is until it has caught up.
func TestATaskMovesWhenItsWarmupHasCaughtUp(t *testing.T) {
	inWorld(t, 3, topics(), func(w *world) {
		commits := w.watchCommits()
		l := w.startLoad(partitions, 5*time.Millisecond)
		top := counts(t)
		adjust := func(c *Config) {
			c.CommitInterval = 50 * time.Millisecond
			c.Standby = Standby{AcceptableLag: 10, MaxWarmups: 2, ProbingInterval: time.Second}
		}
		a := w.start("a", newDisk(), top, adjust)
		w.settled(tasks, a)
		w.pass(10 * time.Second)
		b := w.start("b", newDisk(), top, adjust)
		w.until("b warms up", func() bool { return len(b.in.Standbys()) > 0 })
		// The first two copies may have caught up already, and no others.
		if n := a.running(); n < tasks-2 {
			t.Errorf("a runs %d tasks, and b can have caught up with two at most", n)
		}
		if n := len(b.in.Standbys()); n > 2 {
			t.Errorf("%d warm-ups at a time, at most 2 are allowed", n)
		}
		w.until("b runs half", func() bool { return a.running()+b.running() == tasks && b.running() == tasks/2 })
		if n := w.log.count("state=promoted warm_up=true"); n == 0 {
			t.Error("nothing moved by way of a warm-up")
		}
		want := l.end()
		a.stop()
		b.stop()
		w.drain()
		w.expectExactly(want)
		if err := commits.err(); err != nil {
			t.Error(err)
		}
	})
}

// TestAStandbyStartsOverWhenItsChangelogIsMadeAnew deletes a changelog under a
// standby, which has to say so once, and to follow the new one from its start.
func TestAStandbyStartsOverWhenItsChangelogIsMadeAnew(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		top := counts(t)
		var events []event
		for i := range 50 {
			events = append(events, count(int32(i%partitions), fmt.Sprint("k", i), time.Now()))
		}
		w.write(events...)
		a, b := w.start("a", newDisk(), top, with(1)), w.start("b", newDisk(), top, with(1))
		w.settled(tasks, a, b)
		w.until("every task has a copy", func() bool { return caughtUp(a, b) == stateful })
		w.pass(2 * time.Second)
		changelog := top.Application() + "-counts-changelog"
		client, err := kafka.Open(context.Background(), kafka.Config{Brokers: w.cluster.Addrs(), Dial: w.cluster.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.DeleteTopic(context.Background(), changelog); err != nil {
			t.Fatal(err)
		}
		if _, err := client.CreateTopic(context.Background(), kafka.TopicSpec{Name: changelog, Partitions: partitions, Replication: 1}); err != nil {
			t.Fatal(err)
		}
		w.until("the new topic is restored from its start", func() bool { return w.log.count("made anew") >= stateful })
		w.pass(time.Minute)
		if n := w.log.count("made anew"); n > 2*stateful {
			t.Errorf("it is told %d times that a changelog was made anew", n)
		}
		ends := w.ends(changelog)
		for _, p := range []*process{a, b} {
			for _, s := range p.in.Standbys() {
				db, _, _ := p.in.StandbyDB(s.Task)
				if next, _, ok := db.Offset("counts"); !ok || next > ends[s.Task.Partition] {
					t.Errorf("the copy of task %v stands at %d, and its changelog ends at %d", s.Task, next, ends[s.Task.Partition])
				}
			}
		}
		a.kill() // what a holds does not fit the new topic, so nobody asks it
		b.kill()
	})
}

func TestStandbysRideOutRefusals(t *testing.T) {
	inWorld(t, 3, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top := counts(t)
		a, b := w.start("a", newDisk(), top, with(1)), w.start("b", newDisk(), top, with(1))
		w.settled(tasks, a, b)
		w.until("every task has a copy", func() bool { return caughtUp(a, b) == stateful })
		for _, e := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.OffsetNotAvailable, kerr.KafkaStorageError} {
			h := w.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets}, Err: e, Count: 20})
			w.until("requests are refused", func() bool { return h.Hits() >= 20 })
		}
		w.cluster.Fake().ShufflePartitionLeaders()
		w.pass(10 * time.Second)
		for _, p := range []*process{a, b} {
			for _, s := range p.in.Standbys() {
				if s.Lag < 0 || s.Lag > 50 {
					t.Errorf("the copy of task %v is %d records behind", s.Task, s.Lag)
				}
			}
		}
		want := l.end()
		a.stop()
		b.stop()
		w.drain()
		w.expectExactly(want)
	})
}

// TestStandbysLieInOtherRacks runs four instances in two racks.
func TestStandbysLieInOtherRacks(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		top := counts(t)
		var all []*process
		racks := map[*process]string{}
		for i := range 4 {
			rack := fmt.Sprint("r", i%2)
			p := w.start(fmt.Sprint("i", i), newDisk(), top, func(c *Config) { with(1)(c); c.Rack = rack })
			racks[p] = rack
			all = append(all, p)
		}
		w.settled(tasks, all...)
		beside := func() (together []TaskID) {
			at := map[TaskID]string{}
			for _, p := range all {
				for _, task := range p.in.Tasks() {
					at[task.Task] = racks[p]
				}
			}
			for _, p := range all {
				for _, s := range p.in.Standbys() {
					if at[s.Task] == racks[p] {
						together = append(together, s.Task)
					}
				}
			}
			return together
		}
		// While members come, copies may lie beside their tasks for a generation.
		w.until("every task has a copy in another rack", func() bool { return caughtUp(all...) == stateful && len(beside()) == 0 })
		w.pass(time.Minute)
		if together := beside(); len(together) > 0 {
			t.Errorf("tasks %v run and have their copies in one rack", together)
		}
		for _, p := range all {
			p.stop()
		}
	})
}

// static makes an instance a static member.
func static(id string) func(*Config) {
	return func(c *Config) { c.InstanceID, c.Advertise = id, "http://"+id }
}

// TestAStaticMemberReturnsToItsTasks stops one of two static members and starts it
// again within its session: nobody else's tasks move, and the tasks are its own.
func TestAStaticMemberReturnsToItsTasks(t *testing.T) {
	inWorld(t, 3, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top := counts(t)
		a, b := w.start("a", newDisk(), top, static("a")), w.start("b", newDisk(), top, static("b"))
		w.settled(tasks, a, b)
		w.pass(2 * time.Second)
		moved := w.log.count("task moves")
		for _, again := range []**process{&b, &a} {
			held := idsOf((*again).in)
			(*again).stop()
			w.pass(2 * time.Second)
			*again = w.start((*again).name, (*again).disk, top, static((*again).name))
			w.settled(tasks, a, b)
			if now := idsOf((*again).in); fmt.Sprint(now) != fmt.Sprint(held) {
				t.Errorf("%s held %v and returned to %v", (*again).name, held, now)
			}
		}
		if n := w.log.count("task moves") - moved; n > 0 {
			t.Errorf("%d tasks moved", n)
		}
		leaders := 0
		for _, p := range []*process{a, b} {
			if d, leader, _ := p.in.Directory(); leader == p.in.cfg.Advertise {
				leaders++
				if d == nil || len(d.Members) != 2 {
					t.Errorf("%s leads and its directory is %v", p.name, d)
				}
			}
		}
		if leaders != 1 {
			t.Errorf("%d instances lead", leaders)
		}
		want := l.end()
		a.stop()
		b.stop()
		w.drain()
		w.expectExactly(want)
	})
}

func idsOf(in *Instance) (ids []TaskID) {
	for _, t := range in.Tasks() {
		ids = append(ids, t.Task)
	}
	return ids
}

// TestAStaticMemberThatChangedIsPlannedAnew returns with other workers.
func TestAStaticMemberThatChangedIsPlannedAnew(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		top := counts(t)
		a, b := w.start("a", newDisk(), top, static("a")), w.start("b", newDisk(), top, static("b"))
		w.settled(tasks, a, b)
		b.stop()
		b = w.start("b", b.disk, top, func(c *Config) { static("b")(c); c.Workers = 6 })
		w.until("b has three quarters", func() bool { return a.running() == tasks/4 && b.running() == tasks*3/4 })
		a.stop()
		b.stop()
	})
}

func TestTheElderOfTwoStaticMembersIsFenced(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		top := counts(t)
		a := w.start("a", newDisk(), top, static("same"))
		w.settled(tasks, a)
		b := w.start("b", newDisk(), top, static("same"))
		if err := a.result(); !errors.Is(err, ErrFencedInstance) {
			t.Errorf("the elder ended with %v", err)
		}
		w.settled(tasks, b)
		b.stop()
	})
}

// TestAStaticMemberLeavesIfTold hands its tasks over at once.
func TestAStaticMemberLeavesIfTold(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		top := counts(t)
		leave := func(c *Config) { static(c.Advertise[len("http://"):])(c); c.OnStop = Leave }
		a, b := w.start("a", newDisk(), top, leave), w.start("b", newDisk(), top, leave)
		w.settled(tasks, a, b)
		began := time.Now()
		b.stop()
		w.settled(tasks, a)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a took over after %v: b did not leave the group", took)
		}
		a.stop()
	})
}

// TestStateOnTheDiskCounts starts an instance again that was away for a moment:
// it is told at once what its disk has, though it is a new member.
func TestStateOnTheDiskCounts(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top := counts(t)
		a, b := w.start("a", newDisk(), top, with(0)), w.start("b", newDisk(), top, with(0))
		w.settled(tasks, a, b)
		w.pass(10 * time.Second)
		ofState := func() []TaskID {
			return slices.DeleteFunc(idsOf(b.in), func(id TaskID) bool { return id.Sub == 0 })
		}
		held := ofState()
		b.stop()
		w.settled(tasks, a)
		b = w.start("b", b.disk, top, with(0))
		w.until("b runs half", func() bool { return a.running() == tasks/2 && b.running() == tasks/2 })
		now := ofState()
		for _, id := range held {
			if !slices.Contains(now, id) {
				w.t.Errorf("b held %v, left, and was given %v", held, now)
			}
		}
		if len(held) == 0 {
			w.t.Error("b held nothing")
		}
		l.end()
		a.stop()
		b.stop()
	})
}

// copyAtRest returns a copy of task 1_0 that nothing follows any more, as a
// promotion finds it, of an instance that does not run.
func copyAtRest(t *testing.T) (*Instance, *standby) {
	t.Helper()
	in, err := New(counts(t), Config{Brokers: []string{"none:9092"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	in.storage = NewMemoryStorage()
	in.standbys = &standbys{in: in, offsets: map[TaskID]map[string]int64{}}
	sb := &standby{id: TaskID{Sub: 1}, done: make(chan struct{})}
	close(sb.done)
	return in, sb
}

// holdingOf is of a worker that does not run.
func holdingOf(in *Instance, id TaskID) *holding { return &holding{id: id, worker: newWorker(in, 0)} }

// TestACopyHasOneTaker: a task that is lost and assigned again at once has two
// holdings that wait for one copy.
func TestACopyHasOneTaker(t *testing.T) {
	in, sb := copyAtRest(t)
	var err error
	if sb.db, sb.state, err = in.openDB(sb.id, func() {}); err != nil {
		t.Fatal(err)
	}
	first, _ := sb.claim(holdingOf(in, sb.id))
	second, _ := sb.claim(holdingOf(in, sb.id))
	if first == nil || second != nil {
		t.Errorf("the first one got %v, the second %v", first, second)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
}

// TestDamageOfACopyThatIsGoneIsForgotten: its database was removed, and whoever
// takes over opens another one.
func TestDamageOfACopyThatIsGoneIsForgotten(t *testing.T) {
	in, sb := copyAtRest(t)
	sb.damaged()
	h := holdingOf(in, sb.id)
	if db, _ := sb.claim(h); db != nil || h.corrupt.Load() {
		t.Errorf("got %v, corrupt %v", db, h.corrupt.Load())
	}
	sb.damaged() // which may be told late
	if sb.owner.Load() != h || !h.corrupt.Load() {
		t.Error("damage that is found later does not reach the taker")
	}
}

// TestStateThatWasRemovedIsNotOffered to the group as a copy that lies on the disk.
func TestStateThatWasRemovedIsNotOffered(t *testing.T) {
	in, sb := copyAtRest(t)
	in.standbys.offsets[sb.id] = map[string]int64{"counts": 7}
	if err := in.closed(sb.id, fmt.Errorf("closing: %w", stores.ErrCorrupt)); err != nil {
		t.Fatal(err)
	}
	if at, ok := in.standbys.offsets[sb.id]; ok {
		t.Errorf("state that was removed stands at %v", at)
	}
}
