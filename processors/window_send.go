package processors

import (
	"fmt"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// sendIf is sendStored if there is something to send.
func (a *WindowAggregate[K, V, A]) sendIf(live *stores.Live[A], pane window.Pane, ok bool) error {
	if !ok {
		return nil
	}
	return a.sendStored(live, pane)
}

// sendStored sends a window that was found in the store, because its time has
// come. That it was is stored, also if the result is left out.
func (a *WindowAggregate[K, V, A]) sendStored(live *stores.Live[A], pane window.Pane) error {
	a.entries.Touch(live)
	err := a.rt.sendDue(a.node.Name, live.Key(), live.Start(), func() error {
		key, err := a.c.Key.Decode(live.Key())
		if err != nil {
			return a.node.fail(fmt.Errorf("stored key: %w", err))
		}
		return a.send(key, live, a.windowOf(live), pane)
	})
	a.rt.Node = a.node
	return err
}

// send sends the value of a key and window that is marked as changed. A
// retracting node takes back what it sent before.
func (a *WindowAggregate[K, V, A]) send(key K, live *stores.Live[A], x window.Window, pane window.Pane) error {
	if a.c.Emit.Mode() == window.Retracting {
		if err := a.takeBack(key, live, x); err != nil {
			return err
		}
	}
	value, time, err := a.value(live)
	if err != nil {
		return err
	}
	if a.keeps && !pane.Final {
		if a.buf, err = a.c.Value.Append(a.buf[:0], *value); err != nil {
			return a.node.fail(fmt.Errorf("encode what is sent: %w", err))
		}
	}
	a.out = Record[K, A]{Key: key, Value: *value, Time: time, Window: x, Pane: pane}
	a.rt.Observer.Emitted(a.node.Name, pane)
	if err := a.c.Next(&a.out); err != nil {
		return err
	}
	a.rt.Node = a.node
	if a.keeps {
		if err := a.keep(live, time, pane); err != nil {
			return err
		}
	}
	if a.c.Emit.Mode() == window.Discarding {
		*live.Value = *a.c.New()
		live.Firing.Mark(window.EntryEmpty)
	}
	return nil
}

// value returns what a window holds, and the greatest event time in it.
func (a *WindowAggregate[K, V, A]) value(live *stores.Live[A]) (*A, int64, error) {
	if a.c.Store == nil || a.c.Store.Panes() == 0 {
		return live.Value, live.Time, nil
	}
	value, time, _, err := a.c.Store.Merged(live)
	if err != nil {
		return nil, 0, a.node.fail(err)
	}
	return value, time, nil
}

// keep notes the value that was just sent, encoded in a.buf. What a discarding
// node has sent in several results is kept as one.
func (a *WindowAggregate[K, V, A]) keep(live *stores.Live[A], time int64, pane window.Pane) error {
	if before, earlier, _, ok := live.Firing.Kept(); ok && a.c.Emit.Mode() == window.Discarding && !pane.Final {
		total, err := a.decodeKept(before)
		if err != nil {
			return err
		}
		if !live.Firing.Has(window.EntryEmpty) {
			if err := a.c.Merge(total, live.Value); err != nil {
				return a.node.fail(err)
			}
		}
		time = max(time, earlier)
		if a.buf, err = a.c.Value.Append(a.buf[:0], *total); err != nil {
			return a.node.fail(fmt.Errorf("encode what was sent: %w", err))
		}
	}
	live.Firing.Keep(a.buf, time, pane)
	return nil
}

// decodeKept returns the value that was sent. The codec gets a copy, which its result
// may alias.
func (a *WindowAggregate[K, V, A]) decodeKept(kept string) (*A, error) {
	value, err := a.c.Value.Decode([]byte(kept))
	if err != nil {
		return nil, a.node.fail(fmt.Errorf("decode what was sent: %w", err))
	}
	return &value, nil
}

// takeBack sends what was sent last of a window again, marked as retracted.
func (a *WindowAggregate[K, V, A]) takeBack(key K, live *stores.Live[A], x window.Window) error {
	b, time, pane, ok := live.Firing.Kept()
	if !ok {
		return nil
	}
	value, err := a.decodeKept(b)
	if err != nil {
		return err
	}
	a.out = Record[K, A]{Key: key, Value: *value, Time: time, Window: x, Pane: pane}
	a.rt.Observer.Emitted(a.node.Name, pane)
	if err := a.c.Next(&a.out); err != nil {
		return err
	}
	a.rt.Node = a.node
	return nil
}

// mergeValue adds the value of from to that of into.
func (a *WindowAggregate[K, V, A]) mergeValue(into, from *stores.Live[A]) error {
	switch {
	case from.Firing.Has(window.EntryEmpty):
		return nil
	case into.Firing.Has(window.EntryEmpty):
		into.Value, into.Time = from.Value, from.Time
		into.Firing.Unmark(window.EntryEmpty)
		return nil
	}
	if err := a.c.Merge(into.Value, from.Value); err != nil {
		return a.node.fail(err)
	}
	into.Time = max(into.Time, from.Time)
	return nil
}
