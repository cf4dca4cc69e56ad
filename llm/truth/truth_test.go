package truth_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
	"github.com/millrace/millrace/llm/truth"
	"github.com/millrace/millrace/window"
)

const size = 5 * time.Minute

func Example() {
	t := truth.New(5 * time.Minute)
	stats := llm.NewStats()
	for _, ms := range []float64{100, 250, 900} {
		event := llm.Performance{Event: llm.Event{Timestamp: 60_000, Model: "chat-large"}, LatencyMS: ms}
		t.Add(event)
		if err := stats.Add(event); err != nil {
			fmt.Println(err)
		}
	}
	result := llm.NewResult("chat-large", window.Window{Start: 0, End: 300_000}, window.Pane{Final: true}, stats)
	fmt.Println(t.Compare(slices.Values([]llm.Result{result})))

	result.LatencyMS.P95 = 300
	fmt.Println(t.Compare(slices.Values([]llm.Result{result})))
	// Output:
	// 3 events in = 3 in final windows + 0 dropped + 0 open; direct computation: equal
	// 3 events in = 3 in final windows + 0 dropped + 0 open; direct computation: differs
	//   1970-01-01T00:00:00Z chat-large: latency_ms.p95 is 300, want 250 (+20 %)
}

// fixture is the code trace, its truth and the final results of its windows.
func fixture(t *testing.T) ([]llm.Performance, *truth.Truth, []llm.Result) {
	t.Helper()
	rows, err := trace.Load(trace.Code)
	if err != nil {
		t.Fatal(err)
	}
	g, err := trace.NewGenerator(rows, trace.Options{Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	all := truth.New(size)
	var events []llm.Performance
	stats := map[string]map[int64]*llm.Stats{}
	for d := range g.All() {
		e := d.Event
		events = append(events, e)
		all.Add(e)
		start := e.Timestamp - e.Timestamp%size.Milliseconds()
		if stats[e.Model] == nil {
			stats[e.Model] = map[int64]*llm.Stats{}
		}
		if stats[e.Model][start] == nil {
			stats[e.Model][start] = llm.NewStats()
		}
		if err := stats[e.Model][start].Add(e); err != nil {
			t.Fatal(err)
		}
	}
	var results []llm.Result
	for model, windows := range stats {
		for start, s := range windows {
			w := window.Window{Start: start, End: start + size.Milliseconds()}
			results = append(results, llm.NewResult(model, w, window.Pane{Kind: window.OnTimePane, Final: true}, s))
		}
	}
	slices.SortFunc(results, func(a, b llm.Result) int {
		return strings.Compare(fmt.Sprint(a.WindowStart, a.Key), fmt.Sprint(b.WindowStart, b.Key))
	})
	return events, all, results
}

func TestWholeTraceIsEqual(t *testing.T) {
	events, all, results := fixture(t)
	report := all.Compare(slices.Values(results))
	if !report.Equal() || report.Final != int64(len(events)) || report.Windows != len(results) || report.Windows < 20 {
		t.Errorf("%v", report)
	}
	if want := "8819 events in = 8819 in final windows + 0 dropped + 0 open; direct computation: equal"; report.String() != want {
		t.Errorf("%s", report)
	}
}

// TestEachFieldCounts changes one field of one result by little more than its
// tolerance.
func TestEachFieldCounts(t *testing.T) {
	_, all, results := fixture(t)
	victim := slices.IndexFunc(results, func(r llm.Result) bool {
		_, judged := r.QualityMean.Get()
		return judged && r.Errors > 0
	})
	quality, _ := results[victim].QualityMean.Get()
	// Within the sketch's own error, a percentile may be off by 1 % already.
	for field, change := range map[string]func(*llm.Result){
		"window_end":        func(r *llm.Result) { r.WindowEnd++ },
		"count":             func(r *llm.Result) { r.Count-- },
		"errors":            func(r *llm.Result) { r.Errors++ },
		"error_rate":        func(r *llm.Result) { r.ErrorRate *= 1 + 2e-9 },
		"prompt_tokens":     func(r *llm.Result) { r.PromptTokens++ },
		"completion_tokens": func(r *llm.Result) { r.CompletionTokens-- },
		"cost_usd":          func(r *llm.Result) { r.CostUSD *= 1 - 2e-9 },
		"quality_mean":      func(r *llm.Result) { r.QualityMean = llm.Some(quality * (1 + 2e-9)) },
		"latency_ms.mean":   func(r *llm.Result) { r.LatencyMS.Mean *= 1 + 2e-9 },
		"latency_ms.p50":    func(r *llm.Result) { r.LatencyMS.P50 *= 1.021 },
		"latency_ms.p95":    func(r *llm.Result) { r.LatencyMS.P95 *= 0.979 },
		"latency_ms.p99":    func(r *llm.Result) { r.LatencyMS.P99 = math.NaN() },
		"latency_ms.max":    func(r *llm.Result) { r.LatencyMS.Max *= 1 + 2e-9 },
	} {
		changed := slices.Clone(results)
		change(&changed[victim])
		report := all.Compare(slices.Values(changed))
		if report.Equal() || len(report.Differences) != 1 || report.Differences[0].Field != field {
			t.Errorf("%s: %v", field, report)
		}
	}
	changed := slices.Clone(results)
	changed[victim].QualityMean = llm.Optional[float64]{}
	if report := all.Compare(slices.Values(changed)); len(report.Differences) != 1 ||
		!strings.Contains(report.String(), "quality_mean is absent, where") {
		t.Errorf("%v", report)
	}
}

func TestOpenForeignAndRepeatedResults(t *testing.T) {
	_, all, results := fixture(t)
	last := results[len(results)-1]
	report := all.Compare(slices.Values(results[:len(results)-1]))
	if !report.Equal() || report.Open != last.Count || report.Final+report.Open != report.Events {
		t.Errorf("one window open: %v", report)
	}

	// Early and retracted results do not count; the last final one does.
	early, retracted, wrong := last, last, last
	early.Final, early.Count = false, 1
	retracted.Retracted, retracted.Count = true, 2
	wrong.Count = 3
	more := append([]llm.Result{early, wrong}, append(slices.Clone(results), early, retracted)...)
	if report := all.Compare(slices.Values(more)); !report.Equal() || report.Open != 0 {
		t.Errorf("repeated: %v", report)
	}

	foreign := last
	foreign.Key = "nobody"
	report = all.Compare(slices.Values(append(slices.Clone(results), foreign)))
	if report.Equal() || !strings.Contains(report.String(), fmt.Sprintf("nobody: a result of %d events where none was sent", last.Count)) {
		t.Errorf("foreign: %v", report)
	}
}

func TestDroppedEventsAreNotExpected(t *testing.T) {
	events, all, _ := fixture(t)
	stats := llm.NewStats()
	first := events[0]
	start := first.Timestamp - first.Timestamp%size.Milliseconds()
	var kept, dropped int64
	for i, e := range events {
		if e.Model != first.Model || e.Timestamp-e.Timestamp%size.Milliseconds() != start {
			continue
		}
		if i%3 == 0 {
			all.Drop(e)
			dropped++
			continue
		}
		kept++
		if err := stats.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	w := window.Window{Start: start, End: start + size.Milliseconds()}
	result := llm.NewResult(first.Model, w, window.Pane{Final: true}, stats)
	report := all.Compare(slices.Values([]llm.Result{result}))
	if !report.Equal() || report.Dropped != dropped || report.Final != kept || dropped == 0 || kept == 0 {
		t.Errorf("kept %d, dropped %d: %v", kept, dropped, report)
	}

	ghost := first
	ghost.LatencyMS += 0.5
	all.Drop(ghost)
	if report := all.Compare(slices.Values([]llm.Result{result})); report.Equal() ||
		!strings.Contains(report.String(), "events were dropped that were never sent") {
		t.Errorf("ghost: %v", report)
	}
}

// TestAWindowWhoseEventsWereAllDropped has a result all the same, as when a replay
// comes too late for what was counted before.
func TestAWindowWhoseEventsWereAllDropped(t *testing.T) {
	all := truth.NewExperiments(time.Second)
	e := llm.Experiment{Event: llm.Event{Timestamp: 1}, Experiment: "prompt", Metric: "quality", Variant: "control", Value: 1}
	all.Add(e)
	all.Drop(e)
	r := llm.ExperimentSummary{
		Place:      llm.Place{Key: "prompt/quality", WindowStart: 0, WindowEnd: 1000, Final: true},
		Experiment: "prompt", Metric: "quality", Count: 1, Variants: []llm.Variant{{Name: "control", Count: 1}},
	}
	report := all.Compare(slices.Values([]llm.ExperimentSummary{r}))
	if report.Equal() || !strings.Contains(report.String(), "all of its events were dropped") {
		t.Errorf("%v", report)
	}
}

func TestEventsBefore1970(t *testing.T) {
	all := truth.New(time.Second)
	all.Add(llm.Performance{Event: llm.Event{Timestamp: -1, Model: "m"}})
	stats := llm.NewStats()
	if err := stats.Add(llm.Performance{}); err != nil {
		t.Fatal(err)
	}
	r := llm.NewResult("m", window.Window{Start: -1000, End: 0}, window.Pane{Final: true}, stats)
	if report := all.Compare(slices.Values([]llm.Result{r})); !report.Equal() || report.Windows != 1 || report.Open != 0 {
		t.Errorf("%v", report)
	}
}

func TestReportIsBounded(t *testing.T) {
	all := truth.New(time.Second)
	var foreign []llm.Result
	for i := range int64(50) {
		foreign = append(foreign, llm.Result{Key: "m", WindowStart: i * 1000, Final: true, Count: 1})
	}
	report := all.Compare(slices.Values(foreign))
	if text := report.String(); strings.Count(text, "\n") != 21 || !strings.HasSuffix(text, "and 30 more") {
		t.Errorf("%s", text)
	}
}
