package llm

import (
	"math"

	"github.com/millrace/millrace/internal/msgp"
	"github.com/millrace/millrace/window"
)

// Stats is the aggregate of Performance events. The zero Stats is that of none.
// All its parts are sums but LatencyMax.
type Stats struct {
	// Count is the number of events, Errors of those that failed.
	Count, Errors int64
	// PromptTokens and CompletionTokens are the sums over all events.
	PromptTokens, CompletionTokens int64
	// CostUSD is the sum over the events that have a cost.
	CostUSD float64
	// QualitySum is the sum over the QualityCount events that have a quality.
	QualitySum   float64
	QualityCount int64
	// LatencySum and LatencyMax are over all events, in milliseconds, exact.
	LatencySum, LatencyMax float64

	latency sketch
}

// NewStats returns an aggregate of nothing.
func NewStats() *Stats { return &Stats{} }

// Add counts an event. It refuses one with a number that would spoil the sums
// for good (negative, infinite, not a number, or so large that the sum has no
// value) with a FieldError and leaves s as it was. It keeps nothing of v.
func (s *Stats) Add(v Performance) error {
	if err := s.check(&v); err != nil {
		return err
	}
	s.Count++
	if v.Error {
		s.Errors++
	}
	s.PromptTokens += v.PromptTokens
	s.CompletionTokens += v.CompletionTokens
	if cost, ok := v.CostUSD.Get(); ok {
		s.CostUSD += cost
	}
	if quality, ok := v.Quality.Get(); ok {
		s.QualitySum += quality
		s.QualityCount++
	}
	s.LatencySum += v.LatencyMS
	s.LatencyMax = max(s.LatencyMax, v.LatencyMS)
	s.latency.add(v.LatencyMS)
	return nil
}

func (s *Stats) check(v *Performance) error {
	quality := v.Quality.Or(0)
	if v.LatencyMS >= 0 && s.LatencySum+v.LatencyMS <= math.MaxFloat64 &&
		v.CostUSD.Or(0) >= 0 && s.CostUSD+v.CostUSD.Or(0) <= math.MaxFloat64 &&
		quality >= 0 && quality <= 1 &&
		uint64(v.PromptTokens) <= uint64(math.MaxInt64-s.PromptTokens) &&
		uint64(v.CompletionTokens) <= uint64(math.MaxInt64-s.CompletionTokens) {
		return nil
	}
	c := checker{name: performanceSchema.name}
	c.addableAmount("latency_ms", v.LatencyMS, s.LatencySum)
	c.addableAmount("cost_usd", v.CostUSD.Or(0), s.CostUSD)
	c.fraction("quality", quality)
	c.addable("prompt_tokens", v.PromptTokens, s.PromptTokens)
	c.addable("completion_tokens", v.CompletionTokens, s.CompletionTokens)
	return c.err
}

// addable checks a count that is to be added to sum.
func (c *checker) addable(field string, v, sum int64) {
	c.notNegative(field, v)
	if v > math.MaxInt64-sum {
		c.fail(field, v, "a sum below 2^63")
	}
}

// addableAmount checks a quantity that is to be added to sum.
func (c *checker) addableAmount(field string, v, sum float64) {
	c.amount(field, v)
	if !(v+sum <= math.MaxFloat64) {
		c.fail(field, v, "a finite sum")
	}
}

// Merge adds what from has counted, and leaves from as it is. The order of
// merges does not matter but for the rounding of sums of floats. On an error
// (sums beyond an int64 or a float64) s is as it was.
func (s *Stats) Merge(from *Stats) error {
	c := checker{name: "stats"}
	c.addableAmount("latency_ms", from.LatencySum, s.LatencySum)
	c.addableAmount("cost_usd", from.CostUSD, s.CostUSD)
	c.addable("prompt_tokens", from.PromptTokens, s.PromptTokens)
	c.addable("completion_tokens", from.CompletionTokens, s.CompletionTokens)
	if c.err != nil {
		return c.err
	}
	s.Count += from.Count
	s.Errors += from.Errors
	s.PromptTokens += from.PromptTokens
	s.CompletionTokens += from.CompletionTokens
	s.CostUSD += from.CostUSD
	s.QualitySum += from.QualitySum
	s.QualityCount += from.QualityCount
	s.LatencySum += from.LatencySum
	s.LatencyMax = max(s.LatencyMax, from.LatencyMax)
	s.latency.merge(&from.latency)
	return nil
}

// Latency returns the latency in milliseconds below which the share q (0 to 1)
// of the events lies, within 1 %; NaN if there is no event. For the exact
// definition see the package's documentation.
func (s *Stats) Latency(q float64) float64 {
	// The maximum is known exactly; no percentile may exceed it.
	v := s.latency.quantile(q)
	if v > s.LatencyMax {
		return s.LatencyMax
	}
	return v
}

// MarshalJSON describes s as a Result does, without what a Result says of key,
// window and pane: answers of queries have these beside the value. A mean over
// nothing is left out. There is no way back: what s keeps of the latencies is
// more than their percentiles. Errors wrap ErrJSON: NewStats, Add and Merge
// make no Stats that has one.
func (s Stats) MarshalJSON() ([]byte, error) {
	v := NewResult("", window.Window{}, window.Pane{}, &s)
	b := msgp.AppendMapLen(make([]byte, 0, 256), v.measures())
	r := msgp.NewReader(v.appendMeasures(b, false))
	return appendJSON(make([]byte, 0, 512), &r, "")
}
