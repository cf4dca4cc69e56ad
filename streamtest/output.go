package streamtest

import (
	"bytes"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
)

// Message is a record of a topic.
type Message[K, V any] struct {
	Key   K
	Value V
	// NullKey is true if the record has a null key, NullValue if its value is
	// null, which deletes the key in a compacted topic.
	NullKey, NullValue bool
	// WindowStart is set if the topic is read with WindowedOutput.
	WindowStart time.Time
	Time        time.Time
	Headers     []topology.Header
	Partition   int32
	Offset      int64
}

// Header returns the value of the last header with that key, or nil.
func (m Message[K, V]) Header(key string) []byte {
	for i := len(m.Headers) - 1; i >= 0; i-- {
		if m.Headers[i].Key == key {
			return m.Headers[i].Value
		}
	}
	return nil
}

// OutputTopic reads the records of a topic: a sink's, an input, the dead-letter
// topic, or a repartition topic, whose watermark markers it leaves out.
type OutputTopic[K, V any] struct {
	d        *Driver
	topic    *topic
	key      codec.Codec[K]
	value    codec.Codec[V]
	windowed bool
	read     int // how many records of the topic were looked at
}

// Output returns a handle for reading a topic from its start.
func Output[K, V any](d *Driver, topic string, key codec.Codec[K], value codec.Codec[V]) *OutputTopic[K, V] {
	return &OutputTopic[K, V]{d: d, topic: d.topic(topic), key: key, value: value}
}

// WindowedOutput is Output for a topic whose keys are Kafka Streams' windowed
// ones, as Stream.ToWindowed writes them.
func WindowedOutput[K, V any](d *Driver, topic string, key codec.Codec[K], value codec.Codec[V]) *OutputTopic[K, V] {
	out := Output(d, topic, key, value)
	out.windowed = true
	return out
}

// Next returns the next record that this handle has not returned, in the order
// of writing; ok is false if there is none.
func (out *OutputTopic[K, V]) Next() (m Message[K, V], ok bool) {
	out.d.helper()
	for out.read < len(out.topic.all) {
		r := out.topic.all[out.read]
		out.read++
		if !r.isMarker() {
			return out.decode(r), true
		}
	}
	return m, false
}

// Rest returns all records that this handle has not returned.
func (out *OutputTopic[K, V]) Rest() []Message[K, V] {
	out.d.helper()
	var rest []Message[K, V]
	for {
		m, ok := out.Next()
		if !ok {
			return rest
		}
		rest = append(rest, m)
	}
}

// All returns all records of the topic, and does not change what Next returns.
func (out *OutputTopic[K, V]) All() []Message[K, V] {
	out.d.helper()
	again := *out
	again.read = 0
	return again.Rest()
}

func (out *OutputTopic[K, V]) decode(r *record) Message[K, V] {
	out.d.helper()
	m := Message[K, V]{
		NullKey: r.key == nil, NullValue: r.value == nil,
		Time: time.UnixMilli(r.time).UTC(), Headers: r.headers, Partition: r.partition, Offset: r.offset,
	}
	key := bytes.Clone(r.key)
	var err error
	if out.windowed && key != nil {
		var start int64
		if key, start, err = codec.SplitTimeWindowedKey(key); err == nil {
			m.WindowStart = time.UnixMilli(start).UTC()
		}
	}
	if key != nil && err == nil {
		m.Key, err = out.key.Decode(key)
	}
	if r.value != nil && err == nil {
		m.Value, err = out.value.Decode(bytes.Clone(r.value))
	}
	if err != nil {
		out.d.fail("%s/%d@%d: %w", out.topic.name, r.partition, r.offset, err)
	}
	return m
}
