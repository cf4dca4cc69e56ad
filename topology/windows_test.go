package topology_test

import (
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// TestSessionKeys: results of sessions have Kafka Streams' session keys, through
// steps that keep the key, and lie where the inner key does.
func TestSessionKeys(t *testing.T) {
	d := run(t, func(b *topology.Builder) {
		source(b, "in").GroupByKey(str, str).WindowedBy(window.Session(time.Minute)).
			Count(topology.Store("s")).Stream().Filter(func(topology.Record[string, int64]) bool { return true }).
			ToWindowed("out", str, codec.Int64)
	}, streamtest.Topic("out", 5))
	in := streamtest.Input(d, "in", str, str)
	start := d.Now()
	in.Send("k", "v", start)
	in.Send("k", "v", start.Add(30*time.Second))
	in.Send("k", "v", start.Add(10*time.Minute))
	out := streamtest.Output(d, "out", codec.Bytes, codec.Int64).All()
	if len(out) != 1 || out[0].Value != 2 || out[0].Partition != codec.Partition([]byte("k"), 5) {
		t.Fatalf("results %+v", out)
	}
	key, first, last, err := codec.SplitSessionKey(out[0].Key)
	if want := start.Add(30 * time.Second).UnixMilli(); string(key) != "k" || first != start.UnixMilli() || last != want || err != nil {
		t.Errorf("key %q from %d to %d, %v; want the first and the last event's times", key, first, last, err)
	}
}

// TestRetractedSessionsAreDeleted: who reads a topic of windowed keys as a table has
// no session that has become part of another one.
func TestRetractedSessionsAreDeleted(t *testing.T) {
	d := run(t, func(b *topology.Builder) {
		source(b, "in").GroupByKey(str, str).WindowedBy(window.Session(time.Minute).AllowedLateness(time.Hour)).
			Count(topology.Store("s")).Stream().ToWindowed("out", str, codec.Int64)
	})
	in := streamtest.Input(d, "in", str, str)
	start := d.Now()
	for _, at := range []time.Duration{0, 90 * time.Second, 5 * time.Minute, 45 * time.Second} {
		in.Send("k", "v", start.Add(at))
	}
	table := map[string]int64{}
	for _, m := range streamtest.Output(d, "out", codec.Bytes, codec.Int64).All() {
		if m.NullValue {
			delete(table, string(m.Key))
		} else {
			table[string(m.Key)] = m.Value
		}
	}
	whole := codec.AppendSessionKey(nil, []byte("k"), start.UnixMilli(), start.Add(90*time.Second).UnixMilli())
	if len(table) != 1 || table[string(whole)] != 3 {
		t.Errorf("sessions %v, want one of 3 events", table)
	}
}

// TestRetractionsCrossAShuffle: what a session takes back is taken off the total
// behind a repartition topic, which carries no mark of it any further.
func TestRetractionsCrossAShuffle(t *testing.T) {
	d := run(t, func(b *topology.Builder) {
		counts := source(b, "in").GroupByKey(str, str).
			WindowedBy(window.Session(time.Minute).AllowedLateness(time.Hour)).Count(topology.Store("sessions")).Stream()
		total := topology.Aggregator[int64, int64]{
			New:    func() *int64 { return new(int64) },
			Add:    func(sum *int64, n int64) error { *sum += n; return nil },
			Remove: func(sum *int64, n int64) error { *sum -= n; return nil },
		}
		all := topology.GroupBy(counts, str, codec.Int64, func(topology.Record[string, int64]) string { return "all" }, topology.Named("all"))
		topology.AggregateTable(all, codec.Int64, total, topology.Store("total")).Stream().To("out", str, codec.Int64)
	})
	in := streamtest.Input(d, "in", str, str)
	start := d.Now()
	for _, at := range []time.Duration{0, 90 * time.Second, 5 * time.Minute, 45 * time.Second} {
		// The last one joins the first two sessions, which were sent already.
		in.Send("k", "v", start.Add(at))
	}
	var totals []int64
	for _, m := range streamtest.Output(d, "out", str, codec.Int64).All() {
		totals = append(totals, m.Value)
		if len(m.Headers) > 0 {
			t.Errorf("headers %v", m.Headers)
		}
	}
	if len(totals) == 0 || totals[len(totals)-1] != 3 || slices.Max(totals) > 3 {
		t.Errorf("totals %v, want 3 at the end", totals)
	}
}
