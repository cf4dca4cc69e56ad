package topology

import (
	"regexp"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/window"
)

// Stream is a flow of records with keys K and values V. It is a handle: copies
// stand for the same flow, and each step that is applied to it gets every
// record.
type Stream[K, V any] struct{ s *stream[K, V] }

// stream is what the copies of a handle share.
type stream[K, V any] struct {
	b    *Builder
	node *node
	// keyChanged is true if the key may no longer be the one that the records
	// were partitioned by.
	keyChanged bool
	// retracts is true if records may take earlier ones back.
	retracts bool
	// windows is the kind of the windows that the records are results of, if
	// they all are of one.
	windows window.Kind
	// input is set on sources only.
	input *input[K, V]
	// children compose the edges that leave the stream.
	children []func(*instance) (processors.Forward[K, V], error)
}

// input is a source's configuration, until it is built.
type input[K, V any] struct {
	key       codec.Codec[K]
	value     codec.Codec[V]
	eventTime func(V) int64
}

// edge composes the children into one edge, once an instance.
func (s *stream[K, V]) edge(in *instance) (processors.Forward[K, V], error) {
	if f, ok := in.edges[s]; ok {
		return f.(processors.Forward[K, V]), nil
	}
	next := make([]processors.Forward[K, V], 0, len(s.children))
	for _, child := range s.children {
		f, err := child(in)
		if err != nil {
			return nil, err
		}
		next = append(next, f)
	}
	f := processors.Chain(next)
	in.edges[s] = f
	return f, nil
}

// step appends a node below s whose records go to a new stream. wrap makes the
// node's edge from the edge of that stream.
func step[K, V, K2, V2 any](s *stream[K, V], n *node, keyChanged bool, wrap func(*processors.Runtime, *processors.Node, processors.Forward[K2, V2]) processors.Forward[K, V]) Stream[K2, V2] {
	out := &stream[K2, V2]{b: s.b, node: n, keyChanged: keyChanged, retracts: s.retracts, windows: s.windows}
	s.children = append(s.children, func(in *instance) (processors.Forward[K, V], error) {
		next, err := out.edge(in)
		if err != nil {
			return nil, err
		}
		return wrap(in.rt, in.node(n), next), nil
	})
	return Stream[K2, V2]{out}
}

// Source reads a topic. Without [Stream.EventTime] the event time is the
// record's timestamp and the watermark follows the highest one without delay.
func Source[K, V any](b *Builder, topic string, key codec.Codec[K], value codec.Codec[V], opts ...SourceOption) Stream[K, V] {
	o := options{name: topic, topics: []string{topic}}
	for _, opt := range opts {
		opt.source(&o)
	}
	n := b.add(kindSource, o)
	n.topics = o.topics
	return newSource(b, n, key, value)
}

// SourcePattern reads every topic whose whole name matches the regular
// expression, those made later included. name names the node and its state.
func SourcePattern[K, V any](b *Builder, name, pattern string, key codec.Codec[K], value codec.Codec[V], opts ...SourceOption) Stream[K, V] {
	o := options{name: name}
	for _, opt := range opts {
		opt.source(&o)
	}
	n := b.add(kindSource, o)
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		b.mistake(n, "pattern: %v", err)
	}
	if len(o.topics) > 0 {
		b.mistake(n, "topology.AndTopics has no place beside a pattern: put the topics into the pattern")
	}
	n.pattern = re
	return newSource(b, n, key, value)
}

func newSource[K, V any](b *Builder, n *node, key codec.Codec[K], value codec.Codec[V]) Stream[K, V] {
	if key == nil || value == nil {
		b.mistake(n, "a source needs a codec for its keys and one for its values")
	}
	checkPlain(b, n, key, value)
	n.strategy = window.BoundedDelay(0)
	s := &stream[K, V]{b: b, node: n, input: &input[K, V]{key: key, value: value}}
	n.compose = func(in *instance) (processors.Source, error) {
		next, err := s.edge(in)
		if err != nil {
			return nil, err
		}
		c := processors.SourceConfig[K, V]{Key: s.input.key, Value: s.input.value, EventTime: s.input.eventTime, Strategy: n.strategy}
		return processors.NewSource(in.rt, in.node(n), c, next), nil
	}
	return Stream[K, V]{s}
}

// EventTime says how a source's records tell their time, in Unix milliseconds,
// and how its watermark follows. A nil f stands for the record's timestamp. A
// strategy that looks at values, of window.Punctuated or window.Custom, must look
// at the source's: Build refuses any other. It belongs directly behind [Source].
func (s Stream[K, V]) EventTime(f func(V) int64, strategy window.Strategy) Stream[K, V] {
	n := s.s.node
	switch {
	case s.s.input == nil || n.repartition != "":
		s.s.b.mistake(n, "EventTime belongs directly behind topology.Source (%s)", caller())
	case n.eventTime:
		s.s.b.mistake(n, "EventTime is set twice (%s)", caller())
	default:
		s.s.input.eventTime = f
		n.eventTime, n.strategy = true, strategy
		if err := window.CheckValues[V](strategy); err != nil {
			s.s.b.mistake(n, "watermark: %v (%s)", err, caller())
		}
	}
	return s
}

// Filter passes on the records that keep returns true for.
func (s Stream[K, V]) Filter(keep func(Record[K, V]) bool, opts ...NodeOption) Stream[K, V] {
	n := s.s.b.add(kindFilter, nodeOptions(opts), s.s.node.id)
	s.s.b.needs(n, keep == nil, "the predicate")
	return step(s.s, n, s.s.keyChanged, func(rt *processors.Runtime, n *processors.Node, next processors.Forward[K, V]) processors.Forward[K, V] {
		return processors.Filter(rt, n, keep, next)
	})
}

// Peek calls look with each record and passes the record on.
func (s Stream[K, V]) Peek(look func(Record[K, V]), opts ...NodeOption) Stream[K, V] {
	n := s.s.b.add(kindPeek, nodeOptions(opts), s.s.node.id)
	s.s.b.needs(n, look == nil, "the function")
	return step(s.s, n, s.s.keyChanged, func(rt *processors.Runtime, n *processors.Node, next processors.Forward[K, V]) processors.Forward[K, V] {
		return processors.Peek(rt, n, look, next)
	})
}

// Merge joins two flows of the same types into one. The order between them is
// not defined.
func (s Stream[K, V]) Merge(other Stream[K, V], opts ...NodeOption) Stream[K, V] {
	n := s.s.b.add(kindMerge, nodeOptions(opts), s.s.node.id, other.s.node.id)
	if s.s.b != other.s.b {
		s.s.b.mistake(n, "the two streams belong to different builders")
	}
	out := &stream[K, V]{
		b: s.s.b, node: n, keyChanged: s.s.keyChanged || other.s.keyChanged, retracts: s.s.retracts || other.s.retracts,
	}
	if s.s.windows == other.s.windows {
		out.windows = s.s.windows
	}
	s.s.children = append(s.s.children, out.edge)
	if other.s != s.s {
		other.s.children = append(other.s.children, out.edge)
	} else {
		s.s.b.mistake(n, "a stream is merged with itself")
	}
	return Stream[K, V]{out}
}

// Case is one branch of [Stream.Split].
type Case[K, V any] struct {
	name string
	is   func(Record[K, V]) bool
}

// When makes a branch for the records that is returns true for. The name is
// that of the branch's node.
func When[K, V any](name string, is func(Record[K, V]) bool) Case[K, V] {
	return Case[K, V]{name, is}
}

// Split sends each record to the first case that takes it, or else to rest. It
// returns one stream a case, in order, and the rest.
func (s Stream[K, V]) Split(cases ...Case[K, V]) (branches []Stream[K, V], rest Stream[K, V]) {
	b := s.s.b
	n := b.add(kindSplit, options{}, s.s.node.id)
	if len(cases) == 0 {
		b.mistake(n, "Split needs at least one topology.When")
	}
	derived := func(name string) *stream[K, V] {
		m := b.add(kindFilter, options{name: name}, n.id)
		return &stream[K, V]{b: b, node: m, keyChanged: s.s.keyChanged, retracts: s.s.retracts, windows: s.s.windows}
	}
	streams := make([]*stream[K, V], 0, len(cases))
	when := make([]func(Record[K, V]) bool, 0, len(cases))
	for _, c := range cases {
		if c.name == "" {
			b.mistake(n, "a case of Split has no name")
		}
		b.needs(n, c.is == nil, "the predicate of a case")
		out := derived(c.name)
		streams, when = append(streams, out), append(when, c.is)
		branches = append(branches, Stream[K, V]{out})
	}
	other := derived(n.name + ".rest")
	s.s.children = append(s.s.children, func(in *instance) (processors.Forward[K, V], error) {
		edges := make([]processors.Forward[K, V], 0, len(streams))
		for _, out := range streams {
			f, err := out.edge(in)
			if err != nil {
				return nil, err
			}
			edges = append(edges, f)
		}
		f, err := other.edge(in)
		if err != nil {
			return nil, err
		}
		return processors.Split(in.rt, in.node(n), when, edges, f), nil
	})
	return branches, Stream[K, V]{other}
}

// To writes the stream to a topic that exists.
func (s Stream[K, V]) To(topic string, key codec.Codec[K], value codec.Codec[V], opts ...SinkOption) {
	n := s.sink(opts, processors.SinkConfig[K, V]{Topic: topic, Key: key, Value: value})
	n.topics = []string{topic}
	if mistake := checkTopicPart(topic); mistake != "" {
		s.s.b.mistake(n, "the topic's name %q %s", topic, mistake)
	}
}

// ToEach writes each record to the topic that route returns for it. The topics
// must exist.
func (s Stream[K, V]) ToEach(route func(Record[K, V]) string, key codec.Codec[K], value codec.Codec[V], opts ...SinkOption) {
	n := s.sink(opts, processors.SinkConfig[K, V]{Route: route, Key: key, Value: value})
	n.routed = true
	s.s.b.needs(n, route == nil, "the function that returns topics")
}

// ToWindowed writes results of a windowed aggregate with Kafka Streams'
// windowed keys: the key's bytes and the window's start or, for sessions, the time
// of the last event and that of the first. A retracted result is a null value,
// which deletes the window. Partitions are chosen by the inner key, so that all
// windows of a key lie together.
func (s Stream[K, V]) ToWindowed(topic string, key codec.Codec[K], value codec.Codec[V], opts ...SinkOption) {
	form := processors.TimeWindowedKey
	if s.s.windows == window.SessionKind {
		form = processors.SessionWindowedKey
	}
	n := s.sink(opts, processors.SinkConfig[K, V]{Topic: topic, Key: key, Value: value, Windowed: form})
	n.topics = []string{topic}
	if mistake := checkTopicPart(topic); mistake != "" {
		s.s.b.mistake(n, "the topic's name %q %s", topic, mistake)
	}
}

func (s Stream[K, V]) sink(opts []SinkOption, c processors.SinkConfig[K, V]) *node {
	o := options{}
	for _, opt := range opts {
		opt.sink(&o)
	}
	n := s.s.b.add(kindSink, o, s.s.node.id)
	if c.Key == nil || c.Value == nil {
		s.s.b.mistake(n, "a sink needs a codec for its keys and one for its values")
	}
	checkPlain(s.s.b, n, c.Key, c.Value)
	c.Partitioner, c.Headers, c.Replicate = o.partitioner, o.headers, o.replicates
	n.replicates = o.replicates
	s.s.children = append(s.s.children, func(in *instance) (processors.Forward[K, V], error) {
		return processors.Sink(in.rt, in.node(n), c), nil
	})
	return n
}

func nodeOptions(opts []NodeOption) options {
	o := options{}
	for _, opt := range opts {
		opt.node(&o)
	}
	return o
}
