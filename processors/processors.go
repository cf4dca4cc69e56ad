package processors

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// Header is one header of a record. Headers pass through every node unchanged,
// tracing headers such as W3C traceparent among them.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record on its way through a topology. Functions that users
// write get it by value.
type Record[K, V any] struct {
	Key   K
	Value V
	// Time is the event time in Unix milliseconds. A result of an aggregate
	// has the greatest event time that went into it.
	Time    int64
	Headers []Header
	// Window and Pane are set on the results of a windowed aggregate and ride
	// along until a node makes a new kind of record.
	Window window.Window
	Pane   window.Pane

	// nullKey marks a record that was read with a null key: Key is the zero
	// value, and aggregates by key do not take it.
	nullKey bool
}

// Forward is a typed edge: it hands a record to the next node. The record is
// the sender's and valid during the call only. An error stops the record here
// and is judged by the error policy.
type Forward[K, V any] func(r *Record[K, V]) error

// TaskID names a task: one sub-topology on one partition.
type TaskID struct {
	Sub       int
	Partition int32
}

// String returns the form used in logs and folders, such as "0_3".
func (id TaskID) String() string { return fmt.Sprintf("%d_%d", id.Sub, id.Partition) }

// Compare orders tasks by sub-topology, then partition.
func (id TaskID) Compare(other TaskID) int {
	return cmp.Or(cmp.Compare(id.Sub, other.Sub), cmp.Compare(id.Partition, other.Partition))
}

// Position says where a record was read.
type Position struct {
	Topic     string
	Partition int32
	Offset    int64
}

// String returns "topic/partition@offset".
func (p Position) String() string { return fmt.Sprintf("%s/%d@%d", p.Topic, p.Partition, p.Offset) }

// Outlet takes what a task sends. It copies what it is given before it
// returns, and keeps the order of the records of each partition.
type Outlet interface {
	// Send queues one record. A nil key or value is sent as null.
	Send(topic string, partition int32, key, value []byte, time int64, headers []Header) error
	// Partitions returns the number of partitions of topic.
	Partitions(topic string) (int32, error)
}

// Observer is told what a task's nodes saw that is worth counting. Its methods
// are called on the task's goroutine and do not block.
type Observer struct {
	// Dropped reports records that a node did not take, and why.
	Dropped func(node string, reason DropReason)
	// Late reports by how much, in milliseconds, an event was behind the
	// watermark though its window still took it.
	Late func(node string, behind int64)
	// Emitted reports the results that a window aggregate sent.
	Emitted func(node string, pane window.Pane)
	// Buffered reports by how much the buffer of a node has grown, or shrunk: the
	// records in it, and their bytes.
	Buffered func(node string, records, bytes int64)
	// Expired reports how many entries of a store a commit has deleted because their
	// time to live was over.
	Expired func(store string, entries int)
	// Upgraded reports how many values of a store a commit has brought to the newest
	// version in the background.
	Upgraded func(store string, values int)
	// Upgrading reports by how much the number of tasks has changed whose store of
	// that name may hold values of older versions.
	Upgrading func(store string, change int)
}

// EnsureDefaults sets the functions that are nil to ones that do nothing.
func (o *Observer) EnsureDefaults() {
	if o.Dropped == nil {
		o.Dropped = func(string, DropReason) {}
	}
	if o.Late == nil {
		o.Late = func(string, int64) {}
	}
	if o.Emitted == nil {
		o.Emitted = func(string, window.Pane) {}
	}
	if o.Buffered == nil {
		o.Buffered = func(string, int64, int64) {}
	}
	if o.Expired == nil {
		o.Expired = func(string, int) {}
	}
	if o.Upgraded == nil {
		o.Upgraded = func(string, int) {}
	}
	if o.Upgrading == nil {
		o.Upgrading = func(string, int) {}
	}
}

// DropReason says why a record went no further.
type DropReason string

// The reasons, as they stand in the label of millrace_dropped_records_total.
const (
	// DroppedLate: no window takes the event any more, or the entry that it would begin
	// in a store with a time to live is over already.
	DroppedLate DropReason = "late"
	// DroppedPartlyLate: some, but not all, of the event's windows are closed.
	DroppedPartlyLate DropReason = "partly_late"
	// DroppedNullKey: an aggregate groups by key, and the record has none.
	DroppedNullKey DropReason = "null_key"
	// DroppedError: user code or a codec failed, and the policy is to skip.
	DroppedError DropReason = "error"
	// DroppedDeadLetter: as DroppedError, but the record went to the
	// dead-letter topic.
	DroppedDeadLetter DropReason = "dead_letter"
)

// Runtime is what a task lends to its nodes. One goroutine uses it.
type Runtime struct {
	Task   TaskID
	Outlet Outlet
	// Now is the task's clock.
	Now      func() time.Time
	Logger   *slog.Logger
	Observer Observer
	// Topic turns a logical repartition name into the name on the broker.
	Topic func(repartition string) string
	// Replicate takes the results that a sink has sent and that go to the instance's
	// replica when they are committed; nil if there is none. The bytes are the
	// sink's, and valid during the call only.
	Replicate func(stores.Result)

	// Position is that of the record in process. It is the last one's while
	// the watermark fires windows.
	Position Position
	// Node is the node whose user code runs now: what a panic is blamed on.
	Node *Node
	// Touched is set by a node that changes state for the record in process,
	// and cleared by the task before each record. If user code fails while it
	// is set, the task is replayed without the record.
	Touched bool
	// Watermark is the task's: no on-time event earlier than it is to come.
	Watermark int64
	// State is the task's database, which knows the time that a change of a store
	// carries; nil if the task has none.
	State *stores.DB
	// Punctuated is set when a punctuator is called, and cleared by the task when
	// that is committed.
	Punctuated bool

	// Due is the result that an aggregate sends now because its time has come,
	// or has failed to send; Node is empty if there is none. If sending it
	// fails, no record is to blame.
	Due DueResult
	// SkipDue reports whether a result is to be left out, because the task is
	// replayed without it; nil for never.
	SkipDue func(DueResult) bool
	// Verify is called after each record by the task, and after each result that
	// time has made due; nil for never. A replay looks that way for what has made
	// an aggregate impossible to encode. If it fails it has set Touched.
	Verify func() error

	owners map[string]*Node
}

// owns notes that n keeps its aggregates in a store.
func (rt *Runtime) owns(n *Node, store string) {
	if rt.owners == nil {
		rt.owners = map[string]*Node{}
	}
	rt.owners[store] = n
}

// Owner returns the node that keeps its aggregates in a store, or nil.
func (rt *Runtime) Owner(store string) *Node { return rt.owners[store] }

// DueResult names a result of an aggregate. The key is the encoded one and the
// store's; Start is the window's, 0 without windows.
type DueResult struct {
	Node  string
	Key   []byte
	Start int64
}

// sendDue calls send for a result that time has made due, unless the result is
// to be left out.
func (rt *Runtime) sendDue(node string, key []byte, start int64, send func() error) error {
	outer, touched := rt.Due, rt.Touched
	rt.Due, rt.Touched = DueResult{Node: node, Key: key, Start: start}, false
	if rt.SkipDue != nil && rt.SkipDue(rt.Due) {
		rt.Observer.Dropped(node, DroppedError)
	} else if err := send(); err != nil {
		return err
	} else if rt.Verify != nil {
		if err := rt.Verify(); err != nil {
			return err
		}
	}
	rt.Due, rt.Touched = outer, rt.Touched || touched
	return nil
}

// Node is what a node knows of itself at run time.
type Node struct {
	Name string
	// Policy says what to do when the node's user code fails.
	Policy ErrorPolicy
	// Where is the file and line of the call that made the node.
	Where string
}

// ErrorPolicy says what to do with a record that user code or a codec cannot
// handle.
type ErrorPolicy uint8

const (
	// DefaultPolicy leaves it to the application, whose own default is Fail.
	DefaultPolicy ErrorPolicy = iota
	// Fail stops the instance with the error.
	Fail
	// Skip drops the record and counts it.
	Skip
	// DeadLetter sends the record as it was read to the dead-letter topic,
	// with the error in Kafka Streams' header names, and goes on.
	DeadLetter
)

// String returns the name used in configuration files.
func (p ErrorPolicy) String() string {
	switch p {
	case Fail:
		return "fail"
	case Skip:
		return "skip"
	case DeadLetter:
		return "dead-letter"
	}
	return "default"
}

// NodeError is an error of user code or of a codec, with the node in which it
// happened.
type NodeError struct {
	Node *Node
	Err  error
}

// Error names the node, where it was made, and the cause.
func (e *NodeError) Error() string {
	return fmt.Sprintf("node %q (%s): %v", e.Node.Name, e.Node.Where, e.Err)
}

// Unwrap returns the cause.
func (e *NodeError) Unwrap() error { return e.Err }

// fail wraps err as n's, unless it is a later node's already.
func (n *Node) fail(err error) error {
	if later, ok := errors.AsType[*NodeError](err); ok {
		return later
	}
	return &NodeError{Node: n, Err: err}
}

// Source is an input of a sub-topology, with its types erased: bytes go in.
type Source interface {
	// Decode decodes a record and finds its event time; it sends nothing yet.
	// The bytes stay valid for as long as the record is in process.
	Decode(key, value []byte, time int64, headers []Header) (eventTime int64, err error)
	// Forward sends the record decoded last to the next nodes.
	Forward() error
	// Generator makes the watermark generator of a partition, of which watermark
	// was committed; nil if the source's watermarks follow event times. User code
	// runs in it.
	Generator(watermark int64) (Generator, error)
}

// Generator is a user's window.Generator of one partition, with the type of the
// values erased: it looks at the record that its source has decoded last.
type Generator interface {
	// Event returns the watermark that holds behind that record.
	Event(now int64) (watermark int64)
	// Tick returns the watermark by the wall clock.
	Tick(now int64) (watermark int64)
}

// Stateful is a node that time moves.
//
// The task calls Restore once, before anything else; then Advance for each
// stateful node, in topological order, whenever the node's input watermark has
// moved; Tick often, with the wall clock; and BeforeCommit before the stores
// are collected. All but Restore may send records.
//
// If a node that a result was sent to fails, the call returns the error; called
// again, it goes on behind that result.
type Stateful interface {
	// Restore tells the node the input watermark that it continues from:
	// window.MinTime if there is none.
	Restore(w int64) error
	// Advance fires, closes and deletes windows up to the input watermark w.
	// It works in slices: done is false if there is more to do at w, and it is
	// to be called again, after other work if there is some.
	Advance(w int64) (done bool, err error)
	// Output is the watermark of the node's results: none earlier than it, by
	// event time, is to come on time.
	Output() int64
	// Tick sends what is due by the wall clock.
	Tick(now time.Time) error
	// BeforeCommit sends what is due once a commit.
	BeforeCommit() error
	// Close lets the node give back what it holds. The stores are not its own.
	Close() error
}

// Follower is a node right behind another stateful one, whose results it holds
// back. Advance tells it not how far those results have come but how far the node
// before it has been advanced, and is called when that has done all that is due.
type Follower interface {
	Stateful
	// Follow says which node is before it, ahead of Restore.
	Follow(before Stateful)
}

// Ticking is a node with ticks of the clock that the task remembers by name, so
// that they go on after a restart.
type Ticking interface {
	Stateful
	// Ticks yields how far each has come.
	Ticks() iter.Seq2[string, int64]
	// RestoreTicks asks find how far each had come. It is called before Restore.
	RestoreTicks(find func(name string) (last int64, ok bool))
}

// Aggregator says how values of type V are gathered in an aggregate of type A.
// Its functions run on the task's goroutine, and serve every task.
type Aggregator[V, A any] struct {
	// New returns an empty aggregate.
	New func() *A
	// Add changes the aggregate in place to hold one more value.
	Add func(*A, V) error
	// Merge changes into to hold what from holds too. Build says which windows
	// need it.
	Merge func(into, from *A) error
	// Remove takes a value back that Add was given. Streams that retract need
	// it.
	Remove func(*A, V) error
}
