package llm

import (
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// The topics and the store of the application.
const (
	PerformanceTopic = "llm.performance"
	StatsTopic       = "llm.stats"
	LateTopic        = "llm.late"
	StatsStore       = "model-stats"
)

// Config says how the application computes its metrics.
type Config struct {
	// Application is the prefix of the topics that belong to it.
	Application string
	// Topic is where Performance events come from.
	Topic string
	// Size is the length of the tumbling windows, Lateness how long after its
	// end a window takes late events.
	Size, Lateness time.Duration
	// Delay is how far events are out of order at most: the watermark follows
	// the latest event at this distance. Idle is after how long without events a
	// partition no longer holds the watermark back.
	Delay, Idle time.Duration
	// Ahead is how far ahead of the clock an event may lie, and Align how far ahead
	// of the slowest partition another is read; 0 is the default, an hour, and
	// without bound. Advance is how far behind the clock the watermark follows it
	// while everything is idle; 0 lets it stand still.
	Ahead, Align, Advance time.Duration
	// Early is how often a window that is not complete sends what it has; 0 is
	// never.
	Early time.Duration
	// PackedResults writes results as MessagePack instead of JSON.
	PackedResults bool
	// Reset is where the events go on whose position is lost; the application's if it
	// is topology.DefaultReset.
	Reset topology.OffsetReset
}

// DefaultConfig is performance by model in windows of 5 minutes, with 2 minutes
// of delay and 2 of lateness.
func DefaultConfig() Config {
	return Config{
		Application: "llm-metrics",
		Topic:       PerformanceTopic,
		Size:        5 * time.Minute,
		Lateness:    2 * time.Minute,
		Delay:       2 * time.Minute,
		Idle:        5 * time.Minute,
		Early:       30 * time.Second,
	}
}

// SourceNames are the sources that a configuration file may set.
func SourceNames() []string { return []string{performanceSource} }

const performanceSource = "performance"

// With returns c with what the file sets in place of its own values. What is
// set for the source goes before what is set for all.
func (c Config) With(file *config.Config) Config {
	over(&c.Application, file.Application)
	over(&c.Size, file.Windowing.Size)
	over(&c.Lateness, file.Windowing.AllowedLateness)
	over(&c.Delay, file.Windowing.WatermarkDelay)
	over(&c.Idle, file.Windowing.IdleTimeout)
	over(&c.Ahead, file.Windowing.MaxAhead)
	over(&c.Align, file.Windowing.AlignWithin)
	over(&c.Advance, file.Windowing.AdvanceWhenIdle)
	if source := file.Sources[performanceSource]; source != nil {
		over(&c.Topic, source.Topic)
		over(&c.Delay, source.MaxDelay)
		over(&c.Idle, source.IdleTimeout)
		if reset, err := topology.ParseOffsetReset(source.OffsetReset.Value); err == nil && source.OffsetReset.IsSet {
			c.Reset = reset
		}
		over(&c.Ahead, source.MaxAhead)
		over(&c.Align, source.AlignWithin)
		over(&c.Advance, source.AdvanceWhenIdle)
	}
	return c
}

// strategy is how the watermark follows the events.
func (c Config) strategy() window.Strategy {
	s := window.BoundedDelay(c.Delay).IdleAfter(c.Idle)
	if c.Ahead > 0 {
		s = s.MaxAhead(c.Ahead)
	}
	if c.Align > 0 {
		s = s.AlignWithin(c.Align)
	}
	if c.Advance > 0 {
		s = s.AdvanceWhenIdle(c.Advance)
	}
	return s
}

func over[T any](value *T, s config.Setting[T]) {
	if s.IsSet {
		*value = s.Value
	}
}

// PerformanceStats aggregates Performance events into Stats.
var PerformanceStats = topology.Aggregator[Performance, Stats]{
	New:   NewStats,
	Add:   (*Stats).Add,
	Merge: (*Stats).Merge,
}

// Model groups Performance events by the model that served them.
func Model[K any](r topology.Record[K, Performance]) string { return r.Value.Model }

// ToResult describes the aggregate of a window.
func ToResult(r topology.Record[string, Stats]) (Result, error) {
	return NewResult(r.Key, r.Window, r.Pane, &r.Value), nil
}

// NewTopology computes the performance of each model: the results go to
// StatsTopic, events that no window takes to LateTopic. The error tells every
// mistake in c that the topology shows.
func NewTopology(c Config) (*topology.Topology, error) {
	b := topology.New(c.Application)
	events := topology.Source(b, c.Topic, codec.String, PerformanceCodec, topology.OnLostOffset(c.Reset)).
		EventTime(PerformanceTime, c.strategy())
	windows := topology.GroupBy(events, codec.String, PerformanceCodec, Model, topology.Named("by-model")).
		WindowedBy(window.Tumbling(c.Size).AllowedLateness(c.Lateness))
	emit := window.OnTime().Late(window.EachUpdate)
	if c.Early > 0 {
		emit = emit.Early(c.Early)
	}
	stats := topology.Aggregate(windows, StatsCodec, PerformanceStats,
		topology.Emit(emit), topology.Store(StatsStore))
	result := ResultJSON
	if c.PackedResults {
		result = ResultCodec
	}
	topology.MapValues(stats.Stream(), ToResult).To(StatsTopic, codec.String, result)
	windows.Late().To(LateTopic, codec.String, PerformanceCodec)
	return b.Build()
}
