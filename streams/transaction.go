package streams

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/internal/assign"
	"github.com/millrace/millrace/internal/kafka"
)

// Exactly once, each worker has a transactional producer. Everything that a
// commit stands for is in one transaction: results, repartition records,
// markers, dead letters, changes and deletes of state, and the input offsets,
// which the group's coordinator takes only from a member of its generation. Nobody
// sees any of it before the transaction is committed, and the databases get it
// after that. Whoever reads the offsets next waits until it is settled.
//
// A transaction whose commit failed, or of which nobody knows whether it was
// committed, is settled by the next producer of the same id. The worker makes
// one, and then opens its tasks anew at whatever is committed.

// Limits of aborting what has been left open.
const (
	// abortTimeout is how long a worker that stops takes for its own transaction.
	abortTimeout = time.Second
	// goneTimeout is how long a member takes for those of members that are gone,
	// and abortAtOnce for how many producers at a time.
	goneTimeout = 10 * time.Second
	abortAtOnce = 4
)

// transactionalID names a worker's producer over restarts of its process.
func (in *Instance) transactionalID(process assign.ProcessID, worker int32) string {
	return fmt.Sprintf("%s-%v-%d", in.cfg.Application, process, worker)
}

// newTransactional makes the worker's transactional producer, which settles
// the transaction of the one before it.
func (w *worker) newTransactional(ctx context.Context, cfg kafka.ProducerConfig) (*kafka.Producer, error) {
	p, err := w.in.client.NewTransactionalProducer(ctx, kafka.TransactionConfig{
		ProducerConfig: cfg, Timeout: w.in.cfg.TransactionTimeout,
		ID: w.in.transactionalID(w.in.storage.Process(), int32(w.index)),
	})
	if err != nil {
		return nil, err
	}
	w.txn = p
	return p.Producer, nil
}

// inTransaction reports whether something was sent that is not committed, be it
// only a marker: readers wait for its end.
func (w *worker) inTransaction() bool { return w.txn != nil && w.txn.Open() }

// exactlyOnce are the steps of a commit in one transaction.
func (w *worker) exactlyOnce(ctx context.Context, parts []*prepared) []commitStep {
	return []commitStep{
		{stepChangelog, func() error {
			_, err := w.sendChanges(parts)
			return err
		}},
		{stepFlush, func() error { return w.flushChanges(ctx, parts) }},
		{stepOffsets, func() error { return w.commitOffsets(ctx, parts) }},
		{stepEnd, func() error { return w.txn.Commit(ctx) }},
		{stepState, func() error { return w.writeState(parts) }},
	}
}

// flushChanges waits until everything is acknowledged, and notes where the
// changelogs end then: nobody else can have committed anything to them, or this
// commit will fail.
func (w *worker) flushChanges(ctx context.Context, parts []*prepared) error {
	if err := w.producer.Flush(ctx); err != nil {
		return err
	}
	var unknown []kafka.TopicPartition
	for _, p := range parts {
		for store := range p.next {
			tp := w.in.changelogOf(store, p.id)
			ack, _ := w.producer.TakeAck(tp)
			if p.next[store] = ack.Next; ack.Next <= 0 {
				unknown = append(unknown, tp)
			}
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	ends, err := w.in.client.ListOffsets(ctx, kafka.Latest, unknown...)
	if err != nil {
		return err
	}
	for _, p := range parts {
		for store, next := range p.next {
			if next <= 0 {
				p.next[store] = ends[w.in.changelogOf(store, p.id)]
			}
		}
	}
	return nil
}

// fencing returns an offset that a transaction without any is committed with:
// it changes nothing, and the group takes it only from a member that it knows.
func (w *worker) fencing() map[kafka.TopicPartition]kafka.Committed {
	for _, id := range w.order() {
		for _, o := range w.tasks[id].task.Positions() {
			tp := kafka.TopicPartition{Topic: o.Topic, Partition: o.Partition}
			return map[kafka.TopicPartition]kafka.Committed{tp: {Offset: o.Next, Metadata: o.Metadata}}
		}
	}
	return nil
}

// abortOpen aborts what the worker's closed producer has left open. If it
// cannot, whoever gets the tasks does, or the transaction's timeout.
func (w *worker) abortOpen() {
	ctx, cancel := context.WithTimeout(context.Background(), abortTimeout)
	defer cancel()
	if err := w.in.client.FenceProducer(ctx, w.in.transactionalID(w.in.storage.Process(), int32(w.index))); err != nil {
		w.in.log.Warn("a transaction stays open: readers wait for its timeout", "worker", w.index, "error", err)
	}
}

// abortGone aborts what producers of processes that are gone have left open, and
// fences them, should they not know yet. What cannot be aborted is asked for again
// in the next rebalance; meanwhile readers wait for the transaction's timeout.
func (in *Instance) abortGone(gone []assign.Producers) {
	if len(gone) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(in.work, goneTimeout)
	defer cancel()
	began := time.Now()
	for _, p := range gone {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(abortAtOnce)
		for n := range p.Count {
			group.Go(func() error { return in.client.FenceProducer(ctx, in.transactionalID(p.Process, p.First+n)) })
		}
		if err := group.Wait(); err != nil {
			in.log.Warn("transactions of a process that is gone stay open: readers wait for their timeouts", "process", p.Process.String(), "error", err)
			continue
		}
		in.member.aborted([]assign.Producers{p})
		in.log.Info("fenced a process that is gone", "process", p.Process.String(), "producers", p.Count, "took", time.Since(began).Round(time.Millisecond))
	}
}
