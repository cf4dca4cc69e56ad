package processors

import (
	"fmt"
	"math"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// slice is how many results a node sends before it lets other work pass, so
// that half a million windows closing at one watermark stop nobody.
const slice = 4096

// WindowAggregateConfig says what a windowed aggregate does.
type WindowAggregateConfig[K, V, A any] struct {
	Windows window.Windows
	Emit    window.Emit
	Key     codec.Codec[K]
	Add     func(*A, V) error
	// First takes the place of Add for the first value of a key and window, if
	// it is not nil.
	First func(*A, V) error
	Store *stores.Windowed[K, A]
	// Next takes the results.
	Next Forward[K, A]
	// Late takes the events that no window takes; nil if they are only
	// counted.
	Late Forward[K, V]
}

// WindowAggregate gathers the values of each key and window in a live object,
// and sends it when the watermark, the clock or a late event says so. When and
// what is final is decided by window.Firing.
type WindowAggregate[K, V, A any] struct {
	rt   *Runtime
	node *Node
	c    WindowAggregateConfig[K, V, A]
	rule window.Rule

	key      []byte
	assigned []window.Window
	out      Record[K, A]

	// w is the input watermark: lateness is judged by it, however far firing
	// has come. finite is the same but for the end of a bounded run, output is
	// how far everything was fired.
	w, finite, output int64
	// The sweeps over the store: what is complete, what is closed, what has
	// passed its retention.
	complete, closing sweep
	expired           int64

	// changed are windows whose change an early result has not shown, due are
	// those whose turn has come. late are windows with a late change that the
	// next commit shows.
	changed, due, late queue[A]
	nextEarly          time.Time
	// showAll is set after a restart: what was changed but not shown is not
	// known, so that every open window is shown once.
	showAll bool
}

// sweep is a pass over the windows in order of start and key.
type sweep struct {
	// from is the least start at which there is something to do;
	// window.MaxTime if there is nothing.
	from int64
	// after is the last entry done at from.
	after stores.Cursor
}

// lower notes that there is something to do at start.
func (s *sweep) lower(start int64) {
	if start < s.from {
		*s = sweep{from: start}
	}
}

// NewWindowAggregate returns the node; its Process is the edge into it.
func NewWindowAggregate[K, V, A any](rt *Runtime, n *Node, c WindowAggregateConfig[K, V, A]) *WindowAggregate[K, V, A] {
	rt.owns(n, c.Store.Name())
	return &WindowAggregate[K, V, A]{
		rt: rt, node: n, c: c, rule: c.Emit.Rule(c.Windows),
		w: window.MinTime, finite: window.MinTime, output: window.MinTime, expired: math.MaxInt64,
		complete: sweep{from: window.MaxTime}, closing: sweep{from: window.MaxTime},
	}
}

// Process adds a record to each of its windows that still takes it.
func (a *WindowAggregate[K, V, A]) Process(r *Record[K, V]) error {
	a.rt.Node = a.node
	if r.nullKey {
		a.rt.Observer.Dropped(a.node.Name, DroppedNullKey)
		return nil
	}
	var err error
	if a.key, err = a.c.Key.Append(a.key[:0], r.Key); err != nil {
		return a.node.fail(fmt.Errorf("key: %w", err))
	}
	a.assigned = a.c.Windows.Assign(r.Time, a.assigned[:0])
	refused := 0
	for _, w := range a.assigned {
		taken, err := a.add(r, w)
		if err != nil {
			return err
		}
		if !taken {
			refused++
		}
	}
	switch {
	case refused == 0 && len(a.assigned) > 0:
		return nil
	case refused < len(a.assigned):
		a.rt.Observer.Dropped(a.node.Name, DroppedPartlyLate)
		return nil
	}
	a.rt.Observer.Dropped(a.node.Name, DroppedLate)
	if a.c.Late != nil {
		return a.c.Late(r)
	}
	return nil
}

// add adds a record to one window and reports whether the window took it.
func (a *WindowAggregate[K, V, A]) add(r *Record[K, V], w window.Window) (bool, error) {
	if a.c.Windows.Closed(w, a.w) {
		return false, nil
	}
	live, err := a.c.Store.Get(a.key, w.Start)
	if err != nil {
		return false, a.node.fail(err)
	}
	late := a.c.Windows.Complete(w, a.w)
	add := a.c.Add
	switch {
	case live == nil:
		a.rt.Touched = true
		if live, err = a.c.Store.Create(a.key, w.Start); err != nil {
			return false, a.node.fail(err)
		}
		live.Time = r.Time
		if a.c.First != nil {
			add = a.c.First
		}
	case live.Firing.Final():
		// A replay meets a window whose final result was sent already.
		return false, nil
	case late:
		// The window's turn to fire has not come: its on-time result goes
		// first, without this event.
		if pane, ok := live.Firing.OnTime(a.rule); ok {
			if err := a.sendStored(live, pane); err != nil {
				return false, err
			}
		}
	}
	a.rt.Node, a.rt.Touched = a.node, true
	if err := add(live.Value, r.Value); err != nil {
		return false, a.node.fail(err)
	}
	live.Time = max(live.Time, r.Time)
	a.c.Store.Touch(live)
	a.closing.lower(w.Start)
	a.expired = min(a.expired, w.Start)
	if !late {
		a.complete.lower(w.Start)
		if a.c.Emit.EarlyEvery() > 0 {
			a.changed.push(live)
		}
		return true, nil
	}
	a.rt.Observer.Late(a.node.Name, a.w-r.Time)
	if pane, ok := live.Firing.Update(a.rule); ok {
		return true, a.send(r.Key, live, w, pane)
	}
	if a.c.Emit.LatePolicy() == window.EachCommit {
		a.late.push(live)
	}
	return true, nil
}

// send sends the value of a key and window.
func (a *WindowAggregate[K, V, A]) send(key K, live *stores.Live[A], w window.Window, pane window.Pane) error {
	a.out = Record[K, A]{Key: key, Value: *live.Value, Time: live.Time, Window: w, Pane: pane}
	a.rt.Observer.Emitted(a.node.Name, pane)
	return a.c.Next(&a.out)
}

// sendStored sends a window that was found in the store, because its time has
// come. That it was is stored, also if the result is left out.
func (a *WindowAggregate[K, V, A]) sendStored(live *stores.Live[A], pane window.Pane) error {
	a.c.Store.Touch(live)
	err := a.rt.sendDue(a.node.Name, live.Key(), live.Start(), func() error {
		key, err := a.c.Key.Decode(live.Key())
		if err != nil {
			return a.node.fail(fmt.Errorf("stored key: %w", err))
		}
		return a.send(key, live, a.c.Windows.At(live.Start()), pane)
	})
	a.rt.Node = a.node
	return err
}

// Restore finds where the sweeps go on. How far each window has fired stands
// in the store, so that they begin at the first one there is.
func (a *WindowAggregate[K, V, A]) Restore(w int64) error {
	a.w, a.finite, a.showAll = w, w, a.c.Emit.EarlyEvery() > 0
	first, ok, err := a.c.Store.NextStart(window.MinTime)
	if err != nil || !ok {
		return err
	}
	a.complete, a.closing, a.expired = sweep{from: first}, sweep{from: first}, first
	return nil
}

// Advance fires what is complete, closes what is closed, and deletes what has
// passed its retention.
func (a *WindowAggregate[K, V, A]) Advance(w int64) (bool, error) {
	a.rt.Node = a.node
	a.w = max(a.w, w)
	if a.w != window.MaxTime {
		a.finite = a.w
	}
	budget := slice
	if !a.c.Emit.ClosingOnly() {
		onTime := func(f *window.Firing) (window.Pane, bool) { return f.OnTime(a.rule) }
		if done, err := a.sweep(&a.complete, a.c.Windows.CompleteBefore(a.w), onTime, &budget); !done || err != nil {
			return false, err
		}
	}
	if a.c.Emit.ClosingOnly() || a.c.Windows.LatenessMillis() > 0 {
		atClose := func(f *window.Firing) (window.Pane, bool) { return f.Close(a.rule) }
		if done, err := a.sweep(&a.closing, a.c.Windows.ClosedBefore(a.w), atClose, &budget); !done || err != nil {
			return false, err
		}
	}
	// What a bounded run closes stays: a later run must find that its final
	// result was sent.
	if bound := a.c.Windows.ExpiredBefore(a.finite); bound > a.expired {
		if _, err := a.c.Store.DropBefore(bound); err != nil {
			return false, a.node.fail(err)
		}
		var err error
		if a.expired, err = a.next(bound); err != nil {
			return false, err
		}
	}
	a.output = a.firedBefore()
	return true, nil
}

// firedBefore is the time before which nothing on time comes out any more: the
// start of the first window that has not fired, whether or not it has an entry.
// That is the one that holds the watermark or, if only closed windows are sent,
// the watermark less the lateness.
func (a *WindowAggregate[K, V, A]) firedBefore() int64 {
	if a.w == window.MaxTime || a.w == window.MinTime {
		return a.w
	}
	t, bound := a.w, a.c.Windows.CompleteBefore(a.w)
	if a.c.Emit.ClosingOnly() {
		lateness := a.c.Windows.LatenessMillis()
		t, bound = max(t, window.MinTime+lateness)-lateness, a.c.Windows.ClosedBefore(a.w)
	}
	a.assigned = a.c.Windows.Assign(t, a.assigned[:0])
	if len(a.assigned) == 0 {
		return min(a.w, bound)
	}
	return a.assigned[0].Start
}

// sweep sends what decide says of each window that starts before bound.
func (a *WindowAggregate[K, V, A]) sweep(s *sweep, bound int64, decide func(*window.Firing) (window.Pane, bool), budget *int) (bool, error) {
	if bound <= s.from {
		return true, nil
	}
	for live, err := range a.c.Store.Scan(s.from, bound, s.after) {
		if err != nil {
			return false, a.node.fail(err)
		}
		if *budget == 0 {
			return false, nil
		}
		*budget--
		s.from, s.after = live.Start(), live.Cursor()
		if pane, ok := decide(&live.Firing); ok {
			if err := a.sendStored(live, pane); err != nil {
				return false, err
			}
		}
	}
	next, err := a.next(bound)
	*s = sweep{from: next}
	return true, err
}

// next returns the start of the first window at or after bound.
func (a *WindowAggregate[K, V, A]) next(bound int64) (int64, error) {
	start, ok, err := a.c.Store.NextStart(bound)
	if err != nil {
		return 0, a.node.fail(err)
	}
	if !ok {
		return window.MaxTime, nil
	}
	return start, nil
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
		a.due, a.changed = a.changed, a.due
	}
	return a.show(&a.due, func(f *window.Firing) (window.Pane, bool) { return f.Early(a.rule) }, slice)
}

// collectOpen marks every window that is not complete as changed.
func (a *WindowAggregate[K, V, A]) collectOpen() error {
	a.showAll = false
	for live, err := range a.c.Store.Scan(a.c.Windows.CompleteBefore(a.w), window.MaxTime, stores.Cursor{}) {
		if err != nil {
			return a.node.fail(err)
		}
		if !live.Held {
			a.c.Store.Touch(live)
			a.changed.push(live)
		}
	}
	return nil
}

// BeforeCommit sends the late results of this commit.
func (a *WindowAggregate[K, V, A]) BeforeCommit() error {
	a.rt.Node = a.node
	return a.show(&a.late, func(f *window.Firing) (window.Pane, bool) { return f.Commit(a.rule) }, math.MaxInt)
}

// show sends up to limit of the held windows, and lets go of them.
func (a *WindowAggregate[K, V, A]) show(held *queue[A], decide func(*window.Firing) (window.Pane, bool), limit int) error {
	for !held.empty() && limit > 0 {
		live := held.pop()
		limit--
		if pane, ok := decide(&live.Firing); ok {
			if err := a.sendStored(live, pane); err != nil {
				return err
			}
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
// object that is in a queue is not put into another one.
type queue[A any] struct {
	items []*stores.Live[A]
	head  int
}

func (q *queue[A]) empty() bool { return q.head == len(q.items) }

// push adds l, unless it is held already.
func (q *queue[A]) push(l *stores.Live[A]) {
	if !l.Held {
		l.Held = true
		q.items = append(q.items, l)
	}
}

// pop removes the first object of a queue that is not empty, and lets go of it.
func (q *queue[A]) pop() *stores.Live[A] {
	l := q.items[q.head]
	l.Held = false
	q.items[q.head] = nil
	q.head++
	if q.empty() {
		q.items, q.head = q.items[:0], 0
	}
	return l
}
