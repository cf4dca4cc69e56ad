package llm

import (
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// BenchmarkStore is the store of the benchmark's topology.
const BenchmarkStore = "stats"

// Shape is a kind of windows that the benchmark can have.
type Shape string

// The shapes. All take late events for BenchmarkLateness.
const (
	// TumblingShape: windows of 5 minutes.
	TumblingShape Shape = "tumbling"
	// HoppingShape: windows of 15 minutes, one each minute.
	HoppingShape Shape = "hopping"
	// SessionShape: sessions that 30 minutes of silence end.
	SessionShape Shape = "session"
)

// BenchmarkLateness is for how long the benchmark's windows take late events.
const BenchmarkLateness = 2 * time.Minute

// Shapes returns every shape.
func Shapes() []Shape { return []Shape{TumblingShape, HoppingShape, SessionShape} }

// Windows returns the windows of a shape; false if there is no such shape.
func (s Shape) Windows() (w window.Windows, ok bool) {
	switch s {
	case TumblingShape:
		w = window.Tumbling(5 * time.Minute)
	case HoppingShape:
		w = window.Hopping(15 * time.Minute).Every(time.Minute)
	case SessionShape:
		w = window.Session(30 * time.Minute)
	default:
		return w, false
	}
	return w.AllowedLateness(BenchmarkLateness), true
}

// BenchmarkConfig says what the benchmark's topology reads and writes.
type BenchmarkConfig struct {
	// Application is the prefix of the topics that belong to it.
	Application string
	// Input holds Performance events under the keys that are aggregated by:
	// there is no repartition. Output takes the results, as MessagePack.
	Input, Output string
	// Windows are those of a Shape.
	Windows window.Windows
}

// NewBenchmark is the work of which other engines can do the same, to be
// compared: events by their record key in windows, as Stats. Each window that
// has changed sends an update with each commit, and nothing when it closes.
// Time follows the latest event without a delay, as stream time does.
func NewBenchmark(c BenchmarkConfig) (*topology.Topology, error) {
	b := topology.New(c.Application)
	stats := topology.Aggregate(
		topology.Source(b, c.Input, codec.String, PerformanceCodec).
			EventTime(PerformanceTime, window.BoundedDelay(0)).
			GroupByKey(codec.String, PerformanceCodec).
			WindowedBy(c.Windows),
		StatsCodec, PerformanceStats,
		topology.Emit(window.OnUpdate()),
		topology.Store(BenchmarkStore))
	topology.MapValues(stats.Stream(), ToResult).To(c.Output, codec.String, ResultCodec)
	return b.Build()
}
