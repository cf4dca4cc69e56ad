package llm

import (
	"errors"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
)

// FeedbackStats is the aggregate of Feedback events, such as those of a session.
// The zero FeedbackStats is that of none. It is made of whole numbers, so that
// merging parts in any order gives the very same.
type FeedbackStats struct {
	// Ratings counts the events by their rating: Ratings[0] has those of 1.
	Ratings [5]int64
	// Completed is how many say that the task was completed.
	Completed int64
	// Comments is how many have a comment.
	Comments int64
	// DwellSum and DwellMax are over all events, in milliseconds.
	DwellSum, DwellMax int64

	models names
}

// NewFeedbackStats returns an aggregate of nothing.
func NewFeedbackStats() *FeedbackStats { return &FeedbackStats{} }

// FeedbackAggregator aggregates Feedback events into FeedbackStats.
var FeedbackAggregator = topology.Aggregator[Feedback, FeedbackStats]{
	New:   NewFeedbackStats,
	Add:   (*FeedbackStats).Add,
	Merge: (*FeedbackStats).Merge,
}

// SessionOf returns what Feedback events are grouped by: their session. One
// without a session is taken for a session of its own, under the id of its
// request.
func SessionOf(v *Feedback) string {
	if id, ok := v.SessionID.Get(); ok {
		return id
	}
	return v.RequestID.String()
}

// Count returns the number of events.
func (s *FeedbackStats) Count() int64 {
	sum := int64(0)
	for _, n := range s.Ratings {
		sum += n
	}
	return sum
}

// Add counts an event. It refuses a rating that is not 1 to 5, and a dwell that
// is negative or makes the sum overflow, with a FieldError, and leaves s as it
// was. It keeps nothing of v.
func (s *FeedbackStats) Add(v Feedback) error {
	c := checker{name: feedbackSchema.name}
	if v.Rating < 1 || v.Rating > 5 {
		c.fail("rating", v.Rating, "1 to 5")
	}
	c.addable("dwell_ms", v.DwellMS, s.DwellSum)
	if c.err != nil {
		return c.err
	}
	s.Ratings[v.Rating-1]++
	if v.TaskCompleted {
		s.Completed++
	}
	if v.Comment.ok {
		s.Comments++
	}
	s.DwellSum += v.DwellMS
	s.DwellMax = max(s.DwellMax, v.DwellMS)
	s.models.add(v.Model, 1)
	return nil
}

// Merge adds what from has counted, and leaves from as it is. On an error (a sum
// beyond an int64) s is as it was.
func (s *FeedbackStats) Merge(from *FeedbackStats) error {
	c := checker{name: "feedback stats"}
	if c.addable("dwell_ms", from.DwellSum, s.DwellSum); c.err != nil {
		return c.err
	}
	for i, n := range from.Ratings {
		s.Ratings[i] += n
	}
	s.Completed += from.Completed
	s.Comments += from.Comments
	s.DwellSum += from.DwellSum
	s.DwellMax = max(s.DwellMax, from.DwellMax)
	s.models.merge(&from.models)
	return nil
}

// FeedbackStatsCodec encodes FeedbackStats without loss; equal ones have equal
// bytes. The layout, version 1, in the forms of StatsCodec: the five Ratings,
// Completed, Comments, DwellSum and DwellMax as uvarints; then the models: their
// number, for each the length of its name, the name and its count, and the count
// of all others.
var FeedbackStatsCodec codec.Codec[FeedbackStats] = layoutCodec[FeedbackStats]{
	name: "feedback stats", version: 1,
	fields: func(l *layout, s *FeedbackStats) {
		for i := range s.Ratings {
			l.count(&s.Ratings[i])
		}
		for _, n := range [...]*int64{&s.Completed, &s.Comments, &s.DwellSum, &s.DwellMax} {
			l.count(n)
		}
		l.names(&s.models)
	},
	check: func(s *FeedbackStats) error {
		if n := s.Count(); n < 0 || s.Completed > n || s.Comments > n || s.DwellMax > s.DwellSum || s.models.total() != n {
			return errors.New("the counts contradict each other")
		}
		return nil
	},
}

// MarshalJSON describes s as a FeedbackSummary does, without key, window and
// pane, which answers of queries have beside the value, and without what is
// absent. There is no way back.
func (s FeedbackStats) MarshalJSON() ([]byte, error) {
	v := NewFeedbackSummary(Place{}, &s)
	return marshal(v.measures)
}
