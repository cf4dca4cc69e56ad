package window

import (
	"fmt"
	"time"
)

// DefaultMaxAhead is how far ahead of the wall clock an event may lie unless
// Strategy.MaxAhead says otherwise.
const DefaultMaxAhead = time.Hour

// Strategy says how the watermark of a source's partitions follows the events
// in them. It is a value; its methods return a changed copy. BoundedDelay,
// Punctuated and Custom make it; the zero value is BoundedDelay(0).
type Strategy struct {
	delay, idle, ahead time.Duration
	hasAhead           bool
	// align is set by AlignWithin, behind by AdvanceWhenIdle.
	align, behind        time.Duration
	hasAlign, hasAdvance bool
	// values is what looks at the values of events, or nil.
	values *values
}

// BoundedDelay makes the watermark of a partition its highest event time less
// d: events that are out of order by up to d are on time. (An event exactly at
// the watermark is on time.)
func BoundedDelay(d time.Duration) Strategy { return Strategy{delay: d} }

// IdleAfter lets a partition count as idle when it is read to its end and has
// brought nothing new for d of processing time; idle partitions do not hold the
// watermark back. One that never had an event is idle sooner. Without it (or with
// 0) only such a one ever is, and one that falls silent stops the watermark.
func (s Strategy) IdleAfter(d time.Duration) Strategy {
	s.idle = d
	return s
}

// MaxAhead refuses events that lie further than d ahead of the wall clock:
// they go to the error policy and do not move the watermark, so that one bad
// clock does not close every window. A watermark that a Punctuated or Custom
// strategy finds in an event is held to the same. Default: DefaultMaxAhead.
func (s Strategy) MaxAhead(d time.Duration) Strategy {
	s.ahead, s.hasAhead = d, true
	return s
}

// AdvanceWhenIdle lets the wall clock close windows when nothing comes: while
// all inputs of a task are idle, the task's watermark is the clock less behind,
// in steps of a second, where without it (the default) it stands still. It never
// falls: when events come again they are judged by the watermark that the clock
// has reached. One that is less than behind old when it is read is on time; an
// older one is late, or dropped if its windows have closed, like any other.
//
// behind is at least the delay of BoundedDelay and should be longer than events
// take from where they happen to the topic. IdleAfter must be set. Behind a
// repartition it is the upstream tasks that have to be idle, all of them. A
// partition that never had an event takes no part: before the first one nothing
// is open, and the first ones may be a backfill. Do not set it for a source whose
// events are replayed from the past.
func (s Strategy) AdvanceWhenIdle(behind time.Duration) Strategy {
	s.behind, s.hasAdvance = behind, true
	return s
}

// AlignWithin pauses a partition whose watermark is more than d ahead of the
// slowest partition's that it is aligned with, until that one has caught up: a
// backfill then has no more windows open than d, the delay and the windows' size
// make, however far the partitions are apart. Default: partitions are read as
// fast as they come.
//
// Aligned with each other are the partitions of all sources with AlignWithin
// whose records can meet, in one task or behind repartitions. What is read never
// exceeds the bound by more than the one event that goes beyond it.
//
// The slowest is never paused, and a partition that is idle, that has ended, or
// that is empty and never had an event, holds nobody back. IdleAfter must be
// set: until a partition that has fallen silent is idle the others wait for it
// at that distance. So d should be more than the partitions of a live topic are
// apart, and more than IdleAfter if some of them fall silent at times. A paused
// partition is not idle, and holds the watermark like any other.
func (s Strategy) AlignWithin(d time.Duration) Strategy {
	s.align, s.hasAlign = d, true
	return s
}

// DelayMillis returns by how much the watermark follows the highest event time;
// 0 if it follows something else.
func (s Strategy) DelayMillis() int64 { return s.delay.Milliseconds() }

// IdleMillis returns the silence, in milliseconds, after which a partition is
// idle; 0 means never.
func (s Strategy) IdleMillis() int64 { return s.idle.Milliseconds() }

// MaxAheadMillis returns how far ahead of the wall clock an event may lie.
func (s Strategy) MaxAheadMillis() int64 {
	if !s.hasAhead {
		return DefaultMaxAhead.Milliseconds()
	}
	return s.ahead.Milliseconds()
}

// BehindMillis returns how far behind the wall clock the watermark follows it
// while everything is idle; ok is false without AdvanceWhenIdle.
func (s Strategy) BehindMillis() (behind int64, ok bool) {
	return s.behind.Milliseconds(), s.hasAdvance
}

// AlignMillis returns how far ahead of the slowest a partition is read; ok is
// false without AlignWithin.
func (s Strategy) AlignMillis() (within int64, ok bool) {
	return s.align.Milliseconds(), s.hasAlign
}

// Validate returns every mistake in s, each wrapping ErrInvalid, or nil.
func (s Strategy) Validate() error {
	var m mistakes
	check := func(name string, d, least time.Duration) {
		m.unless(d >= least && d%time.Millisecond == 0, "%s %v: want whole milliseconds, at least %v", name, d, least)
	}
	check("watermark delay", s.delay, 0)
	check("idle time-out", s.idle, 0)
	if s.hasAhead {
		check("largest distance ahead of the clock", s.ahead, time.Millisecond)
	}
	if s.hasAdvance {
		check("distance behind the clock of AdvanceWhenIdle", s.behind, max(0, s.delay))
		m.unless(s.idle != 0, "AdvanceWhenIdle without IdleAfter: a partition that falls silent would never be idle")
	}
	if s.hasAlign {
		check("distance of AlignWithin", s.align, time.Millisecond)
		m.unless(s.idle != 0, "AlignWithin without IdleAfter: a partition that falls silent would stop the others for ever")
	}
	if s.values != nil && s.values.start == nil {
		m.add("the function of window.%s is nil", s.values.maker)
	}
	return m.join()
}

// String describes s for people, as in "delay 2m0s, idle after 5m0s".
func (s Strategy) String() string {
	out := fmt.Sprintf("delay %v", s.delay)
	if s.values != nil {
		out = s.values.kind
	}
	if s.idle > 0 {
		out += fmt.Sprintf(", idle after %v", s.idle)
	}
	if s.hasAhead {
		out += fmt.Sprintf(", at most %v ahead", s.ahead)
	}
	if s.hasAdvance {
		out += fmt.Sprintf(", %v behind the clock when all is idle", s.behind)
	}
	if s.hasAlign {
		out += fmt.Sprintf(", aligned within %v", s.align)
	}
	return out
}
