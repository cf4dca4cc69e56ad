package truth

import (
	"iter"
	"slices"
	"time"

	"github.com/millrace/millrace/llm"
)

// Responses holds Response events by model and tumbling window.
type Responses struct {
	size   int64
	ledger ledger[llm.Response]
}

// NewResponses returns a Responses without events, for windows of a size of at
// least a millisecond.
func NewResponses(size time.Duration) *Responses {
	return &Responses{max(size.Milliseconds(), 1), newLedger[llm.Response]()}
}

// Add counts an event that was sent; as often as it was sent.
func (t *Responses) Add(v llm.Response) { t.ledger.add(v.Model, floor(v.Timestamp, t.size), v) }

// Drop takes an event out of what is expected, since no window took it.
func (t *Responses) Drop(v llm.Response) { t.ledger.drop(v.Model, floor(v.Timestamp, t.size), v) }

// Compare checks the final ones among the results.
func (t *Responses) Compare(results iter.Seq[llm.ResponseSummary]) Report {
	place := func(r *llm.ResponseSummary) (llm.Place, int64) { return r.Place, r.Count }
	return compare(&t.ledger, results, place, func(c *comparison, want []llm.Response, got *llm.ResponseSummary) {
		c.exact("window_end", c.key.start+t.size, got.WindowEnd)
		var prompt, completion int64
		var ttft []float64
		for _, v := range want {
			prompt += v.PromptTokens
			completion += v.CompletionTokens
			if ms, ok := v.TTFTMS.Get(); ok {
				ttft = append(ttft, ms)
			}
		}
		c.exact("prompt_tokens", prompt, got.PromptTokens)
		c.exact("completion_tokens", completion, got.CompletionTokens)
		c.exact("streamed", int64(len(ttft)), got.Streamed)
		c.counts("statuses", tallyOf(want, func(v *llm.Response) string { return v.Status }), got.Statuses)
		c.counts("finish_reasons", tallyOf(want, func(v *llm.Response) string { return v.FinishReason }), got.FinishReasons)
		c.spread("latency_ms", pick(want, func(v *llm.Response) float64 { return v.LatencyMS }), got.LatencyMS)
		c.spread("ttft_ms", ttft, got.TTFTMS)
	})
}

// spread compares the description of some values.
func (c *comparison) spread(field string, values []float64, got llm.Spread) {
	if len(values) == 0 {
		if got != (llm.Spread{}) {
			c.problem(field + " describes no values")
		}
		return
	}
	slices.Sort(values)
	c.same(field+".mean", meanOf(values), true, got.Mean)
	c.about(field+".p50", percentile(values, 0.50), got.P50, percentileTolerance)
	c.about(field+".p95", percentile(values, 0.95), got.P95, percentileTolerance)
	c.about(field+".p99", percentile(values, 0.99), got.P99, percentileTolerance)
	c.same(field+".max", values[len(values)-1], true, got.Max)
}
