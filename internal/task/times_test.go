package task_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// TestTimesThatNoBrokerTakes: event times further ahead of the clock than
// brokers allow, and those before 1970, stay what they are through restarts and
// repartitions. What is made of an aggregate has its time: the window that it
// falls into next depends on it.
func TestTimesThatNoBrokerTakes(t *testing.T) {
	for _, begin := range []time.Time{
		time.Date(2026, time.January, 1, 10, 0, 0, 0, time.UTC), // ten hours ahead
		time.Date(2026, time.January, 1, 0, 45, 0, 0, time.UTC), // near the bound
		time.Date(1950, time.January, 1, 0, 0, 0, 0, time.UTC),
	} {
		for _, shuffle := range []bool{false, true} {
			for _, restarts := range []bool{false, true} {
				name := fmt.Sprintf("%v, shuffle %v, restarts %v", begin.Format(time.DateTime), shuffle, restarts)
				d := streamtest.New(t, build(t, func(b *topology.Builder) { timed(b, shuffle) }))
				in := input(d, "in")
				at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
				restart := func() {
					if restarts {
						d.Restart()
					}
				}
				in.Send("k", 1, at(5))
				restart()
				in.Send("k", 1, at(15))
				restart()
				in.Send("other", 1, at(70))
				restart()
				in.Send("k", 1, at(200))
				restart()
				want(t, name, texts(d),
					fmt.Sprintf("window: k=2 in %v, time %v", at(0).UnixMilli(), at(15).UnixMilli()),
					fmt.Sprintf("window: other=1 in %v, time %v", at(60).UnixMilli(), at(70).UnixMilli()))
				for _, e := range streamtest.Entries[string, int64](d.Store("last")) {
					if want := at(200); e.Key == "k" && !e.Time.Equal(want) {
						t.Errorf("%s: the entry has time %v, want %v", name, e.Time, want)
					}
				}
			}
		}
	}
}

// timed counts events in windows of ten seconds and adds the counts up in windows
// of a minute, behind a shuffle or not, and in a table.
func timed(b *topology.Builder, shuffle bool) {
	add := func(into *int64, v int64) error { *into += v; return nil }
	s := source(b, "in", topology.Named("events")).EventTime(nil, window.BoundedDelay(0).MaxAhead(24*time.Hour))
	last := topology.KeyValueStore(b, "last", codec.String, codec.Int64)
	topology.Process(s, func() topology.Processor[string, int64, string, int64] { return &keeper{handle: last} }, topology.Uses(last))
	counts := s.GroupByKey(codec.String, codec.Int64).
		WindowedBy(window.Tumbling(10 * time.Second)).Count(topology.Store("tens")).Stream()
	g := counts.GroupByKey(codec.String, codec.Int64)
	if shuffle {
		g = topology.GroupBy(counts, codec.String, codec.Int64, func(r record) string { return r.Key }, topology.Named("shuffle"))
	}
	minutes := g.WindowedBy(window.Tumbling(time.Minute)).Reduce(add, topology.Store("minutes"), topology.Named("minutes")).Stream()
	topology.MapValues(minutes, func(r record) (string, error) {
		return fmt.Sprintf("window: %s=%d in %v, time %v", r.Key, r.Value, r.Window.Start, r.Time), nil
	}).To("out", codec.String, codec.String)
}

func texts(d *streamtest.Driver) (out []string) {
	for _, m := range streamtest.Output(d, "out", codec.String, codec.String).All() {
		out = append(out, m.Value)
	}
	return out
}

// TestNoHeaderOfOursLeaves: the one that carries a time through a repartition is
// taken off there, and those of the record stay.
func TestNoHeaderOfOursLeaves(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		source(b, "in").EventTime(nil, window.BoundedDelay(0).MaxAhead(24*time.Hour)).
			Repartition(codec.String, codec.Int64, topology.Named("shuffle")).To("out", codec.String, codec.Int64)
	}))
	in := input(d, "in").With(topology.Header{Key: "traceparent", Value: []byte("x")})
	in.Send("k", 1, d.Now().Add(10*time.Hour))
	m, ok := streamtest.Output(d, "out", codec.String, codec.Int64).Next()
	if !ok || len(m.Headers) != 1 || string(m.Header("traceparent")) != "x" {
		t.Errorf("%v: headers %+v", ok, m.Headers)
	}
}

// TestAPartitionsTimeBefore1970IsKept: through a restart, so that a partition that
// is behind still holds the watermark back.
func TestAPartitionsTimeBefore1970IsKept(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		source(b, "a", topology.AndTopics("b")).EventTime(nil, window.BoundedDelay(0)).
			GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(time.Second)).Count(topology.Store("counts"))
	}))
	begin := time.Date(1950, time.January, 1, 0, 0, 0, 0, time.UTC)
	d.Batch(func() {
		input(d, "a").Send("k", 1, begin.Add(10*time.Second))
		input(d, "b").Send("k", 1, begin.Add(5*time.Second))
	})
	d.Restart()
	input(d, "a").Send("k", 1, begin.Add(20*time.Second))
	if got, want := d.Watermark(0, 0), begin.Add(5*time.Second).UnixMilli(); got != want {
		t.Errorf("the watermark is %s, want %s", window.FormatTime(got), window.FormatTime(want))
	}
}

// TestAWatermarkThatMovesAloneIsCommitted: an input falls idle, no record is read,
// and there is no state to write.
func TestAWatermarkThatMovesAloneIsCommitted(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		source(b, "a", topology.AndTopics("b")).EventTime(nil, window.BoundedDelay(0).IdleAfter(time.Second)).
			To("out", codec.String, codec.Int64)
	}))
	start := d.Now()
	d.Batch(func() {
		input(d, "a").Send("k", 1, start)
		input(d, "b").Send("k", 1, start)
	})
	d.Advance(700 * time.Millisecond)
	input(d, "a").Send("k", 1, start.Add(time.Minute))
	d.Advance(500 * time.Millisecond)
	for _, when := range []string{"before", "after"} {
		if got, want := d.Watermark(0, 0), start.Add(time.Minute).UnixMilli(); got != want {
			t.Errorf("%s the restart the watermark is %s, want %s", when, window.FormatTime(got), window.FormatTime(want))
		}
		d.Restart()
	}
}
