package streams

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// upgraded is the counts topology with changes.
type upgraded struct {
	size     time.Duration
	store    string
	stepMore bool
}

func (u upgraded) build(t *testing.T) *topology.Topology {
	t.Helper()
	b := topology.New("counts")
	events := topology.Source(b, "events", codec.String, codec.String).EventTime(eventTime, window.BoundedDelay(5*time.Second).IdleAfter(10*time.Second))
	if u.stepMore {
		events = events.Peek(func(topology.Record[string, string]) {}).Filter(func(topology.Record[string, string]) bool { return true })
	}
	w := topology.GroupBy(events, codec.String, codec.String, func(r topology.Record[string, string]) string { return r.Key }, topology.Named("by-key")).
		WindowedBy(window.Tumbling(u.size).AllowedLateness(2 * time.Second))
	topology.MapValues(w.Count(topology.Store(u.store)).Stream(), func(r topology.Record[string, int64]) (string, error) {
		return fmt.Sprint(r.Window.Start, " ", r.Value, " ", r.Pane.Final), nil
	}).To("results", codec.String, codec.String)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// TestARollingUpgradeOfStatelessStepsLosesNothing replaces three instances one
// after another by those of a program with more steps.
func TestARollingUpgradeOfStatelessStepsLosesNothing(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 3, topics(), func(w *world) {
				w.guarantee = guarantee
				l := w.startLoad(partitions, 20*time.Millisecond)
				before, after := upgraded{size: windowSize, store: "counts"}, upgraded{size: windowSize, store: "counts", stepMore: true}
				var ps []*process
				for i := range 3 {
					ps = append(ps, w.start(fmt.Sprint("old", i), newDisk(), before.build(t), nil))
				}
				w.settled(tasks, ps...)
				for i := range ps {
					ps[i].stop()
					ps[i] = w.start(fmt.Sprint("new", i), ps[i].disk, after.build(t), nil)
					w.settled(tasks, ps...)
					w.pass(time.Second)
				}
				want := l.end()
				for _, p := range ps {
					p.stop()
				}
				w.drain()
				w.expectOnce(want)
				if n := w.log.count("incompatible"); n > 0 {
					t.Errorf("told %d times that something is incompatible", n)
				}
			})
		})
	}
}

// TestAnIncompatibleMemberIsRefusedAndStopsNobody has a newcomer with another
// store, once as a follower and once as the leader of the group.
func TestAnIncompatibleMemberIsRefusedAndStopsNobody(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top := counts(t)
		a, b := w.start("a", newDisk(), top, nil), w.start("b", newDisk(), top, nil)
		w.settled(tasks, a, b)
		refused := func(name string) {
			t.Helper()
			err := w.start(name, newDisk(), upgraded{size: windowSize, store: "others"}.build(t), nil).result()
			for _, part := range []string{`store "others" is only here`, `store "counts" is only there`, "stop all other instances"} {
				if !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), part) {
					t.Errorf("error %v, want %q", err, part)
				}
			}
		}
		refused("c")
		w.settled(tasks, a, b)
		if n := w.log.count("a member is refused"); n == 0 {
			t.Error("the leader did not say so")
		}
		want := l.end()
		a.stop()
		b.stop()
		w.drain()
		w.expectExactly(want)
	})
}

// TestALeaderThatIsIncompatibleLeavesTheOthersAlone plans as such a leader.
func TestALeaderThatIsIncompatibleLeavesTheOthersAlone(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		top := counts(t)
		a := w.start("a", newDisk(), top, nil)
		w.settled(tasks, a)
		in, err := New(upgraded{size: time.Minute, store: "counts"}.build(t), Config{Brokers: w.cluster.Addrs(), Logger: w.log.logger("x", 0)})
		if err != nil {
			t.Fatal(err)
		}
		owner := memberFor(t, "a", top, a.in.owned())
		leader := memberFor(t, "x", in.topology, nil)
		m := &membership{in: in, changed: make(chan struct{})}
		j := m.judge("x", append(owner, leader...))
		if !j.foreign || len(j.admitted) != 1 || !strings.Contains(j.refused["x"], `store "counts"`) {
			t.Errorf("judgement %+v", j)
		}
		given := j.keepAll("http://x")
		if kept := decodeAssignment(t, given["a"].UserData); len(kept.Active) != tasks || kept.Refused != "" {
			t.Errorf("the owner keeps %v", kept)
		}
		if own := decodeAssignment(t, given["x"].UserData); own.Refused == "" || len(own.Active) > 0 {
			t.Errorf("the leader gives itself %+v", own)
		}
		// An old leader that owns tasks goes on planning for those like it.
		if j := (&membership{in: a.in}).judge("a", append(owner, leader...)); j.foreign || j.refused["x"] == "" {
			t.Errorf("judgement of the owner %+v", j)
		}
		a.stop()
	})
}

// TestStateOfAnotherTopologyIsRefusedAndKept changes the windows of a store, with
// the old disk and with none, and then goes back.
func TestStateOfAnotherTopologyIsRefusedAndKept(t *testing.T) {
	for _, keep := range []bool{true, false} {
		t.Run(fmt.Sprint("with the disk: ", keep), func(t *testing.T) {
			inWorld(t, 1, topics(), func(w *world) {
				want := truth{}
				begin := time.Now().Add(-time.Minute)
				events := spread(200, partitions, begin)
				want.add(events...)
				w.write(events[:100]...)
				top := counts(t)
				a := w.start("a", newDisk(), top, nil)
				w.settled(tasks, a)
				w.pass(time.Second)
				a.stop()
				disk := a.disk
				if !keep {
					disk = newDisk()
				}
				err := w.start("b", disk, upgraded{size: 2 * windowSize, store: "counts"}.build(t), nil).result()
				if !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), "size=20000") || !strings.Contains(err.Error(), "size=10000") || !strings.Contains(err.Error(), `"counts"`) {
					t.Errorf("error %v", err)
				}
				// Under another name the store begins empty; the old one is left alone.
				c := w.start("c", newDisk(), upgraded{size: 2 * windowSize, store: "wider"}.build(t), nil)
				w.settled(tasks, c)
				c.stop()
				w.write(events[100:]...)
				d := w.start("d", disk, top, nil)
				w.settled(tasks, d)
				w.pass(time.Second)
				d.stop()
				w.drain()
				w.expectExactly(want)
			})
		})
	}
}
