package topology

import "github.com/millrace/millrace/processors"

// Map replaces the key and the value of each record. What follows it by key is
// repartitioned.
func Map[K, V, K2, V2 any](s Stream[K, V], f func(Record[K, V]) (K2, V2, error), opts ...NodeOption) Stream[K2, V2] {
	n := s.s.b.add(kindMap, nodeOptions(opts), s.s.node.id)
	s.s.b.needs(n, f == nil, "the function")
	return step(s.s, n, true, func(rt *processors.Runtime, n *processors.Node, next processors.Forward[K2, V2]) processors.Forward[K, V] {
		return processors.Map(rt, n, f, next)
	})
}

// MapValues replaces the value of each record.
func MapValues[K, V, V2 any](s Stream[K, V], f func(Record[K, V]) (V2, error), opts ...NodeOption) Stream[K, V2] {
	n := s.s.b.add(kindMapValues, nodeOptions(opts), s.s.node.id)
	s.s.b.needs(n, f == nil, "the function")
	return step(s.s, n, s.s.keyChanged, func(rt *processors.Runtime, n *processors.Node, next processors.Forward[K, V2]) processors.Forward[K, V] {
		return processors.MapValues(rt, n, f, next)
	})
}

// FlatMap makes any number of records of each one: f calls emit for each and
// passes on its error. What follows it by key is repartitioned.
func FlatMap[K, V, K2, V2 any](s Stream[K, V], f func(r Record[K, V], emit func(K2, V2) error) error, opts ...NodeOption) Stream[K2, V2] {
	n := s.s.b.add(kindFlatMap, nodeOptions(opts), s.s.node.id)
	s.s.b.needs(n, f == nil, "the function")
	return step(s.s, n, true, func(rt *processors.Runtime, n *processors.Node, next processors.Forward[K2, V2]) processors.Forward[K, V] {
		return processors.FlatMap(rt, n, f, next)
	})
}

// SelectKey replaces the key of each record. What follows it by key is
// repartitioned.
func SelectKey[K, V, K2 any](s Stream[K, V], f func(Record[K, V]) K2, opts ...NodeOption) Stream[K2, V] {
	n := s.s.b.add(kindSelectKey, nodeOptions(opts), s.s.node.id)
	s.s.b.needs(n, f == nil, "the function")
	return step(s.s, n, true, func(rt *processors.Runtime, n *processors.Node, next processors.Forward[K2, V]) processors.Forward[K, V] {
		return processors.SelectKey(rt, n, f, next)
	})
}
