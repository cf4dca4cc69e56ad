package window

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// event is a value with a mark, if it is not 0.
type event struct{ mark int64 }

func mark(e event) (int64, bool) { return e.mark, e.mark != 0 }

func TestPunctuated(t *testing.T) {
	s := Punctuated(mark).IdleAfter(time.Minute)
	g, err := NewGenerator[event](s, 700)
	if err != nil {
		t.Fatal(err)
	}
	if w := g.Event(event{}, 5000, now); w != MinTime {
		t.Errorf("an event without a mark gives %d", w)
	}
	if w := g.Event(event{900}, 5000, now); w != 900 {
		t.Errorf("an event with the mark 900 gives %d", w)
	}
	if w := g.Tick(now); w != MinTime {
		t.Errorf("the clock gives %d", w)
	}
	if got, want := s.String(), "punctuated, idle after 1m0s"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}

// tenth is a generator that lets time stand at each tenth event, and at the
// clock when it is asked.
type tenth struct{ n, watermark int64 }

func (g *tenth) Event(_ event, t, _ int64) int64 {
	if g.n++; g.n%10 == 0 {
		g.watermark = t
	}
	return g.watermark
}

func (g *tenth) Tick(now int64) int64 { return now - 1000 }

func TestCustomMakesOneGeneratorAPartition(t *testing.T) {
	s := Custom(func(w int64) Generator[event] { return &tenth{watermark: w} })
	a, errA := NewGenerator[event](s, 70)
	b, errB := NewGenerator[event](s, MinTime)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	for i := range int64(10) {
		if w, want := a.Event(event{}, 100+i, now), int64(70); i < 9 && w != want {
			t.Errorf("event %d gives %d, want the %d that was committed", i, w, want)
		}
	}
	if w := a.Event(event{}, 200, now); w != 109 {
		t.Errorf("the watermark is %d, want 109", w)
	}
	if w := b.Event(event{}, 100, now); w != MinTime {
		t.Errorf("another partition's generator has come to %d", w)
	}
}

func TestGeneratorsThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		s    Strategy
		want string
	}{
		"another type": {Punctuated(func(string) (int64, bool) { return 0, false }), "Punctuated looks at values of type string, and those of the source are window.event"},
		"no function":  {Punctuated[event](nil), "the function of window.Punctuated is nil"},
		"no start":     {Custom[event](nil), "the function of window.Custom is nil"},
		"no generator": {Custom(func(int64) Generator[event] { return nil }), "window.Custom returned no generator"},
	} {
		if g, err := NewGenerator[event](c.s, MinTime); g != nil || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, want %q", name, g, err, c.want)
		}
	}
	if g, err := NewGenerator[event](BoundedDelay(0), MinTime); g != nil || err != nil {
		t.Errorf("a bounded delay has the generator %v, %v", g, err)
	}
}

func TestStrategiesThatContradictThemselves(t *testing.T) {
	for name, c := range map[string]struct {
		s    Strategy
		want []string
	}{
		"nothing wrong":     {BoundedDelay(time.Minute).IdleAfter(time.Minute).AdvanceWhenIdle(time.Minute).AlignWithin(time.Minute), nil},
		"zero behind":       {Punctuated(mark).IdleAfter(time.Minute).AdvanceWhenIdle(0), nil},
		"behind the delay":  {BoundedDelay(time.Minute).IdleAfter(time.Minute).AdvanceWhenIdle(time.Second), []string{"distance behind the clock of AdvanceWhenIdle 1s: want whole milliseconds, at least 1m0s"}},
		"never idle":        {BoundedDelay(0).AdvanceWhenIdle(0).AlignWithin(time.Second), []string{"AdvanceWhenIdle without IdleAfter", "AlignWithin without IdleAfter"}},
		"no distance":       {BoundedDelay(0).IdleAfter(time.Minute).AlignWithin(0), []string{"distance of AlignWithin 0s"}},
		"several at a time": {Custom[event](nil).IdleAfter(-time.Second), []string{"idle time-out -1s", "the function of window.Custom is nil"}},
	} {
		err := c.s.Validate()
		if (err == nil) != (c.want == nil) || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range c.want {
			if err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
	s := BoundedDelay(time.Second).IdleAfter(time.Minute).AdvanceWhenIdle(5 * time.Second).AlignWithin(time.Hour)
	if got, want := s.String(), "delay 1s, idle after 1m0s, 5s behind the clock when all is idle, aligned within 1h0m0s"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}

func TestPartitionClockTakesWhatAGeneratorSays(t *testing.T) {
	c := NewPartitionClock(Punctuated(mark).MaxAhead(time.Minute))
	if moved, err := c.Observe(500, now); moved || err != nil || c.Watermark() != MinTime {
		t.Errorf("an event's time moved the watermark to %d: %v, %v", c.Watermark(), moved, err)
	}
	if !c.Advance(300) || c.Advance(200) || c.Watermark() != 300 || c.Durable() != 300 || c.Highest() != 500 {
		t.Errorf("watermark %d, durable %d, highest %d", c.Watermark(), c.Durable(), c.Highest())
	}
	if err := c.Check(now+60_000, now); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	for _, w := range []int64{now + 60_001, MaxTime} {
		if err := c.Check(w, now); !errors.Is(err, ErrTooFarAhead) {
			t.Errorf("a watermark at %s: %v", FormatTime(w), err)
		}
	}
	forever := NewPartitionClock(BoundedDelay(0))
	if err := forever.Check(MaxTime, MaxTime); !errors.Is(err, ErrTooFarAhead) {
		t.Errorf("a generator may end the stream: %v", err)
	}
	next := NewPartitionClock(Punctuated(mark))
	next.RestoreHighest(c.Highest())
	if next.Watermark() != MinTime {
		t.Errorf("the highest time alone gives the watermark %d", next.Watermark())
	}
	next.Restore(c.Durable())
	if next.Watermark() != 300 || next.Highest() != 500 {
		t.Errorf("after a restart: watermark %d, highest %d", next.Watermark(), next.Highest())
	}
}
