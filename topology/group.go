package topology

import (
	"cmp"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
)

// Grouped is a stream whose records with equal keys meet in one task, ready to
// be aggregated.
type Grouped[K, V any] struct {
	s     *stream[K, V]
	key   codec.Codec[K]
	value codec.Codec[V]
}

// GroupBy gives each record the key that by returns and gathers equal keys, by
// way of a repartition topic. The step must be [Named]: the name is the
// topic's, <application>-<name>-repartition.
func GroupBy[K, V, K2 any](s Stream[K, V], key codec.Codec[K2], value codec.Codec[V], by func(Record[K, V]) K2, opts ...GroupOption) Grouped[K2, V] {
	keyed := SelectKey(s, by, OnError(groupOptions(opts).policy))
	return Grouped[K2, V]{s: repartition(keyed.s, key, value, groupOptions(opts)), key: key, value: value}
}

// GroupByKey gathers records by the key that they have. If the key may have
// changed since the records were partitioned, they go through a repartition
// topic, and the step must be [Named].
func (s Stream[K, V]) GroupByKey(key codec.Codec[K], value codec.Codec[V], opts ...GroupOption) Grouped[K, V] {
	g := Grouped[K, V]{s: s.s, key: key, value: value}
	if s.s.keyChanged {
		g.s = repartition(s.s, key, value, groupOptions(opts))
	}
	return g
}

// Repartition sends the stream through a topic of its own, so that records
// with equal keys meet in one task and the work spreads over its partitions.
// The step must be [Named].
func (s Stream[K, V]) Repartition(key codec.Codec[K], value codec.Codec[V], opts ...GroupOption) Stream[K, V] {
	return Stream[K, V]{repartition(s.s, key, value, groupOptions(opts))}
}

// repartition cuts the graph: a sink ends this sub-topology, and a source of
// the same topic begins another.
func repartition[K, V any](s *stream[K, V], key codec.Codec[K], value codec.Codec[V], o options) *stream[K, V] {
	b := s.b
	name := o.name
	var sink, source string
	if name != "" {
		sink, source = name+".sink", name+".source"
	}
	from := b.add(kindSink, options{name: sink, policy: o.policy}, s.node.id)
	if mistake := checkTopicPart(name); mistake != "" {
		b.mistake(from, "it repartitions, and its name makes a topic: the name %q %s; give one with topology.Named", name, mistake)
	}
	partitions := int32(0)
	if o.partitions != nil {
		if partitions = *o.partitions; partitions < 1 {
			b.mistake(from, "topology.Partitions(%d): want at least 1", partitions)
		}
	}
	from.repartition, from.partitions, from.forms = name, partitions, formsOf(key, value)
	if key == nil || value == nil {
		b.mistake(from, "a step that may repartition needs a codec for its keys and one for its values")
	}
	c := processors.SinkConfig[K, V]{Key: key, Value: value, Repartition: true}
	s.children = append(s.children, func(in *instance) (processors.Forward[K, V], error) {
		c := c
		c.Topic = in.rt.Topic(name)
		return processors.Sink(in.rt, in.node(from), c), nil
	})
	to := b.add(kindSource, options{name: cmp.Or(source, from.name+".source"), policy: o.policy})
	to.repartition, to.partitions = name, partitions
	out := &stream[K, V]{b: b, node: to, retracts: s.retracts, input: &input[K, V]{key: key, value: value}}
	to.compose = func(in *instance) (processors.Source, error) {
		next, err := out.edge(in)
		if err != nil {
			return nil, err
		}
		return processors.NewSource(in.rt, in.node(to), processors.SourceConfig[K, V]{Key: key, Value: value, Repartition: true}, next), nil
	}
	return out
}

func groupOptions(opts []GroupOption) options {
	o := options{}
	for _, opt := range opts {
		opt.group(&o)
	}
	return o
}
