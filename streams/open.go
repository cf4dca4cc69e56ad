package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/stores"
)

// opened is a task whose state is restored, on its way to its worker.
type opened struct {
	*holding
	plan   *task.Plan
	state  *task.State
	inputs []task.InputConfig
	// foreign is set if a changelog goes on behind the task's last commit with what
	// another process has written.
	foreign atomic.Bool
}

// open restores a task's state and hands it to its worker. An error that does
// not come from the task being let go ends the instance.
func (in *Instance) open(h *holding) {
	select {
	case in.opening <- struct{}{}:
	case <-h.ctx.Done():
		in.finish(h)
		return
	}
	o, err := in.restore(h)
	<-in.opening
	if err == nil {
		if !h.worker.hand(o) {
			in.discard(o)
		}
		return
	}
	gone := h.ctx.Err() != nil
	in.finish(h)
	if !gone {
		in.fail(fmt.Errorf("task %v: %w", h.id, err))
	}
}

// discard closes a task that was opened and is not to run.
func (in *Instance) discard(o *opened) {
	in.detach(o.holding)
	in.standbys.remember(o.id, o.state.DB)
	if err := in.closed(o.id, o.state.DB.Close()); err != nil {
		in.log.Warn("closing a task", "task", o.id.String(), "error", err)
	}
	in.finish(o.holding)
}

// closed judges the error of closing a task: a database that is corrupt is
// removed, so that the next to open it restores it, from the changelogs alone.
func (in *Instance) closed(id TaskID, err error) error {
	if !errors.Is(err, stores.ErrCorrupt) {
		return err
	}
	in.log.Error("local state is corrupt: restoring it from the changelogs", "task", id.String(), "error", err)
	in.metrics.repairs.WithLabelValues("corrupt").Inc()
	in.standbys.forget(id)
	in.checkpoints.distrust(id)
	return in.storage.Remove(id)
}

// restore brings a task to the state of its committed offsets: first the
// offsets, then the ends of its changelogs, then everything up to there. In
// this order nothing that was committed can be missed.
func (in *Instance) restore(h *holding) (*opened, error) {
	o := &opened{holding: h}
	in.mu.Lock()
	o.plan = in.plan
	if o.plan.Has(h.id) {
		h.reads = partitionsOf(o.plan.Inputs(h.id))
	}
	in.mu.Unlock()
	if !o.plan.Has(h.id) {
		return nil, errors.New("the topology has no such task: its inputs have fewer partitions here than where the group's leader looked")
	}
	if err := in.position(h.ctx, o); err != nil {
		return nil, err
	}
	err := in.openState(h, o)
	if errors.Is(err, stores.ErrCorrupt) {
		if err = in.closed(h.id, err); err == nil {
			err = in.openState(h, o)
		}
	}
	return o, err
}

// openDB opens a task's database and its stores. corrupt is called, on any
// goroutine, if the database turns out to be so.
func (in *Instance) openDB(id TaskID, corrupt func()) (*stores.DB, *task.State, error) {
	engine, err := in.storage.Open(id, func(err error) {
		if errors.Is(err, stores.ErrCorrupt) {
			corrupt()
			return
		}
		in.fail(fmt.Errorf("task %v: state: %w", id, err))
	})
	if err != nil {
		return nil, nil, err
	}
	deletes := stores.DeletesDeferred
	if in.cfg.Guarantee == ExactlyOnce {
		deletes = stores.DeletesWithCommit
	}
	db, err := stores.Open(stores.Config{Engine: engine, Deletes: deletes, Budget: in.memory.objects})
	if err != nil {
		return nil, nil, err
	}
	state, err := task.OpenState(in.topology, id.Sub, db)
	if err != nil {
		if errors.Is(err, stores.ErrLayout) {
			err = fmt.Errorf("%w: %w", ErrIncompatible, err)
		}
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, state, nil
}

// openState opens the database, unless a standby has it open, and restores its
// stores.
func (in *Instance) openState(h *holding, o *opened) (err error) {
	h.corrupt.Store(false)
	db, state := h.claim()
	switch {
	case db == nil:
		db, state, err = in.openNewest(h.ctx, h.id, h.damaged)
	case !h.corrupt.Load(): // else the worker throws it away
		db, state, err = in.fromCheckpoint(h.ctx, h.id, db, state, h.damaged)
	}
	if err != nil {
		return err
	}
	o.state = state
	in.standbys.restoring.Add(1)
	defer in.standbys.restoring.Add(-1)
	in.mu.Lock()
	h.db = db
	in.mu.Unlock()
	if err := in.restoreStores(h, o, db); err != nil {
		in.mu.Lock()
		h.db = nil
		in.mu.Unlock()
		return errors.Join(err, db.Close())
	}
	return nil
}

// restoreStores restores the task's stores. Its own comes first: the shape of the
// topology that wrote the others last is in it, which another instance may have
// brought to a newer version since, and what does not fit is not to be read.
func (in *Instance) restoreStores(h *holding, o *opened, db *stores.DB) error {
	sub := o.plan.Subs[h.id.Sub].SubTopology
	if meta := sub.Meta(); meta != "" {
		if err := in.restoreStore(h.ctx, o, db, meta); err != nil {
			return err
		}
	}
	if err := o.state.CheckShape(sub); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(h.ctx)
	for _, store := range sub.Stores {
		group.Go(func() error { return in.restoreStore(ctx, o, db, store) })
	}
	return group.Wait()
}

func (in *Instance) restoreStore(ctx context.Context, o *opened, db *stores.DB, store string) error {
	h := o.holding
	topic := changelog.TopicName(in.cfg.Application, store)
	var before int64
	remains := func(n int64) {
		h.remaining.Add(n - before)
		in.metrics.restoring(n - before)
		before = n
	}
	defer func() { remains(0) }() // also if it was stopped on the way
	var applied int64
	foreign, settled := in.foreign(o, store)
	return changelog.Restore(ctx, changelog.Config{
		DB: db, Store: store, Log: in.reader, Topic: topic, Partition: h.id.Partition,
		Clock: in.cfg.Clock, DeleteRetention: in.deleteRetention(topic), Logger: in.log, Foreign: foreign, Settled: settled,
		Progress: func(p changelog.Progress) {
			remains(p.Remaining)
			in.metrics.applied(p.Records - applied)
			applied = p.Records
			in.life.tell(func(l Listener) {
				if l.Restoring != nil {
					l.Restoring(h.id, store, p.Remaining)
				}
			})
		},
	})
}

// foreign tells the records of a changelog that are not to be restored: those that
// somebody else than the task's last owner has written behind the owner's last
// commit, which ends at settled. Exactly once there are none, since brokers refuse
// them.
func (in *Instance) foreign(o *opened, store string) (is func(changelog.Record) bool, settled int64) {
	last, ok := task.LastWritten(o.inputs)
	end, known := last.Ends[store]
	if !ok || !known || in.cfg.Guarantee != AtLeastOnce {
		return nil, 0
	}
	return func(rec changelog.Record) bool {
		if rec.Offset < end || rec.Producer == last.Producer {
			return false
		}
		o.foreign.Store(true)
		return true
	}, end
}

// position finds where the task's inputs go on: at their committed offsets, or
// where those begin that have none.
func (in *Instance) position(ctx context.Context, o *opened) error {
	o.inputs = o.plan.Inputs(o.id)
	tps := partitionsOf(o.inputs)
	committed, err := in.client.CommittedOffsets(ctx, in.cfg.Application, tps...)
	if err != nil {
		return err
	}
	fresh := map[int64][]kafka.TopicPartition{} // by where they begin
	for i, tp := range tps {
		if _, ok := committed[tp]; !ok {
			begin := in.beginning(o.inputs[i])
			fresh[begin] = append(fresh[begin], tp)
		}
	}
	starts := map[kafka.TopicPartition]int64{}
	for begin, tps := range fresh {
		at, err := in.client.ListOffsets(ctx, begin, tps...)
		if err != nil {
			return err
		}
		maps.Copy(starts, at)
	}
	for i, tp := range tps {
		if c, ok := committed[tp]; ok {
			o.inputs[i].Offset, o.inputs[i].Metadata = c.Offset, c.Metadata
		} else {
			o.inputs[i].Offset, o.inputs[i].Fresh = starts[tp], in.beginning(o.inputs[i]) == kafka.Latest
		}
	}
	return nil
}
