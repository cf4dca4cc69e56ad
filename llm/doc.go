// Package llm is the application for which Millrace was begun: it turns the
// events of LLM serving into windowed metrics.
//
// # Events
//
// Performance, Feedback, Response, Health and Experiment are the five event
// types. Each embeds Event, which carries the time, the request and the model,
// and has four codecs: MessagePack and JSON, lenient and strict (see codec.go).
// A field that a producer may leave out is an Optional; absent is not zero.
// PerformanceTime and its siblings give the event time to a source.
//
// # Metrics
//
// Stats aggregates Performance events: counts, tokens, cost, quality, and a
// DDSketch of the latencies, from which any percentile comes within 1 %. Stats
// of parts merge into the Stats of the whole, in any order. ToResult makes the
// Result that goes to the topic llm.stats:
//
//	{"key":"chat-large","window_start":1700158500000,"window_end":1700158800000,
//	 "pane":"on_time","sequence":0,"final":false,"retracted":false,
//	 "count":812,"errors":4,"error_rate":0.0049261083743842365,
//	 "prompt_tokens":924031,"completion_tokens":171330,"cost_usd":5.34,
//	 "quality_mean":0.83,
//	 "latency_ms":{"mean":5210.4,"p50":3912.7,"p95":14480.2,"p99":19771.5,"max":24012.9}}
//
// Every field is always there. A mean over nothing is null: quality_mean where
// no event of the window has a quality, error_rate and the members of
// latency_ms where the window has no event.
//
// The answers of queries have the part from count on, without the nulls.
//
// The other kinds have an aggregate and a summary each: FeedbackStats and
// FeedbackSummary, ResponseStats, HealthStats, ExperimentStats. Their sums are
// whole numbers or kept without rounding, so that parts merge to the very same
// bytes in any order. Signals and Detection find degradations, and give a Verdict
// on each model and component. docs/llm.md has the methods with their sources.
//
// NewTopology joins these into the topology that millrace runs, by Config:
// DefaultConfig is performance alone, FullConfig everything. Late events go to
// llm.late.
//
// A percentile is the value at the 0-based rank floor(q*(count-1)) of the sorted
// latencies, the lower of two neighbours, as DDSketch defines it.
//
// # Input and truth
//
// Package llm/trace generates events from a trace of real requests, and package
// llm/truth computes the same metrics directly, to compare with.
//
// # Caveats
//
// Strings of a decoded event alias the record they came from. Aggregates keep
// none of them. An aggregate is a live object with one owner: it is not safe for
// use by several goroutines at once.
package llm
