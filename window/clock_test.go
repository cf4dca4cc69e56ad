package window

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const now = int64(1_700_000_000_000)

func TestPartitionClockFollowsTheHighestTime(t *testing.T) {
	c := NewPartitionClock(BoundedDelay(10 * time.Millisecond))
	if c.Watermark() != MinTime || c.Idle() {
		t.Fatalf("new clock: watermark %d, idle %v", c.Watermark(), c.Idle())
	}
	for _, step := range []struct {
		time, want int64
		moved      bool
	}{
		{100, 90, true}, {95, 90, false}, {100, 90, false}, {101, 91, true}, {-5, 91, false},
	} {
		moved, err := c.Observe(step.time, now)
		if moved != step.moved || err != nil || c.Watermark() != step.want {
			t.Errorf("Observe(%d) = %v, %v, watermark %d, want %v and %d",
				step.time, moved, err, c.Watermark(), step.moved, step.want)
		}
	}
}

func TestPartitionClockExtremes(t *testing.T) {
	c := NewPartitionClock(BoundedDelay(time.Hour))
	if moved, err := c.Observe(MinTime+1, now); moved || err != nil || c.Watermark() != MinTime {
		t.Errorf("moved %v, %v, watermark %d at the start of time", moved, err, c.Watermark())
	}
	if _, err := c.Observe(MaxTime, now); !errors.Is(err, ErrTooFarAhead) {
		t.Errorf("the end of time gave %v", err)
	}
	if _, err := c.Observe(MaxTime-1, MaxTime-2); err != nil {
		t.Errorf("a clock at the end of time refused an event: %v", err)
	}
}

func TestPartitionClockRefusesTooFarAhead(t *testing.T) {
	c := NewPartitionClock(BoundedDelay(0).MaxAhead(time.Minute))
	if _, err := c.Observe(now+60_000, now); err != nil {
		t.Fatalf("at the limit: %v", err)
	}
	moved, err := c.Observe(now+60_001, now)
	if moved || !errors.Is(err, ErrTooFarAhead) {
		t.Fatalf("past the limit: %v, %v", moved, err)
	}
	want := "window: event time too far ahead of the clock: event at 2023-11-14T22:14:20.001Z, clock at 2023-11-14T22:13:20.000Z, at most 1m0s ahead is allowed"
	if err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if c.Watermark() != now+60_000 {
		t.Errorf("watermark %d moved", c.Watermark())
	}
}

func TestPartitionClockRestoreAndEnd(t *testing.T) {
	c := NewPartitionClock(BoundedDelay(0))
	c.Restore(500)
	if moved, _ := c.Observe(400, now); moved || c.Watermark() != 500 {
		t.Errorf("watermark %d fell below the one restored", c.Watermark())
	}
	c.End()
	if c.Watermark() != MaxTime || c.Durable() != 500 || c.Idle() {
		t.Errorf("after End: watermark %d, durable %d, idle %v", c.Watermark(), c.Durable(), c.Idle())
	}
	if moved, _ := c.Observe(600, now); c.Watermark() != MaxTime || c.Durable() != 600 {
		t.Errorf("after End and a record: %v, %d, %d", moved, c.Watermark(), c.Durable())
	}
	if c.Answered(now+1_000_000, true); c.Idle() {
		t.Error("an input that has ended became idle")
	}
}

// TestPartitionClockIdle walks through the reasons for and against idleness.
func TestPartitionClockIdle(t *testing.T) {
	const idleAfter = 60_000
	s := BoundedDelay(0).IdleAfter(idleAfter * time.Millisecond)
	observe := func(at int64) func(*PartitionClock) bool {
		return func(c *PartitionClock) bool {
			moved, err := c.Observe(1000, now+at)
			return moved && err == nil
		}
	}
	answer := func(at int64, atEnd bool) func(*PartitionClock) bool {
		return func(c *PartitionClock) bool { return c.Answered(now+at, atEnd) }
	}
	tick := func(at int64) func(*PartitionClock) bool {
		return func(c *PartitionClock) bool { return c.Tick(now + at) }
	}
	resume := func(c *PartitionClock) bool { c.Resume(); return false }
	restore := func(c *PartitionClock) bool { c.Restore(500); return false }
	restoreNothing := func(c *PartitionClock) bool { c.Restore(MinTime); return false }
	type step struct {
		name    string
		do      func(*PartitionClock) bool
		changed bool
		idle    bool
	}
	for name, steps := range map[string][]step{
		"empty at first": {
			{"answer", answer(0, true), true, true},
			{"record", observe(5), true, false},
			{"answer", answer(6, true), false, false},
		},
		"empty at first, nothing kept": {
			{"restore", restoreNothing, false, false},
			{"answer", answer(0, true), true, true},
		},
		"silent": {
			{"record", observe(0), true, false},
			{"just short", answer(idleAfter-1, true), false, false},
			{"long enough", answer(idleAfter, true), true, true},
			{"still", answer(idleAfter+500, true), false, true},
			{"record", observe(idleAfter + 600), true, false},
		},
		"silent, but nobody says that it is at its end": {
			{"record", observe(0), true, false},
			{"tick", tick(10 * idleAfter), false, false},
			{"lag", answer(10*idleAfter, false), false, false},
		},
		"falls behind": {
			{"answer", answer(0, true), true, true},
			{"lag", answer(1, false), true, false},
		},
		"restored, so not empty": {
			{"restore", restore, false, false},
			{"first answer", answer(0, true), false, false},
			{"just short", answer(idleAfter-1, true), false, false},
			{"long enough", answer(idleAfter, true), true, true},
		},
		"no answer": {
			{"answer", answer(0, true), true, true},
			{"silence", tick(30_000), false, true},
			{"too long", tick(30_001), true, false},
			{"tick", tick(30_002), false, false},
			{"answer", answer(30_003, true), true, true},
		},
		"lost": {
			{"answer", answer(0, true), true, true},
			{"woken", (*PartitionClock).Wake, true, false},
			{"answer", answer(2, true), true, true},
		},
		"paused": {
			{"answer", answer(0, true), true, true},
			{"pause", (*PartitionClock).Pause, true, false},
			{"answer of before", answer(1, true), false, false},
			{"resume", resume, false, false},
			{"answer", answer(2, true), true, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewPartitionClock(s)
			for i, step := range steps {
				if step.do(c) != step.changed || c.Idle() != step.idle {
					t.Fatalf("step %d, %s: idle %v, want %v; change reported: %v, want %v",
						i, step.name, c.Idle(), step.idle, !step.changed, step.changed)
				}
			}
		})
	}
}

func TestPartitionClockWithoutIdleTimeOut(t *testing.T) {
	c := NewPartitionClock(BoundedDelay(0))
	if _, err := c.Observe(1, now); err != nil {
		t.Fatal(err)
	}
	if c.Answered(now+1e12, true) || c.Idle() {
		t.Error("a partition became idle though no time-out was set")
	}
}

func TestPartitionClockNeverFalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := NewPartitionClock(BoundedDelay(5 * time.Millisecond).MaxAhead(time.Second))
		highest, before := MinTime, c.Watermark()
		for _, x := range rapid.SliceOf(anyTime()).Draw(t, "times") {
			at := rapid.SampledFrom([]int64{0, now, MaxTime}).Draw(t, "now")
			if _, err := c.Observe(x, at); err == nil {
				highest = max(highest, x)
			} else if x <= at || x-at <= 1000 && x-at > 0 {
				t.Fatalf("Observe(%d, %d): %v", x, at, err)
			}
			want := MinTime
			if highest >= MinTime+5 {
				want = highest - 5
			}
			if c.Watermark() < before || c.Watermark() != want {
				t.Fatalf("watermark %d after %d, want %d", c.Watermark(), before, want)
			}
			before = c.Watermark()
		}
	})
}

func TestFormatTime(t *testing.T) {
	for x, want := range map[int64]string{
		MinTime: "-infinity", MaxTime: "infinity", 0: "1970-01-01T00:00:00.000Z", -1: "1969-12-31T23:59:59.999Z",
	} {
		if got := FormatTime(x); got != want {
			t.Errorf("FormatTime(%d) = %q, want %q", x, got, want)
		}
	}
}
