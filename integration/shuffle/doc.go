// Package shuffle has Millrace and Kafka Streams count the same events behind a
// repartition, whose upstream partitions are far apart in event time, and tells how
// many of them each has dropped.
//
// # The events
//
// A [Load] is two partitions. The second is half an hour behind the first, as it
// is when a region, a mobile network or a backfill lags. Each event is up to a
// minute out of order within its own partition. Its key is a session, its value
// a model; the record's time is the event's.
//
// # The work
//
// Both count the events of each model in tumbling windows of five minutes, by two
// threads, with a repartition by model into two partitions. Neither has a setting
// that is made for this. Millrace's watermark has a delay of a minute, the bound of
// the disorder, and its windows take nothing late; Kafka Streams has a grace of
// two minutes.
//
// # What is compared
//
// [Run] writes a load and runs the engines over it in turn, on one broker. Last
// results of each model and window are read by a client that shares no code with
// either, and compared with [Load.Truth], which is plain arithmetic.
//
// The command is integration/shuffle/cmd/shuffle; docs/differences.md has what it
// printed. It needs a JDK and Maven: see integration/setup.sh.
package shuffle
