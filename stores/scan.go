package stores

import (
	"iter"
	"math"
	"slices"
)

// position is where a merge begins: at (start, key), or right after it.
type position struct {
	start int64
	key   []byte
	after bool
}

// merge visits, in ascending order of start and key, what reads see from at to
// the start to, exclusive: live objects and, with a nil one, entries that only
// the engine has, whose key and value are valid during the call. visit may
// change the store; it returns false to stop.
func (h *hot[A]) merge(at position, to int64, visit func(l *Live[A], start int64, key, value []byte) (bool, error)) error {
	if at.start >= to {
		return nil
	}
	i, _ := slices.BinarySearch(h.starts, at.start)
	j, _ := slices.BinarySearch(h.starts, to)
	starts := slices.Clone(h.starts[i:j])
	e, err := h.engineScan(at, to)
	if err != nil {
		return h.wrap(err)
	}
	defer e.close()
	for len(starts) > 0 || e.ok {
		start := e.start
		if len(starts) > 0 && (!e.ok || starts[0] <= e.start) {
			start, starts = starts[0], starts[1:]
		}
		more, err := h.mergeStart(e, at, start, visit)
		if err != nil || !more {
			return err
		}
	}
	return h.wrap(e.err)
}

// mergeStart visits one start.
func (h *hot[A]) mergeStart(e *engineScan[A], at position, start int64, visit func(l *Live[A], start int64, key, value []byte) (bool, error)) (more bool, err error) {
	var list []*Live[A]
	if b := h.buckets[start]; b != nil {
		list = b.from(at)
		if b.complete {
			e.skip(start)
		}
	}
	for {
		for len(list) > 0 && list[0].gone {
			list = list[1:]
		}
		fromEngine := e.ok && e.start == start
		var l *Live[A]
		switch {
		case len(list) == 0 && !fromEngine:
			return true, e.err
		case len(list) > 0 && (!fromEngine || list[0].key <= string(e.key)):
			l, list = list[0], list[1:]
			if fromEngine && l.key == string(e.key) {
				e.next()
			}
			if l.deleted || h.expiry.expired(l.Time) {
				continue
			}
			more, err = visit(l, start, nil, nil)
		default:
			// The bucket may have come or changed since the scan began.
			if b := h.buckets[start]; b != nil {
				l = b.objs[string(e.key)]
			}
			hidden := start < h.hidden
			if l != nil {
				hidden = hidden || l.deleted || h.expiry.expired(l.Time)
			} else {
				hidden = hidden || h.expiry.expiredValue(e.it.Value())
			}
			if hidden {
				e.next()
				continue
			}
			more, err = visit(l, start, e.key, e.it.Value())
			if more && err == nil {
				e.next()
			}
		}
		if err != nil || !more {
			return false, err
		}
	}
}

// visitHeld visits, in the order of merge, the live objects that are held with any of
// bits. It reads nothing of the engine, where nothing is held. next is the least start at
// or after to of which there are live objects.
func (h *hot[A]) visitHeld(at position, to int64, bits uint8, v Visitor[A]) (next int64, done bool) {
	i, _ := slices.BinarySearch(h.starts, at.start)
	j, _ := slices.BinarySearch(h.starts, to)
	if i < j {
		for _, start := range slices.Clone(h.starts[i:j]) {
			b := h.buckets[start]
			if b == nil {
				continue
			}
			for _, l := range b.from(at) {
				if l.Held&bits != 0 && !l.gone && !l.deleted && !v.Visit(l) {
					return 0, false
				}
			}
		}
	}
	if j, _ = slices.BinarySearch(h.starts, to); j < len(h.starts) {
		return h.starts[j], true
	}
	return math.MaxInt64, true
}

// engineScan walks the engine's entries of one store.
type engineScan[A any] struct {
	h     *hot[A]
	it    Iterator
	ok    bool // it stands at (start, key)
	start int64
	key   []byte
	err   error
}

// engineScan returns a scan that stands at the first entry that reads see.
func (h *hot[A]) engineScan(at position, to int64) (*engineScan[A], error) {
	e := &engineScan[A]{h: h}
	if h.empty || h.hidden >= to {
		return e, nil
	}
	span := Span{Lower: h.appendStart(nil, max(at.start, h.hidden)), Upper: h.upper[:]}
	if at.start >= h.hidden {
		span.Lower = append(span.Lower, at.key...)
		if at.after {
			span.Lower = append(span.Lower, 0)
		}
	}
	if h.windowed {
		span.Upper = h.appendStart(nil, to)
	}
	it, err := h.db.engine.Iterate(span)
	if err != nil {
		return nil, err
	}
	e.it = it
	e.next()
	return e, nil
}

func (e *engineScan[A]) next() { e.at(e.it.Next()) }

// skip moves past the entries of start.
func (e *engineScan[A]) skip(start int64) {
	if !e.ok || e.start != start {
		return
	}
	if !e.h.windowed || start == math.MaxInt64 {
		e.ok = false
		return
	}
	e.at(e.it.Seek(e.h.startUpper(start)))
}

func (e *engineScan[A]) at(ok bool) {
	if e.ok = ok; !ok {
		e.err = e.it.Err()
		return
	}
	e.start, e.key, e.err = e.h.splitKey(e.it.Key())
	e.ok = e.err == nil
}

func (e *engineScan[A]) close() {
	if e.it != nil {
		e.it.Close()
	}
}

// walk yields the live objects of a merge. An object that only the engine had
// is in the overlay while it is yielded, and stays if it is changed or looked
// up meanwhile.
func (h *hot[A]) walk(at position, to int64) iter.Seq2[*Live[A], error] {
	return func(yield func(*Live[A], error) bool) {
		err := h.merge(at, to, func(l *Live[A], start int64, key, value []byte) (bool, error) {
			if l != nil {
				return yield(l, nil), nil
			}
			l, err := h.decode(start, keyString(key), value)
			if err != nil {
				return false, err
			}
			b := h.buckets[start]
			if b == nil {
				b = h.addBucket(start, false)
			}
			b.objs[l.key] = l
			b.visible++
			h.charge(int64(l.size))
			more := yield(l, nil)
			switch {
			case l.gone:
			case l.used == 0 && !l.dirty && !l.deleted:
				h.remove(b, l)
			default:
				b.tail = append(b.tail, l)
			}
			return more, nil
		})
		if err != nil {
			yield(nil, err)
		}
	}
}

// nextStart returns the least start at or after from that has an entry.
func (h *hot[A]) nextStart(from int64) (start int64, ok bool, err error) {
	i, _ := slices.BinarySearch(h.starts, from)
	for ; i < len(h.starts); i++ {
		if h.buckets[h.starts[i]].visible > 0 {
			start, ok = h.starts[i], true
			break
		}
	}
	to := int64(math.MaxInt64)
	if ok {
		to = start
	}
	if from >= to {
		return start, ok, nil
	}
	e, err := h.engineScan(position{start: from}, to)
	if err != nil {
		return 0, false, h.wrap(err)
	}
	defer e.close()
	for e.ok {
		b := h.buckets[e.start]
		if b == nil {
			return e.start, true, nil
		}
		if b.complete {
			e.skip(e.start)
			continue
		}
		if l := b.objs[string(e.key)]; l == nil || !l.deleted {
			return e.start, true, nil
		}
		e.next()
	}
	if e.err != nil {
		return 0, false, h.wrap(e.err)
	}
	return start, ok, nil
}
