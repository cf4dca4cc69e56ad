package bench

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/llm"
)

// counted returns a result of a window of 5 minutes from 0 on.
func counted(key string, events int64) llm.Result {
	return llm.Result{Key: key, WindowEnd: tumblingSize.Milliseconds(), Count: events}
}

// seen returns sightings of results of the key "m", of so many events at so many
// milliseconds each.
func seen(results ...[2]int64) *sightings {
	s := newSightings()
	for _, r := range results {
		s.put(counted("m", r[0]), time.UnixMilli(r[1]).Add(300*time.Microsecond)) // which is rounded off
	}
	return s
}

// TestAnEventIsInTheFirstResultOfAsManyEvents: by hand, with results of 2, 2, 5 and 6
// events.
func TestAnEventIsInTheFirstResultOfAsManyEvents(t *testing.T) {
	s := seen([2]int64{2, 1100}, [2]int64{2, 1150}, [2]int64{5, 1200}, [2]int64{6, 1300})
	s.put(counted("other", 1), time.UnixMilli(1010))
	i := newInclusions(s.seen, time.UnixMilli(1000))
	m, other := windowID{"m", 0, 300_000}, windowID{"other", 0, 300_000}
	i.add(m, 990) // in the warm-up, and the first of two
	i.add(m, 1010)
	i.add(m, 1020)
	i.add(other, 1000)
	i.add(m, 1030)
	i.add(m, 1199)
	i.add(m, 1199)
	text, err := i.latency.MarshalText()
	if err != nil || i.missing != 0 {
		t.Fatal(err, i.missing)
	}
	// 1200-1199, 1010-1000, 1100-1010, 1300-1199, 1200-1030, 1200-1020
	if want := "1:1 10:1 90:1 101:1 170:1 180:1"; string(text) != want {
		t.Errorf("%s, want %s", text, want)
	}
	i.add(m, 1200)
	i.add(windowID{"m", 300_000, 600_000}, 1200)
	i.add(windowID{"m", 300_000, 600_000}, 900)
	if i.missing != 3 || i.latency.Len() != 6 {
		t.Errorf("%d events are in no result, want 3; %d are in one", i.missing, i.latency.Len())
	}
}

func TestARunOfWhichResultsAreMissingIsVoid(t *testing.T) {
	want := outcome{}
	want.put(counted("m", 6))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		s    *sightings
		says string // or nothing, of a run that counts
	}{
		"all":      {seen([2]int64{2, 1}, [2]int64{6, 2}), ""},
		"none":     {seen(), "0 windows, want 1"},
		"too few":  {seen([2]int64{5, 1}), "Count:5"},
		"too many": {seen([2]int64{2, 1}, [2]int64{7, 2}), "Count:7"},
		"fewer":    {seen([2]int64{3, 1}, [2]int64{2, 2}, [2]int64{6, 3}), "a result of 2 events came behind one of 3"},
	} {
		err := c.s.await(ended, want)
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, ErrVoid) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestResultsAreAwaited(t *testing.T) {
	want := outcome{}
	want.put(counted("m", 6))
	s := seen([2]int64{2, 1})
	done := make(chan error)
	go func() { done <- s.await(t.Context(), want) }()
	for n := range int64(4) {
		select {
		case err := <-done:
			t.Fatalf("with %d of 6 events: %v", 2+n, err)
		default:
		}
		s.put(counted("m", 3+n), time.UnixMilli(2+n))
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
