package window

import "fmt"

// Contains reports whether t lies in w, whose end is exclusive.
func (w Window) Contains(t int64) bool { return w.Start <= t && t < w.End }

// String returns w as "[start, end)" in Unix milliseconds.
func (w Window) String() string { return fmt.Sprintf("[%d, %d)", w.Start, w.End) }

// Assign appends the aligned windows that contain the time t to dst, in the
// order of their starts, and returns the longer slice. It does not allocate if
// dst has room. Windows that are not valid have no window for any time, nor
// have those that are not aligned: sessions, sliding and count windows depend
// on the events.
//
// MinTime and MaxTime are marks, not times, and are in no window. A window that
// would reach beyond the range of int64, some 292 million years from now, does
// not exist; the caller treats a time without windows like any event that no
// window takes.
func (w Windows) Assign(t int64, dst []Window) []Window {
	if t == MinTime || t == MaxTime {
		return dst
	}
	if w.kind == CalendarKind {
		if x, ok := w.calendar.at(t); ok {
			dst = append(dst, x)
		}
		return dst
	}
	size, advance := w.SizeMillis(), w.AdvanceMillis()
	if !w.Aligned() || size <= 0 || advance <= 0 {
		return dst
	}
	into := floorMod(t, advance) - floorMod(w.OffsetMillis(), advance)
	if into < 0 {
		into += advance
	}
	// The last window begins at t-into; the others lie whole advances before it
	// and still reach beyond t.
	for back := (size - 1 - into) / advance; back >= 0; back-- {
		before := into + back*advance
		if t >= MinTime+before && t-before <= MaxTime-size {
			dst = append(dst, Window{Start: t - before, End: t - before + size})
		}
	}
	return dst
}

// PaneOf returns the pane that contains t: the stretch of one advance that
// begins where a hopping window does. ok is false if a window of it would leave
// the range of times.
func (w Windows) PaneOf(t int64) (x Window, ok bool) {
	size, advance := w.SizeMillis(), w.AdvanceMillis()
	if t == MinTime || t == MaxTime || w.Panes() == 0 {
		return Window{}, false
	}
	into := floorMod(t, advance) - floorMod(w.OffsetMillis(), advance)
	if into < 0 {
		into += advance
	}
	if t < MinTime+into+size || t-into > MaxTime-size {
		return Window{}, false
	}
	return Window{Start: t - into, End: t - into + advance}, true
}

// Union returns the least window that holds w and x.
func (w Window) Union(x Window) Window {
	return Window{Start: min(w.Start, x.Start), End: max(w.End, x.End)}
}

// Near reports whether t is at most a session's gap away from x.
func (w Windows) Near(x Window, t int64) bool {
	return t >= subSaturated(x.Start, w.GapMillis()) && t < addSaturated(x.End, w.GapMillis())
}

// Fits reports whether x is not longer than a session may be.
func (w Windows) Fits(x Window) bool {
	return w.most == 0 || x.End-1 <= addSaturated(x.Start, w.MostMillis())
}

// Due returns the least watermark at which x is complete: its end or, for a
// session, when no event can lengthen it any more. A count window is complete at
// no time.
func (w Windows) Due(x Window) int64 {
	switch w.kind {
	case SessionKind:
	case CountKind:
		return MaxTime - 1
	case SlidingKind:
		return min(x.End, MaxTime-1)
	default:
		return x.End
	}
	due := min(addSaturated(x.End, w.GapMillis()), MaxTime-1)
	if w.most > 0 {
		due = min(due, addSaturated(addSaturated(x.Start, w.MostMillis()), 1))
	}
	return due
}

// Order returns the place of x in the order in which windows fire: the start of
// an aligned window, and of any other when it is due. The bounds below are
// bounds of it.
func (w Windows) Order(x Window) int64 {
	if w.Aligned() {
		return x.Start
	}
	return w.Due(x)
}

// Complete reports whether x is complete at the watermark: no on-time event of
// it is to come. A count window is not even at the end of a bounded run: replayed
// events may still come.
func (w Windows) Complete(x Window, watermark int64) bool {
	return w.kind != CountKind && watermark >= w.Due(x)
}

// Closed reports whether x is closed at the watermark: it takes no event any
// more, not even a late one, and its final result can be sent.
func (w Windows) Closed(x Window, watermark int64) bool {
	return watermark >= addSaturated(w.Due(x), w.LatenessMillis())
}

// Expired reports whether x is past its retention at the watermark and may be
// deleted. An expired window is closed.
func (w Windows) Expired(x Window, watermark int64) bool {
	from := x.Start
	switch w.kind {
	case SessionKind:
		from = w.Due(x)
	case CalendarKind:
		return w.Closed(x, watermark) && watermark >= addSaturated(from, w.retention.Milliseconds())
	}
	return watermark >= addSaturated(from, w.RetentionMillis())
}

// CompleteBefore returns the bound for a scan of windows by Order: those before
// it are complete at the watermark, all others are not.
func (w Windows) CompleteBefore(watermark int64) (order int64) {
	switch {
	case w.kind == CalendarKind:
		return w.calendar.startOf(watermark)
	case !w.Aligned():
		return startBound(watermark, 0)
	}
	return startBound(watermark, w.SizeMillis())
}

// ClosedBefore is CompleteBefore for windows that are closed.
func (w Windows) ClosedBefore(watermark int64) (order int64) {
	if watermark == MaxTime {
		return MaxTime
	}
	return w.CompleteBefore(subSaturated(watermark, w.LatenessMillis()))
}

// ExpiredBefore is CompleteBefore for windows that are expired.
func (w Windows) ExpiredBefore(watermark int64) (order int64) {
	span := w.RetentionMillis()
	switch w.kind {
	case CalendarKind:
		return min(w.ClosedBefore(watermark), startBound(watermark, w.retention.Milliseconds()))
	case SlidingKind:
		span -= w.SizeMillis()
	}
	return startBound(watermark, span)
}

// ResultsFrom returns the time that a watermark stands for behind these
// windows: no result on time, whose time is that of the last event in it, is
// earlier. With closing set, only closed windows are sent.
func (w Windows) ResultsFrom(watermark int64, closing bool) int64 {
	if watermark == MaxTime || watermark == MinTime {
		return watermark
	}
	if closing {
		watermark = subSaturated(watermark, w.LatenessMillis())
	}
	switch w.kind {
	case CountKind:
		return watermark
	case SessionKind:
		return subSaturated(watermark, w.GapMillis())
	}
	// The window that holds the watermark may have just begun, or be the last
	// of those that have not ended.
	if w.kind == CalendarKind {
		return w.calendar.startOf(watermark)
	}
	first := startBound(watermark, w.SizeMillis())
	if w.kind == SlidingKind {
		return first
	}
	advance := w.AdvanceMillis()
	into := floorMod(first, advance) - floorMod(w.OffsetMillis(), advance)
	if into < 0 {
		into += advance
	}
	if into > 0 {
		first = addSaturated(first, advance-into)
	}
	return min(watermark, first)
}

// startBound returns the b for which start < b says the same as
// start+span <= watermark, for span >= 0. At MaxTime that is every start.
func startBound(watermark, span int64) int64 {
	switch {
	case watermark == MaxTime:
		return MaxTime
	case watermark < MinTime+span:
		return MinTime
	}
	return addSaturated(watermark-span, 1)
}

// floorMod returns the remainder of a division that rounds towards minus
// infinity: 0 <= floorMod(t, size) < size.
func floorMod(t, size int64) int64 {
	m := t % size
	if m < 0 {
		m += size
	}
	return m
}

// addSaturated returns t+d, or MaxTime where that is out of range, for d >= 0.
func addSaturated(t, d int64) int64 {
	if t > MaxTime-d {
		return MaxTime
	}
	return t + d
}

// subSaturated returns t-d, or MinTime where that is out of range, for d >= 0.
func subSaturated(t, d int64) int64 {
	if t < MinTime+d {
		return MinTime
	}
	return t - d
}
