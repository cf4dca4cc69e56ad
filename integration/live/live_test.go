package live

import (
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/llm"
)

func TestEventsHaveTheirTurn(t *testing.T) {
	l := Load{Rate: 3000, For: 3 * time.Second, Disorder: 200 * time.Millisecond, Share: 0.05, Seed: 1}
	by := l
	by.BySession = true
	began := time.UnixMilli(1_700_000_000_000)
	a, b := newGenerator(l, began), newGenerator(by, began)
	out := 0
	for i := range l.Events() {
		turn := began.Add(time.Duration(i * 1e9 / 3000))
		if !a.turn().Equal(turn) {
			t.Fatalf("event %d has its turn at %v, want %v", i, a.turn(), turn)
		}
		key, value, err := a.event()
		if err != nil {
			t.Fatal(err)
		}
		e, err := llm.PerformanceCodec.Decode(value)
		if err != nil {
			t.Fatal(err)
		}
		switch late := turn.UnixMilli() - e.Timestamp; {
		case late < 0 || late > 200:
			t.Fatalf("event %d is %d ms out of order", i, late)
		case late > 0:
			out++
		}
		if string(key) != e.Model {
			t.Fatalf("key %q of model %q", key, e.Model)
		}
		if key, _, err = b.event(); err != nil || !strings.HasPrefix(string(key), "session-") {
			t.Fatalf("key %q by session, %v", key, err)
		}
	}
	if share := float64(out) / 9000; share < 0.04 || share > 0.06 {
		t.Errorf("%.3f of the events are out of order", share)
	}
}

func TestPercentilesAreNearestRanks(t *testing.T) {
	var d Distribution
	if d.At(0.5) != 0 {
		t.Error("an empty sample has a percentile")
	}
	for i := 100; i > 0; i-- {
		d.Add(time.Duration(i) * time.Millisecond)
	}
	for share, want := range map[float64]time.Duration{0: 1, 0.01: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := d.At(share); got != want*time.Millisecond {
			t.Errorf("at %v: %v, want %v", share, got, want*time.Millisecond)
		}
	}
}

func TestASampleIsReadAsItIsWritten(t *testing.T) {
	var d, back Distribution
	for _, v := range []time.Duration{7250 * time.Microsecond, 12 * time.Millisecond, 7252 * time.Microsecond, 0} {
		d.Add(v)
	}
	text, err := d.MarshalText()
	if err != nil || string(text) != "0:1 7.25:2 12:1" {
		t.Fatalf("%s, %v", text, err)
	}
	if err := back.UnmarshalText(text); err != nil || back.Len() != 4 || back.String() != d.String() {
		t.Errorf("%v, %v; want %v", &back, err, &d)
	}
	back.Merge(&d)
	if back.Len() != 8 || back.At(1) != 12*time.Millisecond || back.At(0.5) != 7250*time.Microsecond {
		t.Errorf("merged: %d, %v", back.Len(), &back)
	}
	for _, wrong := range []string{"7", "x:1", "7:0", "7:y"} {
		if err := back.UnmarshalText([]byte(wrong)); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

func TestHistogramsShowWhereTheTimesLie(t *testing.T) {
	var d Distribution
	for range 100 {
		d.Add(8 * time.Millisecond)
	}
	d.Add(15 * time.Millisecond)
	d.Add(3 * time.Second)
	var text strings.Builder
	d.Histogram(&text)
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	if len(lines) != 14 || !strings.Contains(lines[0], "to 10 ms     100 "+strings.Repeat("#", 50)) ||
		!strings.HasSuffix(lines[1], "to 15 ms       1 #") || !strings.HasSuffix(lines[13], "more       1 #") {
		t.Error(text.String())
	}
}

func TestThePaceIsCountedInWholeSeconds(t *testing.T) {
	var p Pace
	for at := int64(10_500); at < 14_500; at += 10 {
		p.Add(at)
	}
	for range 7 {
		p.Add(12_003)
	}
	least, greatest, mean := p.Rate()
	if least != 100 || greatest != 107 || mean < 101 || mean > 103 || p.Events != 407 || p.First != 10_500 || p.Last != 14_490 {
		t.Errorf("%d to %d, %.1f a second; %+v", least, greatest, mean, p)
	}
}
