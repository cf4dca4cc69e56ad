package kafka

import (
	"fmt"
	"iter"
	"reflect"
	"time"

	"github.com/IBM/sarama"
)

// Header is a record's header. A nil Value is null on the wire.
type Header = sarama.RecordHeader

// Record is one record of a Batch. Key, Value and Headers alias the batch's
// memory: they may be read for as long as they are held, and hold all of it.
type Record struct {
	Offset  int64
	Time    int64 // Unix ms: when it was created, or appended if the topic says so; -1 for none
	Key     []byte
	Value   []byte // nil for a tombstone
	Headers []*Header
}

// Batch is a run of records of one partition in the order of their offsets. It
// is a view of what was fetched, so that reading it allocates nothing.
type Batch struct {
	records  []*sarama.Record
	base     int64 // offset of the batch's first record
	baseTime int64 // Unix ms
	appended bool  // all records have the time at which the broker appended them
	size     int
	producer int64
}

// Len returns the number of records.
func (b *Batch) Len() int { return len(b.records) }

// At returns the i-th record.
func (b *Batch) At(i int) Record {
	r := b.records[i]
	t := b.baseTime
	if !b.appended && t >= 0 {
		t += int64(r.TimestampDelta / time.Millisecond)
	}
	return Record{Offset: b.base + r.OffsetDelta, Time: t, Key: r.Key, Value: r.Value, Headers: r.Headers}
}

// All iterates over the records.
func (b *Batch) All() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for i := range b.records {
			if !yield(b.At(i)) {
				return
			}
		}
	}
}

// Producer returns the id of the idempotent producer that wrote the batch; -1 if
// another kind did. See [Producer.ID].
func (b *Batch) Producer() int64 { return b.producer }

// Size returns the bytes of all keys and values, for accounting.
func (b *Batch) Size() int { return b.size }

// Delivery is one answer about one partition.
type Delivery struct {
	TopicPartition

	// Batches hold the records from the asked offset on, in order, without
	// control records and, read committed, without those of aborted
	// transactions. Empty if there was nothing new.
	Batches []Batch

	// Next is the offset that is fetched next. It passes over what is not in
	// Batches: transaction markers, aborted records, offsets lost to compaction.
	Next int64

	// HighWatermark is the end of what is replicated, LastStable the end of what
	// no open transaction holds back, LogStart the first offset there is.
	HighWatermark, LastStable, LogStart int64

	// Time is when the answer came.
	Time time.Time

	// Err is nil for an answer. ErrOffsetOutOfRange stops the partition until
	// Seek or Remove. After ErrUnknownTopic and ErrUnavailable fetching goes on
	// being tried; they are reported once each time they begin.
	Err error
}

// AtEnd reports whether the answer reached the end of what can be read: the high
// watermark or, read committed, the last stable offset.
func (d *Delivery) AtEnd(isolation Isolation) bool {
	if isolation == ReadCommitted {
		return d.Err == nil && d.Next >= d.LastStable
	}
	return d.Err == nil && d.Next >= d.HighWatermark
}

// Size returns the bytes of all keys and values.
func (d *Delivery) Size() int {
	size := 0
	for i := range d.Batches {
		size += d.Batches[i].size
	}
	return size
}

// Sink takes what a Fetcher reads of one partition. Deliver is called by one
// goroutine at a time for a partition, also when a broker had nothing new. It
// must not block, and may call Pause and Resume but no other method of the
// Fetcher. After Pause one more delivery may come, of what was already asked for.
// The Delivery is the sink's to keep.
type Sink interface {
	Deliver(d *Delivery)
}

// Isolation says which records a reader sees.
type Isolation int8

const (
	// ReadUncommitted reads up to the high watermark.
	ReadUncommitted Isolation = iota
	// ReadCommitted reads up to the last stable offset and leaves out the
	// records of aborted transactions.
	ReadCommitted
)

// FetchConfig tunes a Fetcher.
type FetchConfig struct {
	Isolation Isolation

	// MaxWait is how long a broker holds an answer that has nothing in it, and so
	// how long a partition that is added or resumed may wait for its turn.
	// Default 100 ms.
	MaxWait time.Duration

	// PartitionBytes is asked of each partition at a time; it grows for a
	// partition whose next batch is larger. Default 1 MiB.
	PartitionBytes int32

	// ResponseBytes bounds one answer over all partitions of a broker.
	// Default 50 MiB.
	ResponseBytes int32
}

func (c FetchConfig) withDefaults() (FetchConfig, error) {
	if c.MaxWait < 0 || c.PartitionBytes < 0 || c.ResponseBytes < 0 {
		return c, fmt.Errorf("%w: fetch: a size or time is negative", ErrInvalidConfig)
	}
	orDefault(&c.MaxWait, 100*time.Millisecond)
	orDefault(&c.PartitionBytes, 1<<20)
	orDefault(&c.ResponseBytes, 50<<20)
	return c, nil
}

// decode turns a broker's answer about one partition into d, which has the
// partition set. from is the offset asked for. grow says that the answer held
// only part of one batch, so more bytes must be asked for.
func (d *Delivery) decode(block *sarama.FetchResponseBlock, from int64, isolation Isolation) (grow bool, err error) {
	d.Next, d.HighWatermark, d.LastStable, d.LogStart = from, block.HighWaterMarkOffset, block.LastStableOffset, block.LogStartOffset
	var aborted abortedTransactions
	if isolation == ReadCommitted {
		aborted.init(block.AbortedTransactions)
	}
	for _, set := range block.RecordsSet {
		if set.MsgSet != nil {
			return false, fmt.Errorf("%w: %v holds records in the format from before Kafka 0.11; copy the topic to a new one", ErrUnsupported, d.TopicPartition)
		}
		rb := set.RecordBatch
		if rb == nil || rb.PartialTrailingRecord {
			return d.Next == from, nil
		}
		last := rb.LastOffset()
		visible := !rb.Control
		if isolation == ReadCommitted {
			visible = aborted.visible(rb)
		}
		if visible && last >= from {
			if b := newBatch(rb, from); len(b.records) > 0 {
				if d.Batches == nil {
					d.Batches = make([]Batch, 0, len(block.RecordsSet))
				}
				d.Batches = append(d.Batches, b)
			}
		}
		d.Next = max(d.Next, last+1)
	}
	if len(block.RecordsSet) == 0 {
		if next, ok := afterEmptyBatch(block); ok {
			d.Next = max(d.Next, next)
		}
		return block.Partial && d.Next == from, nil
	}
	return false, nil
}

// newBatch is a view of rb without the records before from: a broker answers
// with whole batches.
func newBatch(rb *sarama.RecordBatch, from int64) Batch {
	b := Batch{records: rb.Records, base: rb.FirstOffset, baseTime: -1, appended: rb.LogAppendTime, producer: rb.ProducerID}
	switch {
	case rb.LogAppendTime && !rb.MaxTimestamp.IsZero():
		b.baseTime = rb.MaxTimestamp.UnixMilli()
	case !rb.FirstTimestamp.IsZero():
		b.baseTime = rb.FirstTimestamp.UnixMilli()
	}
	for len(b.records) > 0 && rb.FirstOffset+b.records[0].OffsetDelta < from {
		b.records = b.records[1:]
	}
	for _, r := range b.records {
		b.size += len(r.Key) + len(r.Value)
	}
	return b
}

// nextOffsetField is where sarama keeps the offset after the last batch of an
// answer. It drops batches whose records were all compacted away (a broker keeps
// the last batch of each idempotent producer, empty) and tells the offset after
// them nowhere else; a reader that does not learn it asks for them for ever.
const nextOffsetField = "recordsNextOffset"

// afterEmptyBatch returns the offset after the empty batches that are all a
// block has. It must not be asked of a block with record sets: there the field
// may count a batch that was cut off.
func afterEmptyBatch(block *sarama.FetchResponseBlock) (int64, bool) {
	f := reflect.ValueOf(block).Elem().FieldByName(nextOffsetField)
	if !f.IsValid() || f.Kind() != reflect.Pointer || f.IsNil() {
		return 0, false
	}
	return f.Elem().Int(), true
}
