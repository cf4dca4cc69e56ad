package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"
	"unsafe"

	"github.com/IBM/sarama"
)

// Compression is how batches are compressed.
type Compression int8

// The compressions. The zero value is lz4.
const (
	LZ4 Compression = iota
	Uncompressed
	Snappy
	Zstd
	Gzip
)

func (c Compression) codec() (sarama.CompressionCodec, error) {
	switch c {
	case LZ4:
		return sarama.CompressionLZ4, nil
	case Uncompressed:
		return sarama.CompressionNone, nil
	case Snappy:
		return sarama.CompressionSnappy, nil
	case Zstd:
		return sarama.CompressionZSTD, nil
	case Gzip:
		return sarama.CompressionGZIP, nil
	}
	return 0, fmt.Errorf("%w: producer: unknown compression %d", ErrInvalidConfig, c)
}

// ProducerConfig tunes a Producer.
type ProducerConfig struct {
	Compression Compression

	// Linger is how long a batch waits for more records. Flush and a full batch
	// do not wait. Default 5 ms.
	Linger time.Duration

	// BatchBytes is the size of a full batch, before compression. Default 256 KiB.
	BatchBytes int

	// TopicBatchBytes is the same for single topics, where it is less: those
	// whose brokers have refused larger batches.
	TopicBatchBytes map[string]int

	// BufferBytes bounds the memory of what is sent and not acknowledged; beyond it Send
	// blocks. Default 32 MiB.
	BufferBytes int

	// MaxRecordBytes is the largest record taken, before compression. Keep it
	// below the broker's message.max.bytes less 1 KB. Default 1,000,000.
	MaxRecordBytes int
}

func (c ProducerConfig) withDefaults() (ProducerConfig, error) {
	var errs []error
	if c.Linger < 0 || c.BatchBytes < 0 || c.BufferBytes < 0 || c.MaxRecordBytes < 0 {
		errs = append(errs, fmt.Errorf("%w: producer: a size or time is negative", ErrInvalidConfig))
	}
	if _, err := c.Compression.codec(); err != nil {
		errs = append(errs, err)
	}
	orDefault(&c.Linger, 5*time.Millisecond)
	orDefault(&c.BatchBytes, 256<<10)
	orDefault(&c.BufferBytes, 32<<20)
	orDefault(&c.MaxRecordBytes, 1_000_000)
	return c, errors.Join(errs...)
}

// Ack is what a partition has acknowledged since the last TakeAck.
type Ack struct {
	Base    int64 // offset of the first record
	Next    int64 // offset after the last record
	Records int64
}

// Contiguous reports whether the records lie side by side, so that nobody else
// wrote between them.
func (a Ack) Contiguous() bool { return a.Base >= 0 && a.Next-a.Base == a.Records }

// Producer writes records with acks=all and idempotence: within a partition they
// are stored in the order of Send and once, also over retries and moved leaders.
//
// One goroutine owns a Producer and calls Send, Flush, TakeAck and Err; Close may
// come from anywhere. What cannot be retried (ErrProducerState, a refused batch,
// a record not acknowledged within Config.RetryTimeout) fails the producer as a
// whole: every later Send and Flush returns the error, since a gap in the
// sequence numbers can be filled by nobody. Close it and make another; records
// without acknowledgement may or may not have been stored.
type Producer struct {
	client *Client
	cfg    ProducerConfig
	codec  sarama.CompressionCodec
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	id    int64 // the broker knows this producer's sequences by it
	epoch int16
	txn   *transaction // nil for a producer without transactions

	mu         sync.Mutex // guards what follows; never held across a request or a wait
	partitions map[TopicPartition]*outgoing
	order      []*outgoing // the same, in the order of their first records
	last       *outgoing   // where the last record went
	senders    map[int32]*sender
	buffered   int           // bytes of memory that hold what is sent and not acknowledged
	unsettled  int           // batches open, queued or in flight
	free       []*batch      // for reuse
	progress   chan struct{} // closed at the next acknowledgement or failure; nil if nobody waits
	err        error         // why the producer failed
	resting    bool          // the linger goroutine waits for a batch to be opened

	opened chan struct{} // capacity 1: a batch was opened while resting
	lost   chan struct{} // capacity 1: a partition with batches has no leader
}

// outgoing is one partition of a Producer. Producer.mu guards it.
type outgoing struct {
	tp       TopicPartition
	full     int      // bytes of a full batch
	sequence int32    // of the next batch
	open     *batch   // being filled
	queue    []*batch // full, in order
	flight   []*batch // sent, in order
	pending  int      // of flight, how many have no answer
	broken   bool     // one of flight has failed: send no more until all have answers
	known    bool     // the leader has stored a batch: it will refuse one that comes before its turn
	cause    error    // of the last failure
	failures int      // since the last acknowledgement
	leader   int32
	part     participation // in the transaction, if there are any
	ack      Ack
}

// NewProducer asks a broker for a producer id and returns a producer.
func (c *Client) NewProducer(ctx context.Context, cfg ProducerConfig) (*Producer, error) {
	return c.newProducer(ctx, cfg, nil)
}

func (c *Client) newProducer(ctx context.Context, cfg ProducerConfig, txn *transaction) (*Producer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Producer{
		client:     c,
		cfg:        cfg,
		txn:        txn,
		partitions: map[TopicPartition]*outgoing{},
		senders:    map[int32]*sender{},
		opened:     make(chan struct{}, 1),
		lost:       make(chan struct{}, 1),
	}
	p.codec, _ = cfg.Compression.codec()
	if err := p.identify(ctx); err != nil {
		if txn != nil {
			txn.coordinator.close()
		}
		return nil, err
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	p.wg.Go(p.linger)
	p.wg.Go(p.route)
	if txn != nil {
		p.wg.Go(p.enlist)
	}
	return p, nil
}

// identify gets the id and epoch under which the broker keeps the sequences.
func (p *Producer) identify(ctx context.Context) (err error) {
	if p.txn != nil {
		p.id, p.epoch, err = p.txn.coordinator.identify(ctx, p.txn.timeout)
		return err
	}
	return p.client.Retry(ctx, "get a producer id", func(ctx context.Context) error {
		return p.client.anyBroker(ctx, func(b *sarama.Broker) error {
			r, err := b.InitProducerID(&sarama.InitProducerIDRequest{Version: versionInitProducerID, ProducerID: -1, ProducerEpoch: -1})
			if err != nil {
				return err
			}
			p.id, p.epoch = r.ProducerID, r.ProducerEpoch
			return answer(r.Err, nil)
		})
	})
}

// ID returns what tells the producer from all others that the cluster has known:
// it stands in each batch that the producer writes.
func (p *Producer) ID() int64 { return p.id }

// maxTime is the last millisecond that sarama can encode.
const maxTime = math.MaxInt64 / int64(time.Millisecond)

// recordOverhead bounds what a record takes on the wire beside its bytes, and
// headerOverhead what a header does: varints of lengths, offset and time.
const (
	recordOverhead = 32
	headerOverhead = 8
)

// recordMemory is what a record takes in memory beside its bytes until it is
// acknowledged, and headerMemory what a header does. For small records that is the
// larger part.
const (
	recordMemory = int(unsafe.Sizeof(sarama.Record{}) + unsafe.Sizeof(&sarama.Record{}))
	headerMemory = int(unsafe.Sizeof(sarama.RecordHeader{}) + unsafe.Sizeof(&sarama.RecordHeader{}))
)

// RecordSize is what Send counts for a record without headers.
func RecordSize(key, value int) int { return recordOverhead + key + value }

// HeaderSize is what Send counts for a header beside it.
func HeaderSize(key, value int) int { return headerOverhead + key + value }

// Send adds a record to a batch and returns; key, value and headers are copied.
// A nil key or value stays null. at is in Unix milliseconds. When
// ProducerConfig.BufferBytes are waiting for acknowledgement it blocks until some
// of them have it, the producer fails or is closed.
//
// ErrRecordTooLarge and ErrInvalidTimestamp concern this record alone, and the
// producer goes on, unless the error is also ErrProducerFailed: then it is about
// an earlier record, and the producer is done for.
func (p *Producer) Send(topic string, partition int32, key, value []byte, at int64, headers []Header) error {
	size := RecordSize(len(key), len(value))
	for i := range headers {
		size += HeaderSize(len(headers[i].Key), len(headers[i].Value))
	}
	if size > p.cfg.MaxRecordBytes {
		return &RecordTooLargeError{Topic: topic, Partition: partition, Size: size, Limit: p.cfg.MaxRecordBytes}
	}
	if at < 0 || at > maxTime {
		return fmt.Errorf("%w: %d ms for topic %q partition %d", ErrInvalidTimestamp, at, topic, partition)
	}
	held := size + recordMemory + len(headers)*headerMemory
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.err == nil && p.buffered > 0 && p.buffered+held > p.cfg.BufferBytes {
		p.sealAll()
		p.await(nil)
	}
	if p.err != nil {
		return fmt.Errorf("%w: %w", ErrProducerFailed, p.err)
	}
	o := p.last
	if o == nil || o.tp.Partition != partition || o.tp.Topic != topic {
		o = p.outgoing(TopicPartition{topic, partition})
		p.last = o
	}
	if o.open != nil && o.open.size+size > o.full {
		p.seal(o)
	}
	if o.open == nil {
		o.open = p.newBatch(o)
	}
	o.open.add(key, value, at, headers)
	o.open.size += size
	o.open.held += held
	p.buffered += held
	if o.open.size >= o.full {
		p.seal(o)
	}
	return nil
}

// Flush sends everything at once and waits until it is acknowledged, the producer
// fails, or ctx ends.
func (p *Producer) Flush(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sealAll()
	for p.err == nil && p.unsettled > 0 {
		if ctx.Err() != nil {
			return fmt.Errorf("flush: %w", context.Cause(ctx))
		}
		p.await(ctx.Done())
	}
	return p.err
}

// TakeAck returns what a partition has acknowledged since the last TakeAck; ok is
// false for nothing. After Flush it covers everything sent. The offsets are -1 if
// the broker recognised a repeated batch and no longer knew where it had stored
// it: read the partition's end then.
func (p *Producer) TakeAck(tp TopicPartition) (ack Ack, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.partitions[tp]
	if o == nil || o.ack.Records == 0 {
		return Ack{}, false
	}
	ack, o.ack = o.ack, Ack{}
	return ack, true
}

// Buffered returns the bytes of memory that hold what is sent and not acknowledged.
func (p *Producer) Buffered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buffered
}

// Err returns why the producer failed, nil while it works.
func (p *Producer) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Close ends the producer at once: what is not acknowledged may or may not be
// stored. Flush first to be sure.
func (p *Producer) Close() {
	p.mu.Lock() // no goroutine begins after the end
	if p.err == nil {
		p.err = ErrClosed
	}
	p.cancel(ErrClosed)
	p.signal()
	p.mu.Unlock()
	p.wg.Wait()
}

// await lets go of mu until the next acknowledgement or failure, or until done is
// closed.
func (p *Producer) await(done <-chan struct{}) {
	if p.progress == nil {
		p.progress = make(chan struct{})
	}
	progress := p.progress
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-progress:
	case <-done:
	}
}

// signal wakes what waits in await. mu is held.
func (p *Producer) signal() {
	if p.progress != nil {
		close(p.progress)
		p.progress = nil
	}
}

// fail ends the producer's work. mu is held.
func (p *Producer) fail(err error) {
	if p.err != nil {
		return
	}
	p.err = err
	p.client.logger.LogAttrs(p.ctx, slog.LevelError, "producer failed", slog.Any("error", err), slog.Int64("producer", p.id))
	p.signal()
}

// outgoing returns a partition, making it at its first record. mu is held.
func (p *Producer) outgoing(tp TopicPartition) *outgoing {
	o := p.partitions[tp]
	if o == nil {
		o = &outgoing{tp: tp, leader: noLeader, full: p.cfg.BatchBytes}
		if least, ok := p.cfg.TopicBatchBytes[tp.Topic]; ok {
			o.full = min(o.full, least)
		}
		p.partitions[tp] = o
		p.order = append(p.order, o)
	}
	return o
}

// sealAll ends the filling of every open batch. mu is held.
func (p *Producer) sealAll() {
	for _, o := range p.order {
		if o.open != nil {
			p.seal(o)
		}
	}
}

// seal ends the filling of a partition's open batch, numbers it, and queues it.
// mu is held.
func (p *Producer) seal(o *outgoing) {
	b := o.open
	o.open = nil
	b.seal(p, o.sequence)
	o.sequence = addSequence(o.sequence, int32(len(b.records)))
	o.queue = append(o.queue, b)
	p.dispatch(o)
}

// dispatch tells whoever is next in line that a partition has batches. mu is held.
func (p *Producer) dispatch(o *outgoing) {
	if o.leader == noLeader && o.failures == 0 {
		if id, _ := p.client.leader(o.tp); id != noLeader {
			p.assign(o, id)
			return
		}
	}
	if s := p.senders[o.leader]; s != nil {
		notify(s.wake)
		return
	}
	notify(p.lost)
}

// addSequence advances a sequence number, which wraps to 0 after the largest.
func addSequence(sequence, n int32) int32 {
	return int32((int64(sequence) + int64(n)) % (math.MaxInt32 + 1))
}

// linger seals batches that have waited long enough.
func (p *Producer) linger() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if wait, some := p.sealDue(time.Now()); some {
			timer.Reset(wait)
		}
		select {
		case <-timer.C:
		case <-p.opened:
		case <-p.ctx.Done():
			return
		}
	}
}

// sealDue seals the batches that are due, and returns how long the next one has.
func (p *Producer) sealDue(now time.Time) (wait time.Duration, some bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait = time.Hour
	for _, o := range p.order {
		if o.open == nil {
			continue
		}
		left := p.cfg.Linger - now.Sub(o.open.opened)
		if left <= 0 {
			p.seal(o)
			continue
		}
		wait, some = min(wait, left), true
	}
	p.resting = !some
	return wait, some
}
