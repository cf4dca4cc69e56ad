package oracle

import (
	"slices"

	"github.com/millrace/millrace/window"
)

// place returns the windows that take an event, made if need be, and how many of
// those that it belongs to refuse it.
func (m *model) place(e event) (takers []*keyed, refused int) {
	switch m.k.w.kind {
	case window.SessionKind:
		if w := m.session(e); w != nil {
			return []*keyed{w}, 0
		}
		return nil, 1
	case window.CountKind:
		return []*keyed{m.counting(e.Key)}, 0
	case window.SlidingKind:
		return m.sliding(e)
	}
	for _, x := range m.k.aligned(e.Time) {
		w := m.find(span{e.Key, x})
		if m.closed(x) || w != nil && w.final {
			refused++
			continue
		}
		takers = append(takers, m.at(span{e.Key, x}))
	}
	return takers, refused
}

// aligned returns the windows that hold t and depend on nothing else, by start.
func (k *kase) aligned(t int64) (found []window.Window) {
	if k.w.kind == window.CalendarKind {
		return []window.Window{k.calendar(t)}
	}
	into := (t - k.w.offset) % k.w.advance
	if into < 0 {
		into += k.w.advance
	}
	for start := t - into; start+k.w.size > t; start -= k.w.advance {
		found = append(found, window.Window{Start: start, End: start + k.w.size})
	}
	slices.Reverse(found)
	return found
}

// counting returns the open window of a key.
func (m *model) counting(key string) *keyed {
	n := int64(0)
	for _, w := range m.of(key) {
		if !w.final {
			return w
		}
		n++
	}
	return m.at(span{key, window.Window{Start: n, End: n + 1}})
}

// session returns the session that an event joins: the earliest that it fits
// into, together with those after it that fit as well. One whose final result was
// sent takes nothing.
func (m *model) session(e event) *keyed {
	gap, most := m.k.w.gap, m.k.w.most
	whole := window.Window{Start: e.Time, End: e.Time + 1}
	var joined []*keyed
	for _, w := range m.of(e.Key) {
		first, last := w.window.Start, w.window.End-1
		if e.Time < first-gap || e.Time > last+gap || m.closed(w.window) {
			continue
		}
		if w.final {
			if e.Time >= first && e.Time <= last {
				return nil
			}
			continue
		}
		both := window.Window{Start: min(whole.Start, first), End: max(whole.End, last+1)}
		if (most == 0 || both.End-1-both.Start <= most) && !m.closed(both) {
			whole, joined = both, append(joined, w)
		}
	}
	if len(joined) == 0 {
		if m.closed(whole) {
			return nil
		}
		return m.at(span{e.Key, whole})
	}
	into := joined[0]
	if into.window != whole {
		// It goes on under another name: nothing was sent of that.
		m.takeBack(into)
		into.window, into.fresh = whole, slices.Clone(into.all)
		into.sequence, into.passed, into.hurry, into.sent = 0, false, false, nil
	}
	for _, w := range joined[1:] {
		m.takeBack(w)
		into.all, into.fresh, into.count = append(into.all, w.all...), append(into.fresh, w.all...), into.count+w.count
		m.forget(w)
	}
	return into
}

// sliding returns the windows that take an event. It follows the algorithm of
// Kafka Streams (KStreamSlidingWindowAggregate.processInOrder) step by step, with
// lists of events where that has aggregates: what a closed window has refused is
// missing in those that are made from it.
func (m *model) sliding(e event) (takers []*keyed, refused int) {
	d, t := m.k.w.difference, e.Time
	var leftContent, rightContent []event
	var previous int64
	hasPrevious, hasLeft, hasRight, hasRightContent := false, false, false, false
	starts := map[int64]bool{}
	offer := func(w *keyed, x window.Window, content []event) {
		if m.closed(x) || w != nil && w.final {
			refused++
			return
		}
		if w == nil {
			w = m.at(span{e.Key, x})
			w.all, w.fresh = slices.Clone(content), slices.Clone(content)
		}
		takers = append(takers, w)
	}
	for _, w := range m.of(e.Key) {
		start := w.window.Start
		if start < t-2*d || start > t+1 {
			continue
		}
		starts[start] = true
		end, latest := start+d, greatest(w.all)
		switch {
		case end < t:
			leftContent, previous, hasPrevious = w.all, latest, true
		case end == t:
			hasLeft = true
			if latest < t {
				previous, hasPrevious = latest, true
			}
			offer(w, w.window, nil)
		case start <= t:
			rightContent, hasRightContent = slices.Clone(w.all), true
			offer(w, w.window, nil)
		default:
			hasRight = true
		}
	}
	made := func(start int64) window.Window { return window.Window{Start: start, End: start + d + 1} }
	// Kafka Streams would go on if that window is the one that ends with t, and
	// send the same result twice.
	if hasPrevious && !starts[previous+1] && previous+1 > t-d {
		offer(nil, made(previous+1), nil)
	}
	if !hasLeft {
		if !hasPrevious || previous < t-d {
			leftContent = nil
		}
		offer(nil, made(t-d), leftContent)
	}
	if right := made(t + 1); !hasRight && hasRightContent && greatest(rightContent) > t && !m.closed(right) {
		w := m.at(span{e.Key, right})
		w.all, w.fresh = slices.Clone(rightContent), slices.Clone(rightContent)
		m.changed(w)
	}
	return takers, refused
}

// greatest returns the greatest time of events.
func greatest(events []event) int64 {
	t := never
	for _, e := range events {
		t = max(t, e.Time)
	}
	return t
}
