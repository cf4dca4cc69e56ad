package streamtest

import (
	"bytes"

	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// topic is a topic in memory. Records are never removed.
type topic struct {
	name       string
	partitions [][]*record
	// all are the records in the order in which they were written.
	all []*record
}

// record is one record of a topic. Its bytes are never changed.
type record struct {
	partition  int32
	offset     int64
	order      int // counts over all topics
	time       int64
	key, value []byte
	headers    []topology.Header
}

func newTopic(name string, partitions int32) *topic {
	return &topic{name: name, partitions: make([][]*record, partitions)}
}

// append writes a record, which belongs to the topic from then on.
func (d *Driver) append(to *topic, r *record) {
	p := &to.partitions[r.partition]
	r.offset, r.order = int64(len(*p)), d.written
	d.written++
	*p = append(*p, r)
	to.all = append(to.all, r)
}

// at returns the record at an offset, or nil if there is none yet.
func (t *topic) at(partition int32, offset int64) *record {
	if p := t.partitions[partition]; offset < int64(len(p)) {
		return p[offset]
	}
	return nil
}

// fetched returns the record as a task reads it, and the bytes to spoil
// afterwards. The bytes are the record's own if keep is true.
func (r *record) fetched(keep bool) (f task.Fetched, spoil []byte) {
	f = task.Fetched{Offset: r.offset, Time: r.time, Key: r.key, Value: r.value, Headers: r.headers}
	if keep {
		return f, nil
	}
	size := len(r.key) + len(r.value)
	for _, h := range r.headers {
		size += len(h.Value)
	}
	spoil = make([]byte, 0, size)
	lend := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		from := len(spoil)
		spoil = append(spoil, b...)
		return spoil[from:len(spoil):len(spoil)]
	}
	f.Key, f.Value = lend(r.key), lend(r.value)
	f.Headers = nil
	for _, h := range r.headers {
		f.Headers = append(f.Headers, topology.Header{Key: h.Key, Value: lend(h.Value)})
	}
	return f, spoil
}

// poison is what the bytes of a processed record are overwritten with.
const poison = 0xDB

// outlet is what a task sends by. It is kept until it is flushed: a crash loses
// it.
type outlet struct {
	driver *Driver
	from   *running
}

type pending struct {
	to     *topic
	record *record
}

// Send is that of processors.Outlet.
func (o *outlet) Send(topic string, partition int32, key, value []byte, time int64, headers []topology.Header) error {
	r := &record{partition: partition, time: time, key: bytes.Clone(key), value: bytes.Clone(value)}
	for _, h := range headers {
		r.headers = append(r.headers, topology.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
	}
	o.driver.pending = append(o.driver.pending, pending{o.driver.topic(topic), r})
	o.driver.traceRecord(o.from, TraceSend, topic, r)
	return nil
}

// Partitions is that of processors.Outlet. A topic that a program computes is
// made when it is first written to.
func (o *outlet) Partitions(topic string) (int32, error) {
	return int32(len(o.driver.topic(topic).partitions)), nil
}

// topic returns the topic of that name, and makes it if need be.
func (d *Driver) topic(name string) *topic {
	t := d.topics[name]
	if t == nil {
		t = newTopic(name, d.cfg.partitions)
		d.topics[name] = t
	}
	return t
}

// flush writes what tasks have sent.
func (d *Driver) flush() {
	for i, p := range d.pending {
		d.append(p.to, p.record)
		d.pending[i] = pending{}
	}
	d.pending = d.pending[:0]
}

// isMarker reports whether the record is a watermark marker.
func (r *record) isMarker() bool {
	return r.key == nil && len(r.headers) == 1 && r.headers[0].Key == window.MarkerHeader
}
