package window_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/window"
)

// TestTicksAgainstAModel walks the grid tick by tick.
func TestTicksAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		every := rapid.Int64Range(1, 50).Draw(t, "every")
		s := window.ByEventTime(time.Duration(every) * time.Millisecond)
		from, begins := int64(0), rapid.Bool().Draw(t, "begins")
		if begins {
			from = rapid.Int64Range(-200, 200).Draw(t, "from")
			s = s.From(time.UnixMilli(from))
		}
		at := rapid.Int64Range(-300, 300).Draw(t, "at")
		last, next := window.MinTime, window.MaxTime
		for k := int64(-1000); k <= 1000; k++ {
			switch tick := from + k*every; {
			case begins && tick < from:
			case tick <= at:
				last = max(last, tick)
			default:
				next = min(next, tick)
			}
		}
		if got := s.Last(at); got != last {
			t.Errorf("%v: the last tick at %d is %d, want %d", s, at, got, last)
		}
		if got := s.Next(at); got != next {
			t.Errorf("%v: the next tick after %d is %d, want %d", s, at, got, next)
		}
	})
}

// TestTicksAtTheEndsOfTime: nothing overflows.
func TestTicksAtTheEndsOfTime(t *testing.T) {
	s := window.ByClock(time.Hour)
	for _, at := range []int64{window.MinTime, window.MaxTime} {
		if got := s.Next(at); got != window.MaxTime {
			t.Errorf("next after %s: %d", window.FormatTime(at), got)
		}
		if got := s.Last(at); got != window.MinTime {
			t.Errorf("last at %s: %d", window.FormatTime(at), got)
		}
	}
	if got := s.Next(window.MaxTime - 1); got != window.MaxTime {
		t.Errorf("next after the last millisecond: %d", got)
	}
	if got := s.Last(window.MinTime + 1); got != window.MinTime {
		t.Errorf("last at the first millisecond: %d", got)
	}
}

func TestMistakesInSchedules(t *testing.T) {
	for _, every := range []time.Duration{0, -time.Second, time.Microsecond, time.Second + time.Nanosecond} {
		if err := window.ByClock(every).Validate(); !errors.Is(err, window.ErrInvalid) {
			t.Errorf("each %v: %v", every, err)
		}
		if got := window.ByClock(every).Next(5); every < time.Millisecond && got != window.MaxTime {
			t.Errorf("each %v: a tick at %d", every, got)
		}
	}
	s := window.ByEventTime(time.Minute).From(time.UnixMilli(0))
	if err := s.Validate(); err != nil || s.String() != "each 1m0s of event time from 1970-01-01T00:00:00.000Z" || s.Clocked() {
		t.Errorf("%v: %v", s, err)
	}
}
