package stores

import (
	"context"
	"errors"

	"github.com/millrace/millrace/window"
)

// This file is the contract of the package: what a task, an engine and a
// changelog may expect of each other.
//
// # Who calls what
//
// One goroutine, the task's, opens the stores of a DB, reads and changes them,
// and calls Collect and Commit. Nothing on the path of a record takes a lock that
// others hold: an engine's own is taken where an object is not live. Other
// goroutines may call DB.View, DB.Queryable, DB.Offset, DB.Checkpoint and
// DB.Close at any time, and DB.Ingest for a store that the task does not touch meanwhile.
//
// # In which order
//
//	Open ── OpenKeyValue, OpenWindowed, … ── restore (DB.Ingest) ──┐
//	┌──────────────────────────────────────────────────────────────┘
//	└─► reads and changes ─► Collect ─► (the log acknowledges) ─► Commit ─┐
//	    ▲                                                                 │
//	    └─────────────────────────────────────────────────────────────────┘
//
// Changes stay in an overlay in memory until Commit, and reads see them there.
// Between Collect and Commit nothing is changed. Commit writes the entries of
// the Changes and the changelog offsets in one atomic batch, so that an engine
// never holds an entry that its own offset does not cover. That is the whole
// recovery protocol: a commit that failed, or whose outcome is unknown, is not
// repaired. The DB is closed, which drops the overlay, and opened again.
//
// Upgrade and Expiry.Sweep change entries, and so come before Collect; between Collect
// and Commit they are refused. Expiry.SetClock comes when the overlay is clean: before
// the stores are first used, and right behind a Commit. Earlier, entries would expire
// by a clock that is not committed yet, and a view would lack what the Commit renews.

// LogRecord is one change of a store as its changelog topic carries it.
type LogRecord struct {
	Key []byte
	// Value is the new value; nil is a tombstone. An empty value that is not
	// nil is a value.
	Value []byte
	// Time is the greatest event time in the value, in Unix milliseconds. The
	// sender clamps it to what brokers take: see DB.BoundTimes.
	Time int64
	// Header is the content of the header StateHeader, or nil for none. A time
	// in it goes before Time.
	Header []byte
}

// StateHeader is the name of the one header of a changelog record. It carries
// what has been sent of an aggregate, as window.AppendFiring writes it, and the
// time of the entry where the record's own cannot be that.
const StateHeader = window.FiringHeader

// DeletePolicy says which commit carries a delete to the changelog and to the
// engine. Reads hide what is deleted at once under either policy.
type DeletePolicy uint8

const (
	// DeletesDeferred is for at least once: a delete made between two commits
	// goes out with the commit after the next, when the input offsets that
	// made it true are safe. Otherwise a replay could rebuild a window that
	// was closed and deleted from its last few events, and send a smaller
	// final result. The commit in between carries the value that the key had
	// when it was deleted. A later put of the key cancels the delete.
	DeletesDeferred DeletePolicy = iota
	// DeletesWithCommit is for exactly once: a delete goes out with the next
	// commit, like a put.
	DeletesWithCommit
)

// Kind says what a store holds.
type Kind string

// The kinds of stores. They are part of the layout that a DB remembers.
const (
	KeyValueKind  Kind = "key-value"
	WindowedKind  Kind = "windowed"
	AggregateKind Kind = "aggregate"
)

// Pair is one entry of an engine. A nil Value is a delete.
type Pair struct {
	Key, Value []byte
}

// Span is the keys from Lower, inclusive, to Upper, exclusive.
type Span struct {
	Lower, Upper []byte
}

// Batch is what an engine applies atomically: first Clear, then Set.
type Batch struct {
	// Clear lists the spans whose entries are removed.
	Clear []Span
	// Set lists entries in strictly ascending order of their keys.
	Set []Pair
}

// Reader reads ordered bytes.
type Reader interface {
	// Get appends the value of key to dst. Without an entry ok is false and
	// value is dst.
	Get(dst, key []byte) (value []byte, ok bool, err error)

	// Iterate returns an iterator over the entries of s as they are now:
	// later writes do not show. The caller closes it.
	Iterate(s Span) (Iterator, error)
}

// Iterator walks a snapshot in ascending order of keys. It belongs to one
// goroutine. A new one stands before the first entry.
type Iterator interface {
	// Next moves to the next entry. It returns false at the end and after an
	// error.
	Next() bool
	// Seek moves to the first entry at or after key, which is not below the
	// iterator's span.
	Seek(key []byte) bool
	// Key and Value return the entry that the iterator is at. They are valid
	// until it moves.
	Key() []byte
	Value() []byte
	// Err returns the error that ended the iteration, or nil.
	Err() error
	Close() error
}

// Engine keeps ordered bytes for one DB.
//
// Reads, views and Metrics may run on any goroutine; Apply, Ingest and Flush
// do not run together with each other, except that several Ingest calls may.
// After Close nothing else is called. An engine may lose the latest Apply
// calls in a crash, but only whole ones and only the latest ones: that the
// write of offsets and entries is atomic is all that a DB needs.
type Engine interface {
	Reader

	// Snapshot returns the entries as they are now, for another goroutine.
	Snapshot() (Snapshot, error)

	// Apply applies b atomically. The engine keeps no reference to its bytes,
	// unless it fails.
	Apply(b *Batch) error

	// Ingest adds entries, in strictly ascending order of their keys,
	// atomically and durably. It suits many entries; Apply suits few. The engine
	// keeps no reference to their bytes, unless it fails.
	Ingest(ctx context.Context, entries []Pair) error

	// Flush makes what was applied durable.
	Flush() error

	// Metrics returns figures for the metrics page.
	Metrics() EngineMetrics

	// Close flushes and releases everything. Iterators and snapshots are
	// closed before.
	Close() error
}

// Snapshot is the state of an engine at one moment. It may be read by several
// goroutines at once.
type Snapshot interface {
	Reader
	Close() error
}

// EngineMetrics are figures of one engine.
type EngineMetrics struct {
	// DiskBytes is the space that the engine takes on disk.
	DiskBytes int64
	// MemoryBytes is the engine's own memory: memtables, or all entries of an
	// engine in memory. The shared block cache does not count.
	MemoryBytes int64
	// Flushes and Compactions count since the engine was opened.
	Flushes, Compactions int64
}

// Errors of opening.
var (
	// ErrInUse: another process or DB holds the state folder.
	ErrInUse = errors.New("stores: state folder is in use")

	// ErrReadOnly: the state folder cannot be written.
	ErrReadOnly = errors.New("stores: state folder is not writable")

	// ErrLayout: the state on disk was written with another layout: another
	// format version, or a store that is now of another kind or layout.
	ErrLayout = errors.New("stores: state has another layout")

	// ErrName: a store's name is taken, or collides with another one.
	ErrName = errors.New("stores: store name cannot be used")

	// ErrCorrupt: what is on disk, or what a changelog record carries, is not
	// what a store writes. A DB whose Close returns it is to be removed, and
	// restored from its changelog.
	ErrCorrupt = errors.New("stores: corrupt state")
)

// EncodeError is an aggregate that its codec could not encode, or panicked at.
type EncodeError struct {
	Store string
	// Key is the changelog's.
	Key []byte
	Err error
	// Stack is that of a panic, or nil.
	Stack []byte
}

// Error names key and window. Collect and Check name the store.
func (e *EncodeError) Error() string { return e.Err.Error() }

// Unwrap returns the codec's error.
func (e *EncodeError) Unwrap() error { return e.Err }

// Errors of running.
var (
	// ErrClosed: the DB is closed or closing.
	ErrClosed = errors.New("stores: closed")

	// ErrDead: the engine met an error that it cannot go on from. The DB is
	// of no use any more; what is on disk is intact.
	ErrDead = errors.New("stores: engine failed")

	// ErrUnknownStore: the DB has no store of that name.
	ErrUnknownStore = errors.New("stores: unknown store")

	// ErrProtocol: calls in an order that the contract forbids, such as a
	// change between Collect and Commit.
	ErrProtocol = errors.New("stores: wrong order of calls")

	// ErrExpired: an entry was not put, since it is so old that its time to live is
	// over already.
	ErrExpired = errors.New("stores: entry has expired")

	// ErrQuery: a query that the store cannot answer, such as windows of a
	// store that has none.
	ErrQuery = errors.New("stores: query does not fit the store")
)
