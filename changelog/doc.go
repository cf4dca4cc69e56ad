// Package changelog replicates stores: which topic holds the changes of a store,
// how that topic must be set up, and how a store is restored from it.
//
// The types to know:
//
//   - Log, Appender, Reader and Feed: what replication needs of a log. The
//     contract is at the top of changelog.go. NewKafkaReader reads topics of a
//     cluster; Memory is a log for tests and for running without Kafka, which
//     can do to its partitions what brokers do.
//   - Restore: brings a store up to the end that its log has now, from where the
//     store stands, or from the log's start if that cannot be relied on.
//   - Follow: keeps a store up to date for as long as somebody wants, which is
//     what a standby does.
//   - Checkpoints, Uploader, Manifest, BlobStore: copies of a task's database in
//     an object store, from which a restore begins that finds nothing on its
//     disk. The contract is at the top of checkpoint.go; package objectstore has
//     the stores.
//   - TopicName, TopicConfig, CheckTopic: the topic's name, which is Kafka
//     Streams', its settings, and what is wrong with one that is there.
//
// # When a restore starts over
//
// A store's offset stands beside its entries and is written with them, so the
// two always fit each other. A restore goes on from there, unless the log can no
// longer say what came after: the topic was made anew or truncated, or the
// offset is older than the topic keeps tombstones, so that a delete may have
// been forgotten. Then the store is cleared, the reason is logged, and the log
// is read from its start. What is uncertain is never continued.
//
// While a restore from the start is under way the age of its offset counts from
// the moment at which it began: what it has read so far is the log of then, and
// a delete that was written since must not be forgotten before the rest is read.
//
// # Caveats
//
//   - The end of a log is its high watermark, reached when the next fetch offset
//     reaches it: the last offsets may have no record.
//   - An open transaction holds a reader that reads committed back from the end;
//     Restore waits for it until its context ends.
//   - Records that were compacted away count in Progress.Remaining: it is an
//     upper bound.
//   - A topic with "compact,delete" loses old state when its retention is over.
//     CheckTopic refuses it.
package changelog
