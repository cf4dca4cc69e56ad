package processors

import (
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// WindowAggregateConfig says what a windowed aggregate does.
type WindowAggregateConfig[K, V, A any] struct {
	Windows window.Windows
	Emit    window.Emit
	Key     codec.Codec[K]
	Value   codec.Codec[A]
	Aggregator[V, A]
	// First takes the place of Add for the first value of a key and window, and
	// Begin that of Merge into an empty aggregate, if they are not nil.
	First func(*A, V) error
	Begin func(into, from *A) error

	// Aligned windows are kept in Store, by pane if it has panes; all others in
	// Spans.
	Store *stores.Windowed[K, A]
	Spans *stores.Spans[K, A]

	// Next takes the results.
	Next Forward[K, A]
	// Late takes the events that no window takes; nil if they are only
	// counted.
	Late Forward[K, V]
}

// WindowAggregate gathers the values of each key and window in a live object,
// and sends it when the watermark, the clock, a count or a late event says so.
// When and what is final is decided by window.Firing.
//
// An entry of the store stands for one window. Which entries an event goes to is
// the one thing that depends on the kind of windows: see place.
type WindowAggregate[K, V, A any] struct {
	rt   *Runtime
	node *Node
	c    WindowAggregateConfig[K, V, A]
	rule window.Rule
	// place adds a record to the windows that take it, and counts.
	place   func(r *Record[K, V]) (placed, error)
	entries entries[A]
	// tier is what the store tells its cold tier; nil if it has none.
	tier *stores.Tier
	// keeps is set if what was sent last is kept, to be taken back.
	keeps bool

	key      []byte
	assigned []window.Window
	joined   []*stores.Live[A]
	buf      []byte
	out      Record[K, A]

	// w is the input watermark: lateness is judged by it, however far firing
	// has come. finite is the same but for the end of a bounded run, output is
	// how far everything was fired.
	w, finite, output int64
	// The sweeps over the store: what is complete, what is closed, what can no
	// longer be read though panes of it are kept, what has passed its
	// retention.
	complete, closing, fading sweep[A]
	expired                   int64
	// quiet is a watermark before which none of that has anything to do.
	quiet int64
	// closedBefore bounds what was closed when the task was restored.
	closedBefore int64
	// budget is how many entries the slice in work has left.
	budget int

	// changed are windows whose change an early result has not shown, due are
	// those whose turn has come. late are windows with a late change that the
	// next commit shows.
	changed, due, late queue[A]
	// open are the entries of the windows that take the late record in work.
	open      []*stores.Live[A]
	nextEarly time.Time
	// showAll is set after a restart: what was changed but not shown is not
	// known, so that every open window is shown once.
	showAll bool
}

// entries is what both kinds of stores can do. Places are in the order of
// window.Windows.Order.
type entries[A any] interface {
	Touch(*stores.Live[A])
	Scan(from, to int64, after stores.Cursor) iter.Seq2[*stores.Live[A], error]
	Visit(from, to int64, after stores.Cursor, v stores.Visitor[A]) (next int64, done bool, err error)
	VisitHeld(from, to int64, after stores.Cursor, bits uint8, v stores.Visitor[A]) (next int64, done bool, err error)
	Next(from int64) (order int64, ok bool, err error)
	DropBefore(order int64) (n int, err error)
}

// placed counts what became of an event.
type placed struct {
	// taken and refused are how many windows took it and did not.
	taken, refused int
	// late is set if a window that took it was complete.
	late bool
}

// NewWindowAggregate returns the node; its Process is the edge into it.
func NewWindowAggregate[K, V, A any](rt *Runtime, n *Node, c WindowAggregateConfig[K, V, A]) *WindowAggregate[K, V, A] {
	var tier *stores.Tier
	if c.Store != nil {
		rt.owns(n, c.Store.Name())
		tier = c.Store.Tier()
	} else {
		rt.owns(n, c.Spans.Name())
		tier = c.Spans.Tier()
	}
	a := &WindowAggregate[K, V, A]{
		rt: rt, node: n, c: c, rule: c.Emit.Rule(c.Windows), tier: tier,
		keeps: c.Emit.Mode() == window.Retracting || Retracts(c.Windows, c.Emit),
		w:     window.MinTime, finite: window.MinTime, output: window.MinTime, expired: math.MaxInt64, quiet: window.MinTime,
		changed: queue[A]{bit: 1}, due: queue[A]{bit: 1}, late: queue[A]{bit: 2},
	}
	a.complete = sweep[A]{from: window.MaxTime, do: a.onTime, budget: &a.budget}
	a.closing = sweep[A]{from: window.MaxTime, do: a.atClose, budget: &a.budget}
	a.fading = sweep[A]{from: window.MaxTime, do: a.unreadable, budget: &a.budget}
	switch {
	case c.Windows.Kind() == window.SessionKind:
		a.place, a.entries = a.placeSession, c.Spans
	case c.Windows.Kind() == window.SlidingKind:
		a.place, a.entries = a.placeSliding, c.Spans
	case c.Windows.Kind() == window.CountKind:
		a.place, a.entries = a.placeCount, c.Spans
	case c.Store.Panes() > 0:
		// A pane that changes while the window of its entry is due changes
		// windows that are due no more: it is in both queues.
		a.due.bit = 4
		a.place, a.entries = a.placePane, c.Store
	default:
		a.place, a.entries = a.placeAligned, c.Store
	}
	if c.Emit.UpdatesOnly() {
		a.complete.held, a.closing.held = a.due.bit, a.late.bit
	}
	return a
}

// Retracts reports whether results may be taken back: those of a mode that says
// so, and those of sessions that were sent before they were closed, because a
// session that grows or merges is another window.
func Retracts(w window.Windows, e window.Emit) bool {
	early := e.EarlyEvery() > 0 || e.EarlyByCommit() || e.EarlyCount() > 0
	return e.Mode() == window.Retracting ||
		w.Kind() == window.SessionKind && !e.ClosingOnly() && (early || w.LatenessMillis() > 0)
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
	p, err := a.place(r)
	if err != nil {
		return err
	}
	if p.late {
		a.rt.Observer.Late(a.node.Name, a.w-r.Time)
	}
	switch {
	case p.taken > 0 && p.refused == 0:
		return nil
	case p.taken > 0:
		a.rt.Observer.Dropped(a.node.Name, DroppedPartlyLate)
		return nil
	}
	a.rt.Observer.Dropped(a.node.Name, DroppedLate)
	if a.c.Late != nil {
		return a.c.Late(r)
	}
	return nil
}

// placeAligned adds a record to windows that stand fast, each with an entry of
// its own.
func (a *WindowAggregate[K, V, A]) placeAligned(r *Record[K, V]) (p placed, err error) {
	if len(a.assigned) != 1 || a.c.Windows.Kind() == window.HoppingKind || !a.assigned[0].Contains(r.Time) {
		a.assigned = a.c.Windows.Assign(r.Time, a.assigned[:0])
	}
	for _, x := range a.assigned {
		if a.c.Windows.Closed(x, a.w) {
			p.refused++
			continue
		}
		live, err := a.c.Store.Get(a.key, x.Start)
		if err != nil {
			return p, a.node.fail(err)
		}
		switch {
		case live == nil:
			a.rt.Touched = true
			if live, err = a.c.Store.Create(a.key, x.Start); err != nil {
				return p, a.node.fail(err)
			}
			live.Firing.Mark(window.EntryEmpty)
		case live.Firing.Final():
			// A replay meets a window whose final result was sent already.
			p.refused++
			continue
		default:
			if err := a.onTimeFirst(live, x); err != nil {
				return p, err
			}
		}
		if err := a.add(r, live, x, &p); err != nil {
			return p, err
		}
	}
	return p, nil
}

// onTimeFirst sends the on-time result of a complete window whose turn to fire
// has not come: the event that is about to be added is not in it.
func (a *WindowAggregate[K, V, A]) onTimeFirst(live *stores.Live[A], x window.Window) error {
	if !a.c.Windows.Complete(x, a.w) {
		return nil
	}
	return a.onTime(live)
}

// add adds a record to the value of a window that is not closed, and sends what
// that brings.
func (a *WindowAggregate[K, V, A]) add(r *Record[K, V], live *stores.Live[A], x window.Window, p *placed) error {
	if err := a.addValue(r, live); err != nil {
		return err
	}
	return a.follow(r, live, live, x, p)
}

// addValue adds a record to the value of an entry, or takes a retracted one off.
func (a *WindowAggregate[K, V, A]) addValue(r *Record[K, V], live *stores.Live[A]) error {
	a.rt.Node, a.rt.Touched = a.node, true
	change := a.c.Add
	empty := live.Firing.Has(window.EntryEmpty)
	switch {
	case r.Pane.Retracted && a.c.Remove != nil:
		change = a.c.Remove
	case empty && a.c.First != nil:
		change = a.c.First
	}
	if err := change(live.Value, r.Value); err != nil {
		return a.node.fail(err)
	}
	if empty {
		live.Firing.Unmark(window.EntryEmpty)
		live.Time = r.Time
	}
	live.Time = max(live.Time, r.Time)
	a.entries.Touch(live)
	return nil
}

// follow sends what a record brings that has changed a window by way of the entry
// changed, or notes what will have to be sent.
func (a *WindowAggregate[K, V, A]) follow(r *Record[K, V], live, changed *stores.Live[A], x window.Window, p *placed) error {
	p.taken++
	if !a.c.Windows.Complete(x, a.w) {
		a.await(live, changed, x)
		if pane, ok := live.Firing.Count(a.rule); ok {
			return a.send(r.Key, live, x, pane)
		}
		return nil
	}
	a.entries.Touch(live)
	a.watch(a.order(live, x))
	a.lower(&a.closing, a.order(live, x))
	p.late = true
	if pane, ok := live.Firing.Update(a.rule); ok {
		return a.send(r.Key, live, x, pane)
	}
	if a.c.Emit.LatePolicy() == window.EachCommit {
		a.late.push(live)
	}
	if a.c.Emit.UpdatesOnly() {
		a.due.release(live) // a session that was not complete, until it has grown
	}
	return nil
}

// await notes that a window is to be fired, and shown early.
func (a *WindowAggregate[K, V, A]) await(live, changed *stores.Live[A], x window.Window) {
	order := a.order(live, x)
	a.watch(order)
	a.lower(&a.complete, order)
	if !a.c.Emit.UpdatesOnly() {
		a.lower(&a.closing, order)
	}
	if a.c.Emit.EarlyEvery() > 0 || a.c.Emit.EarlyByCommit() {
		a.changed.push(changed)
	}
}

// watch notes that there are entries to delete.
func (a *WindowAggregate[K, V, A]) watch(order int64) {
	a.lower(&a.fading, order)
	if order < a.expired {
		a.expired, a.quiet = order, window.MinTime
	}
}

// lower notes that a sweep has something to do at a place.
func (a *WindowAggregate[K, V, A]) lower(s *sweep[A], order int64) {
	if order < s.from {
		s.start(order)
		a.quiet = window.MinTime
	}
}

// order is the place of an entry in sweeps.
func (a *WindowAggregate[K, V, A]) order(live *stores.Live[A], x window.Window) int64 {
	if a.c.Store != nil {
		return live.Start()
	}
	return a.c.Windows.Order(x)
}

// windowOf returns the window that an entry stands for.
func (a *WindowAggregate[K, V, A]) windowOf(live *stores.Live[A]) window.Window {
	if a.c.Store != nil {
		return a.c.Store.WindowOf(live.Start())
	}
	return live.Window()
}
