package task_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

func sortedCopy(s []string) []string { return slices.Sorted(slices.Values(s)) }

// backfill is a topology that adds up by minute behind a shuffle, and calls look at
// each of so many records there.
func backfill(t *testing.T, s window.Strategy, every int, look func()) *topology.Topology {
	n := 0
	return build(t, func(b *topology.Builder) {
		by := func(r record) string { return fmt.Sprint("key-", r.Value%2) }
		sums := topology.GroupBy(source(b, "in").EventTime(nil, s), codec.String, codec.Int64, by, topology.Named("shuffle")).
			WindowedBy(window.Tumbling(time.Minute)).Reduce(func(into *int64, v int64) error {
			if n++; n%every == 0 {
				look()
			}
			*into += v
			return nil
		}, topology.Store("sums")).Stream()
		topology.MapValues(sums, func(r record) (string, error) {
			return fmt.Sprintf("%s=%d@%d %v", r.Key, r.Value, r.Window.Start, r.Pane.Final), nil
		}).To("out", codec.String, codec.String)
	})
}

// TestAlignmentBoundsTheStateOfABackfill: two partitions that are 30 minutes apart
// in event time, the one ahead written first, and end together. What is read lies together, and so
// only the windows of a few minutes are open at a time. Nothing is lost.
func TestAlignmentBoundsTheStateOfABackfill(t *testing.T) {
	const within = 2 * time.Minute
	open := map[string]int{}
	results := map[string][]string{}
	plain := window.BoundedDelay(20 * time.Second).IdleAfter(time.Minute)
	for name, s := range map[string]window.Strategy{"plain": plain, "aligned": plain.AlignWithin(within)} {
		for _, seed := range []int64{0, 1} {
			var d *streamtest.Driver
			most := 0
			top := backfill(t, s, 20, func() {
				open := 0
				for _, e := range streamtest.Entries[string, int64](d.Store("sums")) {
					if !e.Final {
						open++
					}
				}
				most = max(most, open)
			})
			d = streamtest.New(t, top, streamtest.Partitions(2), streamtest.Start(base.Add(2*time.Hour)),
				streamtest.Seed(seed), streamtest.CommitEvery(20))
			in := input(d, "in")
			d.Batch(func() {
				for p, begin := range []time.Time{base.Add(30 * time.Minute), base} {
					for i := range 180 * (p + 1) { // ten seconds apart, out of order by up to 20
						at := begin.Add(time.Duration(i*10)*time.Second - time.Duration(i*7%3*10)*time.Second)
						in.SendTo(int32(p), "k", int64(i), at)
					}
				}
			})
			d.End()
			if n := late(d); n > 0 {
				t.Errorf("%s, seed %d: %d late", name, seed, n)
			}
			key := fmt.Sprint(name, " ", seed)
			open[key], results[key] = most, sortedCopy(texts(d))
		}
	}
	t.Logf("open windows at most: %v", open)
	for _, seed := range []string{" 0", " 1"} {
		// 30 minutes and two keys without; with, 2 minutes, the delay, the window
		// itself and what a commit lags behind.
		if open["plain"+seed] < 50 || open["aligned"+seed] > 16 {
			t.Errorf("seed%s: %d windows open, aligned %d", seed, open["plain"+seed], open["aligned"+seed])
		}
		if !slices.Equal(results["plain"+seed], results["aligned"+seed]) || len(results["plain"+seed]) != 2*60 {
			t.Errorf("seed%s: %d results, aligned %d", seed, len(results["plain"+seed]), len(results["aligned"+seed]))
		}
	}
}

// TestAlignmentLetsGo: the partition that the others wait for has nothing to bring.
func TestAlignmentLetsGo(t *testing.T) {
	s := window.BoundedDelay(0).IdleAfter(10 * time.Second).AlignWithin(time.Minute)
	for name, c := range map[string]struct {
		slow func(in *streamtest.InputTopic[string, int64])
		// paused: the fast one waits at first; free ends that.
		paused bool
		free   func(d *streamtest.Driver, in *streamtest.InputTopic[string, int64])
	}{
		"it never had an event": {nil, false, nil},
		"it falls silent": {
			func(in *streamtest.InputTopic[string, int64]) { in.SendTo(1, "slow", 1, after(0)) }, true,
			func(d *streamtest.Driver, _ *streamtest.InputTopic[string, int64]) { d.Advance(10 * time.Second) },
		},
		"it catches up": {
			func(in *streamtest.InputTopic[string, int64]) { in.SendTo(1, "slow", 1, after(0)) }, true,
			func(_ *streamtest.Driver, in *streamtest.InputTopic[string, int64]) {
				in.SendTo(1, "slow", 1, after(500))
			},
		},
		"the run ends": {
			func(in *streamtest.InputTopic[string, int64]) { in.SendTo(1, "slow", 1, after(0)) }, true,
			func(d *streamtest.Driver, _ *streamtest.InputTopic[string, int64]) { d.End() },
		},
		"a restart, and it stays silent": {
			func(in *streamtest.InputTopic[string, int64]) { in.SendTo(1, "slow", 1, after(0)) }, true,
			func(d *streamtest.Driver, _ *streamtest.InputTopic[string, int64]) {
				d.Restart()
				d.Crash()
				if !d.Paused("in", 0) {
					t.Error("after a restart the fast partition does not wait for the slow one")
				}
				d.Advance(11 * time.Second)
			},
		},
	} {
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			source(b, "in").EventTime(nil, s).To("out", codec.String, codec.Int64)
		}), streamtest.Partitions(2))
		in := input(d, "in")
		d.Batch(func() {
			for i := range 50 {
				in.SendTo(0, "fast", int64(i), after(10*i))
			}
			if c.slow != nil {
				c.slow(in)
			}
		})
		count := func() (n int) {
			for _, r := range streamtest.Output(d, "out", codec.String, codec.Int64).All() {
				if r.Key == "fast" {
					n++
				}
			}
			return n
		}
		if d.Paused("in", 0) != c.paused || d.Paused("in", 1) {
			t.Errorf("%s: paused %v and %v", name, d.Paused("in", 0), d.Paused("in", 1))
		}
		if c.paused {
			if n := count(); n != 8 { // up to 70 s: the one that goes beyond a minute is the last
				t.Errorf("%s: %d events were read ahead, want 8", name, n)
			}
			c.free(d, in)
		}
		if n := count(); n != 50 || d.Paused("in", 0) {
			t.Errorf("%s: %d of 50 read in the end, paused %v", name, n, d.Paused("in", 0))
		}
	}
}

// TestOnlyWhatCanMeetIsAligned: sources of parts that have nothing to do with each
// other are read as they come; those that meet behind a shuffle are not.
func TestOnlyWhatCanMeetIsAligned(t *testing.T) {
	s := window.BoundedDelay(0).IdleAfter(10 * time.Second).AlignWithin(time.Minute)
	for _, meet := range []bool{false, true} {
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			left, right := source(b, "a").EventTime(nil, s), source(b, "b").EventTime(nil, s)
			if !meet {
				left.To("out", codec.String, codec.Int64, topology.Named("from-left"))
				right.To("out", codec.String, codec.Int64, topology.Named("from-right"))
				return
			}
			l := left.Repartition(codec.String, codec.Int64, topology.Named("l"))
			r := right.Repartition(codec.String, codec.Int64, topology.Named("r"))
			l.Merge(r, topology.Named("both")).To("out", codec.String, codec.Int64)
		}))
		d.Batch(func() {
			input(d, "b").Send("k", 1, after(0))
			for i := range 10 {
				input(d, "a").Send("k", 1, after(100*i))
			}
		})
		if d.Paused("a", 0) != meet {
			t.Errorf("meet %v: paused %v", meet, d.Paused("a", 0))
		}
	}
}

// TestAnIdleInputThatIsHeldBackWakes: the clock does not pass the record that waits
// for others.
func TestAnIdleInputThatIsHeldBackWakes(t *testing.T) {
	s := window.BoundedDelay(0).IdleAfter(10 * time.Second).AlignWithin(time.Minute).AdvanceWhenIdle(5 * time.Second)
	tk := newTask(t, build(t, func(b *topology.Builder) {
		source(b, "in").EventTime(nil, s).To("out", codec.String, codec.Int64)
	}), &counter{})
	in := tk.Inputs()[0]
	tick := func(at time.Duration) {
		if _, err := tk.Tick(time.UnixMilli(0).Add(at)); err != nil {
			t.Fatal(err)
		}
	}
	tick(0)
	if err := in.Process(fetched(0, "k", 0)); err != nil {
		t.Fatal(err)
	}
	in.Answered(time.UnixMilli(0).Add(20*time.Second), 1, true)
	tick(20 * time.Second)
	if w, clocked := tk.Watermark(), 15*time.Second; w != clocked.Milliseconds() {
		t.Fatalf("the watermark is at %d when the input is idle, want %d", w, clocked.Milliseconds())
	}
	in.SetAhead(true)
	tick(40 * time.Second)
	if _, idle := in.Watermark(); idle || tk.Watermark() != 15_000 {
		t.Errorf("idle %v, and the watermark is at %d, behind the record that is held back", idle, tk.Watermark())
	}
}
