package stores

import (
	"bytes"
	"fmt"
	"math"
	"time"

	"github.com/millrace/millrace/window"
)

// Expiry is the time to live of a store without windows: what the store and its
// task tell each other of it. An entry lives until the store's clock has reached
// its time, the greatest event time in it, and the time to live after that.
//
// The clock is the watermark of the nodes that use the store as of the last commit,
// and not as of now. A replay begins at that commit with the same clock, and so
// finds the entries that were there. By the watermark of the moment an aggregate
// that is new because the old one has expired could be in the changelog ahead of the
// offsets; a replay would put earlier records into it that the old one had, and send
// results that are too small.
//
// What has expired is gone for reads at once, since they compare times. Sweep deletes
// it later, a slice of the store a call. These deletes go out with the next commit
// under either policy: what made them true is committed, so that a restart that undoes
// them hides the same entries by the same clock.
//
// An Expiry belongs to the task's goroutine. Views have a clock of their own, that of a
// commit which they show.
type Expiry struct {
	db    *DB
	store expiringStore
	// place is that of bound in DB.bounds, which views are given; DB.mu guards those.
	place int
	ttl   int64 // milliseconds
	// bound is the time before which entries have expired; math.MinInt64 while no
	// clock is known.
	bound int64

	// taken is how many entries are deleted with the next commit because they had
	// expired, and gone how many the last one has.
	taken, gone int

	// A pass goes through the engine's entries. cursor is where it goes on, nil
	// between passes, and begun the bound with which the last one began.
	cursor []byte
	begun  int64
	// oldest is a time that no entry is earlier than, and least the same of those
	// that the pass has left or that were written since it began. Without a pass
	// they are lower than what is so after entries have changed; a pass finds out.
	oldest, least int64
}

// expiringStore is a store whose entries may have a time to live.
type expiringStore interface {
	store
	// expire deletes an engine's entry of that time, with the next commit. It returns
	// false if the entry has changed since the last one, or is deleted already.
	expire(key []byte, time int64) (bool, error)
}

// Bounds of Sweep: how many entries a call reads, how many deletes may wait for a
// commit, and which part of the time to live lies between the beginnings of passes, at
// least. An entry is read that many times while it lives, and is deleted that much
// late.
const (
	sweepReads   = 1000
	sweepDeletes = 32 << 10
	sweepPart    = 16
)

// addExpiry gives a store its time to live before others see the store; none if it is
// 0.
func (db *DB) addExpiry(s expiringStore, name string, ttl time.Duration) error {
	if ttl == 0 {
		return nil
	}
	if ttl < time.Millisecond || ttl%time.Millisecond != 0 {
		return fmt.Errorf("store %q: time to live %v: use whole milliseconds, at least one, or 0 for none", name, ttl)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	e := &Expiry{db: db, store: s, place: len(db.bounds), ttl: ttl.Milliseconds(), bound: math.MinInt64, least: math.MaxInt64}
	e.forget()
	s.info().expiry = e
	db.bounds = append(db.bounds, math.MinInt64)
	return nil
}

// Expiry returns that of a store, or nil if its entries live for ever. It belongs to
// the task's goroutine.
func (db *DB) Expiry(store string) *Expiry {
	if s := db.byName[store]; s != nil {
		return s.info().expiry
	}
	return nil
}

// SetClock tells how far event time had come with the last commit, in Unix
// milliseconds; window.MinTime if that is not known. The clock never goes back. Call
// it right behind the commit, when nothing has changed since, or before the store is
// first used.
func (e *Expiry) SetClock(w int64) {
	bound := e.boundAt(w)
	if bound <= e.bound {
		return
	}
	e.bound = bound
	e.db.mu.Lock()
	defer e.db.mu.Unlock()
	e.db.bounds[e.place] = bound
}

// boundAt returns the time before which entries have expired by a clock.
func (e *Expiry) boundAt(w int64) int64 {
	if w < window.MinTime+e.ttl {
		return math.MinInt64
	}
	return w - e.ttl + 1
}

// expired reports whether an entry of that time has expired. Without a time to live
// none has.
func (e *Expiry) expired(time int64) bool { return e != nil && time < e.bound }

// expiredValue is expired for an engine's value.
func (e *Expiry) expiredValue(value []byte) bool { return e != nil && endedBefore(value, e.bound) }

// endedBefore reports whether an engine's value is of a time before the bound of what
// has expired. One that is cut short is left to whoever reads on.
func endedBefore(value []byte, bound int64) bool {
	time, ok := timeIn(value)
	return ok && time < bound
}

// wrote notes that an entry of that time goes to the engine.
func (e *Expiry) wrote(time int64) {
	if e != nil {
		e.oldest, e.least = min(e.oldest, time), min(e.least, time)
	}
}

// forget notes that the engine's entries have changed.
func (e *Expiry) forget() {
	if e != nil {
		e.cursor, e.begun, e.oldest, e.taken = nil, math.MinInt64, math.MinInt64, 0
	}
}

// Awaits reports whether something has expired, as far as is known, by a clock that is
// ahead of the store's: a commit that brings the clock there is worth making, once a
// minute of event time, or more often if the time to live is short.
func (e *Expiry) Awaits(w int64) bool {
	bound := e.boundAt(w)
	if bound <= e.bound || e.cursor != nil {
		return false
	}
	return bound > e.oldest && (e.bound == math.MinInt64 || bound-e.bound >= min(e.ttl/sweepPart, time.Minute.Milliseconds()))
}

// due reports whether a pass with that bound is to begin.
func (e *Expiry) due(bound int64) bool {
	return bound > e.oldest && (e.begun == math.MinInt64 || bound-e.begun >= e.ttl/sweepPart)
}

// Sweep deletes what has expired among some of the store's entries, and returns how
// many it has deleted and whether there is more to look at. It reads the entries of
// the last commit; those that have changed since are left alone, also when they are in
// the way of a pass that goes on after a commit. It is not called between Collect and
// Commit.
func (e *Expiry) Sweep() (deleted int, more bool, err error) {
	switch {
	case e.db.isClosed():
		return 0, false, ErrClosed
	case e.db.collected:
		return 0, false, fmt.Errorf("%w: Sweep between Collect and Commit", ErrProtocol)
	case e.store.pending() >= sweepDeletes, e.cursor == nil && !e.due(e.bound):
		return 0, false, nil
	}
	span := e.store.info().span()
	if e.cursor == nil {
		e.begun, e.least = e.bound, math.MaxInt64
	} else {
		span.Lower = e.cursor
	}
	it, err := e.db.engine.Iterate(span)
	if err != nil {
		return 0, false, e.store.info().wrap(err)
	}
	defer it.Close()
	for read := 0; it.Next(); read++ {
		if read == sweepReads {
			e.cursor = bytes.Clone(it.Key())
			return deleted, true, nil
		}
		gone, err := e.sweepEntry(it.Key(), it.Value())
		if err != nil {
			return deleted, false, e.store.info().wrap(err)
		}
		if gone {
			deleted++
		}
	}
	e.cursor, e.oldest = nil, e.least
	return deleted, false, e.store.info().wrap(it.Err())
}

// sweepEntry deletes an engine's entry if it has expired.
func (e *Expiry) sweepEntry(key, value []byte) (bool, error) {
	time, _, err := splitTime(value)
	if err != nil {
		return false, err
	}
	if !e.expired(time) {
		e.least = min(e.least, time)
		return false, nil
	}
	return e.take(key, time)
}

// take deletes an engine's entry of that time, which has expired, with the next
// commit. It returns false if the entry has changed since the last one, or is deleted
// already.
func (e *Expiry) take(key []byte, time int64) (bool, error) {
	ok, err := e.store.expire(key, time)
	if ok {
		e.taken++
	}
	return ok, err
}

// committed notes that the engine has what was collected.
func (e *Expiry) committed() {
	if e != nil {
		e.gone, e.taken = e.taken, 0
	}
}

// Gone returns how many entries the last Commit has deleted because they had expired,
// whether Sweep or DB.Upgrade found them. An entry whose key has come again meanwhile
// counts too: the new one is in its place.
func (e *Expiry) Gone() int { return e.gone }

// expire deletes the object of an engine's entry. It is not decoded.
func (h *hot[A]) expire(key []byte, time int64) (bool, error) {
	start, inner, err := h.splitKey(key)
	if err != nil {
		return false, err
	}
	b, err := h.bucketAt(start)
	if err != nil {
		return false, err
	}
	l := b.objs[string(inner)]
	if l != nil && (l.dirty || l.deleted) {
		return false, nil
	}
	if l == nil {
		l = &Live[A]{Time: time, key: keyString(inner), start: start, stored: true, size: sizeOfLive[A](string(inner), 0)}
		h.insert(b, l)
	}
	h.delete(l)
	l.born = 0
	return true, nil
}

// expire deletes an engine's entry, unless the overlay has another one.
func (s *keyValueStore[K, V]) expire(key []byte, time int64) (bool, error) {
	key = bytes.Clone(key[prefixLen:])
	if _, found := s.overlay.Get(kvChange{key: key}); found {
		return false, nil
	}
	(*KeyValue[K, V])(s).set(kvChange{key: key, deleted: true, dirty: true, gone: time})
	return true, nil
}

// timeToPut returns the time of an entry that is put anew: the later of the one that is
// there and its own. The error is ErrExpired if nothing is there and its own has
// expired.
func (s *KeyValue[K, V]) timeToPut(key []byte, time int64) (int64, error) {
	old, found, err := s.timeOf(key)
	switch {
	case err != nil:
		return 0, s.wrap(err)
	case found:
		return max(old, time), nil
	case s.expiry.expired(time):
		return 0, s.wrap(fmt.Errorf("%w: key %q has time %s", ErrExpired, key[prefixLen:], window.FormatTime(time)))
	}
	return time, nil
}

// timeOf returns the time of the entry that reads see under an engine's key.
func (s *KeyValue[K, V]) timeOf(key []byte) (time int64, found bool, err error) {
	if e, ok := s.overlay.Get(kvChange{key: key[prefixLen:]}); ok {
		return e.time, !e.deleted && !s.expiry.expired(e.time), nil
	}
	b, ok, err := s.db.engine.Get(nil, key)
	if !ok || err != nil {
		return 0, false, err
	}
	time, _, err = splitTime(b)
	return time, err == nil && !s.expiry.expired(time), err
}
