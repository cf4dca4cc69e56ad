// Package kafka is the Kafka client that the rest of the module stands on: one
// connection a role, requests sent by hand, bytes handed on without a copy.
//
// It uses sarama as a codec and a socket (sarama.Broker, RecordBatch) and none
// of sarama's consumers, producers or group sessions. Measured against those it
// fetches at half the processor time, produces at a third, and hides neither
// the next fetch offset nor the base offset of what was written, both of which
// a changelog needs.
//
// The types to know:
//
//   - [Client] knows the cluster: metadata, leaders, coordinators, topics,
//     offsets. It is safe for concurrent use. Everything else is made from it.
//   - [Fetcher] reads partitions and hands [Delivery] values to a [Sink]: record
//     batches in offset order, and answers without records too, since "the
//     broker answered and there is nothing more" is what idleness is made of.
//   - [Producer] writes with acks=all and idempotence for one owner goroutine.
//     Order within a partition survives retries, and nothing is written twice.
//   - [TransactionalProducer] is a Producer whose records and offsets are seen
//     together or never, and which fences the one before it.
//   - [Member] is one member of a consumer group: join, sync, heartbeat, leave.
//     When to call which is the caller's business.
//
// # Connections
//
// A sarama.Broker holds its mutex while a request is under way. So each role has
// a connection of its own (metadata and administration, commits, membership,
// each fetcher, each producer), one goroutine uses it at a time, and nobody
// calls a method of a Broker to stop it: the network connection below it is
// closed instead. Every call that takes a context ends soon after the context.
// No mutex is held across a request or a wait, which is also what lets the whole
// package run under testing/synctest on an in-memory network.
//
// # Errors
//
// What passes (a moved leader, a coordinator that loads, a cut connection) is
// retried with back-off until the context ends or [Config.RetryTimeout] is over;
// then the error wraps [ErrUnavailable] and says what was tried and why it
// failed. Answers that change what the caller has to do are sentinels:
// [ErrIllegalGeneration], [ErrOffsetOutOfRange], [ErrProducerFenced] and so on.
//
// # Caveats
//
//   - Brokers older than Kafka 2.7 are refused by [Open].
//   - Keys, values and headers of a [Record] alias the fetched batch: copy what
//     is kept, or one small key keeps a whole decompressed batch in memory.
//   - With SASL a connection is authenticated while a mutex is held (inside
//     sarama), so under testing/synctest time stands still during a handshake.
//   - sarama keeps zstd coders in a pool that belongs to the first synctest bubble
//     that uses it: zstd cannot be used in two bubbles of one process.
package kafka
