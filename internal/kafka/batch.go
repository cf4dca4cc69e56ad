package kafka

import (
	"time"

	"github.com/IBM/sarama"
)

// batch is a record batch being filled, waiting, or in flight. Its slices keep
// their memory when it is used again, so that adding a record allocates nothing
// once they have grown. Records point into bytes; when bytes grows, earlier
// records go on pointing into what it was.
type batch struct {
	to       *outgoing
	opened   time.Time
	size     int // on the wire, as Send counts it
	held     int // in memory
	sequence int32

	bytes      []byte
	records    []sarama.Record
	headers    []sarama.RecordHeader
	headerRefs []*sarama.RecordHeader
	refs       []*sarama.Record
	first, max int64 // times, Unix ms

	// wire is what sarama encodes. It keeps the compressed records, so that a
	// retry does not compress again.
	wire sarama.RecordBatch
}

// newBatch opens a batch for a partition. mu is held.
func (p *Producer) newBatch(o *outgoing) *batch {
	var b *batch
	if n := len(p.free); n > 0 {
		b = p.free[n-1]
		p.free[n-1] = nil
		p.free = p.free[:n-1]
	} else {
		b = &batch{}
	}
	b.to, b.opened = o, time.Now()
	p.unsettled++
	if p.txn != nil {
		p.takePart(o)
	}
	if p.resting {
		p.resting = false
		notify(p.opened)
	}
	return b
}

// recycle takes back a batch that is acknowledged. mu is held.
func (p *Producer) recycle(b *batch) {
	p.buffered -= b.held
	p.unsettled--
	if len(p.free) > p.cfg.BufferBytes/p.cfg.BatchBytes || cap(b.bytes) > 4*p.cfg.BatchBytes {
		return // a burst or a huge record must not stay in memory
	}
	clear(b.records) // they may point into bytes that have been outgrown
	*b = batch{
		bytes: b.bytes[:0], records: b.records[:0], refs: b.refs[:0],
		headers: b.headers[:0], headerRefs: b.headerRefs[:0],
	}
	p.free = append(p.free, b)
}

// add copies a record into the batch.
func (b *batch) add(key, value []byte, at int64, headers []Header) {
	if len(b.records) == 0 {
		b.first, b.max = at, at
	}
	b.max = max(b.max, at)
	b.records = append(b.records, sarama.Record{
		TimestampDelta: time.Duration(at-b.first) * time.Millisecond,
		OffsetDelta:    int64(len(b.records)),
		Key:            b.keep(key),
		Value:          b.keep(value),
	})
	if len(headers) == 0 {
		return
	}
	from := len(b.headerRefs)
	for i := range headers {
		b.headers = append(b.headers, Header{Key: b.keep(headers[i].Key), Value: b.keep(headers[i].Value)})
		b.headerRefs = append(b.headerRefs, &b.headers[len(b.headers)-1])
	}
	b.records[len(b.records)-1].Headers = b.headerRefs[from:len(b.headerRefs):len(b.headerRefs)]
}

// keep copies src; nil stays nil, which is null on the wire.
func (b *batch) keep(src []byte) []byte {
	if len(src) == 0 {
		if src == nil {
			return nil
		}
		return []byte{}
	}
	from := len(b.bytes)
	b.bytes = append(b.bytes, src...)
	return b.bytes[from:len(b.bytes):len(b.bytes)]
}

// seal makes the batch ready to send.
func (b *batch) seal(p *Producer, sequence int32) {
	for i := range b.records {
		b.refs = append(b.refs, &b.records[i])
	}
	b.sequence = sequence
	b.wire = sarama.RecordBatch{
		Version:              2,
		PartitionLeaderEpoch: -1,
		Codec:                p.codec,
		CompressionLevel:     sarama.CompressionLevelDefault,
		FirstTimestamp:       time.UnixMilli(b.first),
		MaxTimestamp:         time.UnixMilli(b.max),
		LastOffsetDelta:      int32(len(b.records) - 1),
		ProducerID:           p.id,
		ProducerEpoch:        p.epoch,
		FirstSequence:        sequence,
		IsTransactional:      p.txn != nil,
		Records:              b.refs,
	}
}
