package llm

import (
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// part is what the application does with one kind of events V: it gathers them
// by key and window in an A, and sends what describe says of it as an R.
//
// In the topology it goes by pointers to V and A, and by the encoded R. All
// pointers are of one shape to the compiler, which makes the operators of a
// stream once for each shape: with the types themselves the package took ten
// times as long to compile.
type part[V, A, R any] struct {
	source string
	in     Input
	events codec.Codec[V]
	time   func(V) int64

	by    func(*V) string
	named string // the repartition

	windows    window.Windows
	aggregator topology.Aggregator[V, A]
	state      codec.Codec[A]
	store      string

	describe     func(Place, *A) (R, error)
	topic        string
	text, packed codec.Codec[R]
}

// add adds the part to the topology, and returns the groups for what else is to
// be done with them.
func (p part[V, A, R]) add(a *application) topology.Grouped[string, *V] {
	events := pointed(p.events)
	source := topology.Source(a.b, p.in.Topic, codec.String, events, topology.OnLostOffset(p.in.Reset)).
		EventTime(func(v *V) int64 { return p.time(*v) }, p.in.strategy())
	groups := topology.GroupBy(source, codec.String, events,
		func(r topology.Record[string, *V]) string { return p.by(r.Value) }, topology.Named(p.named))
	windows := groups.WindowedBy(p.windows)
	table := topology.Aggregate(windows, pointed(p.state), pointedAggregator(p.aggregator),
		append(a.tiered(nil), topology.Emit(a.emit()), topology.Store(p.store))...)
	send(a, table, p.store, p.topic, p.text, p.packed, p.describe)
	sendLate(a, windows, events, p.source)
	return groups
}

// send writes what describe says of the aggregates of a store.
func send[A, R any](a *application, table topology.WindowedTable[string, *A], store, topic string, text, packed codec.Codec[R], describe func(Place, *A) (R, error)) {
	form := text
	if a.PackedResults {
		form = packed
	}
	topology.MapValues(inRange(a, table), func(r topology.Record[string, *A]) ([]byte, error) {
		result, err := describe(At(r), r.Value)
		if err != nil {
			return nil, err
		}
		return form.Append(nil, result)
	}).To(a.output(topic), codec.String, codec.Bytes, topology.Replicated(store))
}

// always makes a description that cannot fail fit where one could.
func always[A, R any](describe func(Place, *A) R) func(Place, *A) (R, error) {
	return func(at Place, a *A) (R, error) { return describe(at, a), nil }
}

// pointed returns the codec of pointers to what c encodes.
func pointed[T any](c codec.Codec[T]) codec.Codec[*T] { return pointedCodec[T]{c} }

type pointedCodec[T any] struct{ of codec.Codec[T] }

func (c pointedCodec[T]) Append(dst []byte, v *T) ([]byte, error) { return c.of.Append(dst, *v) }

func (c pointedCodec[T]) Decode(b []byte) (*T, error) {
	v, err := c.of.Decode(b)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// pointedAggregator is an aggregator of pointers.
func pointedAggregator[V, A any](agg topology.Aggregator[V, A]) topology.Aggregator[*V, *A] {
	return topology.Aggregator[*V, *A]{
		New:   pointedNew(agg),
		Add:   func(a **A, v *V) error { return agg.Add(*a, *v) },
		Merge: pointedMerge(agg),
	}
}

func pointedNew[V, A any](agg topology.Aggregator[V, A]) func() **A {
	return func() **A {
		a := agg.New()
		return &a
	}
}

func pointedMerge[V, A any](agg topology.Aggregator[V, A]) func(into, from **A) error {
	return func(into, from **A) error { return agg.Merge(*into, *from) }
}
