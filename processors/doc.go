// Package processors holds what a node of a topology does to a record: decode
// it, filter it, map it, aggregate it in a window, encode it for a sink.
//
// Users meet this package through the names that package topology re-exports
// (Record, Processor, Context); package internal/task runs what is composed
// here. The types to know:
//
//   - [Record] is what flows: key, value, event time, headers and, behind a
//     windowed aggregate, the window and the pane of the result.
//   - [Forward] is an edge: a typed function that takes the next record. A
//     task's nodes are composed from the sinks back to the sources, so that a
//     record passes through plain calls: nothing is boxed and nothing is
//     allocated on the way.
//   - [Runtime] is what a task lends to its nodes: the record's position, the
//     watermark, the clock, the way out.
//   - [Stateful] is a node that the passing of time moves: windowed
//     aggregates, and tables that send at a commit.
//   - [Processor] and [Context] are the processor API for users' own nodes.
//
// # Caveats
//
// A task and all its nodes run in one goroutine; nothing here is safe for
// concurrent use, and nothing here locks.
//
// The *Record that an edge carries belongs to the node that sends it and is
// used again for the next record. A node that keeps a record copies it. Its
// key and value may alias a fetched batch: what is kept for long is cloned.
//
// A result that leaves an aggregate shares the aggregate's memory. It is valid
// during the call only; a node that keeps it encodes it.
//
// When user code fails or panics while the current record has already changed
// state, the change cannot be taken back in place. The node then reports it,
// and the task is thrown away and replayed without the record: see
// [Runtime.Touched].
package processors
