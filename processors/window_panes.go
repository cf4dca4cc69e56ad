package processors

import (
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// Hopping windows that are kept by pane: an event goes to the one pane that holds
// it, and a window's result is merged from its panes when it is sent. The entry
// of a pane also stands for the window that ends with the pane, and has how far
// that has fired. So there is an entry, if an empty one, for the last pane of
// each window that holds an event.

// placePane adds a record to its pane.
func (a *WindowAggregate[K, V, A]) placePane(r *Record[K, V]) (p placed, err error) {
	pane, ok := a.c.Windows.PaneOf(r.Time)
	if !ok || a.c.Windows.Closed(a.c.Windows.At(pane.Start), a.w) {
		return placed{refused: 1}, nil
	}
	live, err := a.c.Store.Get(a.key, pane.Start)
	if err != nil {
		return p, a.node.fail(err)
	}
	if live == nil || live.Firing.Has(window.EntryEmpty) {
		if live, err = a.makePanes(pane); err != nil {
			return p, err
		}
	}
	if live.Firing.Final() || a.c.Windows.Complete(a.c.Store.WindowOf(pane.Start), a.w) {
		return p, a.addLate(r, live, pane, &p)
	}
	if err := a.addValue(r, live); err != nil {
		return p, err
	}
	p.taken++
	// The other windows that hold the pane are found when their time comes.
	a.await(live, live, a.windowOf(live))
	return p, nil
}

// makePanes makes the entries of the windows that hold a pane, where they are
// not there yet, and returns the pane's own.
func (a *WindowAggregate[K, V, A]) makePanes(pane window.Window) (own *stores.Live[A], err error) {
	a.rt.Touched = true
	err = a.eachPane(pane.Start, true, func(live *stores.Live[A]) error {
		if own == nil {
			own = live
		}
		return nil
	})
	return own, err
}

// eachPane calls do with the entries of the windows that hold the pane which
// begins at start, in their order; those that are not there it makes or leaves
// out.
func (a *WindowAggregate[K, V, A]) eachPane(start int64, make bool, do func(*stores.Live[A]) error) error {
	advance := a.c.Windows.AdvanceMillis()
	for range a.c.Store.Panes() {
		live, err := a.c.Store.Get(a.key, start)
		if err == nil && live == nil && make {
			live, err = a.makePane(start)
		}
		if err != nil {
			return a.node.fail(err)
		}
		if live != nil {
			if err := do(live); err != nil {
				return err
			}
		}
		start += advance
	}
	return nil
}

// makePane makes an empty entry. If its window is closed, which then never held
// an event, it will send nothing.
func (a *WindowAggregate[K, V, A]) makePane(start int64) (*stores.Live[A], error) {
	live, err := a.c.Store.Create(a.key, start)
	if err != nil {
		return nil, err
	}
	live.Firing.Mark(window.EntryEmpty)
	if a.c.Windows.Closed(a.windowOf(live), a.w) {
		live.Firing.Close(a.rule)
	}
	return live, nil
}

// addLate adds a record to a pane that some complete windows hold, or some that
// the end of a bounded run has closed.
func (a *WindowAggregate[K, V, A]) addLate(r *Record[K, V], pane *stores.Live[A], x window.Window, p *placed) error {
	a.open = a.open[:0]
	err := a.eachPane(x.Start, false, func(live *stores.Live[A]) error {
		w := a.windowOf(live)
		if live.Firing.Final() || a.c.Windows.Closed(w, a.w) {
			p.refused++
			return nil
		}
		a.open = append(a.open, live)
		if live.Firing.Passed() || !a.c.Windows.Complete(w, a.w) {
			return nil
		}
		if events, err := a.c.Store.HasEvents(live); err != nil || !events {
			return err
		}
		return a.onTimeFirst(live, w)
	})
	if err != nil || len(a.open) == 0 {
		return err
	}
	if err := a.addValue(r, pane); err != nil {
		return err
	}
	for _, live := range a.open {
		w := a.windowOf(live)
		if err := a.follow(r, live, pane, w, p); err != nil {
			return err
		}
		if !a.c.Windows.Complete(w, a.w) {
			// Those behind it are found when their time comes.
			return nil
		}
	}
	return nil
}

// collectDue makes what has changed due, behind what is: windows as they are or, of
// panes that have changed, the windows that hold them.
func (a *WindowAggregate[K, V, A]) collectDue() error {
	if a.c.Store == nil || a.c.Store.Panes() == 0 {
		if a.due.empty() {
			a.due, a.changed = a.changed, a.due
		}
		for !a.changed.empty() {
			if live := a.changed.pop(); live != nil {
				a.due.push(live)
			}
		}
		return nil
	}
	for !a.changed.empty() {
		live := a.changed.pop()
		if live == nil || live.Deleted() {
			continue
		}
		a.key = append(a.key[:0], live.Key()...)
		err := a.eachPane(live.Start(), false, func(live *stores.Live[A]) error {
			// Of updates only: what was complete when the pane has changed has not.
			if !a.c.Emit.UpdatesOnly() || !a.c.Windows.Complete(a.windowOf(live), a.w) {
				a.due.push(live)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
