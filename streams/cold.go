package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
)

const (
	// coldInterval is how often the tasks are looked through for closed windows.
	coldInterval = 500 * time.Millisecond
	// coldRetry is how long the cold tier is left alone after it has failed, at
	// first and at most.
	coldRetry, coldRetryMost = time.Second, 15 * time.Second
)

// coldTier writes the closed windows of this instance's tasks to the cold tier,
// on a goroutine of its own. No worker waits for it; if so much waits in the warm
// tier that the bound is reached, the tasks are paused until it is less.
type coldTier struct {
	in     *Instance
	writer *task.ColdWriter
	cancel context.CancelFunc
	done   chan struct{}

	// These belong to the goroutine, and to finish when that is done.
	failing   time.Time // since when the tier has failed; zero if it has not
	retry     time.Duration
	notBefore time.Time
	full      bool
	waited    task.ColdBacklog // the most that has waited since it has failed
	// failed are the tasks that the tier has failed for and not taken anything of
	// since; last is the one that it failed for last.
	failed map[processors.TaskID]bool
	last   processors.TaskID
	// moved is set if one of them runs here no more.
	moved bool
	// broken are the tasks whose own database has failed.
	broken map[processors.TaskID]bool
}

// checkCold says what is wrong with the cold tier that a topology needs.
func checkCold(t *topology.Topology, cfg Config) error {
	if names := t.HasColdTier(); len(names) > 0 && cfg.Cold == nil {
		return fmt.Errorf("%w: the windows of the stores %q go to a cold tier, and Config.Cold has none", ErrInvalidConfig, names)
	}
	return nil
}

// newColdTier returns nil if no store has a cold tier.
func newColdTier(in *Instance) *coldTier {
	if len(in.topology.HasColdTier()) == 0 {
		return nil
	}
	c := &coldTier{in: in, failed: map[processors.TaskID]bool{}, broken: map[processors.TaskID]bool{}}
	c.writer = task.NewColdWriter(task.ColdConfig{
		Cold: in.cfg.Cold, Application: in.cfg.Application, Now: time.Now, Rest: 10, Changed: c.changed, Step: in.cfg.hooks.cold,
		Wrote: func(rows int, took time.Duration) {
			in.metrics.coldWritten.Add(float64(rows))
			in.metrics.coldSeconds.Observe(took.Seconds())
		},
	})
	return c
}

// start begins to write.
func (c *coldTier) start() {
	if c == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan struct{})
	go func() {
		defer close(c.done)
		c.run(ctx)
	}()
}

// stop ends that, and waits until it has ended; what is under way is cut off. It
// may be called more than once.
func (c *coldTier) stop() {
	if c != nil {
		c.cancel()
		<-c.done
	}
}

// run writes until ctx ends.
func (c *coldTier) run(ctx context.Context) {
	c.in.metrics.coldUp.Set(1)
	ticker := time.NewTicker(coldInterval)
	defer ticker.Stop()
	for {
		c.pass(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// pass looks once through all tasks that run. It begins behind the task that the
// tier failed for last, so that one whose windows it never takes holds up no other.
func (c *coldTier) pass(ctx context.Context) {
	running := c.in.runningDBs()
	c.keep(running)
	c.changed()
	ids := slices.SortedFunc(maps.Keys(running), processors.TaskID.Compare)
	if !c.failing.IsZero() {
		behind := slices.IndexFunc(ids, func(id processors.TaskID) bool { return id.Compare(c.last) > 0 })
		ids = slices.Concat(ids[max(behind, 0):], ids[:max(behind, 0)])
	}
	for _, id := range ids {
		if ctx.Err() != nil {
			return
		}
		if time.Now().Before(c.notBefore) {
			c.judge(ctx, id, c.writer.Count(ctx, id, running[id]))
			continue
		}
		err := c.writer.Pass(ctx, id, running[id])
		if err == nil {
			delete(c.failed, id)
			delete(c.broken, id)
		}
		c.judge(ctx, id, err)
	}
	if !c.failing.IsZero() && len(c.failed) == 0 {
		c.recovered()
	}
}

// keep forgets the tasks that run here no more.
func (c *coldTier) keep(running map[processors.TaskID]*stores.DB) {
	runs := func(id processors.TaskID) bool { return running[id] != nil }
	c.writer.Keep(runs)
	for id := range c.failed {
		if !runs(id) {
			delete(c.failed, id)
			c.moved = true
		}
	}
	maps.DeleteFunc(c.broken, func(id processors.TaskID, _ bool) bool { return !runs(id) })
}

// judge takes note of the outcome of a pass over a task. An error of the task's own
// database says nothing of the tier, and holds up no other task; that it is closed
// meanwhile is no failure at all.
func (c *coldTier) judge(ctx context.Context, id processors.TaskID, err error) {
	switch {
	case err == nil || ctx.Err() != nil:
		return
	case errors.Is(err, task.ErrColdTier):
		c.fails(id, err)
	case errors.Is(err, stores.ErrClosed) || errors.Is(err, context.Canceled) || c.broken[id]:
	default:
		c.broken[id] = true
		c.in.log.Warn("the closed windows of a task cannot be read for the cold tier: they wait", "task", id, "error", err)
	}
}

// fails has the tier left alone for a time.
func (c *coldTier) fails(id processors.TaskID, err error) {
	c.in.metrics.coldFailures.Inc()
	now := time.Now()
	if c.failing.IsZero() {
		c.failing, c.retry = now, coldRetry
		c.in.metrics.coldUp.Set(0)
		c.in.log.Warn("the cold tier fails: closed windows wait in the warm tier, and processing goes on",
			"error", err, "bound_bytes", c.in.cfg.ColdBacklog)
	} else {
		c.retry = min(2*c.retry, coldRetryMost)
	}
	c.failed[id], c.last = true, id
	c.notBefore = now.Add(c.retry)
}

// recovered takes note that the tier has taken something of each task that it had
// failed for, and that is still here.
func (c *coldTier) recovered() {
	text := "the cold tier works again: what waited is written"
	if c.moved {
		text = "the cold tier fails no more: tasks that it failed for run here no more, and what waited of the others is written"
	}
	c.in.log.Info(text, "failed_for", time.Since(c.failing).Round(time.Millisecond), "windows", c.waited.Windows, "bytes", c.waited.Bytes)
	c.in.metrics.coldUp.Set(1)
	c.failing, c.retry, c.notBefore, c.waited, c.moved = time.Time{}, 0, time.Time{}, task.ColdBacklog{}, false
}

// changed compares the backlog with its bound, and pauses the tasks or has them go
// on, when a quarter of it is free again.
func (c *coldTier) changed() {
	b := c.writer.Backlog()
	c.waited.Windows, c.waited.Bytes = max(c.waited.Windows, b.Windows), max(c.waited.Bytes, b.Bytes)
	m, bound := c.in.metrics, c.in.cfg.ColdBacklog
	m.coldWindows.Set(float64(b.Windows))
	m.coldBytes.Set(float64(b.Bytes))
	m.coldBehind.Set(b.Behind.Seconds())
	switch {
	case !c.full && b.Bytes > bound:
		c.full = true
		c.in.log.Warn("paused: more waits for the cold tier than may; tasks go on when it has written most of that",
			"windows", b.Windows, "bytes", b.Bytes, "bound_bytes", bound)
	case c.full && b.Bytes <= bound/4*3:
		c.full = false
		c.in.log.Info("resumed: the cold tier has caught up", "windows", b.Windows, "bytes", b.Bytes)
	default:
		return
	}
	m.coldPaused.Set(map[bool]float64{true: 1}[c.full])
	c.in.hold(c.full)
}

// finish writes what the end of a bounded run has closed, again and again until
// that is done, ctx ends or TaskTimeout is over; the windows then stay in the warm
// tier.
func (c *coldTier) finish(ctx context.Context) {
	if c == nil {
		return
	}
	c.stop()
	ctx, cancel := context.WithTimeout(ctx, c.in.cfg.TaskTimeout)
	defer cancel()
	if c.in.commitWorkers(ctx) != nil {
		return
	}
	retry := time.NewTicker(coldRetry)
	defer retry.Stop()
	for {
		var errs []error
		for id, db := range c.in.runningDBs() {
			err := errors.Join(c.writer.Pass(ctx, id, db), c.writer.Finish(ctx, id, db))
			c.judge(ctx, id, err)
			errs = append(errs, err)
		}
		err := errors.Join(errs...)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			c.in.log.Warn("what the end of the run has closed is not in the cold tier; it stays in the warm tier", "error", err)
			return
		case <-retry.C:
		}
	}
}

// commitWorkers has all workers commit what their tasks have done, and waits.
func (in *Instance) commitWorkers(ctx context.Context) error {
	crew := in.crew()
	done := make([]chan struct{}, len(crew))
	for i, w := range crew {
		done[i] = make(chan struct{})
		w.post(func(ctx context.Context) error {
			defer close(done[i])
			return w.commitAll(ctx)
		})
	}
	for i, w := range crew {
		select {
		case <-done[i]:
		case <-w.gone: // it has committed as it went
		case err := <-in.failed:
			in.fail(err) // it is the caller's to find
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// runningDBs returns the databases of the tasks that run.
func (in *Instance) runningDBs() map[processors.TaskID]*stores.DB {
	states := in.life.taskStates()
	in.mu.Lock()
	defer in.mu.Unlock()
	open := map[processors.TaskID]*stores.DB{}
	for id, h := range in.tasks {
		if h.db != nil && states[id] == TaskRunning {
			open[id] = h.db
		}
	}
	return open
}

// Cold returns the cold tier, or nil.
func (in *Instance) Cold() stores.Cold { return in.cfg.Cold }
