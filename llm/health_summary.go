package llm

import "github.com/millrace/millrace/codec"

// HealthSummary is what one pane says about a component.
type HealthSummary struct {
	Place
	// Count is the number of reports, Unhealthy of those in which the component
	// was not well.
	Count, Unhealthy int64
	// Availability is the share of reports in which the component was well.
	Availability Optional[float64]
	// CPU, Memory (0 to 1) and Queue (requests) describe what was reported; Queue
	// is absent if no report has a queue.
	CPU, Memory, Queue Load
}

// Load is the mean and the greatest of some figure. The mean is that of the
// exact sum, rounded once.
type Load struct {
	Mean, Max Optional[float64]
}

func (l *Load) fields(f *form) {
	f.number("mean", &l.Mean)
	f.number("max", &l.Max)
}

// NewHealthSummary describes s. It keeps nothing of s.
func NewHealthSummary(at Place, s *HealthStats) HealthSummary {
	v := HealthSummary{Place: at, Count: s.Count, Unhealthy: s.Unhealthy}
	if s.Count > 0 {
		v.Availability = Some(float64(s.Count-s.Unhealthy) / float64(s.Count))
		v.CPU = Load{Some(s.cpu.Mean(s.Count)), Some(s.CPUMax)}
		v.Memory = Load{Some(s.memory.Mean(s.Count)), Some(s.MemoryMax)}
	}
	if s.QueueCount > 0 {
		v.Queue = Load{Some(float64(s.QueueSum) / float64(s.QueueCount)), Some(float64(s.QueueMax))}
	}
	return v
}

// The codecs of health summaries; see ResultCodec.
var (
	HealthSummaryCodec codec.Codec[HealthSummary] = formCodec[HealthSummary]{"health summary", func(f *form, v *HealthSummary) {
		v.Place.fields(f)
		v.measures(f)
	}}
	HealthSummaryJSON codec.Codec[HealthSummary] = jsonCodec[HealthSummary]{HealthSummaryCodec}
)

func (v *HealthSummary) measures(f *form) {
	f.int("count", &v.Count)
	f.int("unhealthy", &v.Unhealthy)
	f.number("availability", &v.Availability)
	f.group("cpu", v.CPU.fields)
	f.group("memory", v.Memory.fields)
	f.group("queue_depth", v.Queue.fields)
}
