package topology

import (
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

// KeyValue is the handle of a store for processors, made by [KeyValueStore].
type KeyValue[K, V any] struct{ s *store }

// anyStore is a store of any types, for [Uses].
type anyStore interface{ graphStore() *store }

func (k KeyValue[K, V]) graphStore() *store { return k.s }

// KeyValueStore adds a key-value store to the topology, for the processors
// that are given it with [Uses]. Its changelog topic is
// <application>-<name>-changelog.
func KeyValueStore[K, V any](b *Builder, name string, key codec.Codec[K], value codec.Codec[V], opts ...StoreOption) KeyValue[K, V] {
	o := options{}
	for _, opt := range opts {
		opt.keyValue(&o)
	}
	s := b.addStore(name, "key-value store", nil)
	s.forms = formsOf(key, value)
	s.open = func(db *stores.DB) (any, error) {
		return stores.OpenKeyValue(db, stores.KeyValueConfig[K, V]{Name: name, Key: key, Value: value, TTL: s.ttl})
	}
	if mistake := s.checkTTL(o.ttl); mistake != "" {
		b.mistakes = append(b.mistakes, storeMistake(s, "has %s", mistake))
	}
	if key == nil || value == nil {
		b.mistakes = append(b.mistakes, storeMistake(s, "needs a codec for its keys and one for its values"))
	}
	return KeyValue[K, V]{s}
}

// In returns the task's own store behind the handle. Call it in a processor's
// Init, with the context given there. The error says that the processor was
// not given the store with [Uses].
func (k KeyValue[K, V]) In(ctx processors.StoreContext) (*State[K, V], error) {
	return processors.StoreIn[K, V](ctx, k.s.name)
}

// Process puts a user's own node into the graph. make is called once a task;
// the processors that it makes share nothing. What follows by key is
// repartitioned.
func Process[K, V, K2, V2 any](s Stream[K, V], make func() Processor[K, V, K2, V2], opts ...ProcessOption) Stream[K2, V2] {
	o := options{}
	for _, opt := range opts {
		opt.process(&o)
	}
	b := s.s.b
	n := b.add(kindProcess, o, s.s.node.id)
	b.needs(n, make == nil, "the function that makes processors")
	for _, u := range o.uses {
		var st *store
		if u != nil {
			st = u.graphStore()
		}
		if !slices.Contains(b.stores, st) {
			b.mistake(n, "topology.Uses was given a store that this builder has not made")
			continue
		}
		if slices.Contains(n.stores, st) {
			continue
		}
		st.users = append(st.users, n.id)
		n.stores = append(n.stores, st)
	}
	out := &stream[K2, V2]{b: b, node: n, keyChanged: true}
	s.s.children = append(s.s.children, func(in *instance) (processors.Forward[K, V], error) {
		next, err := out.edge(in)
		if err != nil {
			return nil, err
		}
		opened := map[string]any{}
		for _, st := range n.stores {
			opened[st.name] = in.opened[st.name]
		}
		node, err := processors.NewProcess(in.rt, in.node(n), make(), opened, next)
		if err != nil {
			return nil, err
		}
		in.addStateful(n, node)
		return node.Process, nil
	})
	return out.handle()
}

func (s *stream[K, V]) handle() Stream[K, V] { return Stream[K, V]{s} }
