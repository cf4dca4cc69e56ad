// Package task runs one sub-topology on one partition. It knows no Kafka: what
// it reads is handed to it, what it sends goes to an Outlet, and committing is
// done by its owner in steps. Package streams and package streamtest drive the
// very same code, the one with brokers and clocks, the other with neither.
//
// The types to know:
//
//   - [Task] is composed with [New] from a topology, an open database and its
//     inputs; one goroutine owns it.
//   - [Input] is one partition that the task reads; [Input.Process] takes its
//     records in offset order.
//   - [Commit] is what a commit must write, in which order: see below.
//   - [ReplayError] asks the owner to throw its tasks away and replay without
//     one record or result; [Skips] remembers which.
//   - [Plan] says how many tasks a topology has and which partitions each reads.
//
// # A task's life
//
//	New ─► { Process | Answered | Tick }* ─► Prepare ─► (owner writes) ─► Committed ─► …
//
// Prepare sends what is due once a commit and collects the state that changed.
// The owner then, at least once: waits until everything the task has sent is
// acknowledged; appends Commit.Changes to the changelogs and waits; commits
// Commit.Offsets; and calls Committed, which writes the state to the task's
// database. No record is processed between Prepare and Committed. If any step
// fails, or its outcome is not known, the task is closed and made anew: nothing
// in it can be trusted, because live objects are changed in place.
//
// A bounded run is over for a task when [Task.Ended] says so and what it has done
// since is committed. A table sends at a commit, and what stands behind it ends
// only after that: an owner that waits for the end goes on committing.
//
// # Time
//
// The task's watermark is the least of its inputs' that are not idle. It moves
// with the records; when it does, the stateful nodes fire in topological order,
// each with the watermark that its own inputs have reached, a slice at a time
// ([Task.Tick] goes on where a slice ended). Markers carry the watermark to the
// sub-topologies behind a repartition, after the data that it covers. A task that
// was idle tells that it is awake before the data that woke it.
//
// How far time had come at each stateful node, and what upstream tasks had said,
// is kept in the task's own store, in an entry that the metadata of the committed
// offsets names. Without that entry all nodes begin at the watermark in the
// metadata.
//
// Records on Kafka have times from 1970 to 50 minutes ahead of the clock. An event
// time beyond that rides in a header, through changelogs and repartitions, since
// the window that a result falls into next depends on it.
//
// # Deletes
//
// A delete goes to the changelog in the commit after the one whose offsets made
// it true. A crash in between would undo it, since nothing repeats it: the entry
// therefore lists the single deletes that are yet to go out, however many there
// are, and New takes them up again. Expired windows are not listed; they follow
// from the watermark. A task with deletes to come is dirty, though nothing is
// read.
package task
