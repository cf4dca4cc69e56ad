package stores

import (
	"cmp"
	"fmt"
	"slices"
)

// CheckLanes compares what a Spans store counts with what a look at all of its lanes
// finds: the deleted spans of each key, the spans of which the index knows an earlier
// due time, and the bytes charged to the budget.
func (s *Spans[K, A]) CheckLanes() error { return s.s.checkLanes() }

func (s *spans[A]) checkLanes() error {
	tombs := map[*lane[A]]int{}
	for name, t := range s.tombs {
		if s.lanes[name.key] != t.lane {
			return fmt.Errorf("a deleted span of key %q is in a lane that is not the key's", name.key)
		}
		tombs[t.lane]++
	}
	spans, stale, held := 0, 0, int64(0)
	for key, n := range s.lanes {
		switch {
		case n.tombs != tombs[n]:
			return fmt.Errorf("the lane of key %q counts %d deleted spans, and there are %d", key, n.tombs, tombs[n])
		case len(n.spans) == 0 && n.tombs == 0:
			return fmt.Errorf("the lane of key %q is empty", key)
		case !slices.IsSortedFunc(n.spans, func(a, b *Live[A]) int { return cmp.Compare(a.start, b.start) }):
			return fmt.Errorf("the spans of key %q are not in order", key)
		}
		for _, l := range n.spans {
			if l.span.lane != n || l.key != key || l.gone || l.deleted {
				return fmt.Errorf("the lane of key %q has a span of key %q, gone %v, deleted %v", key, l.key, l.gone, l.deleted)
			}
			if at, ok := s.index.Get(s.entry(l)); !ok || at.live != l {
				return fmt.Errorf("window %v of key %q is not in the index", l.Window(), key)
			}
			if l.span.stale {
				stale++
			}
			held += int64(l.size)
		}
		spans += len(n.spans)
	}
	if s.stale != stale || s.index.Len() != spans || s.held != held {
		return fmt.Errorf("%d spans are counted, %d of them stale, %d bytes; the lanes have %d, %d and %d",
			s.index.Len(), s.stale, s.held, spans, stale, held)
	}
	return nil
}
