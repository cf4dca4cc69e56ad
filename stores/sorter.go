package stores

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
)

// sorter turns records of a changelog into entries of an engine in ascending order
// of their keys. What it sorts has no pointers and the head of the key beside it:
// millions of records are restored, and neither comparisons that follow a pointer nor
// the collector's barriers are to slow that down. Its memory is used again.
type sorter struct {
	arena  []byte // keys, each with its value behind it
	places []place
	order  []ordinal
	pairs  []Pair
}

// place is where an entry is in the arena.
type place struct{ key, value, end int }

// deleted is the end of an entry without a value.
const deleted = -1

// ordinal is one entry while it is sorted: the bytes of its key behind those that all
// keys begin with, and its number.
type ordinal struct {
	head uint64
	at   int
}

var sorters = sync.Pool{New: func() any { return new(sorter) }}

// release gives the sorter back. Nobody may use what it has made any more, as an engine
// does that has failed: what it was about is still under way then.
func (r *sorter) release() {
	clear(r.pairs)
	sorters.Put(r)
}

// pairsOf returns own, whose keys come first, and an entry for each key of the
// records; of those with one key the last counts. The entries are the sorter's.
func (r *sorter) pairsOf(s store, own []Pair, records []LogRecord) ([]Pair, error) {
	r.arena, r.places = r.arena[:0], slices.Grow(r.places[:0], len(records))
	for _, rec := range records {
		from := len(r.arena)
		out, split, err := s.fromLog(r.arena, rec)
		if err != nil {
			return nil, err
		}
		r.arena = out
		p := place{key: from, value: split, end: len(out)}
		if rec.Value == nil {
			p.end = deleted
		}
		r.places = append(r.places, p)
	}
	r.sort()
	r.pairs = append(slices.Grow(r.pairs[:0], len(own)+len(records)), own...)
	for i, o := range r.order {
		if i+1 < len(r.order) && bytes.Equal(r.key(o.at), r.key(r.order[i+1].at)) {
			continue
		}
		entry := Pair{Key: r.key(o.at)}
		if p := r.places[o.at]; p.end != deleted {
			entry.Value = r.arena[p.value:p.end:p.end]
		}
		r.pairs = append(r.pairs, entry)
	}
	return r.pairs, nil
}

// sort fills order.
func (r *sorter) sort() {
	common := r.common()
	r.order = slices.Grow(r.order[:0], len(r.places))
	for at := range r.places {
		var head [8]byte
		copy(head[:], r.key(at)[common:])
		r.order = append(r.order, ordinal{head: binary.BigEndian.Uint64(head[:]), at: at})
	}
	slices.SortFunc(r.order, func(a, b ordinal) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		return cmp.Or(bytes.Compare(r.key(a.at), r.key(b.at)), cmp.Compare(a.at, b.at))
	})
}

// common returns how many bytes all keys begin with.
func (r *sorter) common() int {
	if len(r.places) == 0 {
		return 0
	}
	first := r.key(0)
	n := len(first)
	for at := range r.places {
		key := r.key(at)
		n = min(n, len(key))
		for i := range n {
			if key[i] != first[i] {
				n = i
				break
			}
		}
	}
	return n
}

func (r *sorter) key(at int) []byte {
	p := r.places[at]
	return r.arena[p.key:p.value:p.value]
}
