package llm

import (
	"errors"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// The topics that the application reads.
const (
	PerformanceTopic = "llm.performance"
	FeedbackTopic    = "llm.feedback"
	ResponseTopic    = "llm.response"
	HealthTopic      = "llm.system"
	ExperimentTopic  = "llm.experiment"
)

// The topics that it writes.
const (
	StatsTopic           = "llm.stats"            // Result: performance by model
	FeedbackStatsTopic   = "llm.feedback-stats"   // FeedbackSummary: by session
	ResponseStatsTopic   = "llm.response-stats"   // ResponseSummary: by model
	HealthStatsTopic     = "llm.system-stats"     // HealthSummary: by component
	ExperimentStatsTopic = "llm.experiment-stats" // ExperimentSummary: by experiment and metric
	AnomaliesTopic       = "llm.anomalies"        // Verdict: by model and by component
	// LateTopic takes the events of every kind that no window takes. LateHeader
	// tells which kind, by the name of the source.
	LateTopic = "llm.late"
)

// LateHeader is the header of the records of LateTopic whose value is the name
// of the source, such as FeedbackSource.
const LateHeader = "source"

// The stores of the application.
const (
	StatsStore            = "model-stats"
	FeedbackStore         = "session-stats"
	ResponseStore         = "response-stats"
	HealthStore           = "component-stats"
	ExperimentStore       = "experiment-stats"
	ModelSignalsStore     = "model-signals"
	ComponentSignalsStore = "component-signals"
)

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

// NewTopology computes what c asks for. Each kind of events has a source, and
// goes through a repartition by what it is grouped by; results go to the topics
// above, and events that no window takes to LateTopic. The error tells every
// mistake in c that the topology shows.
func NewTopology(c Config) (*topology.Topology, error) {
	a := &application{b: topology.New(c.Application), Config: c}
	if c.Topic != "" {
		a.performance()
	}
	if c.Feedback.Topic != "" {
		a.feedback()
	}
	if c.Responses.Topic != "" {
		a.responses()
	}
	if c.Health.Topic != "" {
		a.health()
	}
	if c.Experiments.Topic != "" {
		a.experiments()
	}
	t, err := a.b.Build()
	if err = errors.Join(c.check(), err); err != nil {
		return nil, err
	}
	return t, nil
}

// application builds the parts of the topology.
type application struct {
	b *topology.Builder
	Config
}

func (a *application) performance() {
	events := topology.Source(a.b, a.Topic, codec.String, PerformanceCodec, topology.OnLostOffset(a.Reset)).
		EventTime(PerformanceTime, a.performanceInput().strategy())
	groups := topology.GroupBy(events, codec.String, PerformanceCodec, Model, topology.Named("by-model"))
	windows := groups.WindowedBy(window.Tumbling(a.Size).AllowedLateness(a.Lateness))
	stats := topology.Aggregate(windows, StatsCodec, PerformanceStats,
		append(a.tiered(StatsTable()), topology.Emit(a.emit()), topology.Store(StatsStore))...)
	result := ResultJSON
	if a.PackedResults {
		result = ResultCodec
	}
	topology.MapValues(inRange(a, stats), ToResult).To(a.output(StatsTopic), codec.String, result, topology.Replicated(StatsStore))
	sendLate(a, windows, PerformanceCodec, PerformanceSource)
	if a.AnomalySize > 0 {
		signals := ModelSignals(a.AnomalyEvery)
		a.judge(topology.Aggregate(groups.WindowedBy(a.hopping()), pointed(SignalsCodec), topology.Aggregator[Performance, *Signals]{
			New:   pointedNew(signals),
			Add:   func(s **Signals, v Performance) error { return signals.Add(*s, v) },
			Merge: pointedMerge(signals),
		}, topology.Store(ModelSignalsStore)), ModelSignalsStore)
	}
}

func (a *application) feedback() {
	part[Feedback, FeedbackStats, FeedbackSummary]{
		source: FeedbackSource, in: a.Feedback, events: FeedbackCodec, time: FeedbackTime,
		by: SessionOf, named: "by-session",
		windows:    window.Session(a.SessionGap).AtMost(a.SessionAtMost).AllowedLateness(a.Lateness),
		aggregator: FeedbackAggregator, state: FeedbackStatsCodec, store: FeedbackStore,
		describe: always(NewFeedbackSummary), topic: FeedbackStatsTopic, text: FeedbackSummaryJSON, packed: FeedbackSummaryCodec,
	}.add(a)
}

func (a *application) responses() {
	part[Response, ResponseStats, ResponseSummary]{
		source: ResponseSource, in: a.Responses, events: ResponseCodec, time: ResponseTime,
		by: func(v *Response) string { return v.Model }, named: "responses-by-model",
		windows:    window.Tumbling(a.Size).AllowedLateness(a.Lateness),
		aggregator: ResponseAggregator, state: ResponseStatsCodec, store: ResponseStore,
		describe: always(NewResponseSummary), topic: ResponseStatsTopic, text: ResponseSummaryJSON, packed: ResponseSummaryCodec,
	}.add(a)
}

func (a *application) health() {
	groups := part[Health, HealthStats, HealthSummary]{
		source: SystemSource, in: a.Health, events: HealthCodec, time: HealthTime,
		by: func(v *Health) string { return v.Component }, named: "by-component",
		windows:    window.Tumbling(a.Size).AllowedLateness(a.Lateness),
		aggregator: HealthAggregator, state: HealthStatsCodec, store: HealthStore,
		describe: always(NewHealthSummary), topic: HealthStatsTopic, text: HealthSummaryJSON, packed: HealthSummaryCodec,
	}.add(a)
	if a.AnomalySize > 0 {
		a.judge(topology.Aggregate(groups.WindowedBy(a.hopping()), pointed(SignalsCodec),
			pointedAggregator(ComponentSignals(a.AnomalyEvery)), topology.Store(ComponentSignalsStore)), ComponentSignalsStore)
	}
}

func (a *application) experiments() {
	part[Experiment, ExperimentStats, ExperimentSummary]{
		source: ExperimentSource, in: a.Experiments, events: ExperimentCodec, time: ExperimentTime,
		by: func(v *Experiment) string { return ExperimentKey(v.Experiment, v.Metric) }, named: "by-experiment",
		windows:    window.Tumbling(a.ExperimentSize).AllowedLateness(a.Lateness),
		aggregator: ExperimentAggregator, state: ExperimentStatsCodec, store: ExperimentStore,
		describe: NewExperimentSummary, topic: ExperimentStatsTopic, text: ExperimentSummaryJSON, packed: ExperimentSummaryCodec,
	}.add(a)
}

// emit says when windows of statistics send results.
func (a *application) emit() window.Emit {
	if a.FinalOnly {
		return window.OnClose()
	}
	emit := window.OnTime().Late(window.EachUpdate)
	if a.Early > 0 {
		emit = emit.Early(a.Early)
	}
	return emit
}

// hopping returns the windows in which anomalies are looked for. They take no
// late events: a verdict that comes again, changed, would alarm twice.
func (a *application) hopping() window.Windows {
	return window.Hopping(a.AnomalySize).Every(a.AnomalyEvery)
}

// judge sends a verdict on each window.
func (a *application) judge(signals topology.WindowedTable[string, *Signals], store string) {
	millis := a.AnomalyEvery.Milliseconds()
	send(a, signals, store, AnomaliesTopic, VerdictJSON, VerdictCodec, func(at Place, s *Signals) (Verdict, error) {
		return a.Detection.Judge(at, s, millis), nil
	})
}
