package llm

import (
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// The windows and the store of the benchmark's topology.
const (
	BenchmarkSize     = 5 * time.Minute
	BenchmarkLateness = 2 * time.Minute
	BenchmarkStore    = "stats"
)

// BenchmarkConfig says what the benchmark's topology reads and writes.
type BenchmarkConfig struct {
	// Application is the prefix of the topics that belong to it.
	Application string
	// Input holds Performance events under the keys that are aggregated by:
	// there is no repartition. Output takes the results, as MessagePack.
	Input, Output string
	// Every is the time between two updates of a window that goes on changing.
	// With that of the commits, each commit has what has changed since the last.
	Every time.Duration
}

// NewBenchmark is the work of which other engines can do the same, to be
// compared: events by their record key in tumbling windows of BenchmarkSize,
// which take late events for BenchmarkLateness, as Stats. Each window that has
// changed sends an update every so often, and a last one when it closes. Time
// follows the latest event without a delay, as stream time does.
func NewBenchmark(c BenchmarkConfig) (*topology.Topology, error) {
	b := topology.New(c.Application)
	stats := topology.Aggregate(
		topology.Source(b, c.Input, codec.String, PerformanceCodec).
			EventTime(PerformanceTime, window.BoundedDelay(0)).
			GroupByKey(codec.String, PerformanceCodec).
			WindowedBy(window.Tumbling(BenchmarkSize).AllowedLateness(BenchmarkLateness)),
		StatsCodec, PerformanceStats,
		topology.Emit(window.OnTime().Early(c.Every).Late(window.EachCommit)),
		topology.Store(BenchmarkStore))
	topology.MapValues(stats.Stream(), ToResult).To(c.Output, codec.String, ResultCodec)
	return b.Build()
}
