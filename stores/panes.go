package stores

import (
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/window"
)

// Panes returns how many panes a window has; 0 if entries are windows.
func (w *Windowed[K, A]) Panes() int64 {
	if w.panes == nil {
		return 0
	}
	return w.panes.Size / w.panes.Advance
}

// WindowOf returns the window that the entry at start stands for.
func (w *Windowed[K, A]) WindowOf(start int64) window.Window {
	if p := w.panes; p != nil {
		return window.Window{Start: start - p.Size + p.Advance, End: start + p.Advance}
	}
	return w.window(start)
}

// HasEvents reports whether any pane of the window that l stands for has an event.
func (w *Windowed[K, A]) HasEvents(l *Live[A]) (bool, error) {
	x := w.WindowOf(l.start)
	// The newest pane first: it is l itself, and the likeliest to have some.
	for start := x.End - w.panes.Advance; start >= x.Start; start -= w.panes.Advance {
		pane, err := w.Get(l.Key(), start)
		if err != nil {
			return false, err
		}
		if pane != nil && !pane.Firing.Has(window.EntryEmpty) {
			return true, nil
		}
	}
	return false, nil
}

// Merged returns the value of the window that l stands for, made new from its
// panes, and the greatest event time in it. events is false if all panes are
// empty.
func (w *Windowed[K, A]) Merged(l *Live[A]) (value *A, time int64, events bool, err error) {
	m := w.merging()
	x := w.WindowOf(l.start)
	for start := x.Start; start < x.End && err == nil; start += w.panes.Advance {
		var pane *Live[A]
		if pane, err = w.Get(l.Key(), start); err == nil && pane != nil && !pane.Firing.Has(window.EntryEmpty) {
			err = m.add(pane.Value, pane.Time)
		}
	}
	return m.value, m.time, m.events, err
}

// merging is a window's value while it is put together.
type merging[A any] struct {
	panes  *Panes[A]
	value  *A
	time   int64
	events bool
}

func (w *Windowed[K, A]) merging() *merging[A] {
	return &merging[A]{panes: w.panes, value: w.hot.make(), time: window.MinTime}
}

func (m *merging[A]) add(pane *A, time int64) error {
	merge := m.panes.Merge
	if !m.events && m.panes.Begin != nil {
		merge = m.panes.Begin
	}
	m.events, m.time = true, max(m.time, time)
	return merge(m.value, pane)
}

// mergedItem is Merged for queries: it reads committed panes.
func mergedItem[K, A any](w *Windowed[K, A], v *View, key []byte, start int64, c codec.Codec[A]) (Item, error) {
	m := w.merging()
	x := w.WindowOf(start)
	for start := x.Start; start < x.End; start += w.panes.Advance {
		b, ok, err := v.snapshot.Get(nil, append(w.hot.appendStart(nil, start), key...))
		if err != nil || !ok {
			if err != nil {
				return Item{}, err
			}
			continue
		}
		pane, time, f, err := decodeLive(c, b)
		if err != nil {
			return Item{}, err
		}
		if f.Has(window.EntryEmpty) {
			continue
		}
		if err := m.add(pane, time); err != nil {
			return Item{}, err
		}
	}
	return Item{Value: m.value, Time: m.time}, nil
}
