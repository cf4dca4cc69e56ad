package streams

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// newcomer is how long a partition of which no event is known may be empty before
// it is idle, if its strategy does not say after how long a silent one is.
const newcomer = 10 * time.Second

// feed is an input of a task, and the queue of what was fetched of it.
type feed struct {
	input *task.Input
	queue *queue
	// end is where a bounded run stops reading; -1 for never.
	end int64
	// patience is how long the input may be empty, from its first answer on, before
	// it counts as idle.
	patience time.Duration
	// reset is where the input goes on if its position is lost.
	reset topology.OffsetReset
	// rate bounds the reading of a source; nil of a repartition.
	rate  *rate
	first time.Time // the first answer; zero before it
	// aligned says that the input is not read beyond limit, a watermark. rest is a
	// delivery that was left in the middle, at a record of a batch: because of the
	// limit, of the rate, or of a commit that is due.
	aligned       bool
	limit         int64
	rest          *kafka.Delivery
	batch, record int
	// failing is when the partition was found unreadable, zero while it is not,
	// and cause why.
	failing time.Time
	cause   error
}

// patienceOf is half of the time after which a silent partition is idle. Those
// that have something to say must not fall silent first: time stands still when
// all are idle.
func patienceOf(s window.Strategy) time.Duration {
	if idle := s.IdleMillis(); idle > 0 {
		return time.Duration(idle) * time.Millisecond / 2
	}
	return newcomer
}

// answered tells the input that everything before next is processed, and whether
// there was more. An empty partition of which no event is known is not idle at
// once: an instance that starts together with those who write would otherwise let
// whoever is heard first close the windows of all others.
func (f *feed) answered(at time.Time, next int64, atEnd bool) {
	if f.first.IsZero() {
		f.first = at
	}
	w, _ := f.input.Watermark()
	waits := atEnd && w == window.MinTime && at.Sub(f.first) < f.patience
	f.input.Answered(at, next, atEnd && !waits)
	if waits {
		f.input.Empty()
	}
}

// waiting reports whether the feed has records to process. Answers without any
// tell only where the partition ends.
func (f *feed) waiting() bool {
	if f.rest != nil {
		return true
	}
	d := f.queue.front()
	return d != nil && len(d.Batches) > 0
}

// next chooses the input to read: of those that have something and are not too
// far ahead of others, the one whose watermark is furthest behind, so that inputs
// advance together. An answer without records may always be read.
func (r *running) next() *feed {
	var best *feed
	var least int64
	now := time.Now()
	for _, f := range r.feeds {
		if f.rest == nil && f.queue.front() == nil || (f.held() || f.rate.resting(now)) && f.waiting() {
			continue
		}
		if w, _ := f.input.Watermark(); best == nil || w < least {
			best, least = f, w
		}
	}
	return best
}

// feed processes one delivery, or as much of it as alignment, the rate, windows that
// fire and the next commit let it.
func (w *worker) feed(r *running, f *feed, now time.Time) error {
	d := f.rest
	if d == nil {
		if d = f.queue.pop(); d == nil {
			return nil
		}
		if d.Err != nil {
			return w.unreadable(r, f, d, now)
		}
		f.readable()
		f.batch, f.record = 0, 0
	}
	f.rest = d
	for f.batch < len(d.Batches) {
		batch := &d.Batches[f.batch]
		n, err := w.feedBatch(r, f, batch)
		w.in.metrics.records(d.Topic, n)
		resting := f.rate.read(n, time.Now())
		if n > 0 && f.rate != nil {
			w.lastRead = r.id
		}
		if err != nil {
			return err
		}
		if f.record == batch.Len() {
			f.batch, f.record = f.batch+1, 0
		}
		w.unlooked += n
		if (f.held() || resting || r.task.Firing() || w.fullNow()) && f.batch < len(d.Batches) {
			return nil
		}
	}
	f.rest = nil
	next := d.Next
	if f.end >= 0 {
		next = min(next, f.end)
	}
	f.answered(w.arrived(d), next, f.queue.front() == nil && d.AtEnd(kafka.ReadCommitted))
	f.checkEnd()
	return nil
}

// fullEvery is after how many records a worker looks whether it has to commit
// before it goes on.
const fullEvery = 1024

// fullNow reports whether the worker has to commit before it goes on, if it is time
// to look.
func (w *worker) fullNow() bool {
	if w.unlooked < fullEvery {
		return false
	}
	w.unlooked = 0
	return w.full()
}

// feedBatch processes records of a batch from the feed's next one on, fullEvery at
// most. It stops where alignment or the rate wants it to, where a bounded run ends, and
// where a record leaves the task firing: each one behind it would fire a slice more,
// which changes more than fullEvery records do.
func (w *worker) feedBatch(r *running, f *feed, batch *kafka.Batch) (n int, err error) {
	var rec task.Fetched
	var headers []processors.Header
	most := min(fullEvery, f.rate.slice())
	for ; f.record < batch.Len(); f.record++ {
		if f.held() || n == most {
			return n, nil
		}
		fetched := batch.At(f.record)
		if f.end >= 0 && fetched.Offset >= f.end {
			f.record = batch.Len()
			return n, nil
		}
		n++
		rec = task.Fetched{Offset: fetched.Offset, Time: fetched.Time, Key: fetched.Key, Value: fetched.Value}
		if len(fetched.Headers) > 0 {
			headers = headers[:0]
			for _, h := range fetched.Headers {
				headers = append(headers, processors.Header{Key: string(h.Key), Value: h.Value})
			}
			rec.Headers = headers
		}
		if err := f.input.Process(&rec); err != nil {
			return n, err
		}
		if r.task.Firing() {
			f.record++
			return n, nil
		}
	}
	return n, nil
}

// checkEnd ends the input of a bounded run that has been read to its end.
func (f *feed) checkEnd() {
	if f.end >= 0 && f.input.Next() >= f.end {
		f.input.End()
	}
}

// unreadable decides what to do about a partition that the fetcher cannot
// read. It tells once when that begins.
func (w *worker) unreadable(r *running, f *feed, d *kafka.Delivery, now time.Time) error {
	if errors.Is(d.Err, kafka.ErrOffsetOutOfRange) {
		return w.lost(r, f, d)
	}
	if errors.Is(d.Err, kafka.ErrUnavailable) { // after Config.TaskTimeout
		return fmt.Errorf("task %v: input %v cannot be read: %w", r.id, f.input, d.Err)
	}
	if f.failing.IsZero() {
		f.failing = now
		f.input.Pause()
		w.in.log.Warn("input cannot be read for now", "task", r.id.String(), "topic", d.Topic, "partition", d.Partition, "error", d.Err)
	}
	f.cause = d.Err
	return nil
}

// readable ends what unreadable began.
func (f *feed) readable() {
	if !f.failing.IsZero() {
		f.failing, f.cause = time.Time{}, nil
		f.input.Resume()
	}
}

// overdue returns an error if an input of the task has been unreadable for too
// long.
func (w *worker) overdue(r *running, now time.Time) error {
	for _, f := range r.feeds {
		if !f.failing.IsZero() && now.Sub(f.failing) > w.in.cfg.TaskTimeout {
			return fmt.Errorf("task %v: input %v could not be read for %v: %w", r.id, f.input, w.in.cfg.TaskTimeout, f.cause)
		}
	}
	return nil
}
