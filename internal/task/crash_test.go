package task_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

var steps = []streamtest.Step{
	streamtest.AfterRecord, streamtest.BeforeOutputs, streamtest.BeforeChangelog,
	streamtest.BeforeOffsets, streamtest.BeforeState, streamtest.AfterCommit,
}

// chained counts events in windows of 10 s, adds these counts up in windows of a
// minute and, behind a shuffle, in a table: state of every kind, one behind the
// other.
func chained(b *topology.Builder) {
	add := func(into *int64, v int64) error { *into += v; return nil }
	counts := source(b, "in").GroupByKey(codec.String, codec.Int64).
		WindowedBy(window.Tumbling(10 * time.Second)).Count(topology.Store("counts")).Stream()
	minutes := counts.GroupByKey(codec.String, codec.Int64).
		WindowedBy(window.Tumbling(time.Minute).Retention(24*time.Hour)).
		Reduce(add, topology.Store("minutes"), topology.Named("minutes")).Stream()
	minutes.To("minutes", codec.String, codec.Int64)
	one := func(record) string { return "all" }
	topology.GroupBy(counts, codec.String, codec.Int64, one, topology.Named("shuffle")).
		Reduce(add, topology.Store("total")).Stream().
		To("total", codec.String, codec.Int64)
	counts.GroupByKey(codec.String, codec.Int64).
		Reduce(add, topology.Store("table"), topology.Named("table")).Stream().
		To("table", codec.String, codec.Int64)
}

// TestCrashAtEachStep crashes at each step of each of the first commits. Nothing
// is ever less than the truth, and what a table holds has also been sent.
func TestCrashAtEachStep(t *testing.T) {
	for _, pebble := range []bool{false, true} {
		for _, step := range steps {
			for commit := range 6 {
				name := fmt.Sprintf("%v of commit %d, pebble %v", step, commit, pebble)
				opts := []streamtest.Option{streamtest.CommitEvery(4), streamtest.Partitions(2), streamtest.Seed(int64(commit) + 1)}
				if pebble {
					opts = append(opts, streamtest.Pebble())
				}
				crashOnce(t, name, step, commit, opts)
			}
		}
	}
}

func crashOnce(t *testing.T, name string, step streamtest.Step, commit int, opts []streamtest.Option) {
	t.Helper()
	d := streamtest.New(t, build(t, chained), opts...)
	in := input(d, "in")
	const events = 40
	for batch := range 10 {
		if batch == commit+1 {
			d.CrashAt(step)
		}
		d.Batch(func() {
			for i := range events / 10 {
				at := d.Now().Add(time.Duration(batch*7+i) * time.Second)
				in.SendTo(int32(i%2), fmt.Sprintf("k%d", i%2), 1, at)
			}
		})
	}
	d.End()
	if d.Crashes() != 1 {
		t.Errorf("%s: %d crashes", name, d.Crashes())
	}
	sent := map[string]int64{}
	for _, topic := range []string{"minutes", "total", "table"} {
		for _, m := range streamtest.Output(d, topic, codec.String, codec.Int64).All() {
			if topic == "minutes" {
				sent[fmt.Sprint(topic, m.Key, m.Time.Truncate(time.Minute))] = m.Value
				continue
			}
			sent[topic+m.Key] = m.Value
		}
	}
	for topic, n := range map[string]int64{"minutes": sum(sent, "minutes"), "total": sum(sent, "total"), "table": sum(sent, "table")} {
		if n < events {
			t.Errorf("%s: topic %s adds up to %d, less than the %d events: %v", name, topic, n, events, sent)
		}
	}
	for _, store := range []string{"total", "table"} {
		for _, e := range streamtest.Entries[string, int64](d.Store(store)) {
			if sent[store+e.Key] != e.Value {
				t.Errorf("%s: store %s holds %d for %q, and %d was sent last", name, store, e.Value, e.Key, sent[store+e.Key])
			}
		}
	}
}

func sum(sent map[string]int64, prefix string) (n int64) {
	for key, v := range sent {
		if strings.HasPrefix(key, prefix) {
			n += v
		}
	}
	return n
}

// TestRestartsDropNothing: nodes behind an aggregate come back with their own
// watermarks, which lag behind the task's, so that results yet to come are not
// late for them.
func TestRestartsDropNothing(t *testing.T) {
	for _, crash := range []bool{false, true} {
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			minutes := source(b, "in").GroupByKey(codec.String, codec.Int64).
				WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("minutes")).Stream()
			minutes.GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(10*time.Second)).
				Reduce(func(into *int64, v int64) error { *into += v; return nil }, topology.Store("tens"), topology.Named("tens")).
				Stream().To("out", codec.String, codec.Int64)
		}))
		in := input(d, "in")
		start := d.Now()
		for second := range 120 {
			// The only event of each minute is old when the minute ends; another
			// key moves the watermark.
			if second%60 == 5 {
				in.Send("k", 1, start.Add(time.Duration(second)*time.Second))
			}
			in.Send("clock", 1, start.Add(time.Duration(second)*time.Second))
			if second%7 == 0 && crash {
				d.Crash()
			} else if second%7 == 0 {
				d.Restart()
			}
		}
		d.End()
		if dropped := d.Dropped(); len(dropped) > 0 {
			t.Errorf("crash %v: dropped %v", crash, dropped)
		}
		got := results(d, "out")
		want(t, fmt.Sprintf("crash %v", crash), got, "k=1", "clock=60", "k=1", "clock=60")
	}
}

// TestResultsPassOnWithoutDelay: an aggregate of windows lets time pass to the
// next one as soon as its windows have fired, not a window later.
func TestResultsPassOnWithoutDelay(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		counts := source(b, "in").GroupByKey(codec.String, codec.Int64).
			WindowedBy(window.Tumbling(10 * time.Second)).Count(topology.Store("tens")).Stream()
		counts.GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(time.Minute)).
			Reduce(func(into *int64, v int64) error { *into += v; return nil }, topology.Store("minutes"), topology.Named("minutes")).
			Stream().To("out", codec.String, codec.Int64)
	}))
	in := input(d, "in")
	start := d.Now()
	for second := range 60 {
		in.Send("k", 1, start.Add(time.Duration(second)*time.Second))
	}
	want(t, "before the minute is over", results(d, "out"))
	in.Send("k", 1, start.Add(time.Minute))
	want(t, "when it is", results(d, "out"), "k=60")
	m, _ := streamtest.Output(d, "out", codec.String, codec.Int64).Next()
	if want := start.Add(59 * time.Second); !m.Time.Equal(want) {
		t.Errorf("the result has time %v, want that of the last event in it, %v", m.Time, want)
	}
}

// TestTheEndClosesATableBeforeAWindow: what a table sends at a commit still
// reaches the windows behind it before the run is over.
func TestTheEndClosesATableBeforeAWindow(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		counts := source(b, "in").GroupByKey(codec.String, codec.Int64).Count(topology.Store("table")).Stream()
		counts.GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(time.Minute)).
			Reduce(func(into *int64, v int64) error { *into = max(*into, v); return nil }, topology.Store("windows"), topology.Named("windows")).
			Stream().To("out", codec.String, codec.Int64)
	}), streamtest.CommitManually())
	in := input(d, "in")
	for range 3 {
		in.Send("k", 1, d.Now())
	}
	d.End()
	want(t, "out", results(d, "out"), "k=3")
}

// TestTheEndKeepsWhatIsReadable: a bounded run closes every window, and deletes
// only those past their retention.
func TestTheEndKeepsWhatIsReadable(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		source(b, "in").GroupByKey(codec.String, codec.Int64).
			WindowedBy(window.Tumbling(time.Minute).Retention(3 * time.Minute)).Count(topology.Store("counts"))
	}))
	in := input(d, "in")
	for minute := range 6 {
		in.Send("k", 1, d.Now().Add(time.Duration(minute)*time.Minute))
	}
	d.End()
	d.Restart()
	var starts []time.Duration
	for _, e := range streamtest.Entries[string, int64](d.Store("counts")) {
		starts = append(starts, time.UnixMilli(e.Window.Start).Sub(d.Now()))
		if !e.Final {
			t.Errorf("%+v is not final", e)
		}
	}
	if fmt.Sprint(starts) != "[3m0s 4m0s 5m0s]" {
		t.Errorf("windows left: %v, want those of the last 3 minutes", starts)
	}
}

// TestResultsHaveTheTimeOfTheirEvents: not that of the record that made them due.
func TestResultsHaveTheTimeOfTheirEvents(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		counts := source(b, "in").GroupByKey(codec.String, codec.Int64).
			WindowedBy(window.Tumbling(10 * time.Second)).Count(topology.Store("tens")).Stream()
		g := counts.GroupByKey(codec.String, codec.Int64)
		g.Count(topology.Store("table"), topology.Named("table")).Stream().To("table", codec.String, codec.Int64)
		g.WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("minutes"), topology.Named("minutes")).
			Stream().To("minutes", codec.String, codec.Int64)
	}))
	in := input(d, "in")
	at := d.Now().Add(5 * time.Second)
	in.Send("k", 1, at)
	in.Send("k", 1, d.Now().Add(5*time.Minute))
	for _, topic := range []string{"table", "minutes"} {
		if m, ok := streamtest.Output(d, topic, codec.String, codec.Int64).Next(); !ok || !m.Time.Equal(at) {
			t.Errorf("%s: time %v, want %v", topic, m.Time, at)
		}
	}
}

// TestTheWatermarkOfATaskIsKept: it had passed an input that was idle, and does
// not fall back to it at a restart.
func TestTheWatermarkOfATaskIsKept(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		source(b, "a", topology.AndTopics("b")).EventTime(nil, window.BoundedDelay(0).IdleAfter(time.Second)).
			GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(10 * time.Second)).Count(topology.Store("counts"))
	}))
	start := d.Now()
	input(d, "b").Send("k", 1, start)
	d.Advance(2 * time.Second)
	input(d, "a").Send("k", 1, start.Add(time.Minute))
	for restart := range 2 {
		if got, want := d.Watermark(0, 0), start.Add(time.Minute).UnixMilli(); got != want {
			t.Errorf("after %d restarts the watermark is %s, want %s", restart, window.FormatTime(got), window.FormatTime(want))
		}
		d.Restart()
	}
	input(d, "b").Send("k", 1, start.Add(time.Second))
	if got := d.Dropped()[streamtest.Drop{Node: "a.aggregate", Reason: "late"}]; got != 1 {
		t.Errorf("%d dropped, want the one behind the watermark", got)
	}
}

// TestManyWindowsFireInSlices: the watermark passes them all at once, and each is
// sent once. A late event that comes before its window's turn lets the result on
// time go first.
func TestManyWindowsFireInSlices(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		source(b, "in").GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(time.Second).AllowedLateness(time.Second)).
			Count(topology.Store("counts")).Stream().To("out", codec.String, codec.Int64)
	}), streamtest.KeepBytes(), streamtest.CommitEvery(5000))
	in := input(d, "in")
	const keys = 20_000
	const late = "9999" // the last in the order of keys
	d.Batch(func() {
		for i := range keys {
			in.Send(fmt.Sprint(i), 1, d.Now())
		}
		in.Send("next", 1, d.Now().Add(time.Second))
		in.Send(late, 1, d.Now())
	})
	seen := map[string][]int64{}
	for _, m := range streamtest.Output(d, "out", codec.String, codec.Int64).All() {
		seen[m.Key] = append(seen[m.Key], m.Value)
	}
	for i := range keys {
		want := []int64{1}
		if fmt.Sprint(i) == late {
			want = []int64{1, 2}
		}
		if got := seen[fmt.Sprint(i)]; !slices.Equal(got, want) {
			t.Fatalf("key %d was sent as %v, want %v", i, got, want)
		}
	}
}

// TestACommitBetweenSlices: a commit finds windows whose turn has not come. What
// it lets them send reaches the table behind them in the same commit, and a crash
// right after it loses nothing.
func TestACommitBetweenSlices(t *testing.T) {
	const keys = 10_000
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		source(b, "in").GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(time.Second)).
			Count(topology.Store("windows")).Stream().GroupByKey(codec.String, codec.Int64).
			Count(topology.Store("table"), topology.Named("table")).Stream().To("out", codec.String, codec.Int64)
	}), streamtest.KeepBytes(), streamtest.CommitEvery(keys+1))
	in := input(d, "in")
	d.CrashAt(streamtest.AfterCommit)
	d.Batch(func() {
		for i := range keys {
			in.Send(fmt.Sprint(i), 1, d.Now())
		}
		in.Send("next", 1, d.Now().Add(time.Second))
	})
	d.End()
	sent := map[string]int64{}
	for _, m := range streamtest.Output(d, "out", codec.String, codec.Int64).All() {
		sent[m.Key] = m.Value
	}
	if d.Crashes() != 1 || len(sent) != keys+1 {
		t.Errorf("%d crashes; the table sent %d keys of %d", d.Crashes(), len(sent), keys+1)
	}
}
