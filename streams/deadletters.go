package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
)

// DeadLetter is a record that could not be handled, as it lies in the
// application's dead-letter topic.
type DeadLetter struct {
	// Partition and Offset are its place in the dead-letter topic.
	Partition int32
	Offset    int64
	// Time is the record's own.
	Time time.Time
	// Key, Value and Headers are the record's, as it was read from Source.
	Key, Value []byte
	Headers    []processors.Header
	// Source is where it was read.
	Source processors.Position
	// Node is the node that failed; empty in a letter of Kafka Streams. Exception is
	// the type of the error, Message its text, Stack that of a panic.
	Node, Exception, Message, Stack string
	// Replayed is when it was sent back to Source last; zero for never.
	Replayed time.Time
}

// DeadLetterFilter chooses dead letters. The zero value chooses all.
type DeadLetterFilter struct {
	// Partition and Offset choose by place in the dead-letter topic: a partition,
	// and the letters from an offset on. Nil for all.
	Partition *int32
	Offset    *int64
	// From leaves out what has an earlier time.
	From time.Time
	// Node and Topic must be equal to the letter's, Error a part of the type or the
	// text of its error. Empty for all.
	Node, Topic, Error string
	// Pending leaves out what was replayed.
	Pending bool
}

func (f *DeadLetterFilter) matches(l *DeadLetter) bool {
	return (f.Partition == nil || *f.Partition == l.Partition) && (f.Offset == nil || l.Offset >= *f.Offset) &&
		!l.Time.Before(f.From) && (f.Node == "" || f.Node == l.Node) && (f.Topic == "" || f.Topic == l.Source.Topic) &&
		(f.Error == "" || strings.Contains(l.Exception, f.Error) || strings.Contains(l.Message, f.Error)) &&
		(!f.Pending || l.Replayed.IsZero())
}

// DeadLetters reads and replays an application's dead letters. One goroutine uses
// it; close it.
type DeadLetters struct {
	client      *kafka.Client
	application string
	topic       string
	clock       func() time.Time
}

// Headers of a replay. What is sent back says which letter it was, and a mark in
// the dead-letter topic, with a null key and a null value in the letter's
// partition, says that its letter was replayed.
const (
	replayOfHeader = "__millrace.replay-of" // topic/partition@offset of the letter
	replayedHeader = "__millrace.replayed"  // the letter's offset
)

// OpenDeadLetters reaches the cluster.
func OpenDeadLetters(ctx context.Context, cfg Config) (*DeadLetters, error) {
	if !nameRule.MatchString(cfg.Application) {
		return nil, fmt.Errorf("%w: application %q: use 1 to 200 letters, digits, '.', '_' and '-'", ErrInvalidConfig, cfg.Application)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	client, err := kafka.Open(ctx, cfg.kafka())
	if err != nil {
		return nil, fmt.Errorf("brokers %s: %w", strings.Join(cfg.Brokers, ", "), err)
	}
	return &DeadLetters{client: client, application: cfg.Application, topic: task.DeadLetterTopic(cfg.Application), clock: cfg.Clock}, nil
}

// Close closes the connections to the cluster.
func (d *DeadLetters) Close() { d.client.Close() }

// Topic returns the name of the dead-letter topic.
func (d *DeadLetters) Topic() string { return d.topic }

// List calls visit for the letters that the filter chooses, by partition and
// offset, until it returns false. Key, value and headers are visit's to keep.
// Records of the topic that are no dead letters are passed over.
func (d *DeadLetters) List(ctx context.Context, f DeadLetterFilter, visit func(DeadLetter) bool) error {
	n, err := d.client.Partitions(ctx, d.topic)
	if errors.Is(err, kafka.ErrUnknownTopic) {
		return fmt.Errorf("%w: %q: it is made when an instance runs with the error policy dead-letter", ErrMissingTopic, d.topic)
	}
	if err != nil {
		return err
	}
	if f.Partition != nil && (*f.Partition < 0 || *f.Partition >= n) {
		return fmt.Errorf("%w: partition %d of %q: it has 0 to %d", ErrInvalidConfig, *f.Partition, d.topic, n-1)
	}
	for p := range n {
		if f.Partition != nil && *f.Partition != p {
			continue
		}
		if more, err := d.list(ctx, kafka.TopicPartition{Topic: d.topic, Partition: p}, &f, visit); err != nil || !more {
			return err
		}
	}
	return nil
}

// list goes through one partition twice: marks come behind their letters.
func (d *DeadLetters) list(ctx context.Context, tp kafka.TopicPartition, f *DeadLetterFilter, visit func(DeadLetter) bool) (more bool, err error) {
	replayed := map[int64]time.Time{}
	err = d.scan(ctx, tp, func(r kafka.Record) bool {
		if of, ok := replayMark(r); ok {
			replayed[of] = time.UnixMilli(r.Time)
		}
		return true
	})
	if err != nil {
		return false, err
	}
	more = true
	err = d.scan(ctx, tp, func(r kafka.Record) bool {
		if l, ok := readLetter(tp.Partition, r); ok {
			if l.Replayed = replayed[l.Offset]; f.matches(&l) {
				more = visit(l)
			}
		}
		return more
	})
	return more, err
}

// replayMark returns the offset of the letter that a mark is about.
func replayMark(r kafka.Record) (of int64, ok bool) {
	if r.Key != nil || r.Value != nil {
		return 0, false
	}
	for _, h := range r.Headers {
		if string(h.Key) == replayedHeader {
			of, err := strconv.ParseInt(string(h.Value), 10, 64)
			return of, err == nil
		}
	}
	return 0, false
}

func readLetter(partition int32, r kafka.Record) (l DeadLetter, ok bool) {
	headers := make([]processors.Header, 0, len(r.Headers))
	for _, h := range r.Headers {
		headers = append(headers, processors.Header{Key: string(h.Key), Value: slices.Clone(h.Value)})
	}
	d, ok := task.ParseDeadLetter(headers)
	return DeadLetter{
		Partition: partition, Offset: r.Offset, Time: time.UnixMilli(r.Time), Key: slices.Clone(r.Key), Value: slices.Clone(r.Value),
		Headers: d.Headers, Source: d.Position, Node: d.Node, Exception: d.Exception, Message: d.Message, Stack: d.Stack,
	}, ok
}

// scan reads what a partition holds now, until visit returns false.
func (d *DeadLetters) scan(ctx context.Context, tp kafka.TopicPartition, visit func(kafka.Record) bool) error {
	starts, err := d.client.ListOffsets(ctx, kafka.Earliest, tp)
	if err != nil {
		return err
	}
	ends, err := d.client.ListOffsets(ctx, kafka.Latest, tp)
	if err != nil {
		return err
	}
	if starts[tp] >= ends[tp] {
		return nil
	}
	fetcher, err := d.client.NewFetcher(kafka.FetchConfig{Isolation: kafka.ReadCommitted})
	if err != nil {
		return err
	}
	defer fetcher.Close()
	// Nobody holds the fetcher back, so what comes waits here: a letter topic is
	// read faster than it is printed, and a delivery is at most some megabytes.
	s := &scan{fetcher: fetcher, arrived: make(chan struct{}, 1)}
	fetcher.Add(tp, starts[tp], s)
	for next := starts[tp]; next < ends[tp]; {
		delivery := s.take(tp)
		if delivery == nil {
			select {
			case <-s.arrived:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			continue
		}
		if delivery.Err != nil {
			return fmt.Errorf("reading %v: %w", tp, delivery.Err)
		}
		for i := range delivery.Batches {
			for r := range delivery.Batches[i].All() {
				if r.Offset < ends[tp] && !visit(r) {
					return nil
				}
			}
		}
		next = delivery.Next
	}
	return nil
}

// scan holds what was fetched, one delivery at a time.
type scan struct {
	fetcher *kafka.Fetcher
	arrived chan struct{} // capacity 1

	mu    sync.Mutex // guards what follows; taken before the fetcher's own
	queue []*kafka.Delivery
}

// Deliver is called by the fetcher.
func (s *scan) Deliver(d *kafka.Delivery) {
	s.mu.Lock()
	s.queue = append(s.queue, d)
	s.fetcher.Pause(d.TopicPartition)
	s.mu.Unlock()
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

// take returns the next delivery, or nil while there is none.
func (s *scan) take(tp kafka.TopicPartition) *kafka.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil
	}
	d := s.queue[0]
	s.queue = s.queue[1:]
	if len(s.queue) == 0 {
		s.fetcher.Resume(tp)
	}
	return d
}

// replayAtOnce is how many letters are sent back in one transaction, and
// replayTimeout how long that may take.
const (
	replayAtOnce  = 200
	replayTimeout = 30 * time.Second
)

// Replay sends letters back to where they were read: key, value, time, headers and
// partition are those of the record, and a header says which letter it was. Each is
// marked as replayed in the same transaction that sends it: a replay that was
// killed sends nothing twice, and two of them at once fence one another. done is
// told how many were sent. The error names letters whose topic or partition does
// not exist any more; nothing is sent then.
func (d *DeadLetters) Replay(ctx context.Context, letters []DeadLetter, done func(n int)) error {
	if err := d.checkSources(ctx, letters); err != nil {
		return err
	}
	p, err := d.client.NewTransactionalProducer(ctx, kafka.TransactionConfig{ID: d.topic + "-replay", Timeout: replayTimeout})
	if err != nil {
		return err
	}
	defer p.Close()
	for n := 0; n < len(letters); {
		batch := letters[n:min(n+replayAtOnce, len(letters))]
		for i := range batch {
			if err := d.send(p, &batch[i]); err != nil {
				return err
			}
		}
		if err := p.Commit(ctx); err != nil {
			return err
		}
		n += len(batch)
		done(n)
	}
	return nil
}

// checkSources refuses letters that cannot be sent back.
func (d *DeadLetters) checkSources(ctx context.Context, letters []DeadLetter) error {
	topics, err := d.client.Topics(ctx)
	if err != nil {
		return err
	}
	missing := map[string]int{}
	for i := range letters {
		if at := letters[i].Source; at.Partition >= topics[at.Topic] {
			missing[fmt.Sprintf("%s/%d", at.Topic, at.Partition)]++
		}
	}
	var errs []error
	for name, n := range missing {
		errs = append(errs, fmt.Errorf("%w: %s, which %d letters were read from: make it, or leave them out with a filter", ErrMissingTopic, name, n))
	}
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// send sends one letter back, and its mark.
func (d *DeadLetters) send(p *kafka.TransactionalProducer, l *DeadLetter) error {
	var headers []kafka.Header
	for _, h := range l.Headers {
		if h.Key != replayOfHeader { // of a replay before
			headers = append(headers, kafka.Header{Key: []byte(h.Key), Value: h.Value})
		}
	}
	headers = append(headers, kafka.Header{Key: []byte(replayOfHeader), Value: fmt.Appendf(nil, "%s/%d@%d", d.topic, l.Partition, l.Offset)})
	if err := p.Send(l.Source.Topic, l.Source.Partition, l.Key, l.Value, max(0, l.Time.UnixMilli()), headers); err != nil {
		return fmt.Errorf("letter %d@%d: %w", l.Partition, l.Offset, err)
	}
	mark := []kafka.Header{{Key: []byte(replayedHeader), Value: strconv.AppendInt(nil, l.Offset, 10)}}
	return p.Send(d.topic, l.Partition, nil, nil, d.clock().UnixMilli(), mark)
}
