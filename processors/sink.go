package processors

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// Partitioner chooses the partition, from 0 to partitions-1, of a record with
// these key bytes. It is called on the task's goroutine.
type Partitioner func(key []byte, partitions int32) int32

// SinkConfig says where and how a sink writes records.
type SinkConfig[K, V any] struct {
	// Topic is where the records go, unless Route is set.
	Topic string
	// Route computes the topic of each record.
	Route func(Record[K, V]) string
	// Repartition marks a sink that feeds another sub-topology: a record
	// without a key has no place there and is dropped.
	Repartition bool
	// Windowed writes Kafka Streams' windowed key, the inner key followed by
	// the window's start, or by a session's end and start; the partition is
	// still the inner key's.
	Windowed WindowedKey

	Key   codec.Codec[K]
	Value codec.Codec[V]
	// Partitioner is murmur2 of the key bytes if nil, as in Kafka's own
	// clients; records with a null key take the partitions in turn.
	Partitioner Partitioner
	// Headers are added to those of each record.
	Headers []Header
	// Replicate names the store whose results these are, which go to the instance's
	// replica too; empty for none.
	Replicate string
}

// WindowedKey says which windowed keys a sink writes.
type WindowedKey uint8

// The forms of Kafka Streams' TimeWindowedSerializer and
// SessionWindowedSerializer.
const (
	PlainKey WindowedKey = iota
	TimeWindowedKey
	SessionWindowedKey
)

// retractedHeader marks a record of a repartition topic that takes an earlier one
// back. Its value is empty.
const retractedHeader = "__millrace.retracted"

type sink[K, V any] struct {
	rt      *Runtime
	node    *Node
	config  SinkConfig[K, V]
	key     []byte
	value   []byte
	headers []Header
	turn    int32
}

// Sink returns the edge that writes records to a topic.
func Sink[K, V any](rt *Runtime, n *Node, c SinkConfig[K, V]) Forward[K, V] {
	if c.Partitioner == nil {
		c.Partitioner = codec.Partition
	}
	s := &sink[K, V]{rt: rt, node: n, config: c}
	return s.write
}

func (s *sink[K, V]) write(r *Record[K, V]) error {
	s.rt.Node = s.node
	c := &s.config
	topic := c.Topic
	if c.Route != nil {
		if topic = c.Route(*r); topic == "" {
			return s.node.fail(errEmptyTopic)
		}
	}
	if r.nullKey && c.Repartition {
		s.rt.Observer.Dropped(s.node.Name, DroppedNullKey)
		return nil
	}
	partitions, err := s.rt.Outlet.Partitions(topic)
	if c.Route != nil && errors.Is(err, ErrNoTopic) {
		return s.node.fail(fmt.Errorf("the computed topic %q: %w", topic, err))
	}
	if err != nil {
		return fmt.Errorf("%w: partitions of %q: %w", ErrOutlet, topic, err)
	}
	if s.value, err = c.Value.Append(s.value[:0], r.Value); err != nil {
		return s.node.fail(fmt.Errorf("value for %q: %w", topic, err))
	}
	if s.value == nil {
		// Nil would be sent as null, which is a delete.
		s.value = []byte{}
	}
	value := s.value
	if c.Windowed != PlainKey && r.Pane.Retracted {
		// As Kafka Streams does with a session that has become part of another.
		value = nil
	}
	var key []byte
	var partition int32
	inner := 0 // the length of the key without its window
	if r.nullKey {
		partition = s.turn % partitions
		s.turn = (s.turn + 1) & 0x7fffffff
	} else {
		if s.key, err = c.Key.Append(s.key[:0], r.Key); err != nil {
			return s.node.fail(fmt.Errorf("key for %q: %w", topic, err))
		}
		if partition = c.Partitioner(s.key, partitions); partition < 0 || partition >= partitions {
			return s.node.fail(fmt.Errorf("partitioner chose partition %d of %q, which has %d", partition, topic, partitions))
		}
		inner = len(s.key)
		switch c.Windowed {
		case TimeWindowedKey:
			s.key = codec.AppendTimeWindowedKey(s.key[:0], s.key, r.Window.Start)
		case SessionWindowedKey:
			s.key = codec.AppendSessionKey(s.key[:0], s.key, r.Window.Start, r.Window.End-1)
		}
		if key = s.key; key == nil {
			key = []byte{}
		}
	}
	headers := r.Headers
	retracted := c.Repartition && r.Pane.Retracted
	if len(c.Headers) > 0 || retracted {
		headers = append(append(s.headers[:0], r.Headers...), c.Headers...)
		if retracted {
			headers = append(headers, Header{Key: retractedHeader})
		}
		s.headers = headers
	}
	err = s.rt.Outlet.Send(topic, partition, key, value, r.Time, headers)
	switch {
	case errors.Is(err, ErrTooLarge):
		return s.node.fail(err)
	case err != nil:
		return fmt.Errorf("%w: send to %q: %w", ErrOutlet, topic, err)
	}
	if c.Replicate != "" && s.rt.Replicate != nil && !r.nullKey {
		s.rt.Replicate(s.result(r, s.key[:inner]))
	}
	return nil
}

// result is what the replica gets of the record that was just sent.
func (s *sink[K, V]) result(r *Record[K, V], key []byte) stores.Result {
	result := stores.Result{
		Store: s.config.Replicate, Key: key, Windowed: r.Pane.Kind != window.NoPane, Start: r.Window.Start, End: r.Window.End,
	}
	if !r.Pane.Retracted {
		result.Value = s.value
	}
	return result
}
