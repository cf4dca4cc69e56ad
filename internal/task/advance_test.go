package task_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// advancing is a strategy by which two idle seconds and more behind the clock
// close what is open.
var advancing = window.BoundedDelay(time.Second).IdleAfter(5 * time.Second).AdvanceWhenIdle(2 * time.Second)

// TestTheClockClosesWindowsWhenAllIsIdle, behind a shuffle too, and what comes
// then is judged by the watermark that the clock has reached.
func TestTheClockClosesWindowsWhenAllIsIdle(t *testing.T) {
	for _, shuffle := range []bool{false, true} {
		name := fmt.Sprint("shuffle ", shuffle)
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			tens(b, source(b, "in").EventTime(nil, advancing), shuffle, base)
		}), streamtest.Partitions(2))
		in := input(d, "in")
		in.SendTo(0, "a", 1, after(0))
		in.SendTo(1, "b", 1, after(1))
		d.Advance(11 * time.Second)
		want(t, name+", the clock less 2 s is at 9 s", texts(d))
		d.Advance(2500 * time.Millisecond)
		want(t, name+", it is past 10 s", sortedCopy(texts(d)), "a=1@0", "b=1@0")
		reader := 0
		if shuffle {
			reader = 1
		}
		w := d.Watermark(reader, 0)
		if w < after(10).UnixMilli() || w > after(12).UnixMilli() {
			t.Errorf("%s: the watermark is at %s", name, window.FormatTime(w))
		}
		for restart := range 3 {
			in.SendTo(0, "a", 1, after(9)) // older than the clock less 2 s: no window takes it
			if late(d) != restart+1 {
				t.Errorf("%s, %d restarts: %d late, want %d", name, restart, late(d), restart+1)
			}
			if restart == 0 {
				d.Restart()
			} else {
				d.Crash()
			}
			if got := d.Watermark(reader, 0); got < after(10).UnixMilli() {
				t.Errorf("%s, %d restarts: the watermark fell to %s", name, restart, window.FormatTime(got))
			}
		}
		in.SendTo(0, "a", 1, d.Now().Add(-1500*time.Millisecond)) // younger: on time
		if late(d) != 3 {
			t.Errorf("%s: %d late, want 3", name, late(d))
		}
		d.Advance(time.Minute)
		want(t, name+", at the end", sortedCopy(texts(d)), "a=1@0", "a=1@10", "b=1@0")
	}
}

// TestTheClockMovesNothingElse: not without the option, not while one upstream
// task is awake, and not before the first event.
func TestTheClockMovesNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		strategy window.Strategy
		first    bool // there are events before the clock moves
		awake    bool // one partition goes on
		want     int64
	}{
		"without the option":     {window.BoundedDelay(time.Second).IdleAfter(5 * time.Second), true, false, after(0).UnixMilli()},
		"one partition is awake": {advancing, true, true, after(3).UnixMilli()},
		"before the first event": {advancing, false, false, window.MinTime},
	} {
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			tens(b, source(b, "in").EventTime(nil, c.strategy), true, base)
		}), streamtest.Partitions(2))
		in := input(d, "in")
		if c.first {
			in.SendTo(0, "a", 1, after(1))
			in.SendTo(1, "a", 1, after(1))
		}
		for second := range 60 {
			if c.awake && second%2 == 0 {
				in.SendTo(0, "a", 1, after(4)) // of a writer that stands still in event time
			}
			d.Advance(time.Second)
		}
		for p := range int32(2) {
			if got := d.Watermark(1, p); got != c.want {
				t.Errorf("%s: the watermark of 1_%d is at %s, want %s", name, p, window.FormatTime(got), window.FormatTime(c.want))
			}
		}
	}
}

// TestAPartitionWithoutEventsDoesNotStopTheClock: one upstream task has nothing to
// say, and the other's clock closes the windows behind the shuffle.
func TestAPartitionWithoutEventsDoesNotStopTheClock(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		tens(b, source(b, "in").EventTime(nil, advancing), true, base)
	}), streamtest.Partitions(3))
	input(d, "in").SendTo(1, "a", 1, after(1))
	d.Advance(14 * time.Second)
	want(t, "results", texts(d), "a=1@0")
}
