package window

import (
	"testing"

	"pgregory.net/rapid"
)

// fakeInput is an input that a test moves.
type fakeInput struct {
	watermark int64
	idle      bool
	clock     int64 // what it has by the wall clock while it is idle
	clocked   bool
}

func (f *fakeInput) Watermark() int64 { return f.watermark }
func (f *fakeInput) Idle() bool       { return f.idle }

func (f *fakeInput) Clocked() (int64, bool) { return f.clock, f.clocked && f.idle }

// modelTracker computes the task's watermark from all inputs each time.
func modelTracker(before int64, inputs []*fakeInput) int64 {
	least, active, ended := MaxTime, 0, 0
	byClock, clocked := MaxTime, false
	for _, in := range inputs {
		if in.watermark == MaxTime {
			ended++
		}
		if !in.idle {
			active++
			least = min(least, in.watermark)
		} else if in.clocked {
			byClock, clocked = min(byClock, in.clock), true
		}
	}
	if active == 0 && clocked {
		return max(before, byClock)
	}
	if active == 0 || least == MaxTime && ended < len(inputs) {
		return before
	}
	return max(before, least)
}

func TestTrackerAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		inputs := make([]*fakeInput, rapid.IntRange(1, 4).Draw(t, "inputs"))
		var handed []Input
		for i := range inputs {
			inputs[i] = &fakeInput{watermark: MinTime}
			handed = append(handed, inputs[i])
		}
		tracker := NewTracker(handed...)
		want, durable := MinTime, MinTime
		t.Repeat(map[string]func(*rapid.T){
			"move": func(t *rapid.T) {
				i := rapid.IntRange(0, len(inputs)-1).Draw(t, "input")
				w := rapid.OneOf(rapid.Int64Range(-50, 50), rapid.Just(MaxTime)).Draw(t, "watermark")
				inputs[i].watermark = max(inputs[i].watermark, w)
				inputs[i].idle = rapid.IntRange(0, 2).Draw(t, "idle") == 0
				inputs[i].clock = rapid.Int64Range(-50, 50).Draw(t, "clock")
				inputs[i].clocked = rapid.Bool().Draw(t, "clocked")
				before := want
				want = modelTracker(want, inputs)
				if rose := tracker.Moved(i); rose != (want > before) {
					t.Fatalf("Moved(%d) = %v, from %d to %d", i, rose, before, want)
				}
			},
			"restore": func(t *rapid.T) {
				w := rapid.Int64Range(-50, 50).Draw(t, "kept")
				tracker.Restore(w)
				want, durable = max(want, w), max(durable, w)
			},
			"": func(t *rapid.T) {
				if want != MaxTime {
					durable = want
				}
				if tracker.Watermark() != want || tracker.Durable() != durable {
					t.Fatalf("watermark %d, durable %d, want %d and %d",
						tracker.Watermark(), tracker.Durable(), want, durable)
				}
				idle := true
				for _, in := range inputs {
					idle = idle && in.idle
				}
				if tracker.Idle() != idle {
					t.Fatalf("Idle() = %v, want %v", !idle, idle)
				}
			},
		})
	})
}

func TestTrackerWithoutInputs(t *testing.T) {
	tracker := NewTracker()
	if tracker.Refresh() || tracker.Watermark() != MinTime || tracker.Idle() {
		t.Errorf("watermark %d, idle %v", tracker.Watermark(), tracker.Idle())
	}
}

// TestTrackerIdleInputDoesNotEndTheRun is the case of a bounded run in which
// one partition has ended and the other fell silent before its end was read.
func TestTrackerIdleInputDoesNotEndTheRun(t *testing.T) {
	a, b := &fakeInput{watermark: 100}, &fakeInput{watermark: 50, idle: true}
	tracker := NewTracker(a, b)
	a.watermark = MaxTime
	if tracker.Moved(0) || tracker.Watermark() != 100 {
		t.Fatalf("watermark %d with an input that has not ended", tracker.Watermark())
	}
	b.watermark, b.idle = 200, false
	if !tracker.Moved(1) || tracker.Watermark() != 200 {
		t.Fatalf("watermark %d, want the 200 of the input that woke up", tracker.Watermark())
	}
	b.watermark = MaxTime
	if !tracker.Moved(1) || tracker.Watermark() != MaxTime {
		t.Fatalf("watermark %d at the end of every input", tracker.Watermark())
	}
}

func BenchmarkTracker(b *testing.B) {
	s := BoundedDelay(0)
	clocks := []*PartitionClock{NewPartitionClock(s), NewPartitionClock(s), NewPartitionClock(s)}
	tracker := NewTracker(clocks[0], clocks[1], clocks[2])
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := i % 3
		if moved, _ := clocks[p].Observe(int64(i), int64(i)); moved {
			tracker.Moved(p)
		}
	}
}
