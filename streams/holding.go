package streams

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"

	"github.com/millrace/millrace/internal/assign"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

// holding is a task that was assigned to this instance: it is opened by a
// goroutine of its own, then run by its worker, then closed.
//
//	take ─► open ─► worker.add ─► … ─► worker.drop ─► finish
//	                   ▲                    │ reopen, after a failed commit
//	                   └────────────────────┘
type holding struct {
	id     processors.TaskID
	worker *worker
	epoch  int
	// ctx ends when the task is to go or the instance stops: opening it stops,
	// and it is not opened again.
	ctx    context.Context
	cancel context.CancelFunc
	// going is set when the task is to go to another member, or another worker.
	going atomic.Bool
	// corrupt is set when the database turned out to be: the task is thrown away
	// with its database, and restored.
	corrupt atomic.Bool
	// closed is closed when the task's database is.
	closed chan struct{}
	// db is the open database, and reads what the task reads, nil before it is known;
	// Instance.mu guards them.
	db    *stores.DB
	reads []kafka.TopicPartition
	// remaining is how many changelog offsets a restore has to go.
	remaining atomic.Int64
	// copy is the task's standby here, until its database is claimed; the
	// goroutine that opens the task owns it.
	copy *standby
}

// claim returns the open database of the task's standby, or nil.
func (h *holding) claim() (*stores.DB, *task.State) {
	sb := h.copy
	h.copy = nil
	if sb == nil {
		return nil, nil
	}
	return sb.claim(h)
}

// damaged has the task thrown away and restored: its database is corrupt.
func (h *holding) damaged() {
	h.corrupt.Store(true)
	h.worker.notify()
}

// apply carries an assignment out. It does not wait. Tasks are taken when what
// the producers of members that are gone have left open is aborted, else they would wait for the
// transactions' timeouts. workers is how many the group was told of.
func (in *Instance) apply(generation int32, start, revoke []processors.TaskID, a assign.Assignment, workers int) {
	for _, w := range in.crew() {
		w.post(func(context.Context) error {
			for _, r := range w.tasks {
				r.task.SetGeneration(generation)
			}
			return nil
		})
	}
	settled := make(chan struct{})
	in.openers.Go(func() {
		defer close(settled)
		in.abortGone(a.Abort)
	})
	for _, id := range start {
		in.take(id, settled)
	}
	if len(revoke) > 0 {
		in.release(revoke)
	}
	in.renew()
	in.standbys.assign(fromAssigns(a.Standby), fromAssigns(a.Warmup), a.Follows)
	in.staff(workers)
}

// letGo has a task closed: it goes to another member, or another worker.
func (h *holding) letGo() {
	h.going.Store(true)
	h.cancel()
}

// take begins to open a task, once ready is closed.
func (in *Instance) take(id processors.TaskID, ready <-chan struct{}) {
	in.mu.Lock()
	if in.stopping || in.tasks[id] != nil {
		in.mu.Unlock()
		return
	}
	h := in.newHolding(id, in.leastBusy(), in.member.current().epoch)
	h.copy = in.standbys.take(id)
	before := in.draining[id]
	in.tasks[id] = h
	in.mu.Unlock()
	in.openAfter(h, before, ready)
}

// renew opens tasks again that read something else by the plan than when they were
// opened: topics that a pattern matches have been made, or deleted.
func (in *Instance) renew() {
	in.mu.Lock()
	if in.stopping || in.cfg.UntilEnd { // what came after the start is not read
		in.mu.Unlock()
		return
	}
	var moves []move
	for id, h := range in.tasks {
		if h.reads != nil && !h.going.Load() && in.plan.Has(id) && !slices.Equal(h.reads, partitionsOf(in.plan.Inputs(id))) {
			moves = append(moves, move{h, in.newHolding(id, h.worker, h.epoch)})
			in.log.Info("task reads other topics than before", "task", id.String())
		}
	}
	in.replace(moves)
	in.mu.Unlock()
	in.hand(moves)
}

// partitionsOf returns the partitions of inputs.
func partitionsOf(inputs []task.InputConfig) []kafka.TopicPartition {
	tps := make([]kafka.TopicPartition, 0, len(inputs))
	for _, c := range inputs {
		tps = append(tps, kafka.TopicPartition{Topic: c.Topic, Partition: c.Partition})
	}
	return tps
}

// newHolding returns a holding of a task that is not open yet.
func (in *Instance) newHolding(id processors.TaskID, w *worker, epoch int) *holding {
	h := &holding{id: id, worker: w, epoch: epoch, closed: make(chan struct{})}
	h.ctx, h.cancel = context.WithCancel(in.work)
	return h
}

// openAfter opens a task when a holding of it from before is closed, and ready is;
// each of them may be nil.
func (in *Instance) openAfter(h, before *holding, ready <-chan struct{}) {
	in.life.setTask(h.id, TaskRestoring)
	in.openers.Go(func() {
		if before != nil {
			<-before.closed
		}
		if ready != nil {
			<-ready
		}
		in.open(h)
	})
}

// leastBusy returns the worker with the fewest tasks, of those that stay. mu is
// held.
func (in *Instance) leastBusy() *worker {
	counts := map[*worker]int{}
	for _, h := range in.tasks {
		counts[h.worker]++
	}
	return slices.MinFunc(in.workers, func(a, b *worker) int { return cmp.Compare(counts[a], counts[b]) })
}

// reopen opens a task again that its worker threw away, unless it is to go.
func (in *Instance) reopen(h *holding) {
	if h.ctx.Err() != nil || h.epoch != in.member.current().epoch {
		in.finish(h)
		return
	}
	in.life.setTask(h.id, TaskRestoring)
	in.openers.Go(func() { in.open(h) })
}

// detach takes a task's database away from queries.
func (in *Instance) detach(h *holding) {
	in.mu.Lock()
	defer in.mu.Unlock()
	h.db = nil
}

// finish notes that a task is closed for good.
func (in *Instance) finish(h *holding) {
	h.cancel()
	if db, _ := h.claim(); db != nil {
		in.standbys.remember(h.id, db)
		if err := db.Close(); err != nil {
			in.log.Warn("closing a task", "task", h.id.String(), "error", err)
		}
	}
	in.mu.Lock()
	h.db = nil
	if in.tasks[h.id] == h {
		delete(in.tasks, h.id)
	}
	if in.draining[h.id] == h {
		delete(in.draining, h.id)
	}
	taken := in.tasks[h.id] != nil
	in.mu.Unlock()
	if !taken {
		in.life.setTask(h.id, TaskClosed)
	}
	close(h.closed)
}

// release commits and closes tasks that are to move to other members, and then
// joins again so that the leader can give them away.
func (in *Instance) release(ids []processors.TaskID) {
	in.mu.Lock()
	stopping := in.stopping
	var leaving []*holding
	for _, id := range ids {
		if h := in.tasks[id]; h != nil {
			leaving = append(leaving, h)
		}
	}
	in.mu.Unlock()
	if stopping {
		return // everything is being closed
	}
	for _, h := range leaving {
		h.letGo()
	}
	for _, w := range in.crew() {
		w.post(func(ctx context.Context) error { return w.revoke(ctx, leaving) })
	}
	in.openers.Go(func() {
		for _, h := range leaving {
			<-h.closed
		}
		in.member.rejoin()
	})
}

// lose closes every task without a commit.
func (in *Instance) lose() {
	in.mu.Lock()
	lost := in.tasks
	in.tasks = map[processors.TaskID]*holding{}
	for id, h := range lost {
		in.draining[id] = h
	}
	in.mu.Unlock()
	for _, h := range lost {
		h.letGo()
	}
	for _, w := range in.crew() {
		w.post(func(context.Context) error { return w.dropLost() })
	}
}

// owned returns the tasks that this instance holds.
func (in *Instance) owned() []assign.Task {
	in.mu.Lock()
	defer in.mu.Unlock()
	var tasks []assign.Task
	for id := range in.tasks {
		tasks = append(tasks, toAssign(id))
	}
	slices.SortFunc(tasks, assign.Task.Compare)
	return tasks
}

// vacated returns when nothing of a task is open that this instance ran, or ctx
// ends.
func (in *Instance) vacated(ctx context.Context, id processors.TaskID) {
	for ctx.Err() == nil {
		in.mu.Lock()
		h := in.tasks[id]
		if h == nil {
			h = in.draining[id]
		}
		in.mu.Unlock()
		if h == nil {
			return
		}
		select {
		case <-h.closed:
		case <-ctx.Done():
		}
	}
}
