package task_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// bag is an aggregate that shows everything that went into it.
type bag []int64

func bagging(merges bool) topology.Aggregator[int64, bag] {
	a := topology.Aggregator[int64, bag]{
		New: func() *bag { return new(bag) },
		Add: func(b *bag, v int64) error { *b = append(*b, v); return nil },
	}
	if merges {
		a.Merge = func(into, from *bag) error { *into = append(*into, *from...); return nil }
	}
	return a
}

// TestEveryKindOfWindowSurvivesCrashes crashes at any step of commits, with every
// kind of window, in memory and in Pebble. At least once: each event is in final
// results of all windows that it belongs to, and no window that closes has lost
// one.
func TestEveryKindOfWindowSurvivesCrashes(t *testing.T) {
	for name, w := range map[string]window.Windows{
		"panes":    window.Hopping(6 * time.Second).Every(2 * time.Second),
		"separate": window.Hopping(6 * time.Second).Every(2 * time.Second).SeparateWindows(),
		"sliding":  window.Sliding(4 * time.Second),
		"session":  window.Session(3 * time.Second),
		"bounded":  window.Session(3 * time.Second).AtMost(8 * time.Second),
		"calendar": window.Calendar(window.Hour, "America/Sao_Paulo"),
	} {
		t.Run(name, func(t *testing.T) {
			crashes := 0
			for seed := range uint64(40) {
				crashes += crashWindows(t, seed, w.AllowedLateness(2*time.Second))
				if t.Failed() {
					return
				}
			}
			if crashes < 40 {
				t.Errorf("%d crashes: the test tests less than it says", crashes)
			}
		})
	}
}

func crashWindows(t *testing.T, seed uint64, w window.Windows) (crashes int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 99))
	opts := []streamtest.Option{streamtest.KeepBytes(), streamtest.CommitEvery(1 + rng.IntN(8)), streamtest.Seed(int64(seed) + 1)}
	if seed%4 == 0 {
		opts = append(opts, streamtest.Pebble())
	}
	// The last final result of each key and window.
	finals := map[string]map[window.Window]bag{"a": {}, "b": {}}
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		g := source(b, "in").EventTime(nil, window.BoundedDelay(time.Second).MaxAhead(24*time.Hour)).GroupByKey(codec.String, codec.Int64)
		topology.Aggregate(g.WindowedBy(w), codec.JSON[bag](), bagging(true), topology.Store("bags")).Stream().
			Peek(func(r topology.Record[string, bag]) {
				if r.Pane.Final {
					finals[r.Key][r.Window] = append(bag{}, r.Value...)
				}
			})
	}), opts...)
	in := input(d, "in")
	type event struct {
		key  string
		time int64
	}
	var events []event
	at := d.Now().UnixMilli()
	for range 12 {
		d.CrashAfter(1 + rng.IntN(30))
		d.Batch(func() {
			for range rng.IntN(8) {
				at += rng.Int64N(1500)
				e := event{string(rune('a' + rng.IntN(2))), at - rng.Int64N(3000)}
				in.Send(e.key, int64(len(events)), time.UnixMilli(e.time))
				events = append(events, e)
			}
		})
	}
	d.CrashAfter(1 + rng.IntN(10))
	d.End()
	if err := d.Err(); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	dropped := d.Dropped()
	for i, e := range events {
		holds := 0
		for x, v := range finals[e.key] {
			if slices.Contains(v, int64(i)) {
				holds++
			} else if x.Contains(e.time) && w.Aligned() && len(dropped) == 0 {
				t.Errorf("seed %d (%v): event %d of %s at %d is not in the final result of %v: %v", seed, w, i, e.key, e.time, x, v)
			}
		}
		if holds == 0 {
			t.Errorf("seed %d (%v): event %d of %s at %d is in no final result (%v)", seed, w, i, e.key, e.time, fmt.Sprint(dropped))
		}
	}
	return d.Crashes()
}

// TestCountWindowsSurviveCrashes: every event is in a window, and each window that
// ends has as many events as it should.
func TestCountWindowsSurviveCrashes(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 5))
		seen := map[int64]bool{}
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			g := source(b, "in").GroupByKey(codec.String, codec.Int64)
			topology.Aggregate(g.WindowedBy(window.Count(3)), codec.JSON[bag](), bagging(false), topology.Store("bags")).Stream().
				Peek(func(r topology.Record[string, bag]) {
					if len(r.Value) != 3 || !r.Pane.Final {
						t.Errorf("seed %d: %v of %d events, final %v", seed, r.Window, len(r.Value), r.Pane.Final)
					}
					for _, v := range r.Value {
						seen[v] = true
					}
				})
		}), streamtest.KeepBytes(), streamtest.CommitEvery(1+rng.IntN(5)))
		in := input(d, "in")
		const events = 30
		for i := range int64(events) {
			if rng.IntN(4) == 0 {
				d.CrashAfter(1 + rng.IntN(6))
			}
			in.Send("k", i, d.Now())
		}
		d.End()
		// A window that is not full stays open.
		if len(seen) < events-2 {
			t.Errorf("seed %d: %d of %d events are in windows that have ended", seed, len(seen), events)
		}
	}
}

// TestTheEndClosesPanes: what comes after a bounded run for a window that its end
// has closed is late, counted, and changes nothing.
func TestTheEndClosesPanes(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		w := window.Hopping(2 * time.Second).Every(time.Second).Retention(time.Hour)
		source(b, "in").GroupByKey(codec.String, codec.Int64).WindowedBy(w).Count(topology.Store("counts"))
	}))
	in := input(d, "in")
	in.Send("k", 1, d.Now())
	d.End()
	d.Restart()
	in.Send("k", 1, d.Now())
	if n := d.Dropped()[streamtest.Drop{Node: "in.aggregate", Reason: "late"}]; n != 1 {
		t.Errorf("%d dropped, want 1: %v", n, d.Dropped())
	}
}
