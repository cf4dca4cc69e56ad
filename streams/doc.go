// Package streams runs topologies: an [Instance] is one member of an
// application's consumer group, and Run runs one.
//
//	err := streams.Run(ctx, topology, streams.Config{Brokers: []string{"localhost:9092"}})
//
// Start as many as there is work for, on one machine (each with a state folder
// of its own) or on many. They share the tasks, one for each sub-topology and
// partition, and take over from each other, with their state, when one stops
// or dies.
//
// The types to know:
//
//   - [Config] says where the brokers are and how to run. Only Brokers must be
//     set.
//   - [Instance] is a running part of an application, for those who want to
//     look into it: its [State], tasks, watermarks, and the databases that
//     package query answers from.
//   - [Listener] is told what happens: states of the instance and its tasks,
//     progress of restores, commits.
//   - [Storage] keeps the local state: Pebble databases in a folder, or memory.
//
// # What is promised
//
// At least once: after any crash every record is processed, and some may be
// processed again; state is never ahead of its changelog, so that no crash
// wipes it. What was committed before is final.
//
// With [ExactlyOnce] each record counts once, for readers that read committed:
// results, state and offsets are in one transaction of each worker.
//
// # Stopping
//
// When the context of Run ends the instance commits, leaves the group, so that
// others take over at once, and returns nil within five seconds. An error of
// Run says what failed, where, and what to do about it; its sentinels are
// [ErrInvalidConfig], [ErrMissingTopic], [ErrNotCopartitioned], [ErrTopic], and
// those of packages stores and processors.
//
// # Caveats
//
// The number of partitions of an input must not change: keys would find other
// tasks than those that have their state. A state folder belongs to one
// instance at a time, which locks it. User code runs on the workers'
// goroutines: if it blocks, its worker's tasks wait, and in the end the group
// gives them to others.
package streams
