package changelog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/stores"
)

// kafkaReader reads changelog topics of a cluster.
type kafkaReader struct {
	client *kafka.Client
}

// NewKafkaReader returns a Reader of the topics of a cluster. Each of its feeds
// has connections of its own while it is open.
func NewKafkaReader(c *kafka.Client) Reader { return kafkaReader{client: c} }

func (r kafkaReader) Bounds(ctx context.Context, topic string, partition int32) (start, end int64, err error) {
	tp := kafka.TopicPartition{Topic: topic, Partition: partition}
	// The end first: a log that is truncated in between must not end before it
	// starts.
	ends, err := r.client.ListOffsets(ctx, kafka.Latest, tp)
	if err != nil {
		return 0, 0, explainKafka(err)
	}
	starts, err := r.client.ListOffsets(ctx, kafka.Earliest, tp)
	if err != nil {
		return 0, 0, explainKafka(err)
	}
	return starts[tp], max(ends[tp], starts[tp]), nil
}

func (r kafkaReader) LogID(ctx context.Context, topic string) (string, error) {
	id, err := r.client.TopicID(ctx, topic)
	return id, explainKafka(err)
}

func (r kafkaReader) Open(topic string, partition int32, from int64, maxBytes int) (Feed, error) {
	fetcher, err := r.client.NewFetcher(kafka.FetchConfig{
		Isolation:      kafka.ReadCommitted,
		PartitionBytes: int32(min(max(maxBytes/2, 1<<10), 64<<20)),
	})
	if err != nil {
		return nil, err
	}
	f := &kafkaFeed{
		fetcher: fetcher, next: from, maxBytes: maxBytes,
		tp:      kafka.TopicPartition{Topic: topic, Partition: partition},
		arrived: make(chan struct{}, 1),
	}
	f.close = fetcher.Close
	fetcher.Add(f.tp, from, f)
	return f, nil
}

// SharedReader is a Reader whose feeds share one connection a broker, and their
// bandwidth. It suits many feeds that mostly wait. It reads a partition for one
// feed at a time.
type SharedReader struct {
	kafkaReader
	fetcher *kafka.Fetcher
}

// NewSharedReader returns a Reader of the topics of a cluster. partitionBytes is
// how much it asks of a partition at a time, and answerBytes of a broker. Close it
// after its feeds.
func NewSharedReader(c *kafka.Client, partitionBytes, answerBytes int32) (*SharedReader, error) {
	fetcher, err := c.NewFetcher(kafka.FetchConfig{Isolation: kafka.ReadCommitted, PartitionBytes: partitionBytes, ResponseBytes: answerBytes})
	if err != nil {
		return nil, err
	}
	return &SharedReader{kafkaReader{client: c}, fetcher}, nil
}

// Open is that of the interface.
func (r *SharedReader) Open(topic string, partition int32, from int64, maxBytes int) (Feed, error) {
	tp := kafka.TopicPartition{Topic: topic, Partition: partition}
	f := &kafkaFeed{fetcher: r.fetcher, next: from, maxBytes: maxBytes, tp: tp, arrived: make(chan struct{}, 1)}
	f.close = func() { r.fetcher.Remove(tp) }
	r.fetcher.Add(tp, from, f)
	return f, nil
}

// Close ends all reading.
func (r *SharedReader) Close() { r.fetcher.Close() }

// kafkaFeed turns what a fetcher pushes into what a restore pulls. It reads
// ahead while the restore applies a chunk.
type kafkaFeed struct {
	fetcher  *kafka.Fetcher
	tp       kafka.TopicPartition
	next     int64
	maxBytes int
	arrived  chan struct{} // capacity 1: the queue has something
	close    func()

	// mu guards what follows. It is taken before the fetcher's own, and held over
	// Pause and Resume so that they come in the order of their causes.
	mu     sync.Mutex
	queue  []*kafka.Delivery
	bytes  int // of queue
	paused bool
}

// Deliver is called by the fetcher.
func (f *kafkaFeed) Deliver(d *kafka.Delivery) {
	f.mu.Lock()
	if n := len(f.queue); n > 0 && f.queue[n-1].Err == nil && f.queue[n-1].Next == d.Next && d.Err == nil && len(d.Batches) == 0 {
		// The broker had nothing new, again, but for where the log ends.
		f.queue[n-1].HighWatermark = d.HighWatermark
		f.mu.Unlock()
		return
	}
	f.queue = append(f.queue, d)
	f.bytes += d.Size()
	if f.bytes >= f.maxBytes && !f.paused {
		f.paused = true
		f.fetcher.Pause(f.tp)
	}
	f.mu.Unlock()
	select {
	case f.arrived <- struct{}{}:
	default:
	}
}

// Read waits for an answer of the broker, which comes within its MaxWait, also
// when it has nothing new.
func (f *kafkaFeed) Read(ctx context.Context) (Chunk, error) {
	for {
		if queue := f.take(); len(queue) > 0 {
			return f.chunk(queue)
		}
		select {
		case <-ctx.Done():
			return Chunk{}, ctx.Err()
		case <-f.arrived:
		}
	}
}

// take empties the queue.
func (f *kafkaFeed) take() []*kafka.Delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	queue := f.queue
	f.queue, f.bytes = nil, 0
	if f.paused {
		f.paused = false
		f.fetcher.Resume(f.tp)
	}
	return queue
}

func (f *kafkaFeed) chunk(queue []*kafka.Delivery) (Chunk, error) {
	c := Chunk{Next: f.next, End: -1}
	n := 0
	for _, d := range queue {
		for i := range d.Batches {
			n += d.Batches[i].Len()
		}
	}
	c.Records = slices.Grow(c.Records, n)
	for _, d := range queue {
		if d.Err != nil {
			return Chunk{}, explainKafka(d.Err)
		}
		for i := range d.Batches {
			producer := d.Batches[i].Producer()
			for r := range d.Batches[i].All() {
				c.Records = append(c.Records, Record{Offset: r.Offset, Producer: producer, LogRecord: stores.LogRecord{
					Key: r.Key, Value: r.Value, Time: r.Time, Header: stateHeader(r.Headers),
				}})
			}
		}
		c.Next, c.End = max(c.Next, d.Next), max(c.End, d.HighWatermark)
	}
	f.next = c.Next
	return c, nil
}

// stateHeader returns the content of the state's header, or nil.
func stateHeader(headers []*kafka.Header) []byte {
	for _, h := range headers {
		if string(h.Key) == stores.StateHeader {
			return h.Value
		}
	}
	return nil
}

func (f *kafkaFeed) Close() { f.close() }

// explainKafka wraps the sentinel of this package that fits.
func explainKafka(err error) error {
	switch {
	case errors.Is(err, kafka.ErrOffsetOutOfRange):
		return fmt.Errorf("%w: %w", ErrOutOfRange, err)
	case errors.Is(err, kafka.ErrUnknownTopic):
		return fmt.Errorf("%w: %w", ErrNoTopic, err)
	}
	return err
}
