package stores

import (
	"math"
	"slices"
	"strings"
)

// bucket holds the live objects of one window start.
type bucket[A any] struct {
	start int64
	objs  map[string]*Live[A]
	// order holds objects in ascending order of keys, and tail those added
	// since it was made. Either may hold objects that are gone.
	order, tail []*Live[A]
	// complete: the engine has no entry of this start that objs lacks.
	complete bool
	visible  int // objects that are not deleted
}

// from returns the objects in ascending order of keys, from at on if that is in the
// bucket. Some may be gone.
func (b *bucket[A]) from(at position) []*Live[A] {
	list := b.sorted()
	if b.start != at.start || at.key == nil {
		return list
	}
	list = list[countBelow(list, string(at.key)):]
	for at.after && len(list) > 0 && list[0].key == string(at.key) {
		list = list[1:]
	}
	return list
}

// bucketAt returns the bucket of start and makes it if need be.
func (h *hot[A]) bucketAt(start int64) (*bucket[A], error) {
	if b := h.last; b != nil && b.start == start {
		return b, nil
	}
	b := h.buckets[start]
	if b == nil {
		complete, err := h.nothingAt(start)
		if err != nil {
			return nil, err
		}
		b = h.addBucket(start, complete)
	}
	h.last = b
	return b, nil
}

func (h *hot[A]) addBucket(start int64, complete bool) *bucket[A] {
	b := &bucket[A]{start: start, objs: map[string]*Live[A]{}, complete: complete}
	h.buckets[start] = b
	i, _ := slices.BinarySearch(h.starts, start)
	h.starts = slices.Insert(h.starts, i, start)
	return b
}

// nothingAt reports whether the engine has no visible entry of start.
func (h *hot[A]) nothingAt(start int64) (bool, error) {
	if h.empty || start < h.hidden {
		return true, nil
	}
	if !h.windowed {
		return false, nil
	}
	lower := h.appendStart(nil, start)
	it, err := h.db.engine.Iterate(Span{Lower: lower, Upper: h.startUpper(start)})
	if err != nil {
		return false, h.wrap(err)
	}
	defer it.Close()
	none := !it.Next()
	return none, h.wrap(it.Err())
}

// shrink evicts clean objects while the budget is exceeded: the oldest windows
// first and, without windows, what was not used for longest.
func (h *hot[A]) shrink() (crowded bool) {
	excess := h.db.budget.excess(h.held)
	if excess <= 0 {
		return false
	}
	target, pinned := h.held-excess, int64(0)
	if h.windowed {
		for _, start := range h.starts {
			if h.held > target {
				pinned += h.evict(h.buckets[start], target, math.MaxUint32)
			}
		}
		return crowds(pinned, h.held-target)
	}
	for _, age := range []uint32{64, 16, 4, 1, 0} {
		if b := h.buckets[0]; b != nil && h.held > target && h.db.commits > age {
			pinned = h.evict(b, target, h.db.commits-age)
		}
	}
	return crowds(pinned, h.held-target)
}

// evict removes clean objects of b, last used in interval until or before,
// until target bytes are held. It returns the bytes of those that it had to leave
// since somebody holds them.
func (h *hot[A]) evict(b *bucket[A], target int64, until uint32) (pinned int64) {
	if b.start < h.hidden {
		// The engine's entries of b cannot be read until the drop is done.
		return 0
	}
	for _, l := range b.objs {
		if h.held <= target {
			break
		}
		switch {
		case l.dirty || l.deleted || l.used > until:
		case l.Held != 0:
			pinned += int64(l.size)
		default:
			h.remove(b, l)
			b.complete = false
		}
	}
	b.prune()
	return pinned
}

// prune drops what is gone from the lists.
func (b *bucket[A]) prune() {
	gone := func(l *Live[A]) bool { return l.gone }
	b.order = slices.DeleteFunc(slices.Clone(b.order), gone)
	b.tail = slices.DeleteFunc(b.tail, gone)
}

// tidy prunes if most of what the lists hold is gone. Without windows a bucket stays
// for good, and perhaps nobody ever asks for its order.
func (b *bucket[A]) tidy() {
	const few = 64
	if len(b.order)+len(b.tail) > 2*len(b.objs)+few {
		b.prune()
	}
}

// sorted returns the objects of b in ascending order of keys, deleted ones and
// perhaps some that are gone included. The slice is not changed later.
//
// What came since the last time is mostly a run of neighbours, which a sweep has
// read: it is put in between stretches of the rest, of which few are looked at. So what
// is gone stays until it is the larger part.
func (b *bucket[A]) sorted() []*Live[A] {
	if len(b.tail) == 0 {
		return b.order
	}
	b.tidy()
	slices.SortFunc(b.tail, func(x, y *Live[A]) int { return strings.Compare(x.key, y.key) })
	all, rest := make([]*Live[A], 0, len(b.order)+len(b.tail)), b.order
	for _, l := range b.tail {
		if l.gone {
			continue
		}
		n := countBelow(rest, l.key)
		all, rest = append(append(all, rest[:n]...), l), rest[n:]
	}
	b.order, b.tail = append(all, rest...), nil
	return b.order
}

// countBelow returns how many objects of a sorted list have a lesser key. It looks at
// the beginning first, in steps that double.
func countBelow[A any](list []*Live[A], key string) int {
	from, to := 0, 1
	for to < len(list) && list[to-1].key < key {
		from, to = to, 2*to
	}
	to = min(to, len(list))
	n, _ := slices.BinarySearchFunc(list[from:to], key, func(l *Live[A], key string) int {
		return strings.Compare(l.key, key)
	})
	return from + n
}
