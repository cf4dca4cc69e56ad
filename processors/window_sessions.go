package processors

import (
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// placeSession adds a record to the session that it belongs to. It goes to the
// earliest open one of its key that it fits into; further ones that it reaches
// merge into that, in the order of their starts, as long as they fit together.
// Where it fits into none it begins one.
//
// What comes out is another window than each of those that went in, unless the
// event lay inside: what had been sent of them is taken back at once.
func (a *WindowAggregate[K, V, A]) placeSession(r *Record[K, V]) (p placed, err error) {
	if r.Time == window.MinTime || r.Time == window.MaxTime {
		return placed{refused: 1}, nil
	}
	union := window.Window{Start: r.Time, End: r.Time + 1}
	lane, err := a.c.Spans.Of(a.key)
	if err != nil {
		return p, a.node.fail(err)
	}
	a.joined = a.joined[:0]
	for _, live := range lane {
		x := live.Window()
		switch {
		case !a.c.Windows.Near(x, r.Time):
		case live.Firing.Final():
			if x.Contains(r.Time) && !a.c.Windows.Closed(x, a.w) {
				// A replay meets a session whose final result was sent already.
				return placed{refused: 1}, nil
			}
		case !a.c.Windows.Closed(x, a.w):
			both := union.Union(x)
			if a.c.Windows.Fits(both) && !a.c.Windows.Closed(both, a.w) {
				union = both
				a.joined = append(a.joined, live)
			}
		}
	}
	if len(a.joined) == 0 {
		if a.c.Windows.Closed(union, a.w) {
			return placed{refused: 1}, nil
		}
		a.rt.Touched = true
		live, err := a.c.Spans.Create(a.key, union)
		if err != nil {
			return p, a.node.fail(err)
		}
		live.Firing.Mark(window.EntryEmpty)
		return p, a.add(r, live, union, &p)
	}
	if err := a.join(r.Key, union); err != nil {
		return p, err
	}
	return p, a.add(r, a.joined[0], union, &p)
}

// join makes one session of those in a.joined: the first, with all that they
// hold, spanning union.
func (a *WindowAggregate[K, V, A]) join(key K, union window.Window) error {
	for _, live := range a.joined {
		if err := a.c.Spans.Load(live); err != nil {
			return a.node.fail(err)
		}
		if err := a.onTimeFirst(live, live.Window()); err != nil {
			return err
		}
	}
	target := a.joined[0]
	if target.Window() != union {
		if err := a.withdraw(key, target); err != nil {
			return err
		}
		target.Firing.Rename()
	}
	for _, live := range a.joined[1:] {
		if err := a.withdraw(key, live); err != nil {
			return err
		}
		if err := a.mergeValue(target, live); err != nil {
			return err
		}
		target.Firing.Absorb(live.Firing)
		a.c.Spans.Delete(live)
	}
	a.c.Spans.Touch(target)
	a.c.Spans.Move(target, union)
	return nil
}

// withdraw takes back what was sent of a session that will be another one, and
// puts what a discarding node has sent back into its value.
func (a *WindowAggregate[K, V, A]) withdraw(key K, live *stores.Live[A]) error {
	a.rt.Touched = true
	sent, time, _, ok := live.Firing.Kept()
	if !ok {
		return nil
	}
	if err := a.takeBack(key, live, live.Window()); err != nil {
		return err
	}
	if a.c.Emit.Mode() != window.Discarding {
		return nil
	}
	total, err := a.decodeKept(sent)
	if err != nil {
		return err
	}
	if live.Firing.Has(window.EntryEmpty) {
		live.Firing.Unmark(window.EntryEmpty)
	} else if err := a.c.Merge(total, live.Value); err != nil {
		return a.node.fail(err)
	}
	live.Value, live.Time = total, max(live.Time, time)
	return nil
}
