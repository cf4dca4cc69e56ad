package task_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// BenchmarkWindows measures an event through each kind of window: 100 keys, 1,000
// events a second of event time, a commit every 10,000. Hopping windows by pane
// are to cost at most 1.5 times the tumbling ones.
func BenchmarkWindows(b *testing.B) {
	for _, c := range []struct {
		name    string
		windows window.Windows
	}{
		{"tumbling 1m", window.Tumbling(time.Minute)},
		{"tumbling 15m", window.Tumbling(15 * time.Minute)},
		{"hopping 15m every 1m", window.Hopping(15 * time.Minute).Every(time.Minute)},
		{"hopping 15m every 1m, separate", window.Hopping(15 * time.Minute).Every(time.Minute).SeparateWindows()},
		{"session 1m", window.Session(time.Minute).AtMost(15 * time.Minute)},
		{"calendar hour", window.Calendar(window.Hour, "America/Sao_Paulo")},
		{"count 1000", window.Count(1000)},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkWindows(b, c.windows) })
	}
}

func benchmarkWindows(b *testing.B, w window.Windows) {
	tk := newTask(b, build(b, func(b *topology.Builder) {
		source(b, "in").EventTime(nil, window.BoundedDelay(time.Second).MaxAhead(1e6*time.Hour)).
			GroupByKey(codec.String, codec.Int64).WindowedBy(w).
			Count(topology.Store("counts")).Stream().To("out", codec.String, codec.Int64)
	}), &counter{})
	in := tk.Inputs()[0]
	var keys [100][]byte
	for i := range keys {
		keys[i] = []byte("model-" + strconv.Itoa(i))
	}
	value, err := codec.Int64.Append(nil, 1)
	if err != nil {
		b.Fatal(err)
	}
	var r task.Fetched
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		r = task.Fetched{Offset: i, Time: i, Key: keys[i%100], Value: value}
		if err := in.Process(&r); err != nil {
			b.Fatal(err)
		}
		if i%10_000 == 9_999 {
			commit(b, tk)
		}
	}
}

// BenchmarkSessions measures an event of the sessions that millrace bench has: 20
// events each, a thousand at a time, two milliseconds apart, each of which is sent
// when a commit comes, when it is complete, and when it is closed. A commit comes
// every 100,000 events.
func BenchmarkSessions(b *testing.B) {
	w, _ := llm.SessionShape.Windows()
	top, err := llm.NewBenchmark(llm.BenchmarkConfig{Application: "app", Input: "in", Output: "out", Windows: w})
	if err != nil {
		b.Fatal(err)
	}
	out := &counter{}
	tk := newTask(b, top, out, func(c *task.Config) { c.Now = func() time.Time { return time.UnixMilli(1 << 42) } })
	in := tk.Inputs()[0]
	const turn = 100_000
	random := rand.New(rand.NewPCG(1, 2))
	fetched := make([]task.Fetched, turn)
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		if i%turn == 0 {
			b.StopTimer()
			for j := range fetched {
				sessionEvent(b, &fetched[j], i+int64(j), random)
			}
			b.StartTimer()
		}
		if err := in.Process(&fetched[i%turn]); err != nil {
			b.Fatal(err)
		}
		if i%turn == turn-1 {
			commit(b, tk)
		}
	}
	b.ReportMetric(float64(out.sent)/float64(b.N), "results/op")
}

// sessionEvent makes the i-th event of BenchmarkSessions.
func sessionEvent(b *testing.B, r *task.Fetched, i int64, random *rand.Rand) {
	const open, events = 1000, 20
	event := llm.Performance{
		Event:     llm.Event{Timestamp: i * 2, SessionID: llm.Some("session-004711"), Model: "chat-large"},
		LatencyMS: 1800 * math.Exp(0.9*random.NormFloat64()), PromptTokens: 4808, CompletionTokens: 210, CostUSD: llm.Some(0.0125), Quality: llm.Some(0.83),
	}
	value, err := llm.PerformanceCodec.Append(r.Value[:0], event)
	if err != nil {
		b.Fatal(err)
	}
	*r = task.Fetched{Offset: i, Time: i * 2, Key: fmt.Appendf(r.Key[:0], "session-%07d", i/(open*events)*open+i%open), Value: value}
}

// BenchmarkHoppingOverTumbling measures what an event costs in hopping windows of
// 15 minutes, one each minute, and in tumbling ones of 15, side by side: the two
// take turns every 10,000 events, each of which ends with a commit, so that a
// machine that does other things slows both. Its metrics are nanoseconds an event
// and their ratio, which is to be at most 1.5. What hopping windows cost beside that
// is the merging of 15 panes, once a key and minute: the fewer events a key has in
// a minute, the more of it falls to each.
func BenchmarkHoppingOverTumbling(b *testing.B) {
	hopping, tumbling := window.Hopping(15*time.Minute).Every(time.Minute), window.Tumbling(15*time.Minute)
	for _, perMinute := range []int64{60, 200, 600} {
		spacing := time.Minute / time.Duration(perMinute*int64(len(benchKeys())))
		b.Run(fmt.Sprintf("count/%d a key and minute", perMinute), func(b *testing.B) {
			besides(b, spacing, newCounting(b, hopping), newCounting(b, tumbling))
		})
		b.Run(fmt.Sprintf("stats/%d a key and minute", perMinute), func(b *testing.B) {
			besides(b, spacing, newStats(b, hopping), newStats(b, tumbling))
		})
	}
}

// lane is a task with the values of its events, which take turns.
type lane struct {
	task   *task.Task
	values [][]byte
	took   time.Duration
}

func benchKeys() (keys [50][]byte) {
	for i := range keys {
		keys[i] = []byte("model-" + strconv.Itoa(i))
	}
	return keys
}

// newCounting counts small events.
func newCounting(b *testing.B, w window.Windows) *lane {
	value, err := codec.Int64.Append(nil, 1)
	if err != nil {
		b.Fatal(err)
	}
	return &lane{values: [][]byte{value}, task: newTask(b, build(b, func(b *topology.Builder) {
		source(b, "in").EventTime(nil, window.BoundedDelay(time.Second).MaxAhead(1e6*time.Hour)).
			GroupByKey(codec.String, codec.Int64).WindowedBy(w).
			Count(topology.Store("counts")).Stream().To("out", codec.String, codec.Int64)
	}), &counter{})}
}

// newStats computes the statistics of LLM events, whose latencies differ as those
// of a busy service do.
func newStats(b *testing.B, w window.Windows) *lane {
	random := rand.New(rand.NewPCG(1, 2))
	values := make([][]byte, 1009)
	for i := range values {
		var err error
		if values[i], err = llm.PerformanceCodec.Append(nil, llm.Performance{
			Event:     llm.Event{Timestamp: 1_700_158_623_979, SessionID: llm.Some("session-004711"), Model: "chat-large"},
			LatencyMS: 1800 * math.Exp(0.9*random.NormFloat64()), PromptTokens: 4808, CompletionTokens: 210,
			CostUSD: llm.Some(0.0125), Quality: llm.Some(0.83),
		}); err != nil {
			b.Fatal(err)
		}
	}
	return &lane{values: values, task: newTask(b, build(b, func(b *topology.Builder) {
		stats := topology.Aggregate(topology.Source(b, "in", codec.String, llm.PerformanceCodec).
			EventTime(nil, window.BoundedDelay(time.Second).MaxAhead(1e6*time.Hour)).
			GroupByKey(codec.String, llm.PerformanceCodec).WindowedBy(w),
			llm.StatsCodec, llm.PerformanceStats, topology.Store("stats"))
		topology.MapValues(stats.Stream(), llm.ToResult).To("out", codec.String, llm.ResultCodec)
	}), &counter{})}
}

func besides(b *testing.B, spacing time.Duration, hopping, tumbling *lane) {
	const turn = 10_000
	keys := benchKeys()
	var events int64
	run := func(l *lane) {
		began := time.Now()
		in := l.task.Inputs()[0]
		var r task.Fetched
		for i := events; i < events+turn; i++ {
			r = task.Fetched{Offset: i, Time: i * spacing.Nanoseconds() / 1e6, Key: keys[i%int64(len(keys))], Value: l.values[i%int64(len(l.values))]}
			if err := in.Process(&r); err != nil {
				b.Fatal(err)
			}
		}
		commit(b, l.task)
		l.took += time.Since(began)
	}
	for b.Loop() {
		run(hopping)
		run(tumbling)
		events += turn
	}
	perEvent := func(l *lane) float64 { return float64(l.took.Nanoseconds()) / float64(events) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(perEvent(hopping), "hopping-ns/event")
	b.ReportMetric(perEvent(tumbling), "tumbling-ns/event")
	b.ReportMetric(perEvent(hopping)/perEvent(tumbling), "ratio")
}
