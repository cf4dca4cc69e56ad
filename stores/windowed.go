package stores

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/window"
)

// WindowedConfig describes a Windowed store.
type WindowedConfig[K, A any] struct {
	Name string
	// Key reads and writes keys; only queries use it.
	Key codec.Codec[K]
	// Value reads and writes aggregates.
	Value codec.Codec[A]
	// New makes the aggregate of a key and window that has none.
	New func() *A
	// Window returns the window that begins at a start. Queries use it.
	Window func(start int64) window.Window
	// Panes makes each entry a pane of hopping windows; nil for entries that are
	// windows.
	Panes *Panes[A]
	// Layout tells apart what must not be read as each other: another window
	// size, another codec. A DB that has the store with another Layout refuses
	// to open it.
	Layout string
	// Tiers says where closed windows go; nil for nowhere. A store of panes has no
	// cold tier.
	Tiers *TierConfig
}

// Panes says how windows are made up of panes. An entry holds one pane and, in its
// Firing, stands for the window that ends with the pane; the window's value is
// merged from its panes. A pane without events is marked window.EntryEmpty.
type Panes[A any] struct {
	// Size is the length of a window and Advance that of a pane, in
	// milliseconds.
	Size, Advance int64
	Merge         func(into, from *A) error
	// Begin takes the place of Merge into a new aggregate, if it is not nil.
	Begin func(into, from *A) error
}

// Windowed holds the aggregates of windows as live objects. Keys are handed in
// encoded. Locally entries are in the order of window start and key, so that
// closing windows is a scan and expiry one deletion of a span; the changelog
// has Kafka Streams' key-first bytes.
type Windowed[K, A any] struct {
	hot    hot[A]
	window func(start int64) window.Window
	panes  *Panes[A]
	tier   *Tier
}

// OpenWindowed opens or makes a store.
func OpenWindowed[K, A any](db *DB, cfg WindowedConfig[K, A]) (*Windowed[K, A], error) {
	w := &Windowed[K, A]{window: cfg.Window, panes: cfg.Panes}
	s := &windowedStore[A]{hot: &w.hot}
	q := &windowedQuery[K, A]{
		keyQuery: keyQuery[K]{info: &w.hot.storeInfo, key: cfg.Key, value: aggregateValue(cfg.Value)},
		window:   w.WindowOf,
	}
	if p := cfg.Panes; p != nil {
		q.shift = p.Size - p.Advance
		q.merge = func(v *View, key []byte, start int64) (Item, error) { return mergedItem(w, v, key, start, cfg.Value) }
	}
	if err := db.register(s, cfg.Name, WindowedKind, cfg.Layout, q); err != nil {
		return nil, err
	}
	if cfg.Panes == nil {
		w.tier = newTier(cfg.Tiers, cfg.Layout, q)
		db.addTier(w.tier)
	}
	w.hot.init(db, cfg.Value, cfg.New, true)
	w.hot.paned = cfg.Panes != nil
	return w, w.hot.probe()
}

// Name returns the store's name.
func (w *Windowed[K, A]) Name() string { return w.hot.name }

// Tier returns what the store tells the cold tier, or nil if it has none.
func (w *Windowed[K, A]) Tier() *Tier { return w.tier }

// Get returns the live aggregate of a key and window start, or nil if there is
// none. It does not keep key. If the object is live already, Get does not
// allocate.
func (w *Windowed[K, A]) Get(key []byte, start int64) (*Live[A], error) {
	return w.hot.get(key, start)
}

// Create makes a new aggregate for a key and window start for which Get
// returned nil, and marks it changed. Its Time is that of the DB. An aggregate
// that is there is replaced.
func (w *Windowed[K, A]) Create(key []byte, start int64) (*Live[A], error) {
	return w.hot.create(key, start)
}

// Touch marks l as changed.
func (w *Windowed[K, A]) Touch(l *Live[A]) { w.hot.touch(l) }

// Delete removes one aggregate.
func (w *Windowed[K, A]) Delete(l *Live[A]) { w.hot.delete(l) }

// Scan yields the aggregates of windows that start in [fromStart, toStart), in
// ascending order of start and key, beginning after a cursor. To go on later,
// also after a commit, hand in the Cursor of the last object that was yielded.
//
// The loop's body may change, create and delete aggregates; whether it is
// yielded what it creates in the same window is not defined, but nothing comes
// twice. It must not call Collect or Commit.
func (w *Windowed[K, A]) Scan(fromStart, toStart int64, after Cursor) iter.Seq2[*Live[A], error] {
	return w.hot.walk(positionAt(fromStart, after), toStart)
}

// positionAt is where a scan begins: at a start, or behind a cursor.
func positionAt(start int64, after Cursor) position {
	if after.Key != nil && after.Start >= start {
		return position{start: after.Start, key: bytes.Clone(after.Key), after: true}
	}
	return position{start: start}
}

// Visit calls v with what Scan yields, which may do what a loop's body may. If it
// comes to the end, done is set, and next is the least start at or after toStart that
// has an aggregate, window.MaxTime if there is none.
func (w *Windowed[K, A]) Visit(fromStart, toStart int64, after Cursor, v Visitor[A]) (next int64, done bool, err error) {
	for l, err := range w.Scan(fromStart, toStart, after) {
		if err != nil || !v.Visit(l) {
			return 0, false, err
		}
	}
	next, ok, err := w.Next(toStart)
	if !ok {
		next = window.MaxTime
	}
	return next, err == nil, err
}

// VisitHeld is Visit of those aggregates alone whose Held has any of bits. It reads
// nothing from the engine; next may be an earlier start than that of the next of them.
func (w *Windowed[K, A]) VisitHeld(fromStart, toStart int64, after Cursor, bits uint8, v Visitor[A]) (next int64, done bool, err error) {
	next, done = w.hot.visitHeld(positionAt(fromStart, after), toStart, bits, v)
	return next, done, nil
}

// Next returns the least window start at or after from that has an
// aggregate; ok is false if there is none.
func (w *Windowed[K, A]) Next(from int64) (start int64, ok bool, err error) {
	return w.hot.nextStart(from)
}

// DropBefore deletes all windows that start before start, and returns how many
// aggregates they had. It is one deletion of a span in the engine, and one
// tombstone for each key and window in the changelog.
func (w *Windowed[K, A]) DropBefore(start int64) (n int, err error) {
	return w.hot.dropBefore(start)
}

// windowedStore is the DB's side of a Windowed.
type windowedStore[A any] struct{ *hot[A] }

func (s *windowedStore[A]) fromLog(dst []byte, r LogRecord) ([]byte, int, error) {
	key, start, err := s.splitLogKey(r.Key)
	if err != nil {
		return nil, 0, err
	}
	if r.Value != nil {
		if err := s.checkHeader(r.Header); err != nil {
			return nil, 0, err
		}
	}
	dst = append(s.appendStart(dst, start), key...)
	return liveFromLog(dst, r)
}

// checkHeader refuses records of panes for windows, and the other way round.
func (s *windowedStore[A]) checkHeader(header []byte) error {
	var f window.Firing
	if header != nil {
		var err error
		if f, _, err = window.DecodeFiring(header); err != nil {
			return fmt.Errorf("%w: header %s: %w", ErrCorrupt, StateHeader, err)
		}
	}
	if f.Has(window.EntryPane) == s.paned {
		return nil
	}
	if s.paned {
		return fmt.Errorf("%w: its changelog has whole windows, and the program keeps panes: use SeparateWindows, or reset the store", ErrLayout)
	}
	return fmt.Errorf("%w: its changelog has panes, and the program keeps whole windows: reset the store, or give it a new name", ErrLayout)
}

// liveFromLog appends the engine's value of r, if it has one.
func liveFromLog(dst []byte, r LogRecord) ([]byte, int, error) {
	split := len(dst)
	if r.Value == nil {
		return dst, split, nil
	}
	out, err := appendLive(dst, r)
	return out, split, err
}
