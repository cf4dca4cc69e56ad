package llm_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/window"
)

func Example() {
	stats := llm.NewStats()
	for _, ms := range []float64{180, 240, 950} {
		event := llm.Performance{Event: llm.Event{Model: "chat-large"}, LatencyMS: ms, PromptTokens: 100}
		if err := stats.Add(event); err != nil {
			fmt.Println(err)
		}
	}
	r := llm.NewResult("chat-large", window.Window{Start: 0, End: 300_000}, window.Pane{Kind: window.OnTimePane}, stats)
	text, err := llm.ResultJSON.Append(nil, r)
	fmt.Println(r.Count, r.PromptTokens, r.LatencyMS.Max, math.Abs(r.LatencyMS.P50-240) < 2.4)
	fmt.Println(bytes.Contains(text, []byte(`"quality_mean":null`)), err)
	// Output:
	// 3 300 950 true
	// true <nil>
}

// latencies are as any sensor may report them, zero and absurd ones included.
var latencies = rapid.OneOf(
	rapid.Float64Range(1, 60_000), rapid.Just(0.0), rapid.Float64Range(0, 1e-3), rapid.Float64Range(0, 1e300))

func statsOf(t interface{ Fatal(...any) }, events []llm.Performance) *llm.Stats {
	s := llm.NewStats()
	for _, e := range events {
		if err := s.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// drawMetrics draws events whose sums are exact, so that order cannot matter.
func drawMetrics(t *rapid.T, label string) []llm.Performance {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) llm.Performance {
		thousandths := rapid.Float64Range(0, 60_000).Draw(t, "latency")
		v := llm.Performance{
			LatencyMS:    math.Round(thousandths*64) / 64,
			PromptTokens: rapid.Int64Range(0, 1e6).Draw(t, "prompt"), CompletionTokens: rapid.Int64Range(0, 1e6).Draw(t, "completion"),
			Error: rapid.Bool().Draw(t, "error"),
		}
		if rapid.Bool().Draw(t, "has cost") {
			v.CostUSD = llm.Some(float64(rapid.IntRange(0, 1000).Draw(t, "cost")) / 64)
		}
		if rapid.Bool().Draw(t, "has quality") {
			v.Quality = llm.Some(float64(rapid.IntRange(0, 64).Draw(t, "quality")) / 64)
		}
		return v
	}), 0, 60).Draw(t, label)
}

func encoded(t interface{ Fatal(...any) }, s *llm.Stats) []byte {
	b, err := llm.StatsCodec.Append(nil, *s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMergeIsAssociativeAndCommutes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawMetrics(t, "a"), drawMetrics(t, "b"), drawMetrics(t, "c")
		merged := func(parts ...*llm.Stats) *llm.Stats {
			into := llm.NewStats()
			for _, p := range parts {
				before := encoded(t, p)
				if err := into.Merge(p); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(before, encoded(t, p)) {
					t.Fatal("Merge changed what it merged from")
				}
			}
			return into
		}
		want := encoded(t, statsOf(t, slices.Concat(a, b, c)))
		for i, got := range []*llm.Stats{
			merged(statsOf(t, a), statsOf(t, b), statsOf(t, c)),
			merged(statsOf(t, c), statsOf(t, a), statsOf(t, b)),
			merged(statsOf(t, a), merged(statsOf(t, b), statsOf(t, c))),
			merged(merged(statsOf(t, c), statsOf(t, b)), statsOf(t, a)),
		} {
			if !bytes.Equal(encoded(t, got), want) {
				t.Fatalf("order %d:\n%+v\nwant the bytes %x", i, got, want)
			}
		}
	})
}

// TestPercentiles compares with all latencies sorted.
func TestPercentiles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(0.001, 1e9), 1, 300).Draw(t, "latencies")
		s := llm.NewStats()
		for _, v := range values {
			if err := s.Add(llm.Performance{LatencyMS: v}); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(values)
		for _, q := range []float64{0, 0.5, 0.95, 0.99, 1} {
			want := values[int(q*float64(len(values)-1))]
			if got := s.Latency(q); math.Abs(got-want) > 0.01*want {
				t.Fatalf("quantile %v of %d: %v, want %v", q, len(values), got, want)
			}
		}
		if s.LatencyMax != values[len(values)-1] {
			t.Fatalf("max %v", s.LatencyMax)
		}
	})
}

// TestOneAbsurdLatency checks that the other percentiles survive it.
func TestOneAbsurdLatency(t *testing.T) {
	s := llm.NewStats()
	for _, v := range []float64{1e300, 0, 1e-9, 100, 200, 300, 400} {
		if err := s.Add(llm.Performance{LatencyMS: v}); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Latency(0.5); math.Abs(got-200) > 2 {
		t.Errorf("median %v, want 200", got)
	}
	if got := s.Latency(0.17); got != 0 {
		t.Errorf("low quantile %v, want 0", got)
	}
	if s.LatencyMax != 1e300 {
		t.Errorf("max %v", s.LatencyMax)
	}
	if got := llm.NewStats().Latency(0.5); !math.IsNaN(got) {
		t.Errorf("median of nothing: %v", got)
	}
}

func TestStatsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := llm.NewStats()
		for _, v := range rapid.SliceOfN(latencies, 0, 100).Draw(t, "latencies") {
			e := llm.Performance{LatencyMS: v, CostUSD: optional(t, rapid.Float64Range(0, 100), "cost"),
				Quality: optional(t, fractions, "quality"), Error: rapid.Bool().Draw(t, "error")}
			if err := s.Add(e); err != nil {
				t.Fatal(err)
			}
		}
		b := encoded(t, s)
		got, err := llm.StatsCodec.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if again := encoded(t, &got); !bytes.Equal(b, again) {
			t.Fatalf("%x\nbecomes\n%x", b, again)
		}
		// A decoded aggregate goes on as the original would.
		more := drawMetrics(t, "more")
		for _, e := range more {
			if err := errors.Join(s.Add(e), got.Add(e)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(s.Merge(statsOf(t, more)), got.Merge(statsOf(t, more))); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(encoded(t, s), encoded(t, &got)) {
			t.Fatal("original and copy go apart")
		}
		for _, q := range []float64{0, 0.5, 0.99, 1} {
			if x, y := s.Latency(q), got.Latency(q); x != y && !(math.IsNaN(x) && math.IsNaN(y)) {
				t.Fatalf("quantile %v: %v and %v", q, x, y)
			}
		}
	})
}

func TestStatsRefusesDamage(t *testing.T) {
	b := encoded(t, statsOf(t, spread(40)))
	for cut := range b {
		if _, err := llm.StatsCodec.Decode(b[:cut]); !errors.Is(err, llm.ErrStats) {
			t.Fatalf("%d of %d bytes: %v", cut, len(b), err)
		}
	}
	if _, err := llm.StatsCodec.Decode(append(b, 0)); !errors.Is(err, llm.ErrStats) {
		t.Errorf("a byte more: %v", err)
	}
	b[0]++
	if _, err := llm.StatsCodec.Decode(b); err == nil || err.Error() != "llm: no valid encoded stats: version 2, this program knows 1" {
		t.Errorf("%v", err)
	}
}

func FuzzStatsDecode(f *testing.F) {
	f.Add(encoded(f, statsOf(f, spread(40))))
	f.Add(encoded(f, llm.NewStats()))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := llm.StatsCodec.Decode(b)
		if err != nil {
			return
		}
		again, err := llm.StatsCodec.Decode(encoded(t, &s))
		if err != nil || !bytes.Equal(encoded(t, &s), encoded(t, &again)) {
			t.Errorf("%x: %v", b, err)
		}
		llm.NewResult("k", window.Window{}, window.Pane{}, &s)
	})
}

func TestAddRefusesWhatWouldSpoil(t *testing.T) {
	s := statsOf(t, []llm.Performance{{LatencyMS: 1, PromptTokens: 5, CompletionTokens: 7}})
	before := encoded(t, s)
	for field, v := range map[string]llm.Performance{
		"latency_ms":        {LatencyMS: math.NaN()},
		"cost_usd":          {CostUSD: llm.Some(-1.0)},
		"quality":           {Quality: llm.Some(math.Inf(1))},
		"prompt_tokens":     {PromptTokens: math.MaxInt64 - 4},
		"completion_tokens": {CompletionTokens: -1},
	} {
		err := s.Add(v)
		if wrong := (*llm.FieldError)(nil); !errors.As(err, &wrong) || wrong.Field != field || !errors.Is(err, llm.ErrRange) {
			t.Errorf("%s: %v", field, err)
		}
	}
	full := statsOf(t, []llm.Performance{{PromptTokens: math.MaxInt64}})
	if err := s.Merge(full); !errors.Is(err, llm.ErrRange) {
		t.Errorf("Merge: %v", err)
	}
	if !bytes.Equal(before, encoded(t, s)) {
		t.Error("a refused event left a trace")
	}
}

func TestAnyShareHasALatency(t *testing.T) {
	s := statsOf(t, []llm.Performance{{LatencyMS: 100}, {LatencyMS: 200}})
	for q, want := range map[float64]float64{-1: 100, 1.5: 200, math.Inf(-1): 100, math.Inf(1): 200, math.NaN(): 100} {
		if got := s.Latency(q); math.Abs(got-want) > want/100 {
			t.Errorf("q %v: %v, want %v", q, got, want)
		}
	}
}

func TestABinTakesAnyCount(t *testing.T) {
	const n = 1<<16 + 1
	s := llm.NewStats()
	for range n {
		if err := s.Add(llm.Performance{LatencyMS: 100}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Add(llm.Performance{LatencyMS: 200}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		q, want float64
	}{{0, 100}, {float64(n-1) / n, 100}, {1, 200}} {
		if got := s.Latency(c.q); math.Abs(got-c.want) > c.want/100 {
			t.Errorf("q %v: %v, want %v", c.q, got, c.want)
		}
	}
	decoded, err := llm.StatsCodec.Decode(encoded(t, s))
	if err != nil || !bytes.Equal(encoded(t, &decoded), encoded(t, s)) {
		t.Errorf("%+v, %v", decoded, err)
	}
	twice := statsOf(t, nil)
	for range 2 {
		if err := twice.Merge(s); err != nil {
			t.Fatal(err)
		}
	}
	if got := twice.Latency(float64(2*n-1) / float64(2*n+1)); math.Abs(got-100) > 1 {
		t.Errorf("merged: %v", got)
	}
}

func TestAFewEventsTakeNoMoreMemory(t *testing.T) {
	events := spread(20)
	s := llm.NewStats()
	if n := testing.AllocsPerRun(100, func() {
		*s = llm.Stats{}
		for _, e := range events {
			s.Add(e)
		}
	}); n != 0 {
		t.Errorf("%v allocations for 20 events", n)
	}
}

// TestSumsStayFinite adds amounts that are in range alone and not together: an
// infinite sum has no JSON, so that the window could never be sent.
func TestSumsStayFinite(t *testing.T) {
	huge := llm.Performance{LatencyMS: 1e308, CostUSD: llm.Some(1e308)}
	s := statsOf(t, []llm.Performance{huge})
	before := encoded(t, s)
	for field, v := range map[string]llm.Performance{"latency_ms": {LatencyMS: 1e308}, "cost_usd": {CostUSD: huge.CostUSD}} {
		err := s.Add(v)
		if wrong, ok := errors.AsType[*llm.FieldError](err); !ok || wrong.Field != field || !errors.Is(err, llm.ErrRange) {
			t.Errorf("%s: %v", field, err)
		}
		if err := s.Merge(statsOf(t, []llm.Performance{v})); !errors.Is(err, llm.ErrRange) {
			t.Errorf("Merge with %s: %v", field, err)
		}
	}
	if !bytes.Equal(before, encoded(t, s)) {
		t.Error("a refused event left a trace")
	}
	if _, err := llm.ResultJSON.Append(nil, llm.NewResult("m", window.Window{}, window.Pane{}, s)); err != nil {
		t.Error(err)
	}
}

// TestAddDoesNotAllocate allows for the bins' growth at the start only.
func TestAddDoesNotAllocate(t *testing.T) {
	events := spread(1000)
	s := statsOf(t, events)
	i := 0
	if n := testing.AllocsPerRun(1000, func() { s.Add(events[i%1000]); i++ }); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

func TestGoldenResult(t *testing.T) {
	s := statsOf(t, []llm.Performance{
		{LatencyMS: 100, PromptTokens: 10, CompletionTokens: 4, CostUSD: llm.Some(0.25), Quality: llm.Some(0.5)},
		{LatencyMS: 0, PromptTokens: 20, CompletionTokens: 6, Error: true},
	})
	w := window.Window{Start: 1_700_158_500_000, End: 1_700_158_800_000}
	r := llm.NewResult("chat \"large\"", w, window.Pane{Kind: window.LatePane, Sequence: 2, Final: true}, s)
	empty := llm.NewResult("m", w, window.Pane{Kind: window.EarlyPane, Retracted: true}, llm.NewStats())
	for _, c := range []struct {
		result llm.Result
		want   string
	}{
		{r, `{"key":"chat \"large\"","window_start":1700158500000,"window_end":1700158800000,"pane":"late","sequence":2,` +
			`"final":true,"retracted":false,"count":2,"errors":1,"error_rate":0.5,"prompt_tokens":30,"completion_tokens":10,` +
			`"cost_usd":0.25,"quality_mean":0.5,"latency_ms":{"mean":50,"p50":0,"p95":0,"p99":0,"max":100}}`},
		{empty, `{"key":"m","window_start":1700158500000,"window_end":1700158800000,"pane":"early","sequence":0,` +
			`"final":false,"retracted":true,"count":0,"errors":0,"error_rate":null,"prompt_tokens":0,"completion_tokens":0,` +
			`"cost_usd":0,"quality_mean":null,"latency_ms":{"mean":null,"p50":null,"p95":null,"p99":null,"max":null}}`},
	} {
		b, err := llm.ResultJSON.Append(nil, c.result)
		if err != nil || string(b) != c.want || !json.Valid(b) {
			t.Errorf("%s, %v, want\n%s", b, err, c.want)
		}
	}
}

// TestStatsInAnswers writes Stats as package query does, which has a pointer to
// what the store decoded.
func TestStatsInAnswers(t *testing.T) {
	event := llm.Performance{LatencyMS: 100, PromptTokens: 10, CompletionTokens: 5}
	rated := event
	rated.Error, rated.CostUSD, rated.Quality = true, llm.Some(0.25), llm.Some(0.5)
	const latency = `"latency_ms":{"mean":100,"p50":100,"p95":100,"p99":100,"max":100}}`
	for want, events := range map[string][]llm.Performance{
		`{"count":2,"errors":1,"error_rate":0.5,"prompt_tokens":20,"completion_tokens":10,"cost_usd":0.25,"quality_mean":0.5,` + latency: {event, rated},
		`{"count":1,"errors":0,"error_rate":0,"prompt_tokens":10,"completion_tokens":5,"cost_usd":0,` + latency:                          {event},
		`{"count":0,"errors":0,"prompt_tokens":0,"completion_tokens":0,"cost_usd":0}`:                                                    nil,
	} {
		stats, err := llm.StatsCodec.Decode(encoded(t, statsOf(t, events)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := codec.JSON[any]().Append(nil, &stats)
		// A percentile is within 1 %.
		got = regexp.MustCompile(`"p(50|95|99)":(99|100)(\.\d+)?`).ReplaceAll(got, []byte(`"p$1":100`))
		if err != nil || string(got) != want {
			t.Errorf("have %s, %v, want\n     %s", got, err, want)
		}
	}
	if _, err := json.Marshal(llm.Stats{CostUSD: math.Inf(1)}); !errors.Is(err, llm.ErrJSON) {
		t.Errorf("an infinite sum: %v", err)
	}
}

func TestResultRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pane := window.Pane{
			Kind:     rapid.SampledFrom([]window.PaneKind{window.NoPane, window.EarlyPane, window.OnTimePane, window.LatePane}).Draw(t, "pane"),
			Sequence: counts.Draw(t, "sequence"), Final: rapid.Bool().Draw(t, "final"), Retracted: rapid.Bool().Draw(t, "retracted"),
		}
		w := window.Window{Start: rapid.Int64().Draw(t, "start"), End: rapid.Int64().Draw(t, "end")}
		want := llm.NewResult(texts.Draw(t, "key"), w, pane, statsOf(t, drawMetrics(t, "events")))
		packed, err := llm.ResultCodec.Append(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := llm.ResultCodec.Decode(packed); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("msgpack: %+v, %v\nwant %+v", got, err, want)
		}
		text, err := llm.ResultJSON.Append(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := llm.ResultJSON.Decode(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("JSON: %+v, %v\nwant %+v", got, err, want)
		}
		for cut := range packed {
			if _, err := llm.ResultCodec.Decode(packed[:cut]); err == nil {
				t.Fatalf("%d of %d bytes decode", cut, len(packed))
			}
		}
	})
}

func TestRequestIDText(t *testing.T) {
	const text = "8d8ac610-566d-4ef0-9c22-186b2a5ed793"
	id, err := llm.ParseRequestID("8D8AC610-566d-4ef0-9c22-186b2a5ed793")
	if err != nil || id.String() != text {
		t.Errorf("%v, %v", id, err)
	}
	for _, bad := range []string{"", text[1:], text + "0", "8d8ac610+566d-4ef0-9c22-186b2a5ed793", "gd8ac610-566d-4ef0-9c22-186b2a5ed793"} {
		if id, err := llm.ParseRequestID(bad); !errors.Is(err, llm.ErrRequestID) {
			t.Errorf("%q: %v, %v", bad, id, err)
		}
	}
}

func TestOptional(t *testing.T) {
	var absent llm.Optional[int64]
	if v, ok := absent.Get(); ok || v != 0 || absent.Or(7) != 7 || absent.String() != "absent" {
		t.Errorf("%v", absent)
	}
	if zero := llm.Some(int64(0)); zero == absent || zero.Or(7) != 0 || zero.String() != "0" {
		t.Errorf("%v", zero)
	}
}

func TestEventTimes(t *testing.T) {
	e := llm.Event{Timestamp: 42}
	for i, got := range []int64{
		llm.PerformanceTime(llm.Performance{Event: e}), llm.FeedbackTime(llm.Feedback{Event: e}),
		llm.ResponseTime(llm.Response{Event: e}), llm.HealthTime(llm.Health{Event: e}),
		llm.ExperimentTime(llm.Experiment{Event: e}),
	} {
		if got != 42 {
			t.Errorf("%d: %d", i, got)
		}
	}
}
