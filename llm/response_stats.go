package llm

import (
	"errors"
	"math"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/exact"
	"github.com/millrace/millrace/topology"
)

// ResponseStats is the aggregate of Response events. The zero ResponseStats is
// that of none. Sums are kept exactly, so that merging parts in any order gives
// the very same.
type ResponseStats struct {
	// Count is the number of events.
	Count int64
	// PromptTokens and CompletionTokens are the sums over all events.
	PromptTokens, CompletionTokens int64
	// LatencyMax is over all events, TTFTMax over the TTFTCount events that have a
	// time to the first token; in milliseconds.
	LatencyMax, TTFTMax float64
	TTFTCount           int64

	statuses, reasons names
	latency, ttft     sketch
	latencySum        exact.Sum
	ttftSum           exact.Sum
}

// NewResponseStats returns an aggregate of nothing.
func NewResponseStats() *ResponseStats { return &ResponseStats{} }

// ResponseAggregator aggregates Response events into ResponseStats.
var ResponseAggregator = topology.Aggregator[Response, ResponseStats]{
	New:   NewResponseStats,
	Add:   (*ResponseStats).Add,
	Merge: (*ResponseStats).Merge,
}

// Add counts an event. It refuses a number that is negative or not finite, and
// tokens that make the sum overflow, with a FieldError, and leaves s as it was.
// It keeps nothing of v.
func (s *ResponseStats) Add(v Response) error {
	c := checker{name: responseSchema.name}
	c.amount("latency_ms", v.LatencyMS)
	c.amount("ttft_ms", v.TTFTMS.Or(0))
	c.addable("prompt_tokens", v.PromptTokens, s.PromptTokens)
	c.addable("completion_tokens", v.CompletionTokens, s.CompletionTokens)
	if c.err != nil {
		return c.err
	}
	s.Count++
	s.PromptTokens += v.PromptTokens
	s.CompletionTokens += v.CompletionTokens
	s.statuses.add(v.Status, 1)
	s.reasons.add(v.FinishReason, 1)
	s.latency.add(v.LatencyMS)
	s.latencySum.Add(v.LatencyMS)
	s.LatencyMax = max(s.LatencyMax, v.LatencyMS)
	if ttft, ok := v.TTFTMS.Get(); ok {
		s.TTFTCount++
		s.ttft.add(ttft)
		s.ttftSum.Add(ttft)
		s.TTFTMax = max(s.TTFTMax, ttft)
	}
	return nil
}

// Merge adds what from has counted, and leaves from as it is. On an error (sums
// beyond an int64) s is as it was.
func (s *ResponseStats) Merge(from *ResponseStats) error {
	c := checker{name: "response stats"}
	c.addable("prompt_tokens", from.PromptTokens, s.PromptTokens)
	c.addable("completion_tokens", from.CompletionTokens, s.CompletionTokens)
	if c.err != nil {
		return c.err
	}
	s.Count += from.Count
	s.PromptTokens += from.PromptTokens
	s.CompletionTokens += from.CompletionTokens
	s.TTFTCount += from.TTFTCount
	s.LatencyMax, s.TTFTMax = max(s.LatencyMax, from.LatencyMax), max(s.TTFTMax, from.TTFTMax)
	s.statuses.merge(&from.statuses)
	s.reasons.merge(&from.reasons)
	s.latency.merge(&from.latency)
	s.ttft.merge(&from.ttft)
	s.latencySum.Merge(&from.latencySum)
	s.ttftSum.Merge(&from.ttftSum)
	return nil
}

// ResponseStatsCodec encodes ResponseStats without loss; equal ones have equal
// bytes. The layout, version 1: Count, PromptTokens, CompletionTokens and
// TTFTCount as uvarints, LatencyMax and TTFTMax as floats; statuses and finish
// reasons as the models of FeedbackStatsCodec; the sketches of latencies and of
// times to the first token as in StatsCodec; and the exact sums of both as in
// HealthStatsCodec.
var ResponseStatsCodec codec.Codec[ResponseStats] = layoutCodec[ResponseStats]{
	name: "response stats", version: 1,
	fields: func(l *layout, s *ResponseStats) {
		for _, n := range [...]*int64{&s.Count, &s.PromptTokens, &s.CompletionTokens, &s.TTFTCount} {
			l.count(n)
		}
		l.float(&s.LatencyMax)
		l.float(&s.TTFTMax)
		l.names(&s.statuses)
		l.names(&s.reasons)
		l.sketch(&s.latency, s.Count)
		l.sketch(&s.ttft, s.TTFTCount)
		l.exact(&s.latencySum)
		l.exact(&s.ttftSum)
	},
	check: func(s *ResponseStats) error {
		if !(s.LatencyMax >= 0 && s.LatencyMax <= math.MaxFloat64 && s.TTFTMax >= 0 && s.TTFTMax <= math.MaxFloat64) ||
			s.TTFTCount > s.Count || s.statuses.total() != s.Count || s.reasons.total() != s.Count {
			return errors.New("the counts contradict each other")
		}
		return nil
	},
}

// MarshalJSON describes s as a ResponseSummary does, without key, window and
// pane, which answers of queries have beside the value, and without what is
// absent. There is no way back.
func (s ResponseStats) MarshalJSON() ([]byte, error) {
	v := NewResponseSummary(Place{}, &s)
	return marshal(v.measures)
}
