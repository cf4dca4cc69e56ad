// Package stores keeps the state of tasks: key-value entries, aggregates, and
// aggregates of windows, over an ordered engine that is Pebble or memory.
//
// What it is for: state that is never dirty. Changes stay in memory until their
// changelog records are acknowledged; only then do they reach the engine, in one
// atomic batch with the changelog's offsets. Whenever a process ends, its state
// is what the changelog says at exactly that offset, and a restore reads only
// the rest.
//
// The types to know:
//
//   - DB: the state of one task. Open it over an Engine, open its stores, and go
//     round: change, Collect, write the Changes to the changelog, Commit.
//   - Windowed and Aggregates: live objects (Live) that are changed in place and
//     encoded once a commit; KeyValue: values as they were put; Meta: what a
//     task notes about itself.
//   - Engine: ordered bytes. OpenPebble and NewMemory make one. PebbleResources
//     are shared by all Pebble databases of a process, Budget by all live
//     objects.
//   - View and Queryable: committed state for other goroutines, without types.
//
// The contract, with the order of calls, is at the top of stores.go.
//
// # Layout
//
// A store's engine keys begin with four bytes of a hash of its name; two names
// with one hash are refused. Windows are kept by start, then key, so that those
// to fire lie together and expiry clears one span. The engine's value of an
// aggregate is its time, its window.Firing and its bytes. The changelog carries
// Kafka Streams' keys and plain values, the time as the record's, and the Firing
// as a header that Kafka Streams ignores.
//
// # Caveats
//
//   - A DB and its stores belong to one goroutine, but for views, queries,
//     Offset and Close.
//   - After an error of Collect or Commit, or when it is not known whether the
//     log took the records, the DB is closed and opened again. There is no undo.
//   - A Live is good until the next Commit, which may evict it.
//   - Under DeletesDeferred a single delete waits for the commit after the next.
//     AppendDeletes and Redelete carry it over a crash in between; expiry, which
//     follows from the watermark, needs no such help.
//   - Pebble runs without a write-ahead log: a crash loses what was not flushed,
//     and the restore reads it again.
//   - A Pebble database that has failed (a full disk, a file that cannot be
//     written) cannot be closed. It answers ErrDead, and its folder stays locked
//     until the process ends; what is on disk is intact.
package stores
