package llm

import "github.com/millrace/millrace/codec"

// FeedbackSummary is what one pane says about the feedback of a session. The
// window begins at its first event and ends a millisecond after its last.
type FeedbackSummary struct {
	Place
	// Count is the number of events.
	Count int64
	// RatingMean is the mean rating.
	RatingMean Optional[float64]
	// Ratings counts the events by their rating: Ratings[0] has those of 1.
	Ratings [5]int64
	// CompletionRate is the share that says the task was completed.
	CompletionRate Optional[float64]
	// Comments is how many have a comment.
	Comments int64
	// DwellMeanMS is the mean and DwellMaxMS the greatest of the dwell times, in
	// milliseconds.
	DwellMeanMS, DwellMaxMS Optional[float64]
	// Models counts the events by the model that they are about, by its name.
	Models []Count
}

// NewFeedbackSummary describes s. It keeps nothing of s but the models' names.
func NewFeedbackSummary(at Place, s *FeedbackStats) FeedbackSummary {
	v := FeedbackSummary{Place: at, Count: s.Count(), Ratings: s.Ratings, Comments: s.Comments, Models: counted(&s.models)}
	if v.Count > 0 {
		n := float64(v.Count)
		sum := int64(0)
		for i, of := range s.Ratings {
			sum += int64(i+1) * of
		}
		v.RatingMean = Some(float64(sum) / n)
		v.CompletionRate = Some(float64(s.Completed) / n)
		v.DwellMeanMS, v.DwellMaxMS = Some(float64(s.DwellSum)/n), Some(float64(s.DwellMax))
	}
	return v
}

// The codecs of feedback summaries; see ResultCodec.
var (
	FeedbackSummaryCodec codec.Codec[FeedbackSummary] = formCodec[FeedbackSummary]{"feedback summary", func(f *form, v *FeedbackSummary) {
		v.Place.fields(f)
		v.measures(f)
	}}
	FeedbackSummaryJSON codec.Codec[FeedbackSummary] = jsonCodec[FeedbackSummary]{FeedbackSummaryCodec}
)

// ratingNames are the fields of ratings.
var ratingNames = [...]string{"1", "2", "3", "4", "5"}

func (v *FeedbackSummary) measures(f *form) {
	f.int("count", &v.Count)
	f.number("rating_mean", &v.RatingMean)
	f.group("ratings", func(f *form) {
		for i, name := range ratingNames {
			f.int(name, &v.Ratings[i])
		}
	})
	f.number("completion_rate", &v.CompletionRate)
	f.int("comments", &v.Comments)
	f.group("dwell_ms", func(f *form) {
		f.number("mean", &v.DwellMeanMS)
		f.number("max", &v.DwellMaxMS)
	})
	f.counts("models", &v.Models)
}
