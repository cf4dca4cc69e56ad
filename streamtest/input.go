package streamtest

import (
	"bytes"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
)

// InputTopic writes records to a topic that the topology reads.
type InputTopic[K, V any] struct {
	d       *Driver
	topic   *topic
	key     codec.Codec[K]
	value   codec.Codec[V]
	headers []topology.Header
}

// Input returns a handle for writing to a topic. It fails if the topology reads
// no such topic.
func Input[K, V any](d *Driver, topic string, key codec.Codec[K], value codec.Codec[V]) *InputTopic[K, V] {
	in := &InputTopic[K, V]{d: d, topic: d.topics[topic], key: key, value: value}
	if _, ok := d.plan.Outside()[topic]; !ok {
		d.fail("the topology reads no topic %q from outside", topic)
		in.topic = d.topic(topic)
	}
	return in
}

// With returns a handle that gives each record these headers.
func (in *InputTopic[K, V]) With(headers ...topology.Header) *InputTopic[K, V] {
	c := *in
	c.headers = headers
	return &c
}

// Send writes a record, with at as its timestamp, to the partition that Kafka's
// own partitioner chooses for the key, and processes it.
func (in *InputTopic[K, V]) Send(key K, value V, at time.Time) {
	in.d.helper()
	if k, v, ok := in.encode(key, value); ok {
		in.SendBytes(codec.Partition(k, int32(len(in.topic.partitions))), k, v, at)
	}
}

// SendTo is Send to a given partition.
func (in *InputTopic[K, V]) SendTo(partition int32, key K, value V, at time.Time) {
	in.d.helper()
	if k, v, ok := in.encode(key, value); ok {
		in.SendBytes(partition, k, v, at)
	}
}

// SendBytes writes a record of bytes, which need not be what the codecs write;
// a nil key or value is null.
func (in *InputTopic[K, V]) SendBytes(partition int32, key, value []byte, at time.Time) {
	d := in.d
	d.helper()
	if d.err != nil {
		return
	}
	if d.ending {
		d.fail("%s: the inputs have ended: call Restart first", in.topic.name)
		return
	}
	if partition < 0 || int(partition) >= len(in.topic.partitions) {
		d.fail("%s has %d partitions, and no partition %d", in.topic.name, len(in.topic.partitions), partition)
		return
	}
	r := &record{partition: partition, time: at.UnixMilli(), key: bytes.Clone(key), value: bytes.Clone(value)}
	for _, h := range in.headers {
		r.headers = append(r.headers, topology.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
	}
	d.append(in.topic, r)
	d.settle()
}

func (in *InputTopic[K, V]) encode(key K, value V) (k, v []byte, ok bool) {
	in.d.helper()
	k, err := in.key.Append([]byte{}, key)
	if err != nil {
		in.d.fail("%s: key: %w", in.topic.name, err)
		return nil, nil, false
	}
	if v, err = in.value.Append([]byte{}, value); err != nil {
		in.d.fail("%s: value: %w", in.topic.name, err)
		return nil, nil, false
	}
	return k, v, true
}

// helper marks the caller as a helper of the test, if there is one.
func (d *Driver) helper() {
	if d.t != nil {
		d.t.Helper()
	}
}
