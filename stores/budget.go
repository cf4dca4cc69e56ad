package stores

import "sync/atomic"

// Budget bounds the memory that the live objects of all stores of a process
// take. It is a target, not a wall: what is dirty stays, and clean objects are
// evicted by each DB at its own commits. A Budget is safe for use by several
// goroutines at once; a nil *Budget has no limit.
type Budget struct {
	limit  atomic.Int64
	used   atomic.Int64
	stores atomic.Int64
}

// NewBudget returns a budget of limit bytes. A limit below 1 keeps nothing
// that is clean.
func NewBudget(limit int64) *Budget {
	b := new(Budget)
	b.limit.Store(limit)
	return b
}

// SetLimit changes the limit. It takes effect at the next commits.
func (b *Budget) SetLimit(limit int64) { b.limit.Store(limit) }

// Limit returns the limit in bytes.
func (b *Budget) Limit() int64 { return b.limit.Load() }

// Used returns the estimate, in bytes, of what the live objects take.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Over reports whether more is used than the limit allows. A task that sees it
// between two commits may commit early.
func (b *Budget) Over() bool {
	return b != nil && b.used.Load() > b.limit.Load()
}

func (b *Budget) add(n int64) {
	if b != nil {
		b.used.Add(n)
	}
}

func (b *Budget) join(n int64) {
	if b != nil {
		b.stores.Add(n)
	}
}

// crowds reports whether what holders keep from being evicted is the larger part of
// what a store has too much. Else it is what has changed, or what is known of
// entries without their values, and nothing is won if holders let go.
func crowds(pinned, excess int64) bool { return excess > 0 && pinned > excess/2 }

// excess returns how many bytes a store that holds own bytes is to evict: as
// many as the process is over its limit, but no store goes below its equal
// share because others are slow to evict.
func (b *Budget) excess(own int64) int64 {
	if b == nil {
		return 0
	}
	limit := b.limit.Load()
	share := max(0, limit) / max(1, b.stores.Load())
	return min(b.used.Load()-limit, own-share)
}
