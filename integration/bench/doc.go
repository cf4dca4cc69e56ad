// Package bench compares Millrace with what a user would take in its place,
// doing the same work on the same broker.
//
// # The work
//
// PerformanceMetrics events in MessagePack, keyed by model or by session, are
// summed up in windows of 5 minutes that take late events for 2: counts, tokens,
// cost, quality, and the latencies as a DDSketch. Each window that has changed
// goes to an output topic at every commit.
//
// # The contenders
//
//   - millrace: the command 'millrace bench', an ordinary topology by the public
//     API.
//   - kafka-streams: kafkastreams/*.java, the same by Kafka Streams' DSL, with a
//     decoder and an encoding by hand, large batches and a record cache. Its
//     sketch has the mapping and the accuracy of ours.
//   - raw floor: the least that a Go program must do. Fetch requests of its own,
//     the decoder and the aggregate of millrace, windows in memory; no result is
//     written, nothing is committed, nothing is ever forgotten.
//   - plain floor: the same by the usual libraries as they are, sarama's consumer
//     and msgpack by reflection.
//
// # A comparison
//
// [Compare] writes one seeded [Load] to a topic and has the contenders run over
// it in turn, each in a process of its own, the order rotating from round to
// round. A run is void ([ErrVoid]) unless its last result of each key and window
// equals the raw floor's: counts exactly, numbers but for the rounding of two
// languages. [WritePage] tells what was found, by medians and their ratios,
// beside the machine, the versions and the command.
//
// # Latency
//
// [MeasureLatency] has millrace and kafka-streams do the same under a load that
// arrives (package live), at one interval between commits, and looks at each event:
// how long from its arrival at the broker, by the broker's clock, until a consumer
// that reads committed records has a result that includes it. Which result does can
// be told because results carry counts and a partition is processed in order: the
// n-th event of a key and window is in the first result of n events or more. The
// warm-up does not count. The last results must equal the sum of what has arrived,
// here too.
//
// # Caveats
//
// Processor time and memory are those of the whole process from its start: a
// JVM's warm-up counts, and weighs less over more events. The broker runs on the
// same machine; its own time is nobody's.
//
// It needs a JDK and Maven: see integration/setup.sh.
package bench
