package stores

import (
	"math"
	"sync/atomic"

	"github.com/millrace/millrace/window"
)

// Tier is what a store of windows, the node that owns it and the writer of the
// cold tier tell one another: three bounds in the order of window.Windows.Order.
//
//	windows before Written are in the cold tier; only these may be deleted
//	windows before Closed are closed, and committed as they will stay
//	windows from Dropped on are all in the warm tier
//
// Closed is the node's to say and becomes visible after the commit of what it
// stands for: a task that crashes goes on from a watermark at which these windows
// are closed as well, so that no event can bring back one that was missing.
// Dropped becomes visible before the batch that deletes is applied.
type Tier struct {
	config TierConfig
	layout string
	query  closedQuery

	offered int64 // the node's, to be published with the next commit
	dropped int64 // the same

	published atomic.Int64
	written   atomic.Int64
	gone      atomic.Int64
}

// closedQuery is what a query object of a store can do for its tier.
type closedQuery interface {
	Queryable

	// scanClosed visits the entries whose places are in [from, to) and whose final
	// results were sent, in the order of positions, behind the position after; nil
	// is before all. visit returns false to stop.
	scanClosed(v *View, from, to int64, after []byte, visit func(closedEntry) (bool, error)) error
	// row and item turn an entry into a row and a row into an item.
	row(closedEntry) (ColdRow, error)
	coldItem(ColdRow) (Item, error)
	// placeOf takes a position apart.
	placeOf(position []byte) (ColdPlace, error)
	// byKey is set if entries stand by key first.
	byKey() bool
}

// closedEntry is one entry of the engine. Its bytes are the iterator's.
type closedEntry struct {
	order    int64
	position []byte // the engine's key without the store's prefix
	key      []byte
	window   window.Window
	value    []byte
}

func newTier(c *TierConfig, layout string, q closedQuery) *Tier {
	if c == nil || !c.Cold {
		return nil
	}
	t := &Tier{config: *c, layout: layout, query: q}
	t.Restore()
	return t
}

// Restore forgets what is known of windows: the state is another one. It belongs
// to the task's goroutine.
func (t *Tier) Restore() {
	t.offered, t.dropped = window.MinTime, math.MaxInt64
	t.published.Store(window.MinTime)
	t.written.Store(window.MinTime)
	t.gone.Store(math.MaxInt64)
}

// Offer says that all windows before order are closed, and that those from
// dropped on have not been deleted. It belongs to the task's goroutine.
func (t *Tier) Offer(order, dropped int64) {
	t.offered = max(t.offered, order)
	if t.dropped == math.MaxInt64 || dropped > t.dropped {
		t.dropped = dropped
	}
}

// leaving publishes what a batch may delete, before it is applied: a view that
// lacks these windows is opened later, and whoever has it asks the cold tier.
func (t *Tier) leaving() { t.gone.Store(t.dropped) }

// committed publishes what is closed.
func (t *Tier) committed() { t.published.Store(t.offered) }

// Closed returns the bound before which all windows are closed as of the last
// commit; window.MinTime if nothing is known. Any goroutine may call it.
func (t *Tier) Closed() int64 { return t.published.Load() }

// Written returns the bound before which all windows are in the cold tier.
func (t *Tier) Written() int64 { return t.written.Load() }

// SetWritten moves that bound. The writer of the tier calls it.
func (t *Tier) SetWritten(order int64) { t.written.Store(order) }

// Dropped returns the bound from which on no window has been deleted;
// math.MaxInt64 if that is not known.
func (t *Tier) Dropped() int64 { return t.gone.Load() }

// Name returns the store's name.
func (t *Tier) Name() string { return t.query.Name() }

// Store names the store in a cold tier.
func (t *Tier) Store(application string) ColdStore {
	return ColdStore{Application: application, Name: t.Name(), Layout: t.layout, Table: t.config.Table}
}

// Tiers returns the tiers of the stores that have a cold one, in the order in
// which they were opened. Any goroutine may call it.
func (db *DB) Tiers() []*Tier {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.tiers
}

// Tier returns that of a store, or nil if it has no cold one. Any goroutine may
// call it.
func (db *DB) Tier(store string) *Tier {
	for _, t := range db.Tiers() {
		if t.Name() == store {
			return t
		}
	}
	return nil
}

func (db *DB) addTier(t *Tier) {
	if t == nil {
		return
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.tiers = append(db.tiers, t)
}

// ClosedScan is a part of a store's closed windows.
type ClosedScan struct {
	// From and To bound the places of the windows.
	From, To int64
	// After is the Next of the part before, or nil.
	After []byte
	// MaxRows and MaxBytes bound the part; the first row is in it however large.
	MaxRows  int
	MaxBytes int64
}

// ClosedPart is what Closed found.
type ClosedPart struct {
	Rows  []ColdRow
	Bytes int64
	// Next is where the next part begins, or nil if there is none.
	Next []byte
	// Mark is the place before which no window of the scan is missing in this and
	// the parts before it. A store whose entries stand by key only knows that at
	// the end.
	Mark int64
}

// ReadClosed returns the windows of one part of a scan, decoded.
func (t *Tier) ReadClosed(v *View, s ClosedScan) (ClosedPart, error) {
	p := ClosedPart{Mark: s.To}
	err := t.query.scanClosed(v, s.From, s.To, s.After, func(e closedEntry) (bool, error) {
		size := e.size()
		if n := len(p.Rows); n > 0 && (n >= s.MaxRows || p.Bytes+size > s.MaxBytes) {
			if p.Mark = e.order; t.query.byKey() {
				p.Mark = s.From
			}
			return false, nil
		}
		row, err := t.query.row(e)
		if err != nil {
			return false, err
		}
		p.Rows, p.Bytes, p.Next = append(p.Rows, row), p.Bytes+size, append(p.Next[:0], e.position...)
		return true, nil
	})
	if p.Mark == s.To {
		p.Next = nil
	}
	return p, err
}

// CountClosed counts the windows of a scan, and their bytes.
func (t *Tier) CountClosed(v *View, from, to int64) (windows, bytes int64, err error) {
	err = t.query.scanClosed(v, from, to, nil, func(e closedEntry) (bool, error) {
		windows, bytes = windows+1, bytes+e.size()
		return true, nil
	})
	return windows, bytes, err
}

func (e closedEntry) size() int64 { return int64(len(e.position) + len(e.value)) }

// ByKey reports whether the store's windows stand by key, and not by time: a
// scan of some of them reads all.
func (t *Tier) ByKey() bool { return t.query.byKey() }

// Item decodes a row that was read from the cold tier. It has the Position that
// the window had in the store.
func (t *Tier) Item(r ColdRow) (Item, error) { return t.query.coldItem(r) }

// Place returns what a Position, or what begins one, says of a row.
func (t *Tier) Place(position []byte) (ColdPlace, error) { return t.query.placeOf(position) }
