package topology

import (
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// Windowed is a grouped stream divided into windows of event time.
type Windowed[K, V any] struct {
	g       Grouped[K, V]
	windows window.Windows
	late    *lateOutput[K, V]
}

// lateOutput is the side output for events that no window takes. The copies of
// a handle share it.
type lateOutput[K, V any] struct {
	aggregate *node
	stream    *stream[K, V]
}

// WindowedBy divides the groups into windows.
func (g Grouped[K, V]) WindowedBy(w window.Windows) Windowed[K, V] {
	return Windowed[K, V]{g: g, windows: w, late: &lateOutput[K, V]{}}
}

// Late returns the events that came too late for every window. Without it they
// are only counted. It needs exactly one aggregate of the same windows.
func (w Windowed[K, V]) Late() Stream[K, V] {
	if w.late.stream == nil {
		b := w.g.s.b
		parent := w.g.s.node
		n := b.add(kindLate, options{}, parent.id)
		w.late.stream = &stream[K, V]{b: b, node: n, retracts: w.g.s.retracts}
		b.checks = append(b.checks, func() {
			if w.late.aggregate == nil {
				b.mistake(n, "Late is the side output of an aggregate, and these windows have none")
			}
		})
	}
	return Stream[K, V]{w.late.stream}
}

// WindowedTable is the state of a windowed aggregate: one A for each key and
// window.
type WindowedTable[K, A any] struct{ results[K, A] }

// results are what an aggregate sends, and how keys and aggregates are written.
type results[K, A any] struct {
	s     *stream[K, A]
	key   codec.Codec[K]
	value codec.Codec[A]
	// emit is that of a windowed aggregate.
	emit window.Emit
}

// Stream returns the results: key, aggregate, and the window and pane of each.
// The aggregate in a record is the live one: it is valid during the call only.
func (t WindowedTable[K, A]) Stream() Stream[K, A] { return t.s.handle() }

// Table is the state of an aggregate without windows: one A for each key.
type Table[K, A any] struct{ results[K, A] }

// Stream returns the updates: at each commit, the value of each key that
// changed since the last one.
func (t Table[K, A]) Stream() Stream[K, A] { return t.s.handle() }

// Aggregate gathers the values of each key and window into an A. The store
// must be named with [Store]; [Emit] says when results are sent.
func Aggregate[K, V, A any](w Windowed[K, V], value codec.Codec[A], agg Aggregator[V, A], opts ...WindowOption) WindowedTable[K, A] {
	return aggregate(w, value, agg, beginning[V, A]{}, opts)
}

// beginning is what takes the place of Add and Merge while an aggregate is empty;
// nil for nothing.
type beginning[V, A any] struct {
	first func(*A, V) error
	begin func(into, from *A) error
}

// aggregate adds the node of a windowed aggregate.
func aggregate[K, V, A any](w Windowed[K, V], value codec.Codec[A], agg Aggregator[V, A], start beginning[V, A], opts []WindowOption) WindowedTable[K, A] {
	o := options{}
	for _, opt := range opts {
		opt.windowed(&o)
	}
	b := w.g.s.b
	n := b.add(kindAggregate, o, w.g.s.node.id)
	st := b.addStore(o.store, "window store", n)
	w.windows = o.tiers.apply(kept(w.windows, o.emit, agg))
	st.cold = o.tiers != nil && o.tiers.Cold
	st.open = windowStore(st, w, value, agg, start, o.tiers.config())
	st.forms = formsOf(w.g.key, value)
	n.windows = &w.windows
	if err := w.windows.Validate(); err != nil {
		b.mistake(n, "windows: %v", err)
	}
	if err := o.emit.Validate(); err != nil {
		b.mistake(n, "emit: %v", err)
	}
	checkAggregator(b, n, w.g, value, agg)
	checkWindows(b, n, w, o.emit, agg)
	o.tiers.check(b, n, w.windows, o.emit)
	if w.late.aggregate != nil {
		b.checks = append(b.checks, func() {
			if w.late.stream != nil {
				b.mistake(n, "Late belongs to one aggregate: call WindowedBy once for each")
			}
		})
	}
	w.late.aggregate = n
	out := &stream[K, A]{b: b, node: n, retracts: processors.Retracts(w.windows, o.emit), windows: w.windows.Kind()}
	w.g.s.children = append(w.g.s.children, func(in *instance) (processors.Forward[K, V], error) {
		next, err := out.edge(in)
		if err != nil {
			return nil, err
		}
		c := processors.WindowAggregateConfig[K, V, A]{
			Windows: w.windows, Emit: o.emit, Key: w.g.key, Value: value,
			Aggregator: agg, First: start.first, Begin: start.begin, Next: next,
		}
		if w.late.stream != nil {
			if c.Late, err = w.late.stream.edge(in); err != nil {
				return nil, err
			}
		}
		switch store := in.opened[st.name].(type) {
		case *stores.Windowed[K, A]:
			c.Store = store
		case *stores.Spans[K, A]:
			c.Spans = store
		}
		node := processors.NewWindowAggregate(in.rt, in.node(n), c)
		in.addStateful(n, node)
		return node.Process, nil
	})
	return WindowedTable[K, A]{results[K, A]{s: out, key: w.g.key, value: value, emit: o.emit}}
}

// AggregateTable gathers the values of each key into an A, without windows.
// The store must be named with [Store].
func AggregateTable[K, V, A any](g Grouped[K, V], value codec.Codec[A], agg Aggregator[V, A], opts ...TableOption) Table[K, A] {
	return aggregateTable(g, value, agg, nil, opts)
}

// aggregateTable adds the node of an aggregate without windows. first is as for
// aggregate.
func aggregateTable[K, V, A any](g Grouped[K, V], value codec.Codec[A], agg Aggregator[V, A], first func(*A, V) error, opts []TableOption) Table[K, A] {
	o := options{}
	for _, opt := range opts {
		opt.table(&o)
	}
	b := g.s.b
	n := b.add(kindAggregate, o, g.s.node.id)
	st := b.addStore(o.store, "key-value store", n)
	st.forms = formsOf(g.key, value)
	st.open = func(db *stores.DB) (any, error) {
		return stores.OpenAggregates(db, stores.AggregatesConfig[K, A]{Name: st.name, Key: g.key, Value: value, New: agg.New, TTL: st.ttl})
	}
	if mistake := st.checkTTL(o.ttl); mistake != "" {
		b.mistake(n, "%s", mistake)
	}
	if o.ttl != nil && g.s.retracts {
		b.mistake(n, "topology.TTL: results that come here may be retracted, and what they went into may have expired by then: leave it out, or use results that are final (Suppress)")
	}
	checkAggregator(b, n, g, value, agg)
	out := &stream[K, A]{b: b, node: n}
	g.s.children = append(g.s.children, func(in *instance) (processors.Forward[K, V], error) {
		next, err := out.edge(in)
		if err != nil {
			return nil, err
		}
		store := in.opened[st.name].(*stores.Aggregates[K, A])
		c := processors.TableAggregateConfig[K, V, A]{Key: g.key, Store: store, Aggregator: agg, First: first, Next: next}
		node := processors.NewTableAggregate(in.rt, in.node(n), c)
		in.addStateful(n, node)
		return node.Process, nil
	})
	return Table[K, A]{results[K, A]{s: out, key: g.key, value: value}}
}

func checkAggregator[K, V, A any](b *Builder, n *node, g Grouped[K, V], value codec.Codec[A], agg Aggregator[V, A]) {
	if g.key == nil || value == nil {
		b.mistake(n, "an aggregate needs a codec for its keys, which the grouping gives, and one for its values")
	}
	if agg.New == nil || agg.Add == nil {
		b.mistake(n, "an Aggregator needs New and Add")
	}
	if g.s.retracts && agg.Remove == nil {
		b.mistake(n, "results that come here may be retracted, and the aggregator has no Remove")
	}
}

// counter counts values of any type.
func counter[V any]() Aggregator[V, int64] {
	return Aggregator[V, int64]{
		New:    func() *int64 { return new(int64) },
		Add:    func(n *int64, _ V) error { *n++; return nil },
		Merge:  func(into, from *int64) error { *into += *from; return nil },
		Remove: func(n *int64, _ V) error { *n--; return nil },
	}
}

// Count counts the records of each key and window.
func (w Windowed[K, V]) Count(opts ...WindowOption) WindowedTable[K, int64] {
	return Aggregate(w, codec.Int64, counter[V](), opts...)
}

// Count counts the records of each key.
func (g Grouped[K, V]) Count(opts ...TableOption) Table[K, int64] {
	return AggregateTable(g, codec.Int64, counter[V](), opts...)
}

// Reduce folds the values of each key and window into one: the first value
// stands for itself, and f adds each further one to it. f must be associative,
// and clone what it keeps of a string or slice of v, which may alias fetched
// bytes.
func (w Windowed[K, V]) Reduce(f func(into *V, v V) error, opts ...WindowOption) WindowedTable[K, V] {
	copied := first(w.g.value)
	start := beginning[V, V]{first: copied, begin: func(into, from *V) error { return copied(into, *from) }}
	return aggregate(w, w.g.value, reducer(f), start, opts)
}

// Reduce folds the values of each key into one, as [Windowed.Reduce] does.
func (g Grouped[K, V]) Reduce(f func(into *V, v V) error, opts ...TableOption) Table[K, V] {
	return aggregateTable(g, g.value, reducer(f), first(g.value), opts)
}

func reducer[V any](f func(*V, V) error) Aggregator[V, V] {
	a := Aggregator[V, V]{New: func() *V { return new(V) }, Add: f}
	if f != nil {
		a.Merge = func(into, from *V) error { return f(into, *from) }
	}
	return a
}

// first returns what a reduction does with the first value: it keeps a copy,
// made by way of the codec.
func first[V any](c codec.Codec[V]) func(*V, V) error {
	return func(into *V, v V) error {
		b, err := c.Append(nil, v)
		if err != nil {
			return err
		}
		*into, err = c.Decode(b)
		return err
	}
}
