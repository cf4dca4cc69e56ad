package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrNotRunning is wrapped by the errors of what needs a running instance.
var ErrNotRunning = errors.New("streams: the instance is not running")

// control is what an operator wants of an instance.
type control struct {
	mu       sync.Mutex // guards what follows; never held across a wait
	paused   bool
	draining bool
	// full is set while too much waits for the cold tier: nothing is processed
	// then either.
	full bool
	// told is set when the group knows that the instance drains, and thenStop if
	// it stops when it is drained.
	told, thenStop bool
	departure      OnStop // empty for the configuration's
	// stop ends Run; nil before it.
	stop context.CancelFunc
	// resumed is closed, and replaced, when a drain is ended by a resume.
	resumed chan struct{}
}

func newControl() *control { return &control{resumed: make(chan struct{})} }

func (c *control) isPaused() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.paused || c.full
}

func (c *control) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// isTold reports whether the group gives a draining instance nothing any more.
func (c *control) isTold() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining && c.told
}

// tell notes what the group was told of draining.
func (c *control) tell(draining bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = draining
}

// enter takes note of the instance's new state.
func (c *control) enter(s State) {
	c.mu.Lock()
	stop := c.stop
	if s != Drained || !c.thenStop {
		stop = nil
	}
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// leaves reports whether the instance leaves its group when it stops, which by
// its configuration is otherwise.
func (c *control) leaves(configured OnStop) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cmp.Or(c.departure, configured) == Leave
}

// Pause stops the processing of all tasks: what is done is committed, and nothing
// is read, fired or sent until [Instance.Resume]. The instance stays in its group,
// keeps its tasks and those that it is given meanwhile, and answers queries. Its
// partitions count as having more to say: windows elsewhere that wait for them
// stay open. A pause does not survive the process. It returns at once; the
// listener hears of [Paused] when the tasks stand still.
func (in *Instance) Pause() {
	in.control.mu.Lock()
	before := in.control.paused
	in.control.paused = true
	in.control.mu.Unlock()
	if before {
		return
	}
	in.log.Info("paused: nothing is processed until it is resumed")
	in.spreadPause()
	in.life.review()
}

// Resume ends what Pause and Drain have begun: tasks are processed again, and the
// group may give this instance others.
func (in *Instance) Resume() {
	c := in.control
	c.mu.Lock()
	paused, draining := c.paused, c.draining
	c.paused, c.draining, c.told, c.thenStop = false, false, false, false
	if draining {
		close(c.resumed)
		c.resumed = make(chan struct{})
	}
	c.mu.Unlock()
	if !paused && !draining {
		return
	}
	in.log.Info("resumed")
	if paused {
		in.spreadPause()
	}
	if m := in.group.Load(); draining && m != nil {
		m.rejoin()
	}
	in.life.review()
}

// Drain gives all tasks away to the other members: each is processed here until
// the group has chosen its new owner, then committed and handed over. After that
// the instance is an idle member of its group until Resume, or until it stops.
// Drain returns when nothing is left here, or with the reason why ctx ended. While
// no other member can take the tasks they stay. An error wraps [ErrNotRunning] if
// the instance does not run, and says so if Resume came first.
func (in *Instance) Drain(ctx context.Context) error {
	resumed, err := in.beginDrain(false)
	if err != nil {
		return err
	}
	for {
		changed, drained := in.life.watch(Drained)
		switch {
		case drained:
			return nil
		case in.life.ended():
			return ErrNotRunning
		}
		select {
		case <-changed:
		case <-resumed:
			return errors.New("streams: the drain was ended by a resume")
		case <-ctx.Done():
			return fmt.Errorf("streams: %d tasks are still here: %w", len(in.Tasks()), context.Cause(ctx))
		}
	}
}

// StartDrain begins what [Instance.Drain] does and returns at once. If stop is
// set the instance leaves its group and stops when nothing is left here.
func (in *Instance) StartDrain(stop bool) error {
	_, err := in.beginDrain(stop)
	return err
}

func (in *Instance) beginDrain(stop bool) (resumed <-chan struct{}, err error) {
	m := in.group.Load()
	if m == nil || in.life.ended() {
		return nil, ErrNotRunning
	}
	c := in.control
	c.mu.Lock()
	before := c.draining
	resumed = c.resumed
	c.draining, c.thenStop = true, c.thenStop || stop
	c.mu.Unlock()
	if !before {
		in.log.Info("draining: all tasks go to other members")
		m.rejoin()
		in.life.review()
	}
	c.enter(in.life.get()) // it may be drained already
	return resumed, nil
}

// Stop ends Run as the end of its context does, and says whether the instance
// leaves its group, whatever Config.OnStop says: without an InstanceID, too, the
// tasks can wait for the session's end. It returns at once, and does nothing
// before Run.
func (in *Instance) Stop(d OnStop) {
	c := in.control
	c.mu.Lock()
	c.departure = d
	stop := c.stop
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// stopper returns a context that Stop ends.
func (c *control) stopper(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop = cancel
	return ctx, cancel
}

// hold stops the processing of all tasks as Pause does, or ends that: Resume does
// not.
func (in *Instance) hold(full bool) {
	in.control.mu.Lock()
	in.control.full = full
	in.control.mu.Unlock()
	in.spreadPause()
	in.life.review()
}

// spreadPause tells the workers that a pause has begun or is over.
func (in *Instance) spreadPause() {
	for _, w := range in.crew() {
		w.post(func(ctx context.Context) error { return w.setPaused(ctx, in.control.isPaused()) })
	}
}

// setPaused stops or continues the worker's tasks. What they have done is
// committed before they stand still, and those who wait for their watermarks are
// told that they are not idle.
func (w *worker) setPaused(ctx context.Context, paused bool) error {
	if paused == w.paused {
		return nil
	}
	w.paused = paused
	for _, id := range w.order() {
		r := w.tasks[id]
		for _, f := range r.feeds {
			f.hold(paused)
			if !paused && !f.failing.IsZero() {
				f.failing = w.in.cfg.Clock() // the time paused is no failure
			}
		}
		if !paused {
			continue
		}
		if _, err := r.task.Tick(w.in.cfg.Clock()); err != nil {
			return err
		}
		w.in.status.update(r, w.in.cfg.Clock())
	}
	if !paused {
		return nil
	}
	return w.commitAll(ctx)
}

// hold stops the reading of an input, or ends that. An input that is held is not
// idle.
func (f *feed) hold(held bool) {
	f.queue.hold(held)
	if held {
		f.input.Pause()
	} else if f.failing.IsZero() {
		f.input.Resume()
	}
}

// hold keeps the partition from being fetched, beside what the queue's size
// does.
func (q *queue) hold(held bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = held
	q.regulate()
}

// regulate has the partition fetched, or not: a held queue and a full one are
// not, and a full one not before it is half empty. mu is held.
func (q *queue) regulate() {
	full := q.bytes >= q.limit || q.full && q.bytes > q.limit/2
	q.full = full
	if stop := full || q.held; stop != q.paused {
		q.paused = stop
		if stop {
			q.fetcher.Pause(q.tp)
		} else {
			q.fetcher.Resume(q.tp)
		}
	}
}

// leave takes the member out of its group when the instance stops, unless it is
// to stay.
func (in *Instance) leave(ctx context.Context) {
	if !in.control.leaves(in.cfg.OnStop) {
		in.log.Info("the group is not left: the tasks wait for this instance until the session times out", "session", in.cfg.SessionTimeout)
		return
	}
	if err := in.member.leave(ctx); err != nil {
		in.log.Warn("the group was not left: its other members take over when the session times out", "error", err)
	}
}
