package window

import (
	"fmt"
	"math"
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
	kind Kind
	// size is a window's length; of a session the gap that ends it.
	size time.Duration
	// advance is how far the starts of hopping windows lie apart.
	advance time.Duration
	// most is the longest span of a session's events; 0 for no bound.
	most     time.Duration
	calendar calendar
	count    int64
	separate bool // hopping windows are kept one by one

	lateness, offset, retention time.Duration
}

// Kind is a family of windows.
type Kind uint8

// The kinds of windows, each named like its constructor.
const (
	NoKind Kind = iota
	TumblingKind
	HoppingKind
	SlidingKind
	SessionKind
	CalendarKind
	CountKind
)

// kindNames are the names of the kinds in descriptions and layouts.
var kindNames = [...]string{
	NoKind: "no", TumblingKind: "tumbling", HoppingKind: "hopping", SlidingKind: "sliding",
	SessionKind: "session", CalendarKind: "calendar", CountKind: "count",
}

// String returns the kind's name, as in "tumbling".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Tumbling returns windows of one size that follow each other without gap or
// overlap: [0, size), [size, 2*size) and so on, aligned to the Unix epoch.
func Tumbling(size time.Duration) Windows {
	return Windows{kind: TumblingKind, size: size}
}

// Hopping returns windows of one size that overlap. Every says how far their
// starts lie apart; without it they are not valid.
//
// State is kept by pane, a stretch of one advance, if the aggregate can merge
// and the size is a multiple of the advance; SeparateWindows turns that off. A
// query then shows, of a closed window that is still readable, also the late
// events that only later windows took.
func Hopping(size time.Duration) Windows {
	return Windows{kind: HoppingKind, size: size}
}

// Every sets the advance of hopping windows: they begin at 0, advance,
// 2*advance and so on. It is at most the size.
func (w Windows) Every(advance time.Duration) Windows {
	w.advance = advance
	return w
}

// SeparateWindows keeps the state of each hopping window by itself, as Kafka
// Streams does, and not by pane. An application that takes over the changelog
// of a Kafka Streams application needs it.
func (w Windows) SeparateWindows() Windows {
	w.separate = true
	return w
}

// Sliding returns the windows of Kafka Streams' SlidingWindows: each event at T
// has a window that ends with it and spans the difference, [T-difference, T],
// and one that begins right after it, if an event follows within the
// difference. Both ends count, so that two events are in one window exactly if
// their times differ by at most difference. The half-open Window of such a
// result ends a millisecond after the last time in it.
func Sliding(difference time.Duration) Windows {
	return Windows{kind: SlidingKind, size: difference + time.Millisecond}
}

// Session returns windows that an inactivity ends: an event joins a session of
// its key if at most gap lies between it and an event of the session, and
// sessions that an event connects become one. The half-open Window of a result
// begins at the first event and ends a millisecond after the last.
func Session(gap time.Duration) Windows {
	return Windows{kind: SessionKind, size: gap}
}

// AtMost bounds sessions: no two events of a session are further apart than
// most. An event joins the earliest session that it fits into, and sessions
// merge only if they fit together. The order of arrival then matters. Default:
// no bound.
func (w Windows) AtMost(most time.Duration) Windows {
	w.most = most
	return w
}

// Calendar returns the hours, days, weeks or months of a time zone, named as in
// the IANA database ("Europe/Berlin", "UTC"). A day begins at the first instant
// of its local date, whatever the clock shows then; hours are 3,600 s each,
// counted from there, and only the last of a day may be shorter. Weeks begin on
// Mondays. The zones are those of ZoneVersion on every machine.
func Calendar(unit Unit, zone string) Windows {
	return Windows{kind: CalendarKind, calendar: newCalendar(unit, zone)}
}

// Count returns windows of n events of a key each, in the order of arrival, and
// numbered: the Window of the first is [0, 1), that of the next [1, 2). They
// know no time and no lateness. At least once, a replay counts events again and
// so shifts what follows.
func Count(n int64) Windows {
	return Windows{kind: CountKind, count: n}
}

// AllowedLateness sets for how long after its end, on the watermark's scale, a
// window still takes events. Default 0: a window closes when it is complete.
func (w Windows) AllowedLateness(d time.Duration) Windows {
	w.lateness = d
	return w
}

// Offset shifts the alignment of tumbling and hopping windows: with size 1h and
// offset 15m they begin at a quarter past each hour. It is less than the size,
// or the advance, and may be negative, as in Flink's TumblingEventTimeWindows.
// Default 0.
func (w Windows) Offset(d time.Duration) Windows {
	w.offset = d
	return w
}

// Retention sets for how long a window's result stays readable on the
// watermark's scale, measured from the window's start or, for a session, from
// when it is complete; after that it is deleted. It is never less than until
// the window closes, which is the default (and what 0 means); sliding windows
// stay for twice their size longer, because later ones are made from them.
func (w Windows) Retention(d time.Duration) Windows {
	w.retention = d
	return w
}

// KeepClosed sets the retention so that a window stays readable for d after it is
// closed, or for longer if Retention says so. Calendar windows stay for up to the
// difference between the longest and their own length longer.
func (w Windows) KeepClosed(d time.Duration) Windows {
	least := time.Duration(min(w.leastRetention(), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	if d = max(d, 0); d > math.MaxInt64-least {
		d = math.MaxInt64 - least
	}
	w.retention = max(w.retention, least+d)
	return w
}

// Kind returns which constructor made w.
func (w Windows) Kind() Kind { return w.kind }

// SizeMillis returns the length of a window in milliseconds: of calendar
// windows the greatest, and of sessions and count windows 0.
func (w Windows) SizeMillis() int64 {
	switch w.kind {
	case SessionKind, CountKind:
		return 0
	case CalendarKind:
		return w.calendar.longest()
	}
	return w.size.Milliseconds()
}

// AdvanceMillis returns how far the starts of hopping windows lie apart, in
// milliseconds, and for windows of any other kind their length.
func (w Windows) AdvanceMillis() int64 {
	if w.kind == HoppingKind {
		return w.advance.Milliseconds()
	}
	return w.SizeMillis()
}

// GapMillis returns the gap that ends a session, in milliseconds.
func (w Windows) GapMillis() int64 {
	if w.kind == SessionKind {
		return w.size.Milliseconds()
	}
	return 0
}

// MostMillis returns the longest span of a session's events in milliseconds;
// MaxTime if there is no bound.
func (w Windows) MostMillis() int64 {
	if w.most == 0 {
		return MaxTime
	}
	return w.most.Milliseconds()
}

// Events returns how many events a count window has.
func (w Windows) Events() int64 { return w.count }

// LatenessMillis returns the allowed lateness in milliseconds.
func (w Windows) LatenessMillis() int64 { return w.lateness.Milliseconds() }

// OffsetMillis returns the shift of the alignment in milliseconds.
func (w Windows) OffsetMillis() int64 { return w.offset.Milliseconds() }

// RetentionMillis returns for how long after its start, or for a session after
// it is complete, a window stays readable, in milliseconds.
func (w Windows) RetentionMillis() int64 { return max(w.retention.Milliseconds(), w.leastRetention()) }

func (w Windows) leastRetention() int64 {
	least := addSaturated(w.SizeMillis(), w.LatenessMillis())
	if w.kind == SlidingKind {
		least = addSaturated(addSaturated(least, w.SizeMillis()), w.SizeMillis())
	}
	return least
}

// Aligned reports whether the windows stand fast whatever the events are, so
// that Assign knows them.
func (w Windows) Aligned() bool {
	return w.kind == TumblingKind || w.kind == HoppingKind || w.kind == CalendarKind
}

// Panes returns of how many panes, stretches of one advance, a hopping window
// consists; 0 for windows that are not kept by pane.
func (w Windows) Panes() int64 {
	if w.kind != HoppingKind || w.separate || w.advance <= 0 || w.size%w.advance != 0 {
		return 0
	}
	return int64(w.size / w.advance)
}

// At returns the aligned window that begins at start.
func (w Windows) At(start int64) Window {
	if w.kind == CalendarKind {
		if x, ok := w.calendar.at(start); ok {
			return x
		}
	}
	return Window{start, addSaturated(start, w.SizeMillis())}
}

// Layout names what state of these windows looks like: state written under one
// layout must not be read under another. Lateness and retention are not in it;
// they may change.
func (w Windows) Layout() string {
	switch w.kind {
	case HoppingKind:
		kept := "separate"
		if w.Panes() > 0 {
			kept = "panes"
		}
		return fmt.Sprintf("hopping size=%d advance=%d offset=%d %s", w.SizeMillis(), w.AdvanceMillis(), w.OffsetMillis(), kept)
	case SlidingKind:
		return fmt.Sprintf("sliding size=%d", w.SizeMillis())
	case SessionKind:
		return fmt.Sprintf("session gap=%d most=%d", w.GapMillis(), w.most.Milliseconds())
	case CalendarKind:
		return "calendar " + w.calendar.layout()
	case CountKind:
		return fmt.Sprintf("count events=%d", w.count)
	}
	return fmt.Sprintf("tumbling size=%d offset=%d", w.SizeMillis(), w.OffsetMillis())
}

// NeedsMerge reports whether windows of this kind can grow together, so that
// an aggregate over them must be able to merge: sessions do.
func (w Windows) NeedsMerge() bool { return w.kind == SessionKind }

// String describes w for people, as in "tumbling 5m0s, lateness 2m0s".
func (w Windows) String() string {
	var b strings.Builder
	b.WriteString(w.kind.String())
	part := func(name string, d time.Duration) {
		if d != 0 {
			fmt.Fprintf(&b, ", %s %v", name, d)
		}
	}
	switch w.kind {
	case HoppingKind:
		fmt.Fprintf(&b, " %v every %v", w.size, w.advance)
	case SlidingKind:
		fmt.Fprintf(&b, " %v", w.size-time.Millisecond)
	case CalendarKind:
		fmt.Fprintf(&b, " %v", w.calendar)
	case CountKind:
		fmt.Fprintf(&b, " %d", w.count)
	default:
		fmt.Fprintf(&b, " %v", w.size)
	}
	part("at most", w.most)
	part("lateness", w.lateness)
	part("offset", w.offset)
	part("retention", w.retention)
	if w.separate {
		b.WriteString(", separate")
	}
	return b.String()
}
