package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/millrace/millrace/internal/kafka"
)

// tail reads topics from where they begin, as they grow.
type tail struct {
	client  *kafka.Client
	fetcher *kafka.Fetcher
	topics  map[string]int32

	mu sync.Mutex // guards what follows; held while handle runs
	// handle is called for each record, one at a time. It keeps nothing of the
	// record, which aliases what was fetched.
	handle func(tp kafka.TopicPartition, r kafka.Record) error
	next   map[kafka.TopicPartition]int64
	err    error
	// moved is closed, and replaced, when next or err changes.
	moved chan struct{}
}

// follow begins to read topics. Close it before the client.
func follow(ctx context.Context, client *kafka.Client, handle func(tp kafka.TopicPartition, r kafka.Record) error, topics ...string) (*tail, error) {
	t := &tail{
		client: client, topics: map[string]int32{}, handle: handle, next: map[kafka.TopicPartition]int64{}, moved: make(chan struct{}),
	}
	for _, topic := range topics {
		n, err := client.Partitions(ctx, topic)
		if err != nil {
			return nil, err
		}
		t.topics[topic] = n
	}
	starts, err := client.ListOffsets(ctx, kafka.Earliest, t.partitions()...)
	if err != nil {
		return nil, err
	}
	if t.fetcher, err = client.NewFetcher(kafka.FetchConfig{Isolation: kafka.ReadCommitted}); err != nil {
		return nil, err
	}
	for tp, start := range starts {
		t.next[tp] = start
	}
	for tp, start := range starts {
		t.fetcher.Add(tp, start, t)
	}
	return t, nil
}

func (t *tail) partitions() []kafka.TopicPartition {
	var tps []kafka.TopicPartition
	for topic, n := range t.topics {
		for i := range n {
			tps = append(tps, kafka.TopicPartition{Topic: topic, Partition: i})
		}
	}
	return tps
}

// Deliver takes what was fetched of a partition.
func (t *tail) Deliver(d *kafka.Delivery) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range d.Batches {
		for r := range d.Batches[i].All() {
			if t.err != nil {
				return
			}
			if err := t.handle(d.TopicPartition, r); err != nil {
				t.fail(fmt.Errorf("%v at offset %d: %w", d.TopicPartition, r.Offset, err))
			}
		}
	}
	if d.Err != nil && t.err == nil {
		t.fail(fmt.Errorf("reading %v: %w", d.TopicPartition, d.Err))
	}
	if t.next[d.TopicPartition] != d.Next {
		t.next[d.TopicPartition] = d.Next
		t.signal()
	}
}

func (t *tail) fail(err error) {
	t.err = err
	t.signal()
}

func (t *tail) signal() {
	close(t.moved)
	t.moved = make(chan struct{})
}

// catchUp waits until everything is handled that the topics hold when it is
// called.
func (t *tail) catchUp(ctx context.Context) error {
	ends, err := t.client.ListOffsets(ctx, kafka.Latest, t.partitions()...)
	if err != nil {
		return err
	}
	return t.reach(ctx, ends)
}

// reach waits until everything before ends is handled.
func (t *tail) reach(ctx context.Context, ends map[kafka.TopicPartition]int64) error {
	for {
		t.mu.Lock()
		err, moved, behind := t.err, t.moved, false
		for tp, end := range ends {
			behind = behind || t.next[tp] < end
		}
		t.mu.Unlock()
		if err != nil || !behind {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// close ends the reading; handle is not called any more.
func (t *tail) close() { t.fetcher.Close() }
