package processors

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// Processor is a user's own node. Each task has its own, made anew when the
// task moves or is thrown away; what must live longer is kept in stores. All
// methods are called on the task's goroutine.
type Processor[K, V, K2, V2 any] interface {
	// Init is called once, before the first record. The context is valid
	// until Close.
	Init(ctx *Context[K2, V2]) error
	// Process handles one record and sends any number of records on with the
	// context's Forward. The record's key and value may alias fetched bytes.
	Process(r Record[K, V]) error
	// Close is called once, also after an error.
	Close() error
}

// Context is what a processor sees of its task.
type Context[K, V any] struct {
	rt     *Runtime
	node   *Node
	stores map[string]any
	next   Forward[K, V]
	out    Record[K, V]
	// failed is the first error of Forward for the record in process.
	failed error

	// w is the node's input watermark.
	w           int64
	punctuators []*Punctuator
	// tick is that of the punctuator that is called now, if one is.
	tick    int64
	ticking bool
}

// Forward sends a record to the next nodes before it returns. An error is that
// of a node behind this one; the record in process has failed then, whether or
// not Process returns the error too. While a punctuator is called, a record whose
// Time is 0 gets that of the tick.
func (c *Context[K, V]) Forward(r Record[K, V]) error {
	if c.ticking && r.Time == 0 {
		r.Time = c.tick
	}
	c.out = r
	err := c.next(&c.out)
	c.rt.Node = c.node
	if c.failed == nil {
		c.failed = err
	}
	return err
}

// Task returns the task's id.
func (c *Context[K, V]) Task() TaskID { return c.rt.Task }

// Position says where the record in process was read.
func (c *Context[K, V]) Position() Position { return c.rt.Position }

// Watermark returns the task's watermark in Unix milliseconds: no on-time
// event earlier than it is to come. It is window.MinTime while nothing is
// known.
func (c *Context[K, V]) Watermark() int64 { return c.rt.Watermark }

// Now returns the time by the task's clock.
func (c *Context[K, V]) Now() time.Time { return c.rt.Now() }

// Logger returns the task's logger.
func (c *Context[K, V]) Logger() *slog.Logger { return c.rt.Logger }

// StoreContext is a Context of any types, for asking it for a store.
type StoreContext interface {
	storeNamed(name string) (any, *Runtime, error)
}

func (c *Context[K, V]) storeNamed(name string) (any, *Runtime, error) {
	s, ok := c.stores[name]
	if !ok {
		return nil, nil, fmt.Errorf("node %q (%s) was not given store %q: add topology.Uses", c.node.Name, c.node.Where, name)
	}
	return s, c.rt, nil
}

// Store is a processor's access to a key-value store of its task. Changes are
// seen at once by the task, and by everybody else when they are committed.
type Store[K, V any] struct {
	rt *Runtime
	kv *stores.KeyValue[K, V]
}

// StoreIn returns the named store of ctx's task. Users call In of the handle
// that topology.KeyValueStore returned.
func StoreIn[K, V any](ctx StoreContext, name string) (*Store[K, V], error) {
	s, rt, err := ctx.storeNamed(name)
	if err != nil {
		return nil, err
	}
	kv, ok := s.(*stores.KeyValue[K, V])
	if !ok {
		return nil, fmt.Errorf("store %q is a %T, asked for as a %T", name, s, kv)
	}
	return &Store[K, V]{rt: rt, kv: kv}, nil
}

// Get returns the value of key, and whether there is one: in a store with a time to
// live, one that has not expired.
func (s *Store[K, V]) Get(key K) (V, bool, error) { return s.kv.Get(key) }

// Put sets the value of key. Both are encoded before Put returns. The entry has the
// time of the record or tick in process; in Init that of the watermark that the task
// goes on from, or 1970 in a task that begins anew. In a store with a time to live it
// keeps the later one of that and of the entry that it replaces; if there is none and
// its own would have expired already, it is left out and counted as a record that is
// late.
func (s *Store[K, V]) Put(key K, value V) error {
	s.rt.Touched = true
	err := s.kv.Put(key, value)
	if errors.Is(err, stores.ErrExpired) {
		s.rt.Observer.Dropped(s.rt.Node.Name, DroppedLate)
		return nil
	}
	return err
}

// Delete removes key, if it is there.
func (s *Store[K, V]) Delete(key K) error {
	s.rt.Touched = true
	return s.kv.Delete(key)
}

// Range yields the entries from key from up to but not including key to, in
// the order of their encoded keys; a nil bound is open. It shows the store as
// it was when the loop began.
func (s *Store[K, V]) Range(from, to *K) iter.Seq2[stores.Entry[K, V], error] {
	return s.kv.Range(from, to)
}

// Process is the node around a user's processor.
type Process[K, V, K2, V2 any] struct {
	rt        *Runtime
	node      *Node
	processor Processor[K, V, K2, V2]
	ctx       *Context[K2, V2]
}

// NewProcess initialises a processor with the opened stores it may use.
func NewProcess[K, V, K2, V2 any](rt *Runtime, n *Node, p Processor[K, V, K2, V2], opened map[string]any, next Forward[K2, V2]) (*Process[K, V, K2, V2], error) {
	rt.Node = n
	ctx := &Context[K2, V2]{rt: rt, node: n, stores: opened, next: next, w: window.MinTime}
	if err := p.Init(ctx); err != nil {
		return nil, n.fail(fmt.Errorf("init: %w", err))
	}
	return &Process[K, V, K2, V2]{rt: rt, node: n, processor: p, ctx: ctx}, nil
}

// Process hands a record to the user's processor.
func (p *Process[K, V, K2, V2]) Process(r *Record[K, V]) error {
	// The processor may change fields of its own, which nobody can take back.
	p.rt.Node, p.rt.Touched, p.ctx.failed = p.node, true, nil
	if db := p.rt.State; db != nil {
		// That of a result is not that of the record that made it due.
		defer db.SetTime(db.Time())
		db.SetTime(r.Time)
	}
	err := p.processor.Process(*r)
	switch {
	case p.ctx.failed != nil:
		return p.ctx.failed
	case err != nil:
		return p.node.fail(err)
	}
	return nil
}

// Output returns the input watermark.
func (p *Process[K, V, K2, V2]) Output() int64 { return p.ctx.w }

// BeforeCommit does nothing.
func (p *Process[K, V, K2, V2]) BeforeCommit() error { return nil }

// Close closes the user's processor.
func (p *Process[K, V, K2, V2]) Close() error {
	p.rt.Node = p.node
	return p.processor.Close()
}
