package window

import (
	"errors"
	"fmt"
	"time"
)

// DefaultMaxAhead is how far ahead of the wall clock an event may lie unless
// Strategy.MaxAhead says otherwise.
const DefaultMaxAhead = time.Hour

// Strategy says how the watermark of a source's partitions follows the event
// times in them. It is a value; its methods return a changed copy. The zero
// value is BoundedDelay(0).
type Strategy struct {
	delay, idle, ahead time.Duration
	hasAhead           bool
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
// clock does not close every window. Default: DefaultMaxAhead.
func (s Strategy) MaxAhead(d time.Duration) Strategy {
	s.ahead, s.hasAhead = d, true
	return s
}

// DelayMillis returns by how much the watermark follows the highest event time.
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

// Validate returns every mistake in s, each wrapping ErrInvalid, or nil.
func (s Strategy) Validate() error {
	var errs []error
	check := func(name string, d, least time.Duration) {
		if d < least || d%time.Millisecond != 0 {
			errs = append(errs, fmt.Errorf("%w: %s %v: want whole milliseconds, at least %v",
				ErrInvalid, name, d, least))
		}
	}
	check("watermark delay", s.delay, 0)
	check("idle time-out", s.idle, 0)
	if s.hasAhead {
		check("largest distance ahead of the clock", s.ahead, time.Millisecond)
	}
	return errors.Join(errs...)
}

// String describes s for people, as in "delay 2m0s, idle after 5m0s".
func (s Strategy) String() string {
	out := fmt.Sprintf("delay %v", s.delay)
	if s.idle > 0 {
		out += fmt.Sprintf(", idle after %v", s.idle)
	}
	if s.hasAhead {
		out += fmt.Sprintf(", at most %v ahead", s.ahead)
	}
	return out
}
