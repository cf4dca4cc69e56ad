package stores

import (
	"maps"
	"math"
	"slices"
)

// drop is one DropBefore on its way to the engine.
type drop struct {
	bound  int64
	number int    // counts the drops of the store
	born   uint32 // the interval in which it was made
	sent   bool   // the last Collect has it
}

// revival is a key that was made anew below a bound on its way to the engine.
type revival struct {
	spared int  // the drops up to this number do not concern it
	again  bool // a later drop does
}

// dropBefore removes every object of a start before bound, and returns how many
// there were.
func (h *hot[A]) dropBefore(bound int64) (n int, err error) {
	if bound <= h.least {
		return 0, nil
	}
	err = h.merge(position{start: math.MinInt64}, bound, func(*Live[A], int64, []byte, []byte) (bool, error) {
		n++
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	if n > 0 {
		h.drop(bound)
	}
	least, ok, err := h.nextStart(bound)
	if err != nil {
		return n, err
	}
	if h.least = least; !ok {
		h.least = math.MaxInt64
	}
	return n, nil
}

func (h *hot[A]) drop(bound int64) {
	end, _ := slices.BinarySearch(h.starts, bound)
	for _, start := range h.starts[:end] {
		b := h.buckets[start]
		for _, l := range b.objs {
			// What commits still have to write stays in changed and tombs.
			h.release(b, l)
			l.gone = !l.deleted && !(l.stored && l.dirty && h.db.deletes == DeletesDeferred)
		}
		delete(h.buckets, start)
	}
	h.starts = slices.Delete(h.starts, 0, end)
	h.last = nil
	if h.empty {
		return
	}
	h.dropCount++
	h.drops = append(h.drops, drop{bound: bound, number: h.dropCount, born: h.db.commits})
	h.hidden = max(h.hidden, bound)
	for key, r := range h.revived {
		switch start, _, err := h.splitKey([]byte(key)); {
		case err != nil || r.again:
		case start < bound:
			h.revived[key] = revival{spared: r.spared, again: true}
		default:
			h.revived[key] = revival{spared: h.dropCount}
		}
	}
}

// collectDrops adds what the drops that are due delete: one tombstone for each
// key of the engine and, if nothing was made anew there, one span to clear.
func (h *hot[A]) collectDrops(c *collector) error {
	bound, number := int64(math.MinInt64), 0
	for i := range h.drops {
		if d := &h.drops[i]; h.due(d.born) {
			d.sent = true
			bound, number = max(bound, d.bound), d.number
		}
	}
	if number == 0 {
		return nil
	}
	span := Span{Lower: h.prefix[:], Upper: h.appendStart(nil, bound)}
	it, err := h.db.engine.Iterate(span)
	if err != nil {
		return err
	}
	defer it.Close()
	n := len(c.list)
	spared := false
	for it.Next() {
		if r, ok := h.revived[string(it.Key())]; ok && r.spared >= number {
			spared = true
			continue
		}
		start, key, err := h.splitKey(it.Key())
		if err != nil {
			return err
		}
		time, _, _, err := splitLive(it.Value())
		if err != nil {
			return err
		}
		h.tombstone(c, start, string(key), time, true)
	}
	if err := it.Err(); err != nil {
		return err
	}
	if spared {
		for i := n; i < len(c.list); i++ {
			c.list[i].covered = false
		}
	} else if len(c.list) > n {
		c.clear = append(c.clear, span)
	}
	return nil
}

func (h *hot[A]) commitDrops() {
	number := 0
	for _, d := range h.drops {
		if d.sent {
			number = d.number
		}
	}
	h.drops = slices.DeleteFunc(h.drops, func(d drop) bool { return d.sent })
	if len(h.drops) == 0 {
		h.hidden = math.MinInt64
		h.revived = nil
		return
	}
	maps.DeleteFunc(h.revived, func(_ string, r revival) bool { return r.spared < number })
}
