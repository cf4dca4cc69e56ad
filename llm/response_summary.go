package llm

import (
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/exact"
)

// ResponseSummary is what one pane says about the responses of a model.
type ResponseSummary struct {
	Place
	// Count is the number of responses.
	Count int64
	// Statuses and FinishReasons count the responses by these, by their names.
	Statuses, FinishReasons []Count
	// PromptTokens and CompletionTokens are sums.
	PromptTokens, CompletionTokens int64
	// LatencyMS describes the latencies, TTFTMS the times to the first token of
	// the Streamed responses that have one; in milliseconds.
	LatencyMS, TTFTMS Spread
	Streamed          int64
}

// Spread describes a set of numbers; all is absent if the set is empty. Mean and
// Max are exact, the percentiles are within 1 %.
type Spread struct {
	Mean, P50, P95, P99, Max Optional[float64]
}

// newSpread describes n numbers.
func newSpread(n int64, s *sketch, sum *exact.Sum, most float64) Spread {
	if n == 0 {
		return Spread{}
	}
	// The maximum is known exactly; no percentile may exceed it.
	q := func(q float64) Optional[float64] { return Some(min(s.quantile(q), most)) }
	return Spread{Mean: Some(sum.Mean(n)), P50: q(0.50), P95: q(0.95), P99: q(0.99), Max: Some(most)}
}

func (s *Spread) fields(f *form) {
	for i, p := range [len(latencyFields)]*Optional[float64]{&s.Mean, &s.P50, &s.P95, &s.P99, &s.Max} {
		f.number(latencyFields[i], p)
	}
}

// NewResponseSummary describes s. It keeps nothing of s but names.
func NewResponseSummary(at Place, s *ResponseStats) ResponseSummary {
	return ResponseSummary{
		Place: at, Count: s.Count, Statuses: counted(&s.statuses), FinishReasons: counted(&s.reasons),
		PromptTokens: s.PromptTokens, CompletionTokens: s.CompletionTokens,
		LatencyMS: newSpread(s.Count, &s.latency, &s.latencySum, s.LatencyMax),
		TTFTMS:    newSpread(s.TTFTCount, &s.ttft, &s.ttftSum, s.TTFTMax), Streamed: s.TTFTCount,
	}
}

// The codecs of response summaries; see ResultCodec.
var (
	ResponseSummaryCodec codec.Codec[ResponseSummary] = formCodec[ResponseSummary]{"response summary", func(f *form, v *ResponseSummary) {
		v.Place.fields(f)
		v.measures(f)
	}}
	ResponseSummaryJSON codec.Codec[ResponseSummary] = jsonCodec[ResponseSummary]{ResponseSummaryCodec}
)

func (v *ResponseSummary) measures(f *form) {
	f.int("count", &v.Count)
	f.counts("statuses", &v.Statuses)
	f.counts("finish_reasons", &v.FinishReasons)
	f.int("prompt_tokens", &v.PromptTokens)
	f.int("completion_tokens", &v.CompletionTokens)
	f.group("latency_ms", v.LatencyMS.fields)
	f.int("streamed", &v.Streamed)
	f.group("ttft_ms", v.TTFTMS.fields)
}
