package truth

import (
	"iter"
	"slices"
	"time"

	"github.com/millrace/millrace/llm"
)

// Sessions holds Feedback events by session.
type Sessions struct {
	gap, most       int64 // milliseconds
	events, dropped []llm.Feedback
}

// NewSessions returns a Sessions without events, of sessions that end after a
// gap and are no longer than most; 0 is without a bound.
func NewSessions(gap, most time.Duration) *Sessions {
	return &Sessions{gap: gap.Milliseconds(), most: most.Milliseconds()}
}

// Add counts an event that was sent; as often as it was sent. Where a bound
// splits a session the order counts: it is that of arrival.
func (s *Sessions) Add(v llm.Feedback) { s.events = append(s.events, v) }

// Drop takes an event out of what is expected, since no window took it.
func (s *Sessions) Drop(v llm.Feedback) { s.dropped = append(s.dropped, v) }

// sitting is a session with its events.
type sitting struct {
	first, last int64
	events      []llm.Feedback
}

// ledger divides the events into sessions, one by one. An event goes to the
// earliest session of its key that is near and stays short enough with it, and
// takes along each further one for which the same holds.
func (s *Sessions) ledger() *ledger[llm.Feedback] {
	dropped := map[llm.Feedback]int{}
	for _, v := range s.dropped {
		dropped[v]++
	}
	sessions := map[string][]*sitting{}
	for _, v := range s.events {
		if dropped[v] > 0 {
			dropped[v]--
			continue
		}
		id := sessionOf(&v)
		joined := &sitting{v.Timestamp, v.Timestamp, []llm.Feedback{v}}
		var others []*sitting
		slices.SortStableFunc(sessions[id], func(a, b *sitting) int { return int(a.first - b.first) })
		for _, x := range sessions[id] {
			first, last := min(joined.first, x.first), max(joined.last, x.last)
			near := v.Timestamp >= x.first-s.gap && v.Timestamp <= x.last+s.gap
			if !near || s.most > 0 && last-first > s.most {
				others = append(others, x)
				continue
			}
			joined.first, joined.last = first, last
			joined.events = append(joined.events, x.events...)
		}
		sessions[id] = append(others, joined)
	}
	l := newLedger[llm.Feedback]()
	for id, all := range sessions {
		for _, x := range all {
			for _, v := range x.events {
				l.add(id, x.first, v)
			}
		}
	}
	l.events, l.dropped = int64(len(s.events)), int64(len(s.dropped))
	return &l
}

func sessionOf(v *llm.Feedback) string {
	if id, ok := v.SessionID.Get(); ok {
		return id
	}
	return v.RequestID.String()
}

// Compare checks the final ones among the results.
func (s *Sessions) Compare(results iter.Seq[llm.FeedbackSummary]) Report {
	place := func(r *llm.FeedbackSummary) (llm.Place, int64) { return r.Place, r.Count }
	return compare(s.ledger(), results, place, func(c *comparison, want []llm.Feedback, got *llm.FeedbackSummary) {
		n := float64(len(want))
		var ratings [5]int64
		var last, rated, completed, comments, dwell, longest int64
		for _, v := range want {
			last = max(last, v.Timestamp)
			ratings[v.Rating-1]++
			rated += v.Rating
			if v.TaskCompleted {
				completed++
			}
			if _, ok := v.Comment.Get(); ok {
				comments++
			}
			dwell += v.DwellMS
			longest = max(longest, v.DwellMS)
		}
		c.exact("window_end", last+1, got.WindowEnd)
		for i := range ratings {
			c.exact("ratings", ratings[i], got.Ratings[i])
		}
		c.exact("comments", comments, got.Comments)
		c.same("rating_mean", float64(rated)/n, true, got.RatingMean)
		c.same("completion_rate", float64(completed)/n, true, got.CompletionRate)
		c.same("dwell_ms.mean", float64(dwell)/n, true, got.DwellMeanMS)
		c.same("dwell_ms.max", float64(longest), true, got.DwellMaxMS)
		c.counts("models", tallyOf(want, func(v *llm.Feedback) string { return v.Model }), got.Models)
	})
}
