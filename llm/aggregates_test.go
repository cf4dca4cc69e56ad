package llm_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/topology"
)

// someNames are few enough to come again, and more than an aggregate tells
// apart.
var someNames = rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("name-%02d", rapid.IntRange(0, 40).Draw(t, "name")) })

// laws checks what holds of every aggregate: parts merge to the very bytes of
// the whole, whatever the order and the partition of each event; encoding loses
// nothing; bytes that are damaged are an error or another aggregate, never a
// panic.
func laws[V, A any](t *testing.T, agg topology.Aggregator[V, A], c codec.Codec[A], draw *rapid.Generator[V]) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(draw, 0, 120).Draw(t, "events")
		encode := func(a *A) []byte {
			b, err := c.Append(nil, *a)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		whole := agg.New()
		for _, v := range events {
			if err := agg.Add(whole, v); err != nil {
				t.Fatal(err)
			}
		}
		want := encode(whole)

		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "partitions"), 0))
		parts := make([]*A, 1+random.IntN(6))
		for i := range parts {
			parts[i] = agg.New()
		}
		for _, i := range random.Perm(len(events)) {
			if err := agg.Add(parts[random.IntN(len(parts))], events[i]); err != nil {
				t.Fatal(err)
			}
		}
		for len(parts) > 1 {
			i := random.IntN(len(parts) - 1)
			into, from := parts[i], parts[len(parts)-1]
			if random.IntN(2) == 0 { // as if it had been restored
				restored, err := c.Decode(encode(into))
				if err != nil {
					t.Fatal(err)
				}
				into = &restored
			}
			before := encode(from)
			if err := agg.Merge(into, from); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, encode(from)) {
				t.Fatal("Merge changed what it merged from")
			}
			parts[i], parts = into, parts[:len(parts)-1]
		}
		if got := encode(parts[0]); !bytes.Equal(got, want) {
			t.Fatalf("merged\n%x, the whole is\n%x", got, want)
		}

		damaged := bytes.Clone(want)
		switch at := random.IntN(len(damaged)); random.IntN(3) {
		case 0:
			damaged = damaged[:at]
		case 1:
			damaged[at] ^= 1 << random.IntN(8)
		default:
			damaged = append(damaged, 0)
		}
		switch a, err := c.Decode(damaged); {
		case err != nil && !errors.Is(err, llm.ErrAggregate):
			t.Fatalf("%v", err)
		case err == nil && len(encode(&a)) == 0:
			t.Fatal("nothing")
		}
	})
	for _, wrong := range [][]byte{nil, {}, {9}, {0}} {
		if _, err := c.Decode(wrong); !errors.Is(err, llm.ErrAggregate) {
			t.Errorf("%x: %v", wrong, err)
		}
	}
}

func TestFeedbackStatsMergeExactly(t *testing.T) {
	laws(t, llm.FeedbackAggregator, llm.FeedbackStatsCodec, rapid.Custom(func(t *rapid.T) llm.Feedback {
		return llm.Feedback{
			Event: llm.Event{Model: someNames.Draw(t, "model")}, Rating: rapid.Int64Range(1, 5).Draw(t, "rating"),
			TaskCompleted: rapid.Bool().Draw(t, "completed"), DwellMS: rapid.Int64Range(0, 1e9).Draw(t, "dwell"),
			Comment: optional(t, texts, "comment"),
		}
	}))
}

func TestHealthStatsMergeExactly(t *testing.T) {
	laws(t, llm.HealthAggregator, llm.HealthStatsCodec, rapid.Custom(func(t *rapid.T) llm.Health {
		return llm.Health{
			Healthy: rapid.Bool().Draw(t, "healthy"), CPU: fractions.Draw(t, "cpu"), Memory: fractions.Draw(t, "memory"),
			QueueDepth: optional(t, rapid.Int64Range(0, 1e9), "queue"),
		}
	}))
}

func TestResponseStatsMergeExactly(t *testing.T) {
	laws(t, llm.ResponseAggregator, llm.ResponseStatsCodec, rapid.Custom(func(t *rapid.T) llm.Response {
		return llm.Response{
			Status: someNames.Draw(t, "status"), FinishReason: someNames.Draw(t, "reason"), LatencyMS: amounts.Draw(t, "latency"),
			TTFTMS: optional(t, amounts, "ttft"), PromptTokens: rapid.Int64Range(0, 1e9).Draw(t, "prompt"),
		}
	}))
}

func TestExperimentStatsMergeExactly(t *testing.T) {
	laws(t, llm.ExperimentAggregator, llm.ExperimentStatsCodec, rapid.Custom(func(t *rapid.T) llm.Experiment {
		return llm.Experiment{
			Variant: someNames.Draw(t, "variant"),
			Value:   rapid.OneOf(rapid.Float64Range(-1e6, 1e6), rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64)).Draw(t, "value"),
		}
	}))
}

func TestSignalsMergeExactly(t *testing.T) {
	at := rapid.Int64Range(-3_600_000, 3_600_000)
	laws(t, llm.ModelSignals(time.Minute), llm.SignalsCodec, rapid.Custom(func(t *rapid.T) llm.Performance {
		return llm.Performance{Event: llm.Event{Timestamp: at.Draw(t, "at")}, LatencyMS: latencies.Draw(t, "latency"), Error: rapid.Bool().Draw(t, "error")}
	}))
	laws(t, llm.ComponentSignals(time.Minute), llm.SignalsCodec, rapid.Custom(func(t *rapid.T) llm.Health {
		return llm.Health{
			Event: llm.Event{Timestamp: at.Draw(t, "at")}, Healthy: rapid.Bool().Draw(t, "healthy"),
			CPU: fractions.Draw(t, "cpu"), Memory: fractions.Draw(t, "memory"), QueueDepth: optional(t, rapid.Int64Range(0, 100), "queue"),
		}
	}))
}

func TestSignalsAreBounded(t *testing.T) {
	models, components := llm.ModelSignals(time.Minute), llm.ComponentSignals(time.Minute)
	s := llm.NewSignals()
	event := llm.Performance{LatencyMS: 1}
	for i := range int64(llm.MostSlots) {
		event.Timestamp = i * 60_000
		if err := models.Add(s, event); err != nil {
			t.Fatal(err)
		}
	}
	event.Timestamp = -1
	if err := models.Add(s, event); err == nil {
		t.Error("one slot too many")
	}
	if err := components.Add(s, llm.Health{}); err == nil {
		t.Error("a component in the slot of a model")
	}
	if s.Count() != llm.MostSlots {
		t.Errorf("%d events", s.Count())
	}
}

func TestAggregatesRefuseWhatWouldSpoilThem(t *testing.T) {
	refused := func(name string, err error) {
		t.Helper()
		var field *llm.FieldError
		if !errors.As(err, &field) || field.Field != name || !errors.Is(err, llm.ErrRange) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused("rating", llm.NewFeedbackStats().Add(llm.Feedback{Rating: 6}))
	refused("rating", llm.NewFeedbackStats().Add(llm.Feedback{}))
	refused("dwell_ms", llm.NewFeedbackStats().Add(llm.Feedback{Rating: 1, DwellMS: -1}))
	full := llm.NewFeedbackStats()
	if err := full.Add(llm.Feedback{Rating: 1, DwellMS: math.MaxInt64}); err != nil {
		t.Fatal(err)
	}
	refused("dwell_ms", full.Add(llm.Feedback{Rating: 1, DwellMS: 1}))
	more := llm.NewFeedbackStats()
	if err := more.Add(llm.Feedback{Rating: 1, DwellMS: 1}); err != nil {
		t.Fatal(err)
	}
	refused("dwell_ms", full.Merge(more))
	refused("cpu", llm.NewHealthStats().Add(llm.Health{CPU: 1.01}))
	refused("memory", llm.NewHealthStats().Add(llm.Health{Memory: math.NaN()}))
	refused("queue_depth", llm.NewHealthStats().Add(llm.Health{QueueDepth: llm.Some[int64](-1)}))
	refused("latency_ms", llm.NewResponseStats().Add(llm.Response{LatencyMS: math.Inf(1)}))
	refused("ttft_ms", llm.NewResponseStats().Add(llm.Response{TTFTMS: llm.Some(-1.0)}))
	refused("value", llm.NewExperimentStats().Add(llm.Experiment{Value: math.NaN()}))
	refused("latency_ms", llm.ModelSignals(time.Minute).Add(llm.NewSignals(), llm.Performance{LatencyMS: math.NaN()}))
	refused("cpu", llm.ComponentSignals(time.Minute).Add(llm.NewSignals(), llm.Health{CPU: -1}))
}

// roundTrip wants a result to come back from both of its forms.
func roundTrip[R any](t *testing.T, name string, r R, forms ...codec.Codec[R]) {
	t.Helper()
	for _, form := range forms {
		b, err := form.Append(nil, r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := form.Decode(b)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: %v\n%+v\n%+v\n%s", name, err, got, r, b)
		}
		if _, err := form.Decode(b[:len(b)-1]); err == nil {
			t.Errorf("%s: cut short and no error", name)
		}
	}
}

// place is some place.
var place = llm.Place{Key: "k", WindowStart: 60_000, WindowEnd: 120_000, Pane: 1, Sequence: 3, Final: true}

func TestSummariesComeBack(t *testing.T) {
	feedback := llm.NewFeedbackStats()
	health := llm.NewHealthStats()
	response := llm.NewResponseStats()
	experiment := llm.NewExperimentStats()
	check := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	for full := range 2 { // empty first
		if full == 1 {
			for i := range int64(40) {
				name := fmt.Sprintf("m%02d", i)
				check(feedback.Add(llm.Feedback{Event: llm.Event{Model: name}, Rating: 1 + i%5, DwellMS: i, TaskCompleted: i%2 == 0}),
					health.Add(llm.Health{CPU: float64(i) / 40, Healthy: i%3 > 0, QueueDepth: llm.Some(i)}),
					response.Add(llm.Response{Status: name, FinishReason: "stop", LatencyMS: float64(i), TTFTMS: llm.Some(1.5)}),
					experiment.Add(llm.Experiment{Variant: name, Value: float64(i * i)}), experiment.Add(llm.Experiment{Variant: name, Value: float64(i)}))
			}
		}
		roundTrip(t, "feedback", llm.NewFeedbackSummary(place, feedback), llm.FeedbackSummaryCodec, llm.FeedbackSummaryJSON)
		roundTrip(t, "health", llm.NewHealthSummary(place, health), llm.HealthSummaryCodec, llm.HealthSummaryJSON)
		roundTrip(t, "response", llm.NewResponseSummary(place, response), llm.ResponseSummaryCodec, llm.ResponseSummaryJSON)
		at := place
		at.Key = llm.ExperimentKey("a/b%", "c")
		summary, err := llm.NewExperimentSummary(at, experiment)
		check(err)
		if summary.Experiment != "a/b%" || summary.Metric != "c" {
			t.Errorf("%q %q", summary.Experiment, summary.Metric)
		}
		roundTrip(t, "experiment", summary, llm.ExperimentSummaryCodec, llm.ExperimentSummaryJSON)
	}
	if _, err := llm.NewExperimentSummary(place, experiment); err == nil {
		t.Error("a key without a slash")
	}
	roundTrip(t, "verdict", llm.Verdict{Place: place, Count: 7, Judged: true, Signals: []llm.Signal{
		{Name: llm.PaceSignal, Value: llm.Some(1.5), Baseline: llm.Some(1.0), Score: llm.Some(4.0), Anomalous: true}, {Name: llm.ErrorSignal},
	}}, llm.VerdictCodec, llm.VerdictJSON)
}

func Example_feedback() {
	s := llm.NewFeedbackStats()
	for _, rating := range []int64{5, 4, 2} {
		if err := s.Add(llm.Feedback{Event: llm.Event{Model: "chat-large"}, Rating: rating, TaskCompleted: rating > 2, DwellMS: 1000 * rating}); err != nil {
			fmt.Println(err)
		}
	}
	text, err := llm.FeedbackSummaryJSON.Append(nil, llm.NewFeedbackSummary(llm.Place{Key: "session-1", WindowEnd: 1, Pane: 2}, s))
	fmt.Println(string(text), err)
	// Output:
	// {"key":"session-1","window_start":0,"window_end":1,"pane":"on_time","sequence":0,"final":false,"retracted":false,"count":3,"rating_mean":3.6666666666666665,"ratings":{"1":0,"2":1,"3":0,"4":1,"5":1},"completion_rate":0.6666666666666666,"comments":0,"dwell_ms":{"mean":3666.6666666666665,"max":5000},"models":{"chat-large":3}} <nil>
}

func Example_experiment() {
	s := llm.NewExperimentStats()
	for i, value := range []float64{10, 12, 11, 13, 15, 14, 16, 18} {
		variant := llm.BaselineVariant
		if i >= 4 {
			variant = "treatment"
		}
		if err := s.Add(llm.Experiment{Variant: variant, Value: value}); err != nil {
			fmt.Println(err)
		}
	}
	v, err := llm.NewExperimentSummary(llm.Place{Key: llm.ExperimentKey("prompt-v2", "latency_ms")}, s)
	c := v.Comparisons[0]
	fmt.Printf("%s against %s: %+.2f, t %.3f with %.2f degrees of freedom, p %.4f, %v\n",
		c.Variant, c.Baseline, c.Difference.Or(0), c.T.Or(0), c.DF.Or(0), c.P.Or(1), err)
	// Output:
	// treatment against control: +4.25, t 3.970 with 5.58 degrees of freedom, p 0.0085, <nil>
}
