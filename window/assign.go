package window

import "fmt"

// Contains reports whether t lies in w, whose end is exclusive.
func (w Window) Contains(t int64) bool { return w.Start <= t && t < w.End }

// String returns w as "[start, end)" in Unix milliseconds.
func (w Window) String() string { return fmt.Sprintf("[%d, %d)", w.Start, w.End) }

// Assign appends the windows that contain the time t to dst, in the order of
// their starts, and returns the longer slice. It does not allocate if dst has
// room. Windows that are not valid have no window for any time.
//
// MinTime and MaxTime are marks, not times, and are in no window. Nor is a time
// whose window would reach beyond the range of int64, some 292 million years
// from now; the caller treats it like any event that no window takes.
func (w Windows) Assign(t int64, dst []Window) []Window {
	size := w.SizeMillis()
	if size <= 0 {
		return dst
	}
	into := floorMod(t, size) - floorMod(w.OffsetMillis(), size)
	if into < 0 {
		into += size
	}
	if t == MinTime || t == MaxTime || t < MinTime+into || t-into > MaxTime-size {
		return dst
	}
	return append(dst, Window{Start: t - into, End: t - into + size})
}

// Complete reports whether x is complete at the watermark: no on-time event of
// it is to come.
func (w Windows) Complete(x Window, watermark int64) bool {
	return watermark >= x.End
}

// Closed reports whether x is closed at the watermark: it takes no event any
// more, not even a late one, and its final result can be sent.
func (w Windows) Closed(x Window, watermark int64) bool {
	return watermark >= addSaturated(x.End, w.LatenessMillis())
}

// Expired reports whether x is past its retention at the watermark and may be
// deleted. An expired window is closed.
func (w Windows) Expired(x Window, watermark int64) bool {
	return watermark >= addSaturated(x.Start, w.RetentionMillis())
}

// CompleteBefore returns the bound for a scan of windows in the order of their
// starts: those that start before it are complete at the watermark, all others
// are not.
func (w Windows) CompleteBefore(watermark int64) (start int64) {
	return startBound(watermark, w.SizeMillis())
}

// ClosedBefore is CompleteBefore for windows that are closed.
func (w Windows) ClosedBefore(watermark int64) (start int64) {
	return startBound(watermark, w.SizeMillis()+w.LatenessMillis())
}

// ExpiredBefore is CompleteBefore for windows that are expired.
func (w Windows) ExpiredBefore(watermark int64) (start int64) {
	return startBound(watermark, w.RetentionMillis())
}

// startBound returns the b for which start < b says the same as
// start+span <= watermark, for span > 0. At MaxTime that is every start.
func startBound(watermark, span int64) int64 {
	switch {
	case watermark == MaxTime:
		return MaxTime
	case watermark < MinTime+span:
		return MinTime
	}
	return watermark - span + 1
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
