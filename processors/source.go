package processors

import (
	"fmt"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/window"
)

// SourceConfig says how a source reads records.
type SourceConfig[K, V any] struct {
	Key   codec.Codec[K]
	Value codec.Codec[V]
	// EventTime returns a value's event time in Unix milliseconds. Nil stands
	// for the record's own timestamp.
	EventTime func(V) int64
	// Strategy may have a generator, which looks at values.
	Strategy window.Strategy
	// Repartition is set if a sink of the same application writes the topic.
	Repartition bool
}

// source decodes records into one Record that it uses again and again.
type source[K, V any] struct {
	rt     *Runtime
	node   *Node
	config SourceConfig[K, V]
	record Record[K, V]
	next   Forward[K, V]
}

// NewSource returns the node that reads records and hands them to next.
func NewSource[K, V any](rt *Runtime, n *Node, c SourceConfig[K, V], next Forward[K, V]) Source {
	return &source[K, V]{rt: rt, node: n, config: c, next: next}
}

func (s *source[K, V]) Decode(key, value []byte, time int64, headers []Header) (int64, error) {
	s.rt.Node = s.node
	r := &s.record
	*r = Record[K, V]{Time: time, Headers: headers, nullKey: key == nil}
	if s.config.Repartition {
		r.takeRetraction()
	}
	var err error
	if key != nil {
		if r.Key, err = s.config.Key.Decode(key); err != nil {
			return 0, s.node.fail(fmt.Errorf("key: %w", err))
		}
	}
	if r.Value, err = s.config.Value.Decode(value); err != nil {
		return 0, s.node.fail(fmt.Errorf("value: %w", err))
	}
	if s.config.EventTime != nil {
		r.Time = s.config.EventTime(r.Value)
	}
	return r.Time, nil
}

// takeRetraction takes off the header that marks a retracted record.
func (r *Record[K, V]) takeRetraction() {
	if n := len(r.Headers) - 1; n >= 0 && r.Headers[n].Key == retractedHeader {
		r.Headers, r.Pane.Retracted = r.Headers[:n:n], true
	}
}

func (s *source[K, V]) Forward() error { return s.next(&s.record) }

// generator is the generator of one partition, over the records of the source.
type generator[K, V any] struct {
	source *source[K, V]
	window.Generator[V]
}

func (s *source[K, V]) Generator(watermark int64) (Generator, error) {
	if !s.config.Strategy.Generates() {
		return nil, nil
	}
	s.rt.Node = s.node
	g, err := window.NewGenerator[V](s.config.Strategy, watermark)
	if err != nil {
		return nil, s.node.fail(err)
	}
	return &generator[K, V]{s, g}, nil
}

func (g *generator[K, V]) Event(now int64) int64 {
	r := &g.source.record
	return g.Generator.Event(r.Value, r.Time, now)
}

func (g *generator[K, V]) Tick(now int64) int64 {
	g.source.rt.Node = g.source.node
	return g.Generator.Tick(now)
}
