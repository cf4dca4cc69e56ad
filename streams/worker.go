package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

// tickInterval is how often a worker looks after its tasks' clocks while no
// records come: the linger of watermark markers.
const tickInterval = 20 * time.Millisecond

// errLost ends what a worker is doing because this member's tasks are no
// longer its own.
var errLost = errors.New("streams: tasks were lost to other members")

// worker is one goroutine with the tasks that it runs. They share a producer
// and are committed together. Everything but post belongs to the goroutine.
type worker struct {
	in    *Instance
	index int
	// producer is changed with mu held. txn is the same, exactly once, and nil
	// at least once.
	producer *kafka.Producer
	txn      *kafka.TransactionalProducer
	outlet   *outlet
	tasks    map[processors.TaskID]*running
	skips    task.Skips
	// nextCommit is when a commit is due, and lastGuard when changelogs were last
	// looked after.
	nextCommit, lastGuard time.Time
	clock                 clocks
	header                [1]kafka.Header // of changelog records
	// batchBytes and recordBytes are what brokers have refused, by topic.
	batchBytes, recordBytes map[string]int
	// fresh is set while an input stands where its partition ended, and no offset
	// says so: it is committed before any record is processed. Else whoever comes
	// next would take a later end.
	fresh bool
	// paused is set while the operator wants nothing to be processed.
	paused bool
	// dirtyBytes is how much changed state the worker gathers before it commits ahead
	// of time. It stays when others come.
	dirtyBytes int64
	// lastRead is the task that has read from a source last, if there is a
	// Config.MaxRate. The next pass begins behind it: what the rate allows must not
	// always go to the same one.
	lastRead processors.TaskID
	// unlooked is how many records were processed since the worker has looked how much
	// has changed.
	unlooked int
	// broken is set when run has returned an error: nothing in the tasks can be
	// trusted.
	broken bool

	wake chan struct{} // capacity 1
	// work ends when the worker is to stop, by stop or with the instance's; ended is
	// closed when run has returned, and gone when the worker is removed.
	work        context.Context
	stop        context.CancelFunc
	ended, gone chan struct{}

	mu       sync.Mutex // guards what follows; never held across a wait
	commands []func(context.Context) error
	arriving []*opened
	closed   bool
	aborted  bool
}

// running is a task with what feeds it.
type running struct {
	*holding
	task  *task.Task
	state *task.State
	feeds []*feed
	// ends is where the changelog of each store ends, if nobody else writes to it.
	ends map[string]int64
}

func newWorker(in *Instance, index int) *worker {
	w := &worker{
		in: in, index: index, tasks: map[processors.TaskID]*running{}, wake: make(chan struct{}, 1),
		ended: make(chan struct{}), gone: make(chan struct{}), dirtyBytes: in.dirtyBytes(),
	}
	w.outlet = &outlet{worker: w}
	w.header[0].Key = []byte(stores.StateHeader)
	return w
}

// post has the worker run f between two batches. Any goroutine may call it.
func (w *worker) post(f func(context.Context) error) {
	w.mu.Lock()
	w.commands = append(w.commands, f)
	w.mu.Unlock()
	w.notify()
}

// hand gives the worker a task to run. It returns false if the worker takes no
// more.
func (w *worker) hand(o *opened) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.arriving = append(w.arriving, o)
	w.notify()
	return true
}

func (w *worker) notify() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run works until work ends; what is under way then goes on until it is done or
// ctx ends. The tasks are still open when run returns: see close.
func (w *worker) run(ctx, work context.Context) error {
	w.nextCommit, w.lastGuard = time.Now().Add(w.in.cfg.CommitInterval), time.Now()
	w.clock = readClocks(w.in.cfg.Clock)
	timer := time.NewTimer(tickInterval)
	defer timer.Stop()
	for work.Err() == nil {
		busy, err := w.pass(ctx)
		if err != nil {
			if err = w.recoverFrom(ctx, err); err != nil {
				w.broken = true
				return err
			}
			continue
		}
		if busy {
			continue
		}
		timer.Reset(min(tickInterval, max(time.Millisecond, time.Until(w.nextCommit))))
		select {
		case <-work.Done():
		case <-w.wake:
		case <-timer.C:
		}
	}
	return nil
}

// pass does one round: commands, a batch of each task, a commit if one is due.
func (w *worker) pass(ctx context.Context) (busy bool, err error) {
	if err := w.runCommands(ctx); err != nil {
		return false, err
	}
	if w.fresh {
		w.fresh = false
		if err := w.commit(ctx); err != nil {
			return false, err
		}
	}
	w.watchClock()
	if err := w.damaged(); err != nil {
		return false, err
	}
	ids := w.order()
	first := slices.Index(ids, w.lastRead) + 1
	for i := range ids {
		if w.paused {
			break
		}
		r := w.tasks[ids[(first+i)%len(ids)]]
		more, err := w.step(r)
		if err != nil {
			return false, err
		}
		busy = busy || more
		if r.task.Firing() && w.full() { // all tasks may fire in one pass
			if err := w.commit(ctx); err != nil {
				return busy, err
			}
		}
	}
	if err := w.producerErr(); err != nil {
		return false, err
	}
	if w.commitDue() {
		if err := w.commit(ctx); err != nil {
			return busy, err
		}
	}
	if time.Since(w.lastGuard) >= guardInterval {
		w.lastGuard = time.Now()
		if err := w.guard(ctx, slices.Collect(maps.Values(w.tasks))); err != nil {
			return busy, err
		}
		return busy, w.affirm(ctx)
	}
	return busy, nil
}

func (w *worker) runCommands(ctx context.Context) error {
	for {
		w.mu.Lock()
		var f func(context.Context) error
		switch {
		case len(w.arriving) > 0:
			o := w.arriving[0]
			w.arriving = w.arriving[1:]
			f = func(ctx context.Context) error { return w.add(ctx, o) }
		case len(w.commands) > 0:
			f = w.commands[0]
			w.commands = w.commands[1:]
		}
		w.mu.Unlock()
		if f == nil {
			return nil
		}
		if err := f(ctx); err != nil {
			return err
		}
	}
}

// order returns the tasks' ids in a fixed order.
func (w *worker) order() []processors.TaskID {
	return slices.SortedFunc(maps.Keys(w.tasks), processors.TaskID.Compare)
}

// step gives a task one batch, and what is due by time. It reports whether
// there is more to do at once.
func (w *worker) step(r *running) (more bool, err error) {
	now := w.in.cfg.Clock()
	w.align(r)
	if f := r.next(); f != nil {
		if err := w.feed(r, f, now); err != nil {
			return false, err
		}
		more = r.next() != nil
	}
	if err := w.overdue(r, now); err != nil {
		return false, err
	}
	firing, err := r.task.Tick(now)
	if err != nil {
		return false, err
	}
	w.in.status.update(r, now)
	return more || firing, nil
}

// add takes a task whose state is restored and begins to read for it.
func (w *worker) add(ctx context.Context, o *opened) error {
	if o.ctx.Err() != nil { // it is to go already
		w.in.discard(o)
		return nil
	}
	now := w.in.cfg.Clock()
	t, err := task.New(task.Config{
		Topology: w.in.topology, Application: w.in.cfg.Application, ID: o.id, Tasks: o.plan.Subs[o.id.Sub].Tasks,
		Generation: w.in.member.current().generation, State: o.state, Inputs: o.inputs, Outlet: w.outlet,
		Policy: w.in.cfg.OnError, Skips: &w.skips, Now: w.in.cfg.Clock, Logger: w.in.log, Observer: w.in.metrics.observer(),
		Replicates: w.in.replication.wants(),
	})
	if err != nil {
		w.in.discard(o)
		return err
	}
	r := &running{holding: o.holding, task: t, state: o.state, ends: map[string]int64{}}
	if w.in.cfg.Guarantee == AtLeastOnce { // else brokers refuse what a zombie writes
		for _, store := range o.plan.Subs[o.id.Sub].Changelogs() {
			r.ends[store], _, _ = o.state.DB.Offset(store)
		}
	}
	w.tasks[o.id] = r
	if o.foreign.Load() {
		if err := w.guard(ctx, []*running{r}); err != nil {
			return err
		}
	}
	for i, input := range t.Inputs() {
		tp := kafka.TopicPartition{Topic: input.Topic(), Partition: input.Partition()}
		f := &feed{input: input, end: w.in.endOf(tp), patience: patienceOf(o.inputs[i].Strategy), reset: w.in.resetOf(o.inputs[i])}
		f.queue = &queue{tp: tp, fetcher: w.in.fetcher, wake: w.notify, limit: w.in.queueBytes, fetched: &w.in.memory.fetched}
		_, _, f.aligned = input.Aligned()
		if o.inputs[i].Upstream == nil {
			f.rate = w.in.rate
		}
		f.checkEnd()
		r.feeds = append(r.feeds, f)
		w.fresh = w.fresh || o.inputs[i].Fresh
	}
	w.align(r)
	for _, f := range r.feeds {
		w.in.fetcher.Add(f.queue.tp, f.input.Next(), f.queue)
		if w.paused {
			f.hold(true)
		}
	}
	w.in.life.setTask(o.id, TaskRunning)
	if w.paused {
		return nil
	}
	_, err = t.Tick(now)
	return err
}

// shut closes a task and its database, without a commit.
func (w *worker) shut(r *running) error {
	for _, f := range r.feeds {
		w.in.fetcher.Remove(f.queue.tp)
		f.queue.close()
		w.in.alignment.leave(f.queue.tp)
	}
	delete(w.tasks, r.id)
	w.in.status.forget(r.id)
	w.in.detach(r.holding)
	w.in.standbys.remember(r.id, r.state.DB)
	// The database refuses queries, cancels those that run, and waits.
	err := errors.Join(r.task.Close(), w.in.closed(r.id, r.state.DB.Close()))
	if err != nil {
		w.in.log.Warn("closing a task", "task", r.id.String(), "error", err)
	}
	if errors.Is(err, stores.ErrDead) {
		return err
	}
	return nil
}

// drop closes a task for good, without a commit.
func (w *worker) drop(r *running) error {
	err := w.shut(r)
	w.in.finish(r.holding)
	return err
}

// dropLost closes the tasks that are to go, without a commit. What they have
// sent in an open transaction takes the other tasks with it.
func (w *worker) dropLost() error {
	epoch := w.in.member.current().epoch
	var errs []error
	dropped := false
	for _, id := range w.order() {
		if r := w.tasks[id]; r.going.Load() || r.epoch != epoch {
			errs = append(errs, w.drop(r))
			dropped = true
		}
	}
	if dropped && w.inTransaction() {
		errs = append(errs, errLost)
	}
	return errors.Join(errs...)
}

// revoke commits, and closes those of the worker's tasks that are leaving. If
// the commit fails they go all the same: what was not committed is processed
// again by whoever gets them.
func (w *worker) revoke(ctx context.Context, leaving []*holding) error {
	var mine []*running
	for _, h := range leaving {
		if r := w.tasks[h.id]; r != nil && r.holding == h {
			mine = append(mine, r)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	err := w.commitAll(ctx)
	if err == nil {
		err = w.guard(ctx, mine)
	}
	return errors.Join(err, w.dropLost())
}

// close commits and closes everything. It is called when run has returned. A
// commit that could not be made is no error: what it held is processed again.
func (w *worker) close(ctx context.Context) error {
	err := w.commitAll(ctx)
	if err == nil {
		err = w.guard(ctx, slices.Collect(maps.Values(w.tasks)))
	}
	if err != nil && (ctx.Err() != nil || w.mends(err)) {
		w.in.log.Warn("stopped without a last commit: the next run repeats what came after the one before", "worker", w.index, "error", err)
		err = nil
	}
	return errors.Join(err, w.abandon())
}

// abandon closes everything without a commit.
func (w *worker) abandon() error {
	var err error
	for _, id := range w.order() {
		err = errors.Join(err, w.drop(w.tasks[id]))
	}
	open := w.inTransaction()
	w.producer.Close()
	if open {
		w.abortOpen()
	}
	return err
}

// discard closes the tasks that were handed to the worker and that it never
// took, and has it take no more.
func (w *worker) discard() {
	w.mu.Lock()
	arriving := w.arriving
	w.arriving, w.closed = nil, true
	w.mu.Unlock()
	for _, o := range arriving {
		w.in.discard(o)
	}
}

// damaged returns an error if the database of a task has turned out to be corrupt.
// Whatever its processors made of the error that they got, a commit must not
// stand for it.
func (w *worker) damaged() error {
	for id, r := range w.tasks {
		if r.corrupt.Load() {
			return fmt.Errorf("task %v: %w", id, stores.ErrCorrupt)
		}
	}
	return nil
}

// mends reports whether throwing the tasks away and opening them again mends
// what err is about.
func (w *worker) mends(err error) bool {
	_, replay := errors.AsType[*task.ReplayError](err)
	large, ok := errors.AsType[*kafka.RecordTooLargeError](err)
	return replay || ok && large.Limit == 0 || errors.Is(err, errLost) || errors.Is(err, kafka.ErrProducerState) || w.damaged() != nil
}

// recoverFrom throws the worker's tasks away after an error that replay can
// mend, and has those opened again that are still its own. It returns any other
// error.
func (w *worker) recoverFrom(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if damage := w.damaged(); damage != nil {
		err = damage // and no record's fault
	}
	if !w.mends(err) {
		return err
	}
	if large, ok := errors.AsType[*kafka.RecordTooLargeError](err); ok && large.Limit == 0 {
		w.refused(large)
		w.in.log.Warn("replaying to find the record that a broker refuses", "worker", w.index, "topic", large.Topic, "records", large.Records, "bytes", large.Size)
	} else if replay, ok := errors.AsType[*task.ReplayError](err); ok {
		w.skips.Add(replay)
		w.in.log.Warn("replaying without a record", "worker", w.index, "at", replay.Position, "error", replay.Err)
	} else {
		w.in.log.Warn("throwing tasks away", "worker", w.index, "tasks", len(w.tasks), "error", err)
	}
	var again []*holding
	var errs []error
	for _, id := range w.order() {
		again = append(again, w.tasks[id].holding)
		errs = append(errs, w.shut(w.tasks[id]))
	}
	// What was sent and not acknowledged must not mix with the replay, and what
	// is in a transaction must be settled before the offsets are read again.
	w.producer.Close()
	errs = append(errs, w.produce(ctx))
	err = errors.Join(errs...)
	for _, h := range again {
		if err != nil {
			w.in.finish(h)
			continue
		}
		w.in.reopen(h)
	}
	return err
}

// produce makes the worker's producer.
func (w *worker) produce(ctx context.Context) error {
	cfg := kafka.ProducerConfig{BufferBytes: w.in.produceBytes(), TopicBatchBytes: maps.Clone(w.batchBytes)}
	newProducer := w.in.client.NewProducer
	if w.in.cfg.Guarantee == ExactlyOnce {
		newProducer = w.newTransactional
	}
	p, err := newProducer(ctx, cfg)
	if err != nil {
		return fmt.Errorf("worker %d: %w", w.index, err)
	}
	w.mu.Lock()
	w.producer = p
	aborted := w.aborted
	w.mu.Unlock()
	if aborted {
		p.Close()
	}
	return nil
}

// buffered returns the bytes sent and not acknowledged. Any goroutine may call
// it.
func (w *worker) buffered() int {
	w.mu.Lock()
	p := w.producer
	w.mu.Unlock()
	if p == nil {
		return 0
	}
	return p.Buffered()
}

// abort ends the worker's sending, which otherwise waits while brokers are
// gone. Any goroutine may call it.
func (w *worker) abort() {
	w.mu.Lock()
	w.aborted = true
	p := w.producer
	w.mu.Unlock()
	p.Close()
}

func (w *worker) producerErr() error {
	if err := w.producer.Err(); err != nil {
		return fmt.Errorf("worker %d: %w", w.index, err)
	}
	return nil
}
