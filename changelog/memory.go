package changelog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/stores"
)

// Memory is a Log in memory, for tests and for topologies that run without
// Kafka. It can do to its partitions what brokers do: compact, truncate, leave
// gaps, be made anew, and fail. It is safe for use by several goroutines at
// once.
//
// Append and Flush of Memory itself use one queue; each Appender has its own.
type Memory struct {
	*MemoryAppender

	mu     sync.Mutex // guards what follows; never held across a wait
	parts  map[place]*part
	inject func(Call) Fault
	made   int           // topics
	grown  chan struct{} // closed and replaced when a log grows
}

// place names a partition.
type place struct {
	topic     string
	partition int32
}

func (p place) String() string { return fmt.Sprintf("%s/%d", p.topic, p.partition) }

// part is one partition: records between start and end, in ascending order of
// offsets, with gaps.
type part struct {
	id         int // counts the topics that were made
	start, end int64
	records    []Record
}

// Operation names a call that a fault can be injected into.
type Operation string

// The operations of Memory.
const (
	FlushOperation  Operation = "flush"
	BoundsOperation Operation = "bounds"
	ReadOperation   Operation = "read"
)

// Call is one call of an operation. Flush has no partition.
type Call struct {
	Operation Operation
	Topic     string
	Partition int32
}

// Fault is what happens to a call. The zero value lets it pass.
type Fault struct {
	// Err is what the call returns.
	Err error
	// Written makes a failing Flush write its records all the same: the answer
	// was lost, not the request.
	Written bool
}

// NewMemory returns a log without topics.
func NewMemory() *Memory {
	m := &Memory{parts: map[place]*part{}, grown: make(chan struct{})}
	m.MemoryAppender = m.Appender()
	return m
}

// readWait is for how long a feed waits for a record.
const readWait = 100 * time.Millisecond

// Create makes a topic. If it is there it is made anew: its records are gone
// and its offsets begin at 0 again.
func (m *Memory) Create(topic string, partitions int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.made++
	for p := range partitions {
		m.parts[place{topic, int32(p)}] = &part{id: m.made}
	}
}

// Inject makes f decide what happens to each call from now on; nil ends that. f
// must not call m.
func (m *Memory) Inject(f func(Call) Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inject = f
}

// Gap leaves n offsets without a record at the end of a partition, as control
// records do.
func (m *Memory) Gap(topic string, partition int32, n int64) error {
	return m.change(topic, partition, func(p *part) { p.end += n })
}

// Compact keeps the last record of each key. With purge it also removes
// tombstones, as a broker does once delete.retention.ms is over.
func (m *Memory) Compact(topic string, partition int32, purge bool) error {
	return m.change(topic, partition, func(p *part) {
		last := map[string]int64{}
		for _, r := range p.records {
			last[string(r.Key)] = r.Offset
		}
		p.records = slices.DeleteFunc(slices.Clone(p.records), func(r Record) bool {
			return last[string(r.Key)] != r.Offset || purge && r.Value == nil
		})
	})
}

// Truncate removes the records before an offset, which becomes the log's start.
func (m *Memory) Truncate(topic string, partition int32, before int64) error {
	return m.change(topic, partition, func(p *part) {
		p.start = min(max(p.start, before), p.end)
		p.records = slices.DeleteFunc(slices.Clone(p.records), func(r Record) bool { return r.Offset < p.start })
	})
}

// Records returns all records of a partition. Their bytes must not be changed.
func (m *Memory) Records(topic string, partition int32) []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.parts[place{topic, partition}]; p != nil {
		return slices.Clone(p.records)
	}
	return nil
}

func (m *Memory) change(topic string, partition int32, f func(*part)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.parts[place{topic, partition}]
	if p == nil {
		return fmt.Errorf("%w: %s/%d", ErrNoTopic, topic, partition)
	}
	f(p)
	m.wake()
	return nil
}

// wake lets waiting readers look again.
func (m *Memory) wake() {
	close(m.grown)
	m.grown = make(chan struct{})
}

// fault returns what happens to a call.
func (m *Memory) fault(c Call) Fault {
	if m.inject == nil {
		return Fault{}
	}
	return m.inject(c)
}

// Bounds is that of Reader.
func (m *Memory) Bounds(ctx context.Context, topic string, partition int32) (start, end int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.fault(Call{BoundsOperation, topic, partition}); f.Err != nil {
		return 0, 0, f.Err
	}
	p := m.parts[place{topic, partition}]
	if p == nil {
		return 0, 0, fmt.Errorf("%w: %s/%d", ErrNoTopic, topic, partition)
	}
	return p.start, p.end, nil
}

// LogID is that of Reader.
func (m *Memory) LogID(ctx context.Context, topic string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.parts[place{topic, 0}]; p != nil {
		return fmt.Sprintf("%s-%d", topic, p.id), nil
	}
	return "", fmt.Errorf("%w: %s", ErrNoTopic, topic)
}

// Open is that of Reader. A gap ends a chunk and makes one of its own.
func (m *Memory) Open(topic string, partition int32, from int64, maxBytes int) (Feed, error) {
	return &memoryFeed{log: m, at: place{topic, partition}, next: from, maxBytes: maxBytes}, nil
}

type memoryFeed struct {
	log      *Memory
	at       place
	next     int64
	maxBytes int
}

func (f *memoryFeed) Read(ctx context.Context) (Chunk, error) {
	wait := time.NewTimer(readWait)
	defer wait.Stop()
	for {
		c, grown, err := f.log.read(f.at.topic, f.at.partition, f.next, f.maxBytes)
		if err != nil {
			return Chunk{}, err
		}
		if c.Next > f.next {
			f.next = c.Next
			return c, nil
		}
		select {
		case <-ctx.Done():
			return Chunk{}, ctx.Err()
		case <-wait.C:
			return c, nil
		case <-grown:
		}
	}
}

func (f *memoryFeed) Close() {}

// read returns what there is, and a channel that is closed when there is more.
func (m *Memory) read(topic string, partition int32, from int64, maxBytes int) (Chunk, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.fault(Call{ReadOperation, topic, partition}); f.Err != nil {
		return Chunk{}, nil, f.Err
	}
	p := m.parts[place{topic, partition}]
	if p == nil {
		return Chunk{}, nil, fmt.Errorf("%w: %s/%d", ErrNoTopic, topic, partition)
	}
	if from < p.start || from > p.end {
		return Chunk{}, nil, fmt.Errorf("%w: %s/%d: offset %d, the log has %d to %d",
			ErrOutOfRange, topic, partition, from, p.start, p.end)
	}
	c := Chunk{Next: from, End: p.end}
	i, _ := slices.BinarySearchFunc(p.records, from, func(r Record, o int64) int { return int(r.Offset - o) })
	for size := 0; i < len(p.records) && p.records[i].Offset == c.Next && (size == 0 || size < maxBytes); i++ {
		r := p.records[i]
		c.Records = append(c.Records, r)
		c.Next = r.Offset + 1
		size += len(r.Key) + len(r.Value) + len(r.Header) + 16
	}
	if len(c.Records) == 0 {
		c.Next = p.end
		if i < len(p.records) {
			c.Next = p.records[i].Offset
		}
	}
	return c, m.grown, nil
}

// MemoryAppender is an Appender of a Memory with a queue of its own, like the
// producer of one worker: what it has queued and not flushed is lost with it.
type MemoryAppender struct {
	log   *Memory
	mu    sync.Mutex // guards what follows; taken before the mutex of log
	queue []queued
	next  map[place]int64
}

type queued struct {
	to     place
	record stores.LogRecord
}

// Appender returns an appender with an empty queue. It is safe for use by
// several goroutines at once.
func (m *Memory) Appender() *MemoryAppender {
	return &MemoryAppender{log: m, next: map[place]int64{}}
}

// Append is that of the interface. It copies r.
func (a *MemoryAppender) Append(topic string, partition int32, r stores.LogRecord) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Key, r.Value, r.Header = bytes.Clone(r.Key), bytes.Clone(r.Value), bytes.Clone(r.Header)
	a.queue = append(a.queue, queued{place{topic, partition}, r})
	return nil
}

// Flush is that of the interface. After an error the queue is empty.
func (a *MemoryAppender) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	queue := a.queue
	a.queue = nil
	if len(queue) == 0 {
		return nil
	}
	m := a.log
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.fault(Call{Operation: FlushOperation})
	if f.Err != nil && !f.Written {
		return f.Err
	}
	var errs []error
	for _, q := range queue {
		p := m.parts[q.to]
		if p == nil {
			errs = append(errs, fmt.Errorf("%w: %s", ErrNoTopic, q.to))
			continue
		}
		p.records = append(p.records, Record{Offset: p.end, LogRecord: q.record})
		p.end++
		if f.Err == nil {
			a.next[q.to] = p.end
		}
	}
	m.wake()
	return errors.Join(append(errs, f.Err)...)
}

// Next is that of the interface.
func (a *MemoryAppender) Next(topic string, partition int32) (next int64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next, ok = a.next[place{topic, partition}]
	return next, ok
}

var _ Log = (*Memory)(nil)
