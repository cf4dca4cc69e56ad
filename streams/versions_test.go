package streams

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// counted is what the windows of tallies hold: JSON at first, and later another type
// in another form.
type (
	counted1 struct{ N int64 }
	counted2 struct {
		Count int64
		Keys  map[string]int64
	}
)

func tallies1(t *testing.T) *topology.Topology {
	return tallies(t, codec.JSON[counted1](), func(c *counted1, _ string) { c.N++ }, func(c counted1) int64 { return c.N })
}

// tallies2 has values of version 2, and reads those of before if there are steps.
func tallies2(t *testing.T, steps ...codec.Step) *topology.Topology {
	add := func(c *counted2, s string) {
		if c.Keys == nil {
			c.Keys = map[string]int64{}
		}
		c.Count++
		c.Keys[s[:1]]++
	}
	return tallies(t, codec.Versioned(2, codec.Msgpack[counted2](), steps...), add, func(c counted2) int64 { return c.Count })
}

func countedStep() codec.Step {
	return codec.From(1, codec.JSON[counted1](), func(c counted1) (counted2, error) { return counted2{Count: c.N}, nil })
}

// tallies is the counts topology with an aggregate of its own.
func tallies[A any](t *testing.T, c codec.Codec[A], add func(*A, string), count func(A) int64) *topology.Topology {
	t.Helper()
	b := topology.New("counts")
	events := topology.Source(b, "events", codec.String, codec.String).EventTime(eventTime, window.BoundedDelay(5*time.Second).IdleAfter(10*time.Second))
	w := topology.GroupBy(events, codec.String, codec.String, func(r topology.Record[string, string]) string { return r.Key }, topology.Named("by-key")).
		WindowedBy(window.Tumbling(windowSize).AllowedLateness(2 * time.Second).Retention(time.Minute))
	table := topology.Aggregate(w, c, topology.Aggregator[string, A]{
		New: func() *A { return new(A) }, Add: func(a *A, s string) error { add(a, s); return nil },
	}, topology.Store("counts"))
	topology.MapValues(table.Stream(), func(r topology.Record[string, A]) (string, error) {
		return fmt.Sprint(r.Window.Start, " ", count(r.Value), " ", r.Pane.Final), nil
	}).To("results", codec.String, codec.String)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// TestValuesAreUpgradedUnderLoad replaces a program by one with values of the next
// version, kills an instance in the middle of the upgrade, and lets one with an empty
// disk take part. Then the step goes, and the first program does not come back.
func TestValuesAreUpgradedUnderLoad(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 3, topics(), func(w *world) {
				w.guarantee = guarantee
				l := w.startLoad(partitions, 20*time.Millisecond)
				first, second := tallies1(t), tallies2(t, countedStep())
				a, b := w.start("a", newDisk(), first, nil), w.start("b", newDisk(), first, nil)
				w.settled(tasks, a, b)
				w.pass(5 * time.Second)

				// A program of the next version does not join those of this one.
				err := w.start("early", newDisk(), second, nil).result()
				if !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), "values as msgpack v2") || !strings.Contains(err.Error(), "values as json") {
					t.Errorf("error %v", err)
				}
				a.stop()
				b.stop()
				c, d := w.start("c", a.disk, second, nil), w.start("d", b.disk, second, nil)
				w.settled(tasks, c, d)
				w.until("an upgrade is under way", func() bool { return w.log.count("upgrading values in the background") > 0 })
				d.kill()
				e := w.start("e", newDisk(), second, nil)
				w.settled(tasks, c, e)

				// An older program must not get a task whose values are newer.
				err = w.start("late", newDisk(), first, nil).result()
				if !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), "values as msgpack v2") {
					t.Errorf("error %v", err)
				}
				w.settled(tasks, c, e)
				w.pass(10 * time.Second)
				want := l.end()
				c.stop()
				e.stop()

				err = w.start("older", newDisk(), first, nil).result()
				for _, part := range []string{`store "counts"`, "written in version 2", "A newer program has written it"} {
					if !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), part) {
						t.Errorf("error %v, want %q", err, part)
					}
				}
				for _, disk := range []*process{{disk: newDisk()}, c} {
					w.start("no steps", disk.disk, tallies2(t), func(c *Config) { c.UntilEnd = true }).wait()
				}
				if guarantee == ExactlyOnce {
					w.expectOnce(want)
				} else {
					w.expectAtLeast(want)
				}
			})
		})
	}
}

// upgradedStore begins the line that a task logs of a store without older values. An
// error says the words as well, where it tells what to wait for.
const upgradedStore = `msg="all values are of the newest version`

// TestAnOldDiskCatchesUpWithAnUpgrade: a program without steps finds values of the
// first version on its disk, and in the changelog that nothing of them is left.
func TestAnOldDiskCatchesUpWithAnUpgrade(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		begin := time.Now().Add(-time.Minute)
		events := spread(200, partitions, begin)
		want := truth{}
		want.add(events...)
		w.write(events[:100]...)
		a := w.start("a", newDisk(), tallies1(t), nil)
		w.settled(tasks, a)
		w.pass(time.Second)
		a.stop()

		// Values of the first version are left, and there is no step.
		err := w.start("too soon", newDisk(), tallies2(t), nil).result()
		for _, part := range []string{`store "counts"`, "read in version 2", "written in version 1", "the steps from version 1 on"} {
			if !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), part) {
				t.Errorf("error %v, want %q", err, part)
			}
		}
		b := w.start("b", newDisk(), tallies2(t, countedStep()), nil)
		w.settled(tasks, b)
		w.until("all stores are upgraded, empty ones too", func() bool { return w.log.count(upgradedStore) == partitions })
		b.stop()
		w.write(events[100:]...)
		c := w.start("c", a.disk, tallies2(t), nil)
		w.settled(tasks, c)
		w.pass(time.Second)
		c.stop()
		w.start("drain", newDisk(), tallies2(t), func(c *Config) { c.UntilEnd = true }).wait()
		w.expectExactly(want)
	})
}

// TestARefusedDowngradeLeavesTheDisk: the first program finds in the changelog that
// another instance has brought the values to the next version, and its disk, which
// has those of the first, serves the second program afterwards.
func TestARefusedDowngradeLeavesTheDisk(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		begin := time.Now().Add(-time.Minute)
		events := spread(200, partitions, begin)
		want := truth{}
		want.add(events...)
		w.write(events...)
		a := w.start("a", newDisk(), tallies1(t), nil)
		w.settled(tasks, a)
		w.pass(time.Second)
		a.stop()
		second := tallies2(t, countedStep())
		b := w.start("b", newDisk(), second, nil)
		w.settled(tasks, b)
		w.pass(time.Second)
		b.stop()
		err := w.start("back", a.disk, tallies1(t), nil).result()
		if !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), "No value was changed") {
			t.Errorf("error %v", err)
		}
		whole := func() int { return w.log.count("restoring a store from its changelog's start") }
		before := whole()
		c := w.start("c", a.disk, second, nil)
		w.settled(tasks, c)
		c.stop()
		if n := whole() - before; n > 0 {
			t.Errorf("%d stores were restored whole: the disk was emptied", n)
		}
		w.start("drain", newDisk(), second, func(c *Config) { c.UntilEnd = true }).wait()
		w.expectExactly(want)
	})
}

// TestCheckpointsOfTheVersionBefore begins from those on an empty disk, upgrades, and
// makes newer ones, which an older program does not begin from.
func TestCheckpointsOfTheVersionBefore(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		store, registry := newBlobs(), prometheus.NewRegistry()
		a := w.start("a", newDisk(), tallies1(t), checkpointed(store))
		w.settled(tasks, a)
		w.pass(20 * time.Second)
		a.stop()
		b := w.start("b", newDisk(), tallies2(t, countedStep()), func(c *Config) {
			checkpointed(store)(c)
			c.Metrics = registry
		})
		w.settled(tasks, b)
		if n := w.log.count("state begins from a checkpoint"); n == 0 {
			t.Error("no task begins from a checkpoint of the version before")
		}
		w.pass(20 * time.Second)
		if n := valueOf(t, registry, "millrace_upgraded_values_total"); n == 0 {
			t.Error("no values are upgraded")
		}
		if n := valueOf(t, registry, "millrace_upgrading_tasks"); n != 0 {
			t.Errorf("%v tasks are being upgraded yet", n)
		}
		want := l.end()
		w.pass(2 * time.Second)
		b.stop()
		err := w.start("older", newDisk(), tallies1(t), checkpointed(store)).result()
		if !errors.Is(err, ErrIncompatible) || !strings.Contains(err.Error(), "A newer program has written it") {
			t.Errorf("error %v", err)
		}
		w.start("no steps", newDisk(), tallies2(t), func(c *Config) {
			checkpointed(store)(c)
			c.UntilEnd = true
		}).wait()
		w.expectExactly(want)
	})
}

// TestNothingWaitsForAnUpgrade: tasks are paused, revoked and closed in the middle of
// it, and who has them next goes on.
func TestNothingWaitsForAnUpgrade(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
		const keys = 30_000
		begin := time.Now()
		want, events := truth{}, make([]event, 0, keys)
		for i := range keys {
			events = append(events, count(0, fmt.Sprintf("key-%05d", i), begin))
		}
		want.add(events...)
		w.write(events...)
		a := w.start("a", newDisk(), tallies1(t), nil)
		w.settled(2, a)
		w.pass(5 * time.Second)
		a.stop()

		second := tallies2(t, countedStep())
		var commits atomic.Int64
		rarely := func(c *Config) {
			c.CommitInterval = time.Hour
			c.hooks.step = func(_ int, step string) error {
				if step == stepState {
					commits.Add(1)
				}
				return nil
			}
		}
		b := w.start("b", a.disk, second, rarely)
		w.settled(2, b)
		began := commits.Load()
		b.in.Pause()
		w.pass(time.Second)
		b.in.Resume()
		c := w.start("c", newDisk(), second, rarely)
		w.until("each has a task", func() bool { return b.running() == 1 && c.running() == 1 })
		b.stop()
		c.stop()
		if n := commits.Load() - began; n > 8 {
			t.Errorf("%d commits with nothing but an upgrade to do", n)
		}
		if n := w.log.count(upgradedStore); n > 0 {
			t.Errorf("%d stores were upgraded before they could", n)
		}
		d := w.start("d", b.disk, second, nil)
		w.until("the store is upgraded", func() bool { return w.log.count(upgradedStore) > 0 })
		d.stop()
		w.start("drain", newDisk(), tallies2(t), func(c *Config) { c.UntilEnd = true }).wait()
		w.expectExactly(want)
	})
}

// TestAStepThatFailsEndsTheInstance and is not tried again and again.
func TestAStepThatFailsEndsTheInstance(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		w.write(spread(100, partitions, time.Now().Add(-time.Minute))...)
		a := w.start("a", newDisk(), tallies1(t), nil)
		w.settled(tasks, a)
		w.pass(time.Second)
		a.stop()
		broken := codec.From(1, codec.JSON[counted1](), func(counted1) (counted2, error) { panic("no idea") })
		err := w.start("b", a.disk, tallies2(t, broken), func(c *Config) { c.OnError = topology.Skip }).result()
		for _, part := range []string{`store "counts"`, "from version 1 to 2", "no idea"} {
			if !errors.Is(err, codec.ErrUpgrade) || !strings.Contains(err.Error(), part) {
				t.Errorf("error %v, want %q", err, part)
			}
		}
		// Nothing was written: the first program goes on.
		c := w.start("c", a.disk, tallies1(t), nil)
		w.settled(tasks, c)
		c.stop()
	})
}
