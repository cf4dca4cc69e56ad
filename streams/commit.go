package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
)

// dirtyBytes returns how much changed state a worker gathers before it commits
// ahead of time: what is changed cannot be evicted, and the commit holds it a
// second time in its encoded form. All workers share an eighth of the memory.
func (in *Instance) dirtyBytes() int64 {
	workers, _ := in.wish()
	return max(1<<20, min(64<<20, in.cfg.Memory/8/int64(workers)))
}

// hooks are called at the steps of a commit; tests use them to look, to stop a
// process there, and to break the order on purpose. Nil functions do nothing.
type hooks struct {
	// step is called before each step with its name.
	step func(worker int, step string) error
	// cold is called around each write to the cold tier.
	cold func(task.ColdStep) error
	// stateFirst is the mutant 'changelog after Pebble': state is written
	// before the changelog has it.
	stateFirst bool
	// footprint reads what the process takes, in place of the system's figures.
	footprint func() footprint
	// unfenced is the mutant 'fencing broken': a transaction is committed
	// whatever the group says of the member.
	unfenced bool
}

func (h *hooks) at(worker int, step string) error {
	if h.step == nil {
		return nil
	}
	return h.step(worker, step)
}

// The steps of a commit, in order. Exactly once, the changelog records are sent
// first, and flushed with the rest.
const (
	stepFlush     = "flush"     // outputs, markers and dead letters are acknowledged
	stepChangelog = "changelog" // changelog records are acknowledged
	stepOffsets   = "offsets"   // offsets are committed
	stepEnd       = "end"       // exactly once: the transaction is committed
	stepState     = "state"     // state is written to the tasks' databases
	stepDone      = "done"
)

func (w *worker) commitDue() bool {
	if !time.Now().Before(w.nextCommit) {
		return true
	}
	for _, r := range w.tasks {
		if r.task.Dirty() && r.task.Ended() { // a bounded run waits for it
			return true
		}
	}
	return w.full()
}

// nextCommit returns when a commit is due after one that has begun and ended: an
// interval from its beginning. But one that takes long must leave time to process what
// has arrived meanwhile: as long as it has taken, an interval at most.
func nextCommit(began, ended time.Time, interval time.Duration) time.Time {
	next, rested := began.Add(interval), ended.Add(min(interval, ended.Sub(began)))
	if rested.After(next) {
		return rested
	}
	return next
}

// full reports whether so much has changed that the worker must commit before it
// goes on.
func (w *worker) full() bool {
	var bytes int64
	for _, r := range w.tasks {
		bytes += r.task.DirtyBytes()
	}
	return bytes > w.dirtyBytes
}

// commitAll commits until nothing is left: deletes go with the commit after
// the one that made them.
func (w *worker) commitAll(ctx context.Context) error {
	for w.dirty() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := w.commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) dirty() bool {
	if w.inTransaction() {
		return true
	}
	for _, r := range w.tasks {
		if r.task.Dirty() {
			return true
		}
	}
	return false
}

// prepared is one task's part of a commit.
type prepared struct {
	*running
	commit *task.Commit
	next   map[string]int64
}

// commitStep is a step of a commit and its name.
type commitStep struct {
	name string
	run  func() error
}

// atLeastOnce are the steps of a commit in this order: what the tasks have
// sent, then what they have changed, then how far they have read, and last their
// databases. So no database is ever ahead of its changelog, and no offset ahead
// of the state and the results that it stands for.
func (w *worker) atLeastOnce(ctx context.Context, parts []*prepared) []commitStep {
	return []commitStep{
		{stepFlush, func() error { return w.producer.Flush(ctx) }},
		{stepChangelog, func() error { return w.replicate(ctx, parts) }},
		{stepOffsets, func() error { return w.commitOffsets(ctx, parts) }},
		{stepState, func() error { return w.writeState(parts) }},
	}
}

// commit commits what the worker's tasks have done. Any error leaves the outcome
// open, and the caller throws the tasks away.
func (w *worker) commit(ctx context.Context) error {
	began := time.Now()
	defer func() { w.nextCommit = nextCommit(began, time.Now(), w.in.cfg.CommitInterval) }()
	var parts []*prepared
	for _, id := range w.order() {
		r := w.tasks[id]
		if !r.task.Dirty() && !r.task.Upgrading() {
			continue
		}
		c, err := r.task.Prepare()
		if err != nil {
			return err
		}
		parts = append(parts, &prepared{running: r, commit: c, next: map[string]int64{}})
	}
	if err := w.damaged(); err != nil {
		return err
	}
	if len(parts) == 0 && !w.inTransaction() {
		return nil
	}
	steps := w.atLeastOnce(ctx, parts)
	if w.in.cfg.Guarantee == ExactlyOnce {
		steps = w.exactlyOnce(ctx, parts)
	}
	if w.in.cfg.hooks.stateFirst {
		last := len(steps) - 1
		steps = slices.Insert(steps[:last:last], 1, steps[last])
	}
	for _, s := range steps {
		if err := w.in.cfg.hooks.at(w.index, s.name); err != nil {
			return err
		}
		start := time.Now()
		if err := s.run(); err != nil {
			return fmt.Errorf("commit, %s: %w", s.name, err)
		}
		w.in.metrics.committed(s.name, time.Since(start))
	}
	if err := w.in.cfg.hooks.at(w.index, stepDone); err != nil {
		return err
	}
	w.report(parts)
	return nil
}

// replicate appends what changed to the changelog topics and waits until it is
// acknowledged.
func (w *worker) replicate(ctx context.Context, parts []*prepared) error {
	for _, p := range parts {
		if err := w.in.member.alive(ctx, p.epoch); err != nil {
			return err
		}
	}
	sent, err := w.sendChanges(parts)
	if err != nil || !sent {
		return err
	}
	if err := w.producer.Flush(ctx); err != nil {
		return err
	}
	for _, p := range parts {
		for store := range p.next {
			ack, ok := w.producer.TakeAck(w.in.changelogOf(store, p.id))
			next := ack.Next
			if !ok || !ack.Contiguous() || ack.Base != p.ends[store] {
				var err error
				if next, err = w.mend(ctx, p.running, store, p.commit.Changes); err != nil {
					return err
				}
			}
			p.next[store], p.ends[store] = next, next
		}
	}
	return nil
}

// sendChanges appends what changed to the changelog topics, and marks in
// [prepared] which. It reports whether there was anything.
func (w *worker) sendChanges(parts []*prepared) (sent bool, err error) {
	for _, p := range parts {
		var tp kafka.TopicPartition
		for store, rec := range p.commit.Changes.All() { // store by store
			if _, begun := p.next[store]; !begun {
				tp = w.in.changelogOf(store, p.id)
				p.next[store], sent = -1, true
			}
			if err := w.log(tp, rec); err != nil {
				return sent, err
			}
		}
	}
	return sent, nil
}

// commitOffsets commits how far the tasks have read. While this member's own
// rejoin is under way the coordinator refuses; the commit then waits for the
// new generation, in which the tasks are still this worker's unless the member
// was expelled.
func (w *worker) commitOffsets(ctx context.Context, parts []*prepared) error {
	if w.in.cfg.Guarantee == AtLeastOnce {
		w.sign(parts)
	}
	offsets := map[kafka.TopicPartition]kafka.Committed{}
	for _, p := range parts {
		for _, o := range p.commit.Offsets {
			offsets[kafka.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = kafka.Committed{Offset: o.Next, Metadata: o.Metadata}
		}
	}
	if len(offsets) == 0 && w.inTransaction() {
		offsets = w.fencing()
	}
	if len(offsets) == 0 {
		return nil
	}
	for {
		as := w.in.member.current()
		for _, r := range w.tasks {
			if r.epoch != as.epoch {
				return errLost
			}
		}
		err := w.storeOffsets(ctx, kafka.Commit{
			Group: w.in.cfg.Application, MemberID: as.id, Generation: as.generation, InstanceID: w.in.cfg.InstanceID, Offsets: offsets,
		})
		switch {
		case err == nil:
			return nil
		case errors.Is(err, kafka.ErrRebalanceInProgress), errors.Is(err, kafka.ErrIllegalGeneration), errors.Is(err, kafka.ErrUnknownMember),
			errors.Is(err, kafka.ErrFencedInstance): // which the membership is told too, and ends the instance
			if err := w.in.member.settled(ctx, as); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// sign has the offsets say who has written what to the changelogs, for whoever
// restores from them.
func (w *worker) sign(parts []*prepared) {
	for _, p := range parts {
		if len(p.ends) > 0 && len(p.commit.Offsets)+len(p.next) > 0 {
			p.task.Sign(p.commit, task.Written{Producer: w.producer.ID(), Ends: p.ends})
		}
	}
}

// storeOffsets commits offsets, or has the transaction commit them.
func (w *worker) storeOffsets(ctx context.Context, commit kafka.Commit) error {
	if w.txn == nil {
		return w.in.client.CommitOffsets(ctx, commit)
	}
	err := w.txn.SendOffsets(ctx, commit)
	if w.in.cfg.hooks.unfenced {
		return nil
	}
	return err
}

// writeState writes what is safe in the changelogs to the tasks' databases.
func (w *worker) writeState(parts []*prepared) error {
	for _, p := range parts {
		if err := p.task.Committed(p.commit, p.next); err != nil {
			return err
		}
		w.in.replication.offer(p.task.TakeResults())
	}
	return nil
}

func (w *worker) report(parts []*prepared) {
	ids := make([]processors.TaskID, 0, len(parts))
	for _, p := range parts {
		ids = append(ids, p.id)
		for _, o := range p.commit.Offsets {
			w.in.purge.committed(o.Topic, o.Partition, o.Next)
		}
	}
	w.in.life.tell(func(l Listener) {
		if l.Committed != nil {
			l.Committed(ids)
		}
	})
}
