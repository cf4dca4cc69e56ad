package topology

import (
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// kept returns the windows as their state is kept: hopping ones by pane only if
// the panes can be merged, and are not asked for one by one.
func kept[V, A any](w window.Windows, e window.Emit, agg Aggregator[V, A]) window.Windows {
	if w.Panes() > 0 && (agg.Merge == nil || e.EarlyCount() > 0 || e.Mode() == window.Discarding) {
		return w.SeparateWindows()
	}
	return w
}

// windowStore returns what opens the store of a windowed aggregate.
func windowStore[K, V, A any](st *store, w Windowed[K, V], value codec.Codec[A], agg Aggregator[V, A], start beginning[V, A], tiers *stores.TierConfig) func(*stores.DB) (any, error) {
	windows := w.windows
	return func(db *stores.DB) (any, error) {
		if windows.Aligned() {
			c := stores.WindowedConfig[K, A]{
				Name: st.name, Key: w.g.key, Value: value, New: agg.New, Window: windows.At, Layout: windows.Layout(), Tiers: tiers,
			}
			if windows.Panes() > 0 {
				c.Panes = &stores.Panes[A]{
					Size: windows.SizeMillis(), Advance: windows.AdvanceMillis(), Merge: agg.Merge, Begin: start.begin,
				}
			}
			return stores.OpenWindowed(db, c)
		}
		c := stores.SpansConfig[K, A]{
			Name: st.name, Key: w.g.key, Value: value, New: agg.New, Due: windows.Due, Layout: windows.Layout(), Tiers: tiers,
		}
		switch windows.Kind() {
		case window.SlidingKind:
			c.Size = windows.SizeMillis()
		case window.CountKind:
			c.Size = 1
		}
		return stores.OpenSpans(db, c)
	}
}

// checkWindows notes what does not go together.
func checkWindows[K, V, A any](b *Builder, n *node, w Windowed[K, V], e window.Emit, agg Aggregator[V, A]) {
	if w.windows.NeedsMerge() && agg.Merge == nil {
		b.mistake(n, "%v windows merge, and the aggregator has no Merge", w.windows)
	}
	switch w.windows.Kind() {
	case window.SlidingKind:
		if e.Mode() == window.Discarding {
			b.mistake(n, "sliding windows are made from what earlier ones hold, and cannot discard it: use accumulating or retracting results")
		}
	case window.CountKind:
		if w.g.s.retracts {
			b.mistake(n, "results that come here may be retracted, and a count window that has ended cannot give one back")
		}
		b.checks = append(b.checks, func() {
			if w.late.stream != nil {
				b.mistake(n, "count windows know no time, so that no event comes too late for them: leave out Late")
			}
		})
	}
}
