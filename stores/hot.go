package stores

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/window"
)

// hot is the machinery of stores of live objects: an overlay of objects over
// the engine, in buckets by the start of the window. A store without windows
// has one bucket, of start 0, and no start in its engine keys.
type hot[A any] struct {
	storeInfo
	codec    codec.Codec[A]
	make     func() *A
	windowed bool
	paned    bool // entries are panes

	buckets map[int64]*bucket[A]
	starts  []int64 // of the buckets, ascending
	last    *bucket[A]
	// empty: the engine has no entry of this store.
	empty bool
	least int64 // no entry that reads see has an earlier start

	changed      []*Live[A] // dirty since the last Collect
	changedBytes int64
	sent         []*Live[A] // what the last Collect encoded
	tombs        []*Live[A] // deleted, and not yet deleted in the engine
	drops        []drop     // bounds of DropBefore that the engine has not seen
	dropCount    int
	hidden       int64              // the engine's entries below this start are deleted
	revived      map[string]revival // by engine key: those below hidden that were made anew

	held int64 // bytes charged to the budget
	buf  []byte
	val  []byte
	// missed is the engine key that the engine was last asked for in vain; it
	// is often created next. Commits and restores forget it.
	missed []byte
}

func (h *hot[A]) init(db *DB, c codec.Codec[A], make func() *A, windowed bool) {
	h.codec, h.make, h.windowed = c, make, windowed
	h.buckets = map[int64]*bucket[A]{}
	h.hidden, h.least = math.MinInt64, math.MinInt64
	db.budget.join(1)
}

// probe finds out whether the engine has any entry of the store.
func (h *hot[A]) probe() error {
	it, err := h.db.engine.Iterate(h.span())
	if err != nil {
		return h.wrap(err)
	}
	defer it.Close()
	h.empty = !it.Next()
	return h.wrap(it.Err())
}

// appendKey appends the engine's key.
func (h *hot[A]) appendKey(dst []byte, start int64, key string) []byte {
	return append(h.appendStart(dst, start), key...)
}

// appendStart appends what the engine's keys of one start begin with. The sign
// bit is flipped so that times before 1970 sort first.
func (h *hot[A]) appendStart(dst []byte, start int64) []byte {
	dst = append(dst, h.prefix[:]...)
	if h.windowed {
		dst = binary.BigEndian.AppendUint64(dst, uint64(start)^(1<<63))
	}
	return dst
}

// splitKey takes an engine's key of this store apart. The key aliases b.
func (h *hot[A]) splitKey(b []byte) (start int64, key []byte, err error) {
	b = b[prefixLen:]
	if !h.windowed {
		return 0, b, nil
	}
	if len(b) < 8 {
		return 0, nil, h.wrap(fmt.Errorf("%w: key %x has no window", ErrCorrupt, b))
	}
	return int64(binary.BigEndian.Uint64(b) ^ (1 << 63)), b[8:], nil
}

// appendLogKey appends the changelog's key.
func (h *hot[A]) appendLogKey(dst []byte, start int64, key string) []byte {
	if h.windowed {
		return codec.AppendWindowKey(dst, keyBytes(key), start, 0)
	}
	return append(dst, key...)
}

// splitLogKey takes a changelog's key apart. The result aliases b.
func (h *hot[A]) splitLogKey(b []byte) (key []byte, start int64, err error) {
	if !h.windowed {
		return b, 0, nil
	}
	if key, start, _, err = codec.SplitWindowKey(b); err != nil {
		return nil, 0, fmt.Errorf("%w: changelog key: %w", ErrCorrupt, err)
	}
	return key, start, nil
}

// startUpper returns the first engine key after those of start.
func (h *hot[A]) startUpper(start int64) []byte {
	if !h.windowed || start == math.MaxInt64 {
		return h.upper[:]
	}
	return h.appendStart(nil, start+1)
}

// get returns the live object of key and start, or nil if there is none. A hit
// in the overlay does not allocate.
func (h *hot[A]) get(key []byte, start int64) (*Live[A], error) {
	b := h.last
	if b == nil || b.start != start {
		var err error
		if b, err = h.bucketAt(start); err != nil {
			return nil, err
		}
	}
	if l := b.objs[string(key)]; l != nil {
		if l.deleted || h.expiry.expired(l.Time) {
			return nil, nil
		}
		l.used = h.db.commits
		return l, nil
	}
	if b.complete {
		return nil, nil
	}
	return h.load(b, key)
}

// load reads an object from the engine into b.
func (h *hot[A]) load(b *bucket[A], key []byte) (*Live[A], error) {
	h.buf = append(h.appendStart(h.buf[:0], b.start), key...)
	value, ok, err := h.db.engine.Get(h.val[:0], h.buf)
	if err != nil {
		return nil, h.wrap(err)
	}
	h.val = value
	if !ok {
		h.missed = append(h.missed[:0], h.buf...)
		return nil, nil
	}
	if h.expiry.expiredValue(value) {
		return nil, nil
	}
	l, err := h.decode(b.start, keyString(key), value)
	if err != nil {
		return nil, err
	}
	l.used = h.db.commits
	h.insert(b, l)
	return l, nil
}

// decode makes a clean object of an engine's entry, which it copies.
func (h *hot[A]) decode(start int64, key string, value []byte) (*Live[A], error) {
	a, time, f, err := decodeLive(h.codec, value)
	if err != nil {
		return nil, h.wrap(fmt.Errorf("value of key %q, window %d: %w", key, start, err))
	}
	return &Live[A]{
		Value: a, Time: time, Firing: f, key: key, start: start, stored: true,
		size: sizeOfLive[A](key, len(value)),
	}, nil
}

// insert adds l to b, in place of what b has of that key.
func (h *hot[A]) insert(b *bucket[A], l *Live[A]) {
	b.objs[l.key] = l
	b.tail = append(b.tail, l)
	b.visible++
	h.charge(int64(l.size))
}

func (h *hot[A]) charge(n int64) {
	h.held += n
	h.db.budget.add(n)
}

// create makes a new object with a fresh value.
func (h *hot[A]) create(key []byte, start int64) (*Live[A], error) {
	b, err := h.bucketAt(start)
	if err != nil {
		return nil, err
	}
	l := &Live[A]{Value: h.make(), Time: h.db.time, start: start, used: h.db.commits}
	if h.paned {
		l.Firing.Mark(window.EntryPane)
	}
	if old := b.objs[string(key)]; old != nil {
		l.key, l.stored = old.key, old.stored
		h.remove(b, old)
	} else {
		l.key = keyString(key)
		if l.stored, err = h.isStored(b, key); err != nil {
			return nil, err
		}
		if start < h.hidden {
			// A drop took the bucket that would have told of a tombstone.
			h.tombs = slices.DeleteFunc(h.tombs, func(t *Live[A]) bool { return t.start == start && t.key == l.key })
			if h.revived == nil {
				h.revived = map[string]revival{}
			}
			h.revived[string(h.appendKey(nil, start, l.key))] = revival{spared: h.dropCount}
		}
	}
	l.size = sizeOfLive[A](l.key, 0)
	h.least = min(h.least, start)
	h.insert(b, l)
	h.touch(l)
	return l, nil
}

// isStored reports whether the engine has an entry of a key that the overlay
// lacks, be it one that a drop hides.
func (h *hot[A]) isStored(b *bucket[A], key []byte) (bool, error) {
	if h.empty || b.complete && b.start >= h.hidden {
		return false, nil
	}
	missed := h.missed
	h.missed = h.missed[:0]
	h.buf = append(h.appendStart(h.buf[:0], b.start), key...)
	if bytes.Equal(missed, h.buf) {
		return false, nil
	}
	value, ok, err := h.db.engine.Get(h.val[:0], h.buf)
	h.val = value
	return ok, h.wrap(err)
}

// remove takes l out of b; it is gone.
func (h *hot[A]) remove(b *bucket[A], l *Live[A]) {
	delete(b.objs, l.key)
	h.release(b, l)
}

// release is remove for an object that the map of b has no more, or will lose.
func (h *hot[A]) release(b *bucket[A], l *Live[A]) {
	l.gone = true
	if !l.deleted {
		b.visible--
	}
	h.charge(-int64(l.size))
}

// touch marks l as changed.
func (h *hot[A]) touch(l *Live[A]) {
	if l.dirty || l.deleted || l.gone {
		return
	}
	l.dirty = true
	l.used = h.db.commits
	h.changed = append(h.changed, l)
	h.changedBytes += int64(l.size)
}

// delete removes l from what reads see.
func (h *hot[A]) delete(l *Live[A]) {
	b := h.buckets[l.start]
	if b == nil || l.gone || l.deleted {
		return
	}
	if !l.stored {
		// Neither the engine nor the log has ever heard of it.
		h.remove(b, l)
		return
	}
	l.deleted = true
	l.born = h.db.commits
	b.visible--
	h.tombs = append(h.tombs, l)
}

// due reports whether a delete made in an interval goes out now.
func (h *hot[A]) due(born uint32) bool {
	return h.db.deletes == DeletesWithCommit || born < h.db.commits
}

func (h *hot[A]) dirty() (int, int64) { return len(h.changed), h.changedBytes }

func (h *hot[A]) pending() int { return len(h.tombs) + len(h.drops) }

func (h *hot[A]) waiting() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, l := range h.tombs {
			if !l.gone && !h.due(l.born) && !yield(h.appendLogKey(nil, l.start, l.key)) {
				return
			}
		}
	}
}

func (h *hot[A]) redelete(key []byte) error {
	key, start, err := h.splitLogKey(key)
	if err != nil {
		return err
	}
	l, err := h.get(key, start)
	if l == nil || err != nil {
		return err
	}
	h.delete(l)
	l.born = 0
	return nil
}

// collect encodes the changed objects and adds the deletes that are due.
func (h *hot[A]) collect(c *collector) error {
	for _, l := range h.changed {
		if l.gone || l.deleted && h.db.deletes == DeletesWithCommit {
			continue
		}
		if err := h.put(c, l); err != nil {
			return err
		}
	}
	h.sent, h.changed, h.changedBytes = h.changed, h.sent[:0], 0
	for _, l := range h.tombs {
		if !l.gone && h.due(l.born) {
			h.tombstone(c, l.start, l.key, l.Time, false)
		}
	}
	return h.collectDrops(c)
}

// put encodes l into c.
func (h *hot[A]) put(c *collector, l *Live[A]) error {
	h.expiry.wrote(l.Time)
	e := change{time: l.Time}
	from := c.begin()
	c.arena = h.appendKey(c.arena, l.start, l.key)
	e.key = c.since(from)
	e.logKey = c.since(from + prefixLen)
	if h.windowed {
		from = len(c.arena)
		c.arena = h.appendLogKey(c.arena, l.start, l.key)
		e.logKey = c.since(from)
	}
	n, err := appendValue(c, &e, l, h.codec, h)
	if err != nil {
		return err
	}
	c.put(e)
	if !l.gone {
		size := sizeOfLive[A](l.key, n) + keptSize(l)
		if b := h.buckets[l.start]; b != nil && b.objs[l.key] == l {
			h.charge(int64(size - l.size))
			l.size = size
		}
	}
	return nil
}

// logKeyOf returns the changelog's key of l.
func (h *hot[A]) logKeyOf(l *Live[A]) []byte { return h.appendLogKey(nil, l.start, l.key) }

// check encodes the object of a changelog key, if Collect is to.
func (h *hot[A]) check(key []byte) error {
	key, start, err := h.splitLogKey(key)
	if err != nil {
		return err
	}
	b := h.buckets[start]
	if b == nil {
		return nil
	}
	l := b.objs[string(key)]
	if l == nil || !l.dirty || l.deleted && h.db.deletes == DeletesWithCommit {
		return nil
	}
	_, err = encodeValue(nil, l, h.codec, h)
	return err
}

// tombstone adds a delete to c.
func (h *hot[A]) tombstone(c *collector, start int64, key string, time int64, covered bool) {
	e := change{time: time, delete: true, covered: covered}
	from := c.begin()
	c.arena = h.appendKey(c.arena, start, key)
	e.key = c.since(from)
	e.logKey = c.since(from + prefixLen)
	if h.windowed {
		from = len(c.arena)
		c.arena = h.appendLogKey(c.arena, start, key)
		e.logKey = c.since(from)
	}
	c.put(e)
}

// committed drops what the engine now has.
func (h *hot[A]) committed() {
	for _, l := range h.sent {
		l.dirty, l.stored = false, true
		h.empty = false
	}
	clear(h.sent)
	h.sent, h.missed = h.sent[:0], h.missed[:0]
	h.commitTombs()
	h.commitDrops()
	for _, start := range h.starts {
		b := h.buckets[start]
		if len(b.objs) == 0 {
			delete(h.buckets, start)
			continue
		}
		b.tidy()
	}
	if len(h.starts) != len(h.buckets) {
		h.starts = slices.Sorted(maps.Keys(h.buckets))
		h.last = nil
	}
}

func (h *hot[A]) commitTombs() {
	kept := h.tombs[:0]
	for _, l := range h.tombs {
		switch {
		case l.gone:
		case !h.due(l.born):
			kept = append(kept, l)
		default:
			if b := h.buckets[l.start]; b != nil && b.objs[l.key] == l {
				h.remove(b, l)
			}
		}
	}
	clear(h.tombs[len(kept):])
	h.tombs = kept
}

// forget drops every object: the engine's entries have changed beneath them.
func (h *hot[A]) forget() {
	h.charge(-h.held)
	h.missed = h.missed[:0]
	clear(h.buckets)
	h.starts, h.last = nil, nil
	h.tombs, h.drops, h.revived, h.hidden = nil, nil, nil, math.MinInt64
	h.empty, h.least = false, math.MinInt64
}

func (h *hot[A]) close() {
	h.charge(-h.held)
	h.db.budget.join(-1)
}
