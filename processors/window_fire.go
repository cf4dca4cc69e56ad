package processors

import (
	"math"
	"time"

	"github.com/millrace/millrace/internal/invariants"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// slice is how many results a node sends before it lets other work pass, so
// that half a million windows closing at one watermark stop nobody.
const slice = 4096

// sweep is a pass over the entries in order.
type sweep[A any] struct {
	// from is the least place at which there is something to do;
	// window.MaxTime if there is nothing.
	from int64
	// after is the last entry done at from.
	after stores.Cursor
	// held are bits of the entries that there is anything to do with; 0 for all entries.
	held uint8
	// do is what is done with each entry, err how that has failed.
	do  func(*stores.Live[A]) error
	err error
	// budget is how many entries all sweeps may do until other work passes.
	budget *int
}

// start has the sweep begin at a place.
func (s *sweep[A]) start(order int64) { s.from, s.after = order, stores.Cursor{} }

// Visit does an entry.
func (s *sweep[A]) Visit(live *stores.Live[A]) (more bool) {
	if *s.budget == 0 {
		return false
	}
	*s.budget--
	s.from, s.after = live.Order(), live.Cursor()
	s.err = s.do(live)
	return s.err == nil
}

// Restore finds where the sweeps go on. How far each window has fired stands
// in the store, so that they begin at the first one there is.
func (a *WindowAggregate[K, V, A]) Restore(w int64) error {
	a.w, a.finite, a.showAll = w, w, a.c.Emit.EarlyEvery() > 0
	a.closedBefore = a.c.Windows.ClosedBefore(w)
	if a.tier != nil {
		a.tier.Restore()
	}
	first, ok, err := a.entries.Next(window.MinTime)
	if err != nil || !ok {
		return err
	}
	if !a.c.Emit.UpdatesOnly() { // else the last commit has sent all that had changed
		a.complete.start(first)
		a.closing.start(first)
	}
	a.fading.start(first)
	a.expired = first
	return nil
}

// Advance fires what is complete, closes what is closed, and deletes what has
// passed its retention.
func (a *WindowAggregate[K, V, A]) Advance(w int64) (bool, error) {
	a.rt.Node = a.node
	if err := a.collectBefore(w); err != nil {
		return false, err
	}
	a.w = max(a.w, w)
	if a.w != window.MaxTime {
		a.finite = a.w
	}
	windows := a.c.Windows
	if windows.Kind() == window.CountKind {
		a.output = a.w
		return true, nil
	}
	if a.w < a.quiet {
		if invariants.Enabled && a.isDue(a.w) {
			invariants.Check(false, "something is due at %d, and nothing was to be before %d", a.w, a.quiet)
		}
		a.output = windows.ResultsFrom(a.w, a.c.Emit.ClosingOnly())
		return true, nil
	}
	a.quiet = window.MinTime
	a.budget = slice
	if !a.c.Emit.ClosingOnly() {
		if done, err := a.sweep(&a.complete, a.bound(windows.CompleteBefore(a.w))); !done || err != nil {
			return false, err
		}
	}
	if a.c.Emit.ClosingOnly() || windows.LatenessMillis() > 0 {
		if done, err := a.sweep(&a.closing, a.bound(windows.ClosedBefore(a.w))); !done || err != nil {
			return false, err
		}
	}
	if done, err := a.expire(); !done || err != nil {
		return false, err
	}
	a.offer()
	a.output = windows.ResultsFrom(a.w, a.c.Emit.ClosingOnly())
	a.quiet = a.quietUntil()
	return true, nil
}

// isDue reports whether the sweeps or the retention have anything to do at a
// watermark.
func (a *WindowAggregate[K, V, A]) isDue(w int64) bool {
	windows, closing := &a.c.Windows, a.c.Emit.ClosingOnly()
	expired := windows.ExpiredBefore(w)
	faded := a.bound(expired)
	return !closing && a.bound(windows.CompleteBefore(w)) > a.complete.from ||
		(closing || windows.LatenessMillis() > 0) && a.bound(windows.ClosedBefore(w)) > a.closing.from ||
		expired > a.expired || faded != expired && faded > a.fading.from
}

// quietUntil returns a watermark before which nothing is due, if nothing is now: the
// last in steps that double. Most events move the watermark, and few of them make
// anything due. What a cold tier has written does not go by the watermark.
func (a *WindowAggregate[K, V, A]) quietUntil() int64 {
	const furthest = 1 << 32 // some weeks
	if a.tier != nil || a.w > window.MaxTime-furthest {
		return window.MinTime
	}
	until := a.w
	for step := int64(1); step < furthest && !a.isDue(a.w+step); step *= 2 {
		until = a.w + step
	}
	return until + 1
}

// bound turns a bound of windows into one of entries: an entry of a store with
// panes stands for the window that ends with it.
func (a *WindowAggregate[K, V, A]) bound(order int64) int64 {
	if a.c.Store == nil || a.c.Store.Panes() == 0 || order == window.MaxTime || order == window.MinTime {
		return order
	}
	return order + a.c.Windows.SizeMillis() - a.c.Windows.AdvanceMillis()
}

// expire deletes what has passed its retention. What a bounded run closes stays:
// a later run must find that its final result was sent.
func (a *WindowAggregate[K, V, A]) expire() (done bool, err error) {
	bound := a.c.Windows.ExpiredBefore(a.finite)
	if a.tier != nil {
		bound = min(bound, a.tier.Written())
	}
	if bound > a.expired {
		if _, err := a.entries.DropBefore(bound); err != nil {
			return false, a.node.fail(err)
		}
		if a.expired, err = a.next(bound); err != nil {
			return false, err
		}
	}
	if a.bound(bound) == bound {
		return true, nil
	}
	// The first panes of the window are gone, and later ones are still needed.
	return a.sweep(&a.fading, a.bound(bound))
}

// offer tells the cold tier how far windows are closed, which everything before
// the watermark is when the sweeps have come to their ends: a later start of the
// task goes on from no earlier watermark. What has been deleted is expired now or,
// since the retention may have been another one, was closed when the task was
// restored.
func (a *WindowAggregate[K, V, A]) offer() {
	if a.tier != nil {
		a.tier.Offer(a.c.Windows.ClosedBefore(a.finite), max(a.closedBefore, a.c.Windows.ExpiredBefore(a.finite)))
	}
}

// onTime, atClose and unreadable are what the sweeps do with an entry.
func (a *WindowAggregate[K, V, A]) onTime(live *stores.Live[A]) error {
	if a.c.Emit.UpdatesOnly() {
		if !a.due.holds(live) {
			return nil // all that it has was sent
		}
		a.due.release(live)
	}
	pane, ok := live.Firing.OnTime(a.rule)
	return a.sendIf(live, pane, ok)
}

func (a *WindowAggregate[K, V, A]) atClose(live *stores.Live[A]) error {
	if a.c.Emit.UpdatesOnly() {
		pane, ok := live.Firing.Commit(a.rule)
		return a.sendIf(live, pane, ok)
	}
	pane, ok := live.Firing.Close(a.rule)
	return a.sendIf(live, pane, ok)
}

func (a *WindowAggregate[K, V, A]) unreadable(live *stores.Live[A]) error {
	if !live.Firing.Has(window.EntryUnreadable) {
		live.Firing.Mark(window.EntryUnreadable)
		a.entries.Touch(live)
	}
	return nil
}

// sweep does what s does with each entry before bound.
func (a *WindowAggregate[K, V, A]) sweep(s *sweep[A], bound int64) (done bool, err error) {
	if bound <= s.from {
		return true, nil
	}
	s.err = nil
	var next int64
	if s.held != 0 {
		next, done, err = a.entries.VisitHeld(s.from, bound, s.after, s.held, s)
	} else {
		next, done, err = a.entries.Visit(s.from, bound, s.after, s)
	}
	switch {
	case s.err != nil:
		return false, s.err
	case err != nil:
		return false, a.node.fail(err)
	case done:
		s.start(next)
	}
	return done, nil
}

// next returns the place of the first entry at or after bound.
func (a *WindowAggregate[K, V, A]) next(bound int64) (int64, error) {
	order, ok, err := a.entries.Next(bound)
	if err != nil {
		return 0, a.node.fail(err)
	}
	if !ok {
		return window.MaxTime, nil
	}
	return order, nil
}

// Output returns the watermark of the results.
func (a *WindowAggregate[K, V, A]) Output() int64 { return a.output }

// Tick sends early results.
func (a *WindowAggregate[K, V, A]) Tick(now time.Time) error {
	every := a.c.Emit.EarlyEvery()
	if every == 0 {
		return nil
	}
	a.rt.Node = a.node
	if a.nextEarly.IsZero() {
		a.nextEarly = now.Add(every)
	}
	if a.due.empty() {
		if now.Before(a.nextEarly) {
			return nil
		}
		a.nextEarly = now.Add(every)
		if a.showAll {
			if err := a.collectOpen(); err != nil {
				return err
			}
		}
		if err := a.collectDue(); err != nil {
			return err
		}
	}
	return a.show(&a.due, a.early, slice)
}

func (a *WindowAggregate[K, V, A]) early(f *window.Firing) (window.Pane, bool) {
	return f.Early(a.rule)
}

// collectOpen marks every window that is not complete as changed.
func (a *WindowAggregate[K, V, A]) collectOpen() error {
	a.showAll = false
	for live, err := range a.entries.Scan(a.bound(a.c.Windows.CompleteBefore(a.w)), window.MaxTime, stores.Cursor{}) {
		if err != nil {
			return a.node.fail(err)
		}
		a.entries.Touch(live)
		a.changed.push(live)
	}
	return nil
}

// collectBefore makes due the windows of panes that have changed, before a watermark
// completes any: of those only the ones that are due are sent.
func (a *WindowAggregate[K, V, A]) collectBefore(w int64) error {
	if !a.c.Emit.UpdatesOnly() || a.c.Store == nil || a.c.Store.Panes() == 0 ||
		a.bound(a.c.Windows.CompleteBefore(w)) <= a.complete.from {
		return nil
	}
	return a.collectDue()
}

// BeforeCommit sends the early and the late results of this commit.
func (a *WindowAggregate[K, V, A]) BeforeCommit() error {
	a.rt.Node = a.node
	if a.c.Emit.EarlyByCommit() || a.rt.State.Crowded() {
		// What waits for the clock is held in memory: if that is short, it goes now.
		if err := a.collectDue(); err != nil {
			return err
		}
		if err := a.show(&a.due, a.early, math.MaxInt); err != nil {
			return err
		}
	}
	return a.show(&a.late, func(f *window.Firing) (window.Pane, bool) { return f.Commit(a.rule) }, math.MaxInt)
}

// show sends up to limit of the held windows, and lets go of them.
func (a *WindowAggregate[K, V, A]) show(held *queue[A], decide func(*window.Firing) (window.Pane, bool), limit int) error {
	for !held.empty() && limit > 0 {
		live := held.pop()
		limit--
		if live == nil || live.Deleted() {
			continue
		}
		pane, ok := decide(&live.Firing)
		if err := a.sendIf(live, pane, ok); err != nil {
			return err
		}
	}
	return nil
}

// Close lets go of the live objects.
func (a *WindowAggregate[K, V, A]) Close() error {
	a.changed, a.due, a.late = queue[A]{}, queue[A]{}, queue[A]{}
	return nil
}

// queue holds live objects until their turn comes, first in, first out. An
// object that is in a queue is not put into another one with the same bit.
type queue[A any] struct {
	items []*stores.Live[A]
	head  int
	bit   uint8
}

func (q *queue[A]) empty() bool { return q.head == len(q.items) }

// push adds l, unless it is held already.
func (q *queue[A]) push(l *stores.Live[A]) {
	if !q.holds(l) {
		l.Held |= q.bit
		q.items = append(q.items, l)
	}
}

// holds reports whether l is in the queue, or in another one with the same bit.
func (q *queue[A]) holds(l *stores.Live[A]) bool { return l.Held&q.bit != 0 }

// release lets go of l, which pop leaves out then.
func (q *queue[A]) release(l *stores.Live[A]) { l.Held &^= q.bit }

// pop removes the first object of a queue that is not empty, and lets go of it. It
// returns nil if that was done before.
func (q *queue[A]) pop() *stores.Live[A] {
	l := q.items[q.head]
	if !q.holds(l) {
		l = nil
	} else {
		q.release(l)
	}
	q.items[q.head] = nil
	q.head++
	if q.empty() {
		q.items, q.head = q.items[:0], 0
	}
	return l
}
