package window

import (
	"slices"
	"testing"
	"time"
)

// silent returns a partition's clock that has had an event at the wall clock now
// and has fallen silent since.
func silent(t *testing.T, s Strategy) *PartitionClock {
	t.Helper()
	c := NewPartitionClock(s)
	if _, err := c.Observe(now, now); err != nil {
		t.Fatal(err)
	}
	if !c.Answered(now+s.IdleMillis(), true) || !c.Idle() {
		t.Fatal("a silent partition is not idle")
	}
	return c
}

func TestTheClockMovesAnIdlePartitionInSteps(t *testing.T) {
	const idle, behind = 60_000, 5_000
	s := BoundedDelay(time.Second).IdleAfter(idle * time.Millisecond).AdvanceWhenIdle(behind * time.Millisecond)
	c := silent(t, s)
	if w, ok := c.Clocked(); !ok || w != now+idle-behind {
		t.Errorf("Clocked() = %d, %v, want %d", w, ok, now+idle-behind)
	}
	if c.Tick(now + idle + ClockStep - 1) {
		t.Error("it follows the clock before a step is over")
	}
	if !c.Tick(now + idle + ClockStep) {
		t.Error("it does not follow the clock")
	}
	if w, _ := c.Clocked(); w != now+idle+ClockStep-behind {
		t.Errorf("the clock has moved it to %d", w)
	}
	if c.Tick(now) {
		t.Error("a clock that is set back moves it")
	}
	if c.Watermark() != now-1000 || c.Durable() != now-1000 {
		t.Errorf("its own watermark, %d, follows the clock", c.Watermark())
	}
	if _, err := c.Observe(now+1, now+idle+2000); err != nil {
		t.Fatal(err)
	}
	if w, ok := c.Clocked(); ok {
		t.Errorf("a partition that is awake follows the clock to %d", w)
	}
	for name, c := range map[string]*PartitionClock{
		"not asked for":      silent(t, BoundedDelay(0).IdleAfter(time.Minute)),
		"never had an event": NewPartitionClock(s),
	} {
		c.Answered(now+2*idle, true)
		if _, ok := c.Clocked(); ok || !c.Idle() {
			t.Errorf("%s: the clock moves it, idle %v", name, c.Idle())
		}
	}
	ahead := silent(t, BoundedDelay(0).IdleAfter(time.Second).AdvanceWhenIdle(time.Hour))
	if w, _ := ahead.Clocked(); w != now {
		t.Errorf("the clock moves a partition back, to %d", w)
	}
}

// TestTheClockCrossesARepartition: what all upstream tasks say while they are idle
// moves the reader, and one that wakes up, or falls silent, stops it.
func TestTheClockCrossesARepartition(t *testing.T) {
	u := NewUpstreams(two)
	idle := func(task int32, w int64, clocked bool) Marker {
		m := marker(task, 1, w, true)
		m.Clocked = clocked
		return m
	}
	mustObserve(t, u, marker(0, 1, 100, false))
	mustObserve(t, u, idle(1, MinTime, false)) // it never had an event
	if u.Watermark() != 100 {
		t.Fatalf("watermark %d", u.Watermark())
	}
	if _, ok := u.Clocked(); ok {
		t.Error("it follows the clock, and a task is awake")
	}
	if !mustObserve(t, u, idle(0, 250, true)) || u.Watermark() != 250 {
		t.Fatalf("watermark %d, want the 250 that the clock has reached upstream", u.Watermark())
	}
	if w, ok := u.Clocked(); !ok || w != 250 {
		t.Errorf("Clocked() = %d, %v", w, ok)
	}
	if mustObserve(t, u, idle(1, 240, true)) || u.Watermark() != 250 {
		t.Errorf("watermark %d: it fell", u.Watermark())
	}
	if mustObserve(t, u, idle(0, 300, true)) || u.Watermark() != 250 {
		t.Errorf("watermark %d, and the clock of the other task is at 240", u.Watermark())
	}
	again := NewUpstreams(two)
	if err := again.Restore(u.Append(nil)); err != nil {
		t.Fatal(err)
	}
	for _, u := range []*Upstreams{u, again} {
		if !mustObserve(t, u, idle(1, 290, true)) || u.Watermark() != 290 {
			t.Errorf("watermark %d, want 290", u.Watermark())
		}
		mustObserve(t, u, marker(1, 1, 290, false)) // it wakes up
		if mustObserve(t, u, idle(0, 400, true)) || u.Watermark() != 290 {
			t.Errorf("watermark %d, and a task is awake at 290", u.Watermark())
		}
	}
	u.Tick(0)
	u.Tick(IdleLease + 1)
	if _, ok := u.Clocked(); ok || !slices.Equal(u.Waiting(), []Upstream{{0, 1}}) {
		t.Errorf("clocked %v, waiting for %v after the idle task fell silent", ok, u.Waiting())
	}
}

func TestMarkersSayThatTheyFollowTheClock(t *testing.T) {
	m := Marker{Task: 1, Tasks: 2, Idle: true, Clocked: true, Watermark: 5}
	b := m.Append(nil)
	if got, err := DecodeMarker(b); got != m || err != nil || b[1] != 3 {
		t.Errorf("%x is %+v, %v", b, got, err)
	}
}

func TestWhoHoldsAlignedPartitionsBack(t *testing.T) {
	s := BoundedDelay(0).IdleAfter(time.Minute)
	c := NewPartitionClock(s)
	if !c.Waits() {
		t.Error("a partition that nobody has answered for lets the others run")
	}
	if c.Answered(now, false); !c.Waits() {
		t.Error("a partition with records to come lets the others run")
	}
	if c.Answered(now, true); c.Waits() {
		t.Error("a partition that is empty and never had an event holds the others back")
	}
	if c.Answered(now, false); !c.Waits() {
		t.Error("it has something to bring now, and lets the others run")
	}
	if c.Empty(); c.Waits() || c.Idle() {
		t.Error("a partition that is empty for now holds the others back, or is idle")
	}
	if _, err := c.Observe(now, now); err != nil || !c.Waits() {
		t.Error("a partition that has had its first event lets the others run")
	}
	c.Empty() // which it is not
	if c.Answered(now+100, true); !c.Waits() {
		t.Error("a partition that is silent for a moment lets the others run")
	}
	if c.Answered(now+60_000, true); c.Waits() {
		t.Error("an idle partition holds the others back")
	}
	if c.Wake(); !c.Waits() {
		t.Error("a partition whose broker is gone lets the others run")
	}
	if c.End(); c.Waits() {
		t.Error("a partition that has ended holds the others back")
	}
}
