package streams

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/internal/assign"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/topology"
)

// The counts topology has a task a partition in each of two sub-topologies.
const (
	partitions = 4
	tasks      = 2 * partitions
)

func topics() map[string]int32 { return map[string]int32{"events": partitions, "results": 2} }

// committers watches the commits that reach the brokers, and fails the test if
// two members commit one partition in one generation.
type committers struct {
	mu   sync.Mutex
	seen map[commitKey]string
	errs []error
}

type commitKey struct {
	generation int32
	topic      string
	partition  int32
}

func (w *world) watchCommits() *committers {
	c := &committers{seen: map[commitKey]string{}}
	w.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Count: -1, When: func(r kmsg.Request) bool {
		req, ok := r.(*kmsg.OffsetCommitRequest)
		if !ok {
			return false
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				key := commitKey{req.Generation, t.Topic, p.Partition}
				if other, ok := c.seen[key]; ok && other != req.MemberID {
					c.errs = append(c.errs, errors.New(t.Topic+": committed by "+other+" and "+req.MemberID+" in one generation"))
				}
				c.seen[key] = req.MemberID
			}
		}
		return false
	}})
	return c
}

func (c *committers) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.errs...)
}

// gaps notes how long each input partition went without a record processed.
type gaps struct {
	mu      sync.Mutex
	last    map[string]time.Time
	longest map[string]time.Duration
}

func (g *gaps) seen(partition string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if last, ok := g.last[partition]; ok {
		g.longest[partition] = max(g.longest[partition], now.Sub(last))
	}
	g.last[partition] = now
}

func (g *gaps) of(partition string) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.longest[partition]
}

func (g *gaps) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.last)
	clear(g.longest)
}

// An instance that has joined its group but shows none of its tasks would pass for
// ready, and then answer that its state is not open.
func TestAnInstanceIsInItsGroupOnceItShowsItsTasks(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		var in *Instance
		var shown atomic.Int32
		made := make(chan struct{})
		see := func(c *Config) {
			c.Listener.Task = func(id TaskID, s TaskState) {
				if s != TaskRestoring {
					return
				}
				<-made
				shown.Add(1)
				if _, _, generation := in.Directory(); generation >= 0 {
					t.Errorf("in generation %d before task %s is shown", generation, id)
				}
			}
		}
		a := w.start("a", newDisk(), counts(t), see)
		in = a.in
		close(made)
		w.settled(tasks, a)
		if _, _, generation := a.in.Directory(); generation < 0 || shown.Load() != tasks {
			t.Errorf("generation %d, %d tasks were restored", generation, shown.Load())
		}
		a.stop()
	})
}

func TestJoinMovesHalfAndStopsNobodyElse(t *testing.T) {
	inWorld(t, 3, topics(), func(w *world) {
		commits := w.watchCommits()
		g := &gaps{last: map[string]time.Time{}, longest: map[string]time.Duration{}}
		// Every key of the load stays on its partition, so that the gap of a key
		// is the gap of its task.
		top := counts(t, func(s topology.Stream[string, string]) topology.Stream[string, string] {
			return s.Peek(func(r topology.Record[string, string]) { g.seen(r.Key) })
		})
		l := w.startKeyedLoad(10 * time.Millisecond)
		a := w.start("a", newDisk(), top, nil)
		w.settled(tasks, a)
		w.pass(2 * time.Second)
		g.reset()
		b := w.start("b", newDisk(), top, nil)
		w.until("b runs half", func() bool { return a.running()+b.running() == tasks && b.running() == tasks/2 })
		w.pass(time.Second)
		kept := map[string]time.Duration{}
		for _, task := range a.in.Tasks() {
			if task.Task.Sub == 0 {
				key := partitionKey(task.Task.Partition)
				kept[key] = g.of(key)
			}
		}
		if len(kept) == 0 {
			t.Fatal("a kept no task that reads the input")
		}
		longest := slices.Max(slices.Collect(maps.Values(kept)))
		t.Logf("longest gap of a retained task while half moved: %v (records come each 10ms, a fetch waits up to 100ms)", longest)
		if longest > 250*time.Millisecond {
			t.Errorf("a retained task stood still for %v", longest)
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

func TestLeaveHandsEverythingOver(t *testing.T) {
	inWorld(t, 3, topics(), func(w *world) {
		commits := w.watchCommits()
		l := w.startLoad(partitions, 20*time.Millisecond)
		top := counts(t)
		a, b := w.start("a", newDisk(), top, nil), w.start("b", newDisk(), top, nil)
		w.settled(tasks, a, b)
		w.pass(3 * time.Second)
		began := time.Now()
		b.stop()
		w.settled(tasks, a)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a took over after %v: b did not leave the group", took)
		}
		want := l.end()
		a.stop()
		w.drain()
		w.expectExactly(want)
		if err := commits.err(); err != nil {
			t.Error(err)
		}
	})
}

func TestCrashIsTakenOverAndLosesNothing(t *testing.T) {
	for name, keep := range map[string]bool{"with its disk": true, "without its disk": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, topics(), func(w *world) {
				commits := w.watchCommits()
				l := w.startLoad(partitions, 20*time.Millisecond)
				top := counts(t)
				a, b := w.start("a", newDisk(), top, nil), w.start("b", newDisk(), top, nil)
				w.settled(tasks, a, b)
				w.pass(3 * time.Second)
				disk := b.kill()
				if !keep {
					disk = newDisk()
				}
				w.settled(tasks, a)
				b = w.start("b", disk, top, nil)
				w.settled(tasks, a, b)
				want := l.end()
				a.stop()
				b.stop()
				w.drain()
				w.expectAtLeast(want)
				changelogs := logs{}
				for _, p := range []*process{a, b} {
					if _, err := w.checkDisk(p.disk, top, changelogs); err != nil {
						t.Error(err)
					}
				}
				if err := commits.err(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestAStuckMemberLosesItsTasksAndWakesAsAZombie(t *testing.T) {
	inWorld(t, 3, topics(), func(w *world) {
		commits := w.watchCommits()
		l := w.startLoad(partitions, 20*time.Millisecond)
		top := counts(t)
		a, b := w.start("a", newDisk(), top, nil), w.start("b", newDisk(), top, nil)
		w.settled(tasks, a, b)
		w.pass(2 * time.Second)
		b.wire.freeze()
		w.until("a runs everything", func() bool { return a.running() == tasks })
		w.pass(2 * time.Second)
		b.wire.unfreeze()
		w.settled(tasks, a, b)
		if n := w.log.count("expelled from the group"); n == 0 {
			t.Error("the stuck member was never told that it had been expelled")
		}
		want := l.end()
		a.stop()
		b.stop()
		w.drain()
		w.expectAtLeast(want)
		if err := commits.err(); err != nil {
			t.Error(err)
		}
	})
}

func TestACommitOfAMemberThatIsUnknownIsThrownAway(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		a := w.start("a", newDisk(), counts(t), nil)
		w.settled(tasks, a)
		refused := w.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.UnknownMemberID, Count: 2})
		w.until("commits are refused", func() bool { return refused.Hits() == 2 })
		w.pass(2 * time.Second)
		w.settled(tasks, a)
		want := l.end()
		a.stop()
		w.drain()
		w.expectAtLeast(want)
	})
}

func TestACommitWaitsForTheGenerationToCome(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		a := w.start("a", newDisk(), counts(t), nil)
		w.settled(tasks, a)
		w.pass(time.Second)
		before := w.log.count("msg=rebalanced")
		for _, err := range []*kerr.Error{kerr.RebalanceInProgress, kerr.IllegalGeneration} {
			refused := w.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: err})
			w.until("a commit is refused", func() bool { return refused.Hits() == 1 })
			w.pass(2 * time.Second)
		}
		if n := w.log.count("msg=rebalanced") - before; n != 2 {
			t.Errorf("%d rebalances for two commits that asked for one each", n)
		}
		if n := w.log.count("throwing tasks away"); n > 0 {
			t.Errorf("tasks that stayed were thrown away %d times", n)
		}
		want := l.end()
		a.stop()
		w.drain()
		w.expectExactly(want)
	})
}

// TestWhatOthersAbortIsForgotten has two producers given to a member to abort, and
// then one of them to another member: nobody is to be told of that one for ever.
func TestWhatOthersAbortIsForgotten(t *testing.T) {
	p, q, r := assign.Producers{Process: assign.ProcessID{1}, Count: 2}, assign.Producers{Process: assign.ProcessID{2}, Count: 2},
		assign.Producers{Process: assign.ProcessID{3}, Count: 2}
	m := &membership{changed: make(chan struct{})}
	expect := func(want ...assign.Producers) {
		t.Helper()
		if got := m.remembered(); !slices.Equal(got, want) {
			t.Errorf("the leader is told of %v, want %v", got, want)
		}
	}
	given := []assign.Producers{p, q}
	m.change(func() { m.inherit(assign.Assignment{Remember: []assign.Producers{r}, Abort: given}) })
	expect(p, q, r)
	m.change(func() { m.inherit(assign.Assignment{Remember: []assign.Producers{r}, Abort: given[1:]}) })
	expect(q, r)
	m.aborted([]assign.Producers{q})
	expect(r)
	if given[1] != q {
		t.Error("what is under way was changed")
	}
}

// TestAGroupRecordThatIsTooLarge: no coordinator takes a subscription that long, and
// many that are not small are told of before the coordinator refuses them.
func TestAGroupRecordThatIsTooLarge(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		top := counts(t)
		err := w.start("long", newDisk(), top, func(c *Config) { c.Advertise = "http://" + strings.Repeat("a", assign.GroupLimit) }).result()
		if !errors.Is(err, assign.ErrTooLarge) || !strings.Contains(err.Error(), "--advertise") {
			t.Errorf("error %v", err)
		}
		in, _ := w.aside(top, nil)
		defer in.client.Close()
		m := &membership{in: in}
		weigh := func(members, subscription, assignment int) error {
			subscriptions, given := map[string]int{}, map[string]kafka.Assignment{}
			for i := range members {
				id := fmt.Sprint(i)
				subscriptions[id], given[id] = subscription, kafka.Assignment{UserData: make([]byte, assignment)}
			}
			return m.weigh(subscriptions, given)
		}
		const told = "about to become too large"
		if err := weigh(1000, 500, 100); err != nil || w.log.count(told) > 0 {
			t.Errorf("a record of 850 kB: %v, told %d times", err, w.log.count(told))
		}
		if err := weigh(1000, 500, 200); err != nil || w.log.count(told) != 1 || w.log.count("__consumer_offsets") != 1 {
			t.Errorf("a record of 950 kB: %v, told %d times", err, w.log.count(told))
		}
		if err := weigh(2, 100, assign.GroupLimit+1); !errors.Is(err, assign.ErrTooLarge) {
			t.Errorf("an assignment that is too large: %v", err)
		}
	})
}
