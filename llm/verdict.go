package llm

import "github.com/millrace/millrace/codec"

// Verdict says whether a model or a component degrades at the end of a window.
// There is one for each key and window, whether it is anomalous or not: silence
// would not tell health from a dead detector.
type Verdict struct {
	Place
	// Count is the number of events in the window.
	Count int64
	// Judged says that at least one signal has a score: there were events enough.
	Judged bool
	// Anomalous says that at least one signal is.
	Anomalous bool
	// Signals are ms_per_token and error_rate of a model; unhealthy_rate, cpu, memory
	// and queue_depth of a component.
	Signals []Signal
}

// Signal compares the newest part of a window with the rest; see Detection.
type Signal struct {
	Name string
	// Value is that of the newest part and Baseline that of the rest; absent
	// without events.
	Value, Baseline Optional[float64]
	// Score is how far Value is above Baseline, in robust standard deviations;
	// absent if there are too few events.
	Score Optional[float64]
	// Anomalous says that the score is above the threshold.
	Anomalous bool
}

// The codecs of verdicts; see ResultCodec.
var (
	VerdictCodec codec.Codec[Verdict] = formCodec[Verdict]{"verdict", func(f *form, v *Verdict) {
		v.Place.fields(f)
		f.int("count", &v.Count)
		f.bool("judged", &v.Judged)
		f.bool("anomalous", &v.Anomalous)
		list(f, "signals", &v.Signals, func(f *form, s *Signal) {
			f.str("signal", &s.Name)
			f.number("value", &s.Value)
			f.number("baseline", &s.Baseline)
			f.number("score", &s.Score)
			f.bool("anomalous", &s.Anomalous)
		})
	}}
	VerdictJSON codec.Codec[Verdict] = jsonCodec[Verdict]{VerdictCodec}
)
