package window

import (
	"errors"
	"fmt"
	"time"
)

// mistakes collects what is wrong with a configuration.
type mistakes []error

func (m *mistakes) add(format string, args ...any) {
	*m = append(*m, fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...)))
}

// unless adds a mistake if ok is false.
func (m *mistakes) unless(ok bool, format string, args ...any) {
	if !ok {
		m.add(format, args...)
	}
}

// join returns the mistakes as one error, or nil.
func (m mistakes) join() error { return errors.Join(m...) }

// Validate returns every mistake in w, each wrapping ErrInvalid, or nil.
func (w Windows) Validate() error {
	var m mistakes
	name := map[Kind]string{SlidingKind: "time difference", SessionKind: "session gap"}[w.kind]
	size := w.size
	switch w.kind {
	case SlidingKind:
		size -= time.Millisecond
	case TumblingKind, HoppingKind, NoKind:
		name = "window size"
	}
	if name != "" {
		m.whole(name, size)
		m.unless(size >= time.Millisecond, "%s %v: want at least 1ms", name, size)
	}
	m.whole("advance", w.advance)
	m.whole("greatest length", w.most)
	m.whole("allowed lateness", w.lateness)
	m.whole("offset", w.offset)
	m.whole("retention", w.retention)
	w.validateKind(&m)
	m.unless(w.lateness >= 0, "allowed lateness %v: want 0 or more", w.lateness)
	switch {
	case w.retention < 0:
		m.add("retention %v: want 0 (the default) or more", w.retention)
	case w.kind != CalendarKind && w.retention > 0 && w.retention.Milliseconds() < w.SizeMillis()+w.LatenessMillis():
		m.add("retention %v: want at least window size and allowed lateness together, %v and %v",
			w.retention, time.Duration(w.SizeMillis())*time.Millisecond, w.lateness)
	}
	return m.join()
}

func (m *mistakes) whole(name string, d time.Duration) {
	m.unless(d%time.Millisecond == 0, "%s %v: want whole milliseconds", name, d)
}

// validateKind checks the settings that belong to some kinds only.
func (w Windows) validateKind(m *mistakes) {
	is := func(kinds ...Kind) bool {
		for _, k := range kinds {
			if w.kind == k {
				return true
			}
		}
		return false
	}
	m.unless(is(HoppingKind) || w.advance == 0 && !w.separate, "Every and SeparateWindows belong to hopping windows, not to %v ones", w.kind)
	m.unless(is(SessionKind) || w.most == 0, "AtMost belongs to sessions, not to %v windows", w.kind)
	m.unless(is(TumblingKind, HoppingKind, NoKind) || w.offset == 0, "offset %v: %v windows have none", w.offset, w.kind)
	switch w.kind {
	case TumblingKind:
		w.validateOffset(m, "window size", w.size)
	case HoppingKind:
		switch {
		case w.advance < time.Millisecond || w.advance > w.size:
			m.add("advance %v: set it with Every, to at least 1ms and at most the window size %v", w.advance, w.size)
		case (w.size-1)/w.advance >= maxOverlap:
			m.add("advance %v: an event would be in more than %d windows of %v", w.advance, maxOverlap, w.size)
		default:
			w.validateOffset(m, "advance", w.advance)
		}
	case SessionKind:
		m.unless(w.most >= 0, "greatest length %v: want 0 (no bound) or more", w.most)
	case CalendarKind:
		w.calendar.validate(m)
	case CountKind:
		m.unless(w.count >= 1, "%d events in a window: want at least 1", w.count)
		m.unless(w.lateness == 0, "allowed lateness %v: count windows know no time", w.lateness)
		m.unless(w.retention == 0, "retention %v: count windows know no time, and keep only the open one", w.retention)
	}
}

// maxOverlap bounds in how many windows one event is.
const maxOverlap = 100_000

func (w Windows) validateOffset(m *mistakes, of string, period time.Duration) {
	if period >= time.Millisecond {
		m.unless(-period < w.offset && w.offset < period, "offset %v: want less than the %s %v either way", w.offset, of, period)
	}
}
