package streams

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/window"
)

// Intervals at which the alignment looks after partitions that other instances
// read, or that no task of this one reads yet: while something is paused, and
// while nothing is.
const (
	alignInterval       = time.Second
	alignIntervalPaused = 100 * time.Millisecond
)

// alignment keeps the source partitions together that are aligned with each
// other (window.Strategy.AlignWithin), over all tasks of the application.
//
// Of those that are read here it knows each record. What it knows of the others
// comes from the group's committed offsets, which carry watermarks: they are at
// most a commit old and never ahead of the truth, so that a stale one may pause
// somebody for too long, and lets nobody run too far. A partition that is not yet
// looked at holds the others back. The slowest of all is not paused for long: a
// commit does not wait for records, and after the next one all are known as they
// are.
type alignment struct {
	in *Instance

	mu     sync.Mutex // guards what follows; never held across a wait
	groups map[int]*window.Alignment[kafka.TopicPartition]
	here   map[kafka.TopicPartition]bool
	// paused are the partitions that are not read here because they are ahead.
	paused map[kafka.TopicPartition]bool
	// ends are partitions elsewhere that were found read to their ends.
	ends map[kafka.TopicPartition]reachedEnd
}

// reachedEnd is an offset with nothing behind it, and since when that is known.
type reachedEnd struct {
	offset int64
	since  time.Time
}

func newAlignment(in *Instance) *alignment {
	return &alignment{
		in: in, groups: map[int]*window.Alignment[kafka.TopicPartition]{}, here: map[kafka.TopicPartition]bool{},
		paused: map[kafka.TopicPartition]bool{}, ends: map[kafka.TopicPartition]reachedEnd{},
	}
}

// aligned is a partition that takes part in an alignment.
type aligned struct {
	kafka.TopicPartition
	task.InputConfig
}

// partitions returns all partitions of a plan that are aligned with others.
func (a *alignment) partitions(p *task.Plan) []aligned {
	var all []aligned
	for _, id := range p.Tasks() {
		for _, c := range p.Inputs(id) {
			if _, ok := c.Strategy.AlignMillis(); ok && c.Upstream == nil {
				all = append(all, aligned{kafka.TopicPartition{Topic: c.Topic, Partition: c.Partition}, c})
			}
		}
	}
	return all
}

// group returns a group. mu is held.
func (a *alignment) group(id int) *window.Alignment[kafka.TopicPartition] {
	g := a.groups[id]
	if g == nil {
		g = &window.Alignment[kafka.TopicPartition]{}
		a.groups[id] = g
	}
	return g
}

// expect lets every partition that is not known yet hold the others back, before
// any is read.
func (a *alignment) expect(p *task.Plan) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, part := range a.partitions(p) {
		if !a.here[part.TopicPartition] {
			a.group(part.Group).Set(part.TopicPartition, window.MinTime, true)
		}
	}
}

// keep forgets all partitions but these, such as those of a topic that was deleted:
// nobody is to wait for them.
func (a *alignment) keep(parts []aligned) {
	planned := map[kafka.TopicPartition]bool{}
	for _, part := range parts {
		planned[part.TopicPartition] = true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.groups {
		g.Keep(func(tp kafka.TopicPartition) bool { return planned[tp] })
	}
	maps.DeleteFunc(a.ends, func(tp kafka.TopicPartition, _ reachedEnd) bool { return !planned[tp] })
}

// follow takes note of a partition that is read here, and returns the watermark
// beyond which it is to be paused.
func (a *alignment) follow(tp kafka.TopicPartition, in *task.Input) (limit int64) {
	group, within, ok := in.Aligned()
	if !ok {
		return window.MaxTime
	}
	w, _ := in.Watermark()
	a.mu.Lock()
	defer a.mu.Unlock()
	g := a.group(group)
	a.here[tp] = true
	g.Set(tp, w, in.Waits())
	return g.Limit(within)
}

// pause notes whether a partition that is read here is paused.
func (a *alignment) pause(tp kafka.TopicPartition, paused bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if paused {
		a.paused[tp] = true
	} else {
		delete(a.paused, tp)
	}
}

// leave notes that a partition is not read here any more. What is known of it
// stays until the next look at what is committed.
func (a *alignment) leave(tp kafka.TopicPartition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.here, tp)
	delete(a.paused, tp)
	delete(a.ends, tp)
}

// slowest returns the partition that the others of a group wait for.
func (a *alignment) slowest(group int) (tp kafka.TopicPartition, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	tp, _, ok = a.group(group).Slowest()
	return tp, ok
}

// run looks after the partitions elsewhere until ctx ends.
func (a *alignment) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	told := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		p := a.in.currentPlan()
		parts := a.partitions(p)
		if len(parts) == 0 && !a.in.hasPattern() {
			return
		}
		err := a.look(ctx, parts)
		if err != nil && ctx.Err() == nil && !told {
			a.in.log.Warn("partitions that are read elsewhere cannot be looked at: those that are aligned with them wait", "error", err)
		}
		told = err != nil
		a.mu.Lock()
		interval := alignInterval
		if len(a.paused) > 0 {
			interval = alignIntervalPaused
		}
		a.mu.Unlock()
		timer.Reset(interval)
	}
}

// look asks the group how far the partitions are that are not read here; parts are
// all that there are.
func (a *alignment) look(ctx context.Context, parts []aligned) error {
	a.keep(parts)
	var elsewhere []aligned
	var tps []kafka.TopicPartition
	a.mu.Lock()
	for _, part := range parts {
		if !a.here[part.TopicPartition] {
			elsewhere, tps = append(elsewhere, part), append(tps, part.TopicPartition)
		}
	}
	a.mu.Unlock()
	if len(tps) == 0 {
		return nil
	}
	committed, err := a.in.client.CommittedOffsets(ctx, a.in.cfg.Application, tps...)
	if err != nil {
		return err
	}
	starts, errStarts := a.in.client.ListOffsets(ctx, kafka.Earliest, tps...)
	ends, errEnds := a.in.client.ListOffsets(ctx, kafka.Latest, tps...)
	if err := errors.Join(errStarts, errEnds); err != nil {
		return err
	}
	now := a.in.cfg.Clock()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, part := range elsewhere {
		tp := part.TopicPartition
		if a.here[tp] {
			continue // it was taken meanwhile
		}
		next, w := starts[tp], window.MinTime
		if a.in.beginning(part.InputConfig) == kafka.Latest {
			next = ends[tp] // as of now: what comes until its task is opened is not read
		}
		if c, ok := committed[tp]; ok {
			next, w = c.Offset, task.CommittedWatermark(part.Strategy, c.Metadata)
		}
		end := ends[tp]
		bounded := a.in.endOf(tp)
		if bounded >= 0 {
			end = min(end, bounded)
		}
		a.group(part.Group).Set(tp, w, next < end || a.lingers(part, next, w, now) && bounded < 0)
	}
	return nil
}

// lingers reports whether a partition that is read to its end still holds the
// others back: it does until it counts as idle, unless it never had an event. mu
// is held.
func (a *alignment) lingers(part aligned, next, watermark int64, now time.Time) bool {
	if watermark == window.MinTime {
		return false
	}
	e, known := a.ends[part.TopicPartition]
	if !known || e.offset != next {
		e = reachedEnd{next, now}
		a.ends[part.TopicPartition] = e
	}
	return now.Sub(e.since).Milliseconds() < part.Strategy.IdleMillis()
}

// held reports whether the input is not to be read for now, because it has run
// too far ahead of those that it is aligned with.
func (f *feed) held() bool {
	if !f.aligned {
		return false
	}
	w, _ := f.input.Watermark()
	return w > f.limit && w != window.MaxTime
}

// align asks how far the inputs of a task may be read.
func (w *worker) align(r *running) {
	for _, f := range r.feeds {
		if !f.aligned {
			continue
		}
		f.limit = w.in.alignment.follow(f.queue.tp, f.input)
		if ahead := f.held() && f.waiting(); ahead != f.input.Ahead() {
			f.input.SetAhead(ahead)
			w.in.alignment.pause(f.queue.tp, ahead)
		}
	}
}
