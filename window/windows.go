package window

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Windows says which windows an event belongs to, for how long they take late
// events, and for how long their results can be read.
//
// It is a value: the methods that change a setting return a changed copy.
// Whatever they are given, nothing fails before Validate. The zero value is
// not valid.
//
// All arithmetic is on Unix milliseconds, rounds towards the past (so that
// times before 1970 are windowed like all others) and saturates at MinTime and
// MaxTime.
type Windows struct {
	size, lateness, offset, retention time.Duration
}

// Tumbling returns windows of one size that follow each other without gap or
// overlap: [0, size), [size, 2*size) and so on, aligned to the Unix epoch.
func Tumbling(size time.Duration) Windows {
	return Windows{size: size}
}

// AllowedLateness sets for how long after its end, on the watermark's scale, a
// window still takes events. Default 0: a window closes when it is complete.
func (w Windows) AllowedLateness(d time.Duration) Windows {
	w.lateness = d
	return w
}

// Offset shifts the alignment of the windows: with size 1h and offset 15m they
// begin at a quarter past each hour. It is less than the size and may be
// negative, as in Flink's TumblingEventTimeWindows. Default 0.
func (w Windows) Offset(d time.Duration) Windows {
	w.offset = d
	return w
}

// Retention sets for how long a window's result stays readable, measured from
// the window's start on the watermark's scale; after that it is deleted. It is
// at least size and lateness together, which is the default (and what 0 means).
func (w Windows) Retention(d time.Duration) Windows {
	w.retention = d
	return w
}

// Validate returns every mistake in w, each wrapping ErrInvalid, or nil.
func (w Windows) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...)))
	}
	whole := func(name string, d time.Duration) {
		if d%time.Millisecond != 0 {
			bad("%s %v: want whole milliseconds", name, d)
		}
	}
	whole("window size", w.size)
	whole("allowed lateness", w.lateness)
	whole("offset", w.offset)
	whole("retention", w.retention)
	if w.size < time.Millisecond {
		bad("window size %v: want at least 1ms", w.size)
	} else if w.offset <= -w.size || w.offset >= w.size {
		bad("offset %v: want less than the window size %v either way", w.offset, w.size)
	}
	if w.lateness < 0 {
		bad("allowed lateness %v: want 0 or more", w.lateness)
	}
	switch least := w.SizeMillis() + w.LatenessMillis(); {
	case w.retention < 0:
		bad("retention %v: want 0 (the default) or more", w.retention)
	case w.retention > 0 && w.retention.Milliseconds() < least:
		bad("retention %v: want at least window size and allowed lateness together, %v and %v",
			w.retention, w.size, w.lateness)
	}
	return errors.Join(errs...)
}

// SizeMillis returns the length of a window in milliseconds.
func (w Windows) SizeMillis() int64 { return w.size.Milliseconds() }

// LatenessMillis returns the allowed lateness in milliseconds.
func (w Windows) LatenessMillis() int64 { return w.lateness.Milliseconds() }

// OffsetMillis returns the shift of the alignment in milliseconds.
func (w Windows) OffsetMillis() int64 { return w.offset.Milliseconds() }

// RetentionMillis returns for how long after its start a window stays
// readable, in milliseconds: never less than size and lateness together.
func (w Windows) RetentionMillis() int64 {
	return max(w.retention.Milliseconds(), w.SizeMillis()+w.LatenessMillis())
}

// At returns the window that begins at start.
func (w Windows) At(start int64) Window { return Window{start, addSaturated(start, w.SizeMillis())} }

// Layout names what state of these windows looks like: state written under one
// layout must not be read under another. Lateness and retention are not in it;
// they may change.
func (w Windows) Layout() string {
	return fmt.Sprintf("tumbling size=%d offset=%d", w.SizeMillis(), w.OffsetMillis())
}

// NeedsMerge reports whether windows of this kind can grow together, so that
// an aggregate over them must be able to merge. Tumbling windows never do.
func (w Windows) NeedsMerge() bool { return false }

// String describes w for people, as in "tumbling 5m0s, lateness 2m0s".
func (w Windows) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "tumbling %v", w.size)
	part := func(name string, d time.Duration) {
		if d != 0 {
			fmt.Fprintf(&b, ", %s %v", name, d)
		}
	}
	part("lateness", w.lateness)
	part("offset", w.offset)
	part("retention", w.retention)
	return b.String()
}
