package window

import (
	"errors"
	"fmt"
	"time"
)

// Schedule says when a punctuator is called: at ticks that lie one interval
// apart, of event time or of the clock. Ticks stand fast, so that a restart does
// not move them: they are the multiples of the interval, counted from the Unix
// epoch or from where From says.
//
// It is a value; its methods return a changed copy.
type Schedule struct {
	every   time.Duration
	from    int64 // Unix milliseconds
	hasFrom bool
	byClock bool
}

// ByEventTime ticks each time that the watermark has passed that much event
// time. A tick is due as soon as the watermark reaches it: everything earlier
// has been seen.
func ByEventTime(every time.Duration) Schedule { return Schedule{every: every} }

// ByClock ticks each time that so much processing time has passed.
func ByClock(every time.Duration) Schedule { return Schedule{every: every, byClock: true} }

// From makes the ticks begin at start: with ByClock(24*time.Hour) and nine o'clock of
// some day, they are at nine. There is no tick before start.
func (s Schedule) From(start time.Time) Schedule {
	s.from, s.hasFrom = start.UnixMilli(), true
	return s
}

// Clocked reports whether the ticks are of the clock, and not of event time.
func (s Schedule) Clocked() bool { return s.byClock }

// Next returns the first tick after t, in Unix milliseconds; MaxTime if there is
// none.
func (s Schedule) Next(t int64) int64 {
	if s.hasFrom && t < s.from {
		return s.from
	}
	last := s.at(t)
	if last == MinTime {
		return MaxTime
	}
	return addSaturated(last, s.every.Milliseconds())
}

// Last returns the last tick at or before t; MinTime if there is none.
func (s Schedule) Last(t int64) int64 {
	if s.hasFrom && t < s.from {
		return MinTime
	}
	return s.at(t)
}

// at returns the tick at or before t as if there were no start.
func (s Schedule) at(t int64) int64 {
	every := s.every.Milliseconds()
	if t == MinTime || t == MaxTime || every <= 0 {
		return MinTime
	}
	into := floorMod(t, every) - floorMod(s.from, every)
	if into < 0 {
		into += every
	}
	return subSaturated(t, into)
}

// Validate returns every mistake in s, each wrapping ErrInvalid, or nil.
func (s Schedule) Validate() error {
	var m mistakes
	m.whole("interval", s.every)
	m.unless(s.every >= time.Millisecond, "interval %v: want at least 1ms", s.every)
	return errors.Join(m...)
}

// String describes s for people, as in "each 1m0s of event time".
func (s Schedule) String() string {
	of := "event time"
	if s.byClock {
		of = "the clock"
	}
	out := fmt.Sprintf("each %v of %s", s.every, of)
	if s.hasFrom {
		out += " from " + FormatTime(s.from)
	}
	return out
}
