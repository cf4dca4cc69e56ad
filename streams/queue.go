package streams

import (
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/internal/kafka"
)

// queue holds what was fetched of one partition until its task gets to it. A
// full queue pauses the fetching of its own partition and of no other.
type queue struct {
	tp      kafka.TopicPartition
	fetcher *kafka.Fetcher
	wake    func()
	limit   int
	// fetched is what all queues of the instance hold, in bytes.
	fetched *atomic.Int64

	mu         sync.Mutex // guards what follows; never held across a wait
	deliveries []*kafka.Delivery
	bytes      int
	// The partition is paused while the queue is full or held.
	paused, full, held bool
}

// close drops what the queue holds. It is not delivered to any more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count(-q.bytes)
	q.deliveries = nil
}

// count counts n more bytes. mu is held.
func (q *queue) count(n int) {
	q.bytes += n
	q.fetched.Add(int64(n))
}

// Deliver takes an answer from the fetcher. Answers without records are kept
// only as the latest word on where the partition ends.
func (q *queue) Deliver(d *kafka.Delivery) {
	q.mu.Lock()
	if n := len(q.deliveries); n > 0 && len(d.Batches) == 0 && d.Err == nil &&
		len(q.deliveries[n-1].Batches) == 0 && q.deliveries[n-1].Err == nil {
		q.deliveries[n-1] = d
	} else {
		q.deliveries = append(q.deliveries, d)
	}
	q.count(d.Size())
	q.regulate()
	q.mu.Unlock()
	q.wake()
}

// pop returns the oldest answer, or nil.
func (q *queue) pop() *kafka.Delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.deliveries) == 0 {
		return nil
	}
	d := q.deliveries[0]
	q.deliveries[0] = nil
	q.deliveries = q.deliveries[1:]
	q.count(-d.Size())
	q.regulate()
	return d
}

// front returns the answer that pop would, and leaves it.
func (q *queue) front() *kafka.Delivery {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.deliveries) == 0 {
		return nil
	}
	return q.deliveries[0]
}
