package bench

import (
	"cmp"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/streams"
)

// What the page says of findings that internal/figures draws.

// latencySection is what the page says of latencies.
type latencySection struct {
	*Latencies
	Rows []latencyRow
}

// latencyRow is a contender under a guarantee: medians of the rounds, in
// milliseconds.
type latencyRow struct {
	Guarantee     streams.Guarantee
	Contender     string
	P50, P90, P99 float64
	// Least and Most are the least and the greatest p99 of a round, Max the longest
	// of all.
	Least, Most, Max float64
	// Rate is how many events arrived a second.
	Rate       float64
	CPUSeconds float64
}

// Held says whether the load had its rate: 99 % of it.
func (s *latencySection) Held(r latencyRow) bool { return r.Rate >= 0.99*float64(s.Load.Rate) }

func newLatencySection(l *Latencies) *latencySection {
	s := &latencySection{Latencies: l}
	for _, g := range l.Guarantees {
		for _, name := range latencyContenders() {
			s.Rows = append(s.Rows, l.row(g, name))
		}
	}
	return s
}

func (l *Latencies) row(g streams.Guarantee, contender string) latencyRow {
	runs := l.runs(g, contender)
	at := func(share float64) []float64 {
		return mapped(runs, func(r LatencyRun) float64 { return inMilliseconds(r.Latency.At(share)) })
	}
	p99, longest := at(0.99), at(1)
	return latencyRow{
		Guarantee: g, Contender: contender, P50: middle(at(0.5)), P90: middle(at(0.9)), P99: middle(p99),
		Least: slices.Min(p99), Most: slices.Max(p99), Max: slices.Max(longest),
		Rate:       middle(mapped(runs, func(r LatencyRun) float64 { return r.Rate })),
		CPUSeconds: middle(mapped(runs, func(r LatencyRun) float64 { return r.Report.CPUSeconds })),
	}
}

// goals are what the project asks of itself in latency: less than Kafka Streams.
func (l *Latencies) goals() []goal {
	var goals []goal
	for _, g := range l.Guarantees {
		goals = append(goals, goal{
			Work: "latency-" + string(g), What: "p99 of the latency, times Kafka Streams", Want: 1, Most: true,
			Have: l.row(g, Millrace).P99 / l.row(g, KafkaStreams).P99,
		})
	}
	return goals
}

func inMilliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// mapped returns what f says of each of some values.
func mapped[T any](values []T, f func(T) float64) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = f(v)
	}
	return out
}

// growthSection is what the page says of growth.
type growthSection struct {
	*Growth
	Rows []growthRow
}

// growthRow is a point: what an event costs, in nanoseconds of a processor.
type growthRow struct {
	GrowthPoint
	Nanos, FloorNanos, PeakMiB float64
}

func newGrowthSection(g *Growth) *growthSection {
	s := &growthSection{Growth: g}
	for _, p := range g.Points {
		s.Rows = append(s.Rows, growthRow{p, nanosAnEvent(p.Millrace), nanosAnEvent(p.Floor), peakMiB(p.Millrace)})
	}
	return s
}

// memorySection is what the page says of memory.
type memorySection struct {
	*Held
	// Budget is in bytes; State is the most that the folder held.
	Budget, State int64
}

func newMemorySection(h *Held) (*memorySection, error) {
	s := &memorySection{Held: h}
	var err error
	s.Budget, err = config.ParseSize(h.Memory)
	if len(h.Samples) > 0 {
		s.State = slices.MaxFunc(h.Samples, func(a, b MemorySample) int { return cmp.Compare(a.State, b.State) }).State
	}
	return s, err
}

// Sizes are in MiB or GiB, as their names say.
func (s *memorySection) PeakMiB() float64   { return peakMiB(s.Report) }
func (s *memorySection) BudgetMiB() float64 { return float64(s.Budget) / (1 << 20) }
func (s *memorySection) StateGiB() float64  { return float64(s.State) / (1 << 30) }
func (s *memorySection) GrownGiB() float64  { return float64(s.Grown) / (1 << 30) }
func (s *memorySection) GrownMiB() int64    { return s.Grown >> 20 }

// goal is what the project asks of itself: that the budget holds, almost.
func (s *memorySection) goal() goal {
	return goal{Work: "memory", What: "peak memory, times the budget", Want: 1.1, Have: s.PeakMiB() / s.BudgetMiB(), Most: true}
}
