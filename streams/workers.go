package streams

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
)

// The workers of an instance can become more or fewer while it runs.
//
//	SetWorkers ─► rejoin: the group hears of the number ─► apply ─► staff ─► add …    ─► spread
//	                                                                    └─► retire … ─┘
//
// The group comes first: it remembers the producers of its members, so that
// somebody can abort what they leave open, and must know of a new one before
// that opens anything. A task that moves from one worker to another is committed
// and closed by the one and opened by the other, as if it came from another
// member, but for the group, which does not notice.

// mostWorkers is how many workers an instance may have.
const mostWorkers = 1024

// SetWorkers changes how many goroutines process tasks. It returns at once: the
// group is told of the new number, which is this instance's weight when tasks are
// shared out, then workers are added or removed, and tasks move between them, each
// after a commit and standing still only while its state is opened again. State in
// memory alone is restored from the changelogs. The number does not survive the
// process. The error wraps [ErrInvalidConfig] if n is not 1 to 1024, and
// [ErrNotRunning].
func (in *Instance) SetWorkers(n int) error {
	if n < 1 || n > mostWorkers {
		return fmt.Errorf("%w: workers %d: use 1 to %d", ErrInvalidConfig, n, mostWorkers)
	}
	m := in.group.Load()
	if m == nil || in.life.ended() {
		return ErrNotRunning
	}
	in.mu.Lock()
	before := in.wanted
	in.wanted = n
	in.mu.Unlock()
	if n != before {
		in.log.Info("another number of workers is wanted", "workers", n, "before", before)
		m.rejoin()
	}
	return nil
}

// Workers returns how many workers there are, without those that are on their way
// out.
func (in *Instance) Workers() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.workers)
}

// wish returns how many workers are wanted, and how many producers the group is to
// know of: those of workers that go are not closed yet.
func (in *Instance) wish() (workers, producers int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.wanted, max(in.wanted, len(in.workers)+len(in.retiring)+len(in.closing))
}

// crew returns all workers that run tasks, those too that are on their way out.
func (in *Instance) crew() []*worker {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Concat(in.workers, in.retiring)
}

// staff adds and removes workers until there are as many as the group was told of
// last. It does not wait.
func (in *Instance) staff(told int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.told = told
	if in.staffing || in.stopping || in.told == len(in.workers) {
		return
	}
	in.staffing = true
	in.openers.Go(func() {
		for in.staffOne() {
		}
	})
}

// staffOne adds or removes a worker, and reports whether there is more to do.
func (in *Instance) staffOne() (more bool) {
	in.mu.Lock()
	count, told := len(in.workers), in.told
	if in.stopping || count == told {
		in.staffing = false
		in.mu.Unlock()
		in.spread()
		return false
	}
	if count > told {
		w := in.workers[count-1]
		in.workers, in.retiring = slices.Clone(in.workers[:count-1]), append(slices.Clone(in.retiring), w)
		in.mu.Unlock()
		in.openers.Go(func() { in.retire(w) })
		in.spread()
		return true
	}
	going := slices.Concat(in.retiring, in.closing)
	in.mu.Unlock()
	for _, w := range going { // a new one may need its number
		<-w.gone
	}
	w := newWorker(in, count)
	if err := w.produce(in.work); err != nil {
		if in.work.Err() == nil {
			in.fail(err)
		}
		in.mu.Lock()
		in.staffing = false
		in.mu.Unlock()
		return false
	}
	if !in.employ(w) {
		w.producer.Close()
		return false
	}
	in.memory.add(w)
	in.log.Info("worker added", "worker", w.index)
	return true
}

// employ starts a worker, unless the instance stops.
func (in *Instance) employ(w *worker) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopping {
		return false
	}
	in.workers = append(slices.Clone(in.workers), w)
	w.post(func(ctx context.Context) error { return w.setPaused(ctx, in.control.isPaused()) })
	w.begin()
	return true
}

// begin starts the worker's goroutine. Instance.mu is held, or there is no other
// goroutine yet.
func (w *worker) begin() {
	w.work, w.stop = context.WithCancel(w.in.work)
	w.in.running.Go(func() {
		defer close(w.ended)
		if err := w.run(w.in.limit, w.work); err != nil {
			w.in.fail(err)
		}
	})
}

// retire ends a worker when the last of its tasks is gone, and has nothing of it
// left open. If the instance stops meanwhile, that closes it.
func (in *Instance) retire(w *worker) {
	defer close(w.gone)
	for h := in.heldBy(w); h != nil; h = in.heldBy(w) {
		<-h.closed
	}
	in.mu.Lock()
	if in.stopping {
		in.mu.Unlock()
		return
	}
	in.retiring, in.closing = without(in.retiring, w), append(slices.Clone(in.closing), w)
	in.mu.Unlock()
	defer func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.closing = without(in.closing, w)
	}()
	w.stop()
	<-w.ended
	if !w.broken {
		if err := w.close(in.limit); err != nil {
			in.fail(err)
		}
	} else if err := w.abandon(); err != nil {
		in.fail(err)
	}
	w.discard()
	in.memory.remove(w)
	in.log.Info("worker removed", "worker", w.index)
}

// without returns workers but one, in a slice of its own.
func without(workers []*worker, w *worker) []*worker {
	return slices.DeleteFunc(slices.Clone(workers), func(o *worker) bool { return o == w })
}

// heldBy returns a task that a worker has, or nil.
func (in *Instance) heldBy(w *worker) *holding {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, held := range []map[TaskID]*holding{in.tasks, in.draining} {
		for _, h := range held {
			if h.worker == w {
				return h
			}
		}
	}
	return nil
}

// spread moves tasks between the workers: those of workers that go, and so many
// more that nobody has two more than another.
func (in *Instance) spread() {
	in.mu.Lock()
	if in.stopping {
		in.mu.Unlock()
		return
	}
	moves := in.moves()
	in.replace(moves)
	in.mu.Unlock()
	in.hand(moves)
}

// replace has tasks held by others from now on. mu is held; hand follows.
func (in *Instance) replace(moves []move) {
	for _, m := range moves {
		in.tasks[m.to.id], in.draining[m.to.id] = m.to, m.from
	}
}

// hand has tasks committed and closed, and opened by who is to hold them.
func (in *Instance) hand(moves []move) {
	leaving := map[*worker][]*holding{}
	for _, m := range moves {
		m.from.letGo()
		leaving[m.from.worker] = append(leaving[m.from.worker], m.from)
		in.openAfter(m.to, m.from, nil)
	}
	for w, tasks := range leaving {
		w.post(func(ctx context.Context) error { return w.revoke(ctx, tasks) })
	}
}

// move is a task on its way from one worker to another, or to itself.
type move struct{ from, to *holding }

// moves finds what spread is to move. mu is held.
func (in *Instance) moves() (moves []move) {
	count := map[*worker]int{}
	by := map[*worker][]*holding{} // those that can move
	ids := slices.SortedFunc(maps.Keys(in.tasks), TaskID.Compare)
	for _, id := range ids {
		h := in.tasks[id]
		count[h.worker]++
		if !h.going.Load() {
			by[h.worker] = append(by[h.worker], h)
		}
	}
	fewer := func(a, b *worker) int { return cmp.Or(cmp.Compare(count[a], count[b]), cmp.Compare(a.index, b.index)) }
	send := func(from *worker) {
		to, last := slices.MinFunc(in.workers, fewer), len(by[from])-1
		h := by[from][last]
		by[from] = by[from][:last]
		count[from]--
		count[to]++
		moves = append(moves, move{h, in.newHolding(h.id, to, h.epoch)})
		in.log.Info("task moves to another worker", "task", h.id.String(), "from", from.index, "to", to.index)
	}
	for _, w := range in.retiring {
		for len(by[w]) > 0 {
			send(w)
		}
	}
	for {
		from := slices.MaxFunc(in.workers, fewer)
		if len(by[from]) == 0 || count[from]-count[slices.MinFunc(in.workers, fewer)] < 2 {
			return moves
		}
		send(from)
	}
}
