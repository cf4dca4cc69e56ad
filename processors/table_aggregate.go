package processors

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// TableAggregateConfig says what an aggregate without windows does.
type TableAggregateConfig[K, V, A any] struct {
	Key codec.Codec[K]
	Aggregator[V, A]
	// First takes the place of Add for the first value of a key, if it is not
	// nil.
	First func(*A, V) error
	Store *stores.Aggregates[K, A]
	Next  Forward[K, A]
}

// TableAggregate gathers the values of each key in a live object, and sends
// those that changed once a commit, in the order in which they first changed.
type TableAggregate[K, V, A any] struct {
	rt      *Runtime
	node    *Node
	c       TableAggregateConfig[K, V, A]
	key     []byte
	out     Record[K, A]
	changed queue[A]
	// w is the input watermark, shown the one at the last BeforeCommit: what
	// was added since then has yet to be sent.
	w, shown int64
}

// NewTableAggregate returns the node; its Process is the edge into it.
func NewTableAggregate[K, V, A any](rt *Runtime, n *Node, c TableAggregateConfig[K, V, A]) *TableAggregate[K, V, A] {
	rt.owns(n, c.Store.Name())
	return &TableAggregate[K, V, A]{
		rt: rt, node: n, c: c, changed: queue[A]{bit: 1}, w: window.MinTime, shown: window.MinTime,
	}
}

// Process adds a record to its key's aggregate.
func (a *TableAggregate[K, V, A]) Process(r *Record[K, V]) error {
	a.rt.Node = a.node
	if r.nullKey {
		a.rt.Observer.Dropped(a.node.Name, DroppedNullKey)
		return nil
	}
	var err error
	if a.key, err = a.c.Key.Append(a.key[:0], r.Key); err != nil {
		return a.node.fail(fmt.Errorf("key: %w", err))
	}
	live, err := a.c.Store.Get(a.key)
	if err != nil {
		return a.node.fail(err)
	}
	if live == nil && a.c.Store.Expired(r.Time) {
		a.rt.Observer.Dropped(a.node.Name, DroppedLate)
		return nil
	}
	a.rt.Touched = true
	add := a.c.Add
	if r.Pane.Retracted && a.c.Remove != nil {
		add = a.c.Remove
	}
	if live == nil {
		if live, err = a.c.Store.Create(a.key); err != nil {
			return a.node.fail(err)
		}
		live.Time = r.Time
		if a.c.First != nil && !r.Pane.Retracted {
			add = a.c.First
		}
	}
	if err := add(live.Value, r.Value); err != nil {
		return a.node.fail(err)
	}
	live.Time = max(live.Time, r.Time)
	a.c.Store.Touch(live)
	a.changed.push(live)
	return nil
}

// Restore notes the watermark.
func (a *TableAggregate[K, V, A]) Restore(w int64) error {
	a.w, a.shown = w, w
	return nil
}

// Advance notes the watermark.
func (a *TableAggregate[K, V, A]) Advance(w int64) (bool, error) {
	a.w = max(a.w, w)
	return true, nil
}

// Output returns the watermark at the last commit: updates that came since
// then are sent at the next one.
func (a *TableAggregate[K, V, A]) Output() int64 {
	if a.changed.empty() {
		a.shown = a.w
	}
	return a.shown
}

// Tick does nothing: tables do not go by the clock.
func (a *TableAggregate[K, V, A]) Tick(time.Time) error { return nil }

// BeforeCommit sends the changed values.
func (a *TableAggregate[K, V, A]) BeforeCommit() error {
	for !a.changed.empty() {
		live := a.changed.pop()
		if err := a.rt.sendDue(a.node.Name, live.Key(), 0, func() error { return a.send(live) }); err != nil {
			return err
		}
	}
	a.shown = a.w
	return nil
}

func (a *TableAggregate[K, V, A]) send(live *stores.Live[A]) error {
	a.rt.Node = a.node
	key, err := a.c.Key.Decode(live.Key())
	if err != nil {
		return a.node.fail(fmt.Errorf("stored key: %w", err))
	}
	a.out = Record[K, A]{Key: key, Value: *live.Value, Time: live.Time}
	return a.c.Next(&a.out)
}

// Close lets go of the live objects.
func (a *TableAggregate[K, V, A]) Close() error {
	a.changed = queue[A]{}
	return nil
}
