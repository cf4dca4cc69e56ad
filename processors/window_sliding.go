package processors

import (
	"cmp"
	"slices"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// placeSliding adds a record to every window that contains it, and makes those
// that it gives rise to: the window that ends with it; the one that begins right
// after the event before it, if that held no event so far; and the one that
// begins right after it, if later events are there already. What the new windows
// hold of earlier events is found in those that are there. (The algorithm is that
// of Kafka Streams' KStreamSlidingWindowAggregate; it needs the greatest event
// time in each window, which is its object's Time.)
func (a *WindowAggregate[K, V, A]) placeSliding(r *Record[K, V]) (p placed, err error) {
	size := a.c.Windows.SizeMillis()
	t := r.Time
	if t < window.MinTime+2*size || t > window.MaxTime-2*size {
		return placed{refused: 1}, nil
	}
	lane, err := a.c.Spans.Of(a.key)
	if err != nil {
		return p, a.node.fail(err)
	}
	left := window.Window{Start: t - size + 1, End: t + 1}
	right := window.Window{Start: t + 1, End: t + 1 + size}
	var before, after *stores.Live[A] // the last window that ends before t, and the last that holds it and reaches beyond
	var has [2]bool                   // left and right are there
	previous, found := int64(0), false
	a.joined = a.joined[:0]
	for _, live := range lane[firstFrom(lane, t-2*(size-1)):] {
		x := live.Window()
		if x.Start > t+1 {
			break
		}
		switch {
		case x == right:
			has[1] = true
			continue
		case x.End <= t:
			before, previous, found = live, live.Time, true
			continue
		case x == left:
			has[0] = true
			if live.Time < t {
				previous, found = live.Time, true
			}
		default:
			after = live
		}
		a.joined = append(a.joined, live)
	}
	// Copies are made before anything is changed.
	var made [3]*stores.Live[A]
	if begin := previous + 1; found && begin > left.Start && begin+size > t && !beginsAt(lane, begin) {
		if made[0], err = a.slide(window.Window{Start: begin, End: begin + size}, nil, &p); err != nil {
			return p, err
		}
	}
	if !has[0] {
		if !found || previous < left.Start {
			before = nil
		}
		if made[1], err = a.slide(left, before, &p); err != nil {
			return p, err
		}
	}
	if !has[1] && after != nil && after.Time > t {
		var ignored placed
		if made[2], err = a.slide(right, after, &ignored); err != nil {
			return p, err
		}
	}
	for _, live := range a.joined {
		if err := a.addSliding(r, live, &p); err != nil {
			return p, err
		}
	}
	for _, live := range made[:2] {
		if live != nil {
			if err := a.add(r, live, live.Window(), &p); err != nil {
				return p, err
			}
		}
	}
	if made[2] != nil && !a.c.Windows.Complete(right, a.w) {
		a.await(made[2], made[2], right)
	} else if made[2] != nil {
		var ignored placed
		return p, a.follow(r, made[2], made[2], right, &ignored)
	}
	return p, nil
}

// firstFrom returns the index of the first window that begins at or after start.
func firstFrom[A any](lane []*stores.Live[A], start int64) int {
	i, _ := slices.BinarySearchFunc(lane, start, func(l *stores.Live[A], start int64) int { return cmp.Compare(l.Start(), start) })
	return i
}

func beginsAt[A any](lane []*stores.Live[A], start int64) bool {
	i := firstFrom(lane, start)
	return i < len(lane) && lane[i].Start() == start
}

// addSliding adds a record to a window that is there.
func (a *WindowAggregate[K, V, A]) addSliding(r *Record[K, V], live *stores.Live[A], p *placed) error {
	x := live.Window()
	if live.Firing.Final() || a.c.Windows.Closed(x, a.w) {
		p.refused++
		return nil
	}
	if err := a.c.Spans.Load(live); err != nil {
		return a.node.fail(err)
	}
	if err := a.onTimeFirst(live, x); err != nil {
		return err
	}
	return a.add(r, live, x, p)
}

// slide makes a window that holds what another one does, or nothing. It returns
// nil if the window is closed.
func (a *WindowAggregate[K, V, A]) slide(x window.Window, from *stores.Live[A], p *placed) (*stores.Live[A], error) {
	if a.c.Windows.Closed(x, a.w) {
		p.refused++
		return nil, nil
	}
	a.rt.Touched = true
	live, err := a.c.Spans.Create(a.key, x)
	if err != nil {
		return nil, a.node.fail(err)
	}
	if from == nil {
		live.Firing.Mark(window.EntryEmpty)
		return live, nil
	}
	if err := a.c.Spans.Load(from); err != nil {
		return nil, a.node.fail(err)
	}
	if live.Value, err = a.c.Spans.Copy(from.Value); err != nil {
		return nil, a.node.fail(err)
	}
	live.Time = from.Time
	return live, nil
}
