// Package emission measures how long the result of a window takes: from the
// arrival at the broker of the event that moves the watermark past the window's
// end, to the moment at which a consumer has the result.
//
// # The work
//
// PerformanceMetrics events in MessagePack, so many a second, from 50 models in 4
// partitions. Five in a hundred are up to a second out of order, which is also the
// watermark's delay. They are summed up by model in short tumbling windows, so that
// many windows end: directly, where the events are keyed by model, or behind a
// repartition, where they are keyed by session.
//
// # The measure
//
// The events are a load of package live, which sends each event when it is its turn,
// has the broker stamp it, and reads what is committed by a client that shares no
// code with the engine. Read back, the input says for each partition when the first
// event arrived that moved its watermark to a window's end; behind a repartition the
// last of the partitions decides.
//
// The input read back is also an oracle: each window that was complete must have a
// final result with as many events as the input has for it.
//
// # How to run it
//
//	go run ./integration/emission/cmd/emission
//
// docs/performance.md has what it printed. [Measure] is one case of it.
//
// # Caveats
//
// Generator, instance and consumer share one process, and the machine with the
// broker: what they take of it is in the figures. The time of appending is in
// whole milliseconds, rounded down.
package emission
