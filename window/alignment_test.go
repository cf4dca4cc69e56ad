package window

import (
	"maps"
	"testing"

	"pgregory.net/rapid"
)

func TestAlignmentAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a Alignment[int]
		waits := map[int]int64{}
		p := rapid.IntRange(0, 4)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				i, w := p.Draw(t, "partition"), rapid.OneOf(rapid.Int64Range(-5, 5), rapid.Just(MinTime)).Draw(t, "watermark")
				if rapid.Bool().Draw(t, "waits") {
					a.Set(i, w, true)
					waits[i] = w
				} else {
					a.Set(i, w, false)
					delete(waits, i)
				}
			},
			"remove": func(t *rapid.T) {
				i := p.Draw(t, "partition")
				a.Remove(i)
				delete(waits, i)
			},
			"keep": func(t *rapid.T) {
				from := p.Draw(t, "from")
				a.Keep(func(i int) bool { return i >= from })
				maps.DeleteFunc(waits, func(i int, _ int64) bool { return i < from })
			},
			"": func(t *rapid.T) {
				least := MaxTime
				for _, w := range waits {
					least = min(least, w)
				}
				slowest, w, ok := a.Slowest()
				if ok != (len(waits) > 0) || w != least || ok && waits[slowest] != least {
					t.Fatalf("Slowest() = %d, %d, %v of %v", slowest, w, ok, waits)
				}
				if limit := a.Limit(3); ok && limit != least+3 || !ok && limit != MaxTime {
					t.Fatalf("Limit(3) = %d of %v", limit, waits)
				}
			},
		})
	})
}

// TestAlignmentNeverPausesAll reads partitions as an owner does, in any order,
// and some of them wait for a while: all that there is gets read in the end, and
// none is ever read further ahead of the slowest than it may be.
func TestAlignmentNeverPausesAll(t *testing.T) {
	const within = 10
	rapid.Check(t, func(t *rapid.T) {
		var a Alignment[int]
		times := rapid.SliceOfN(rapid.SliceOf(rapid.Int64Range(-100, 100)), 1, 4).Draw(t, "times")
		clocks := make([]*PartitionClock, len(times))
		tell := func(i int) { a.Set(i, clocks[i].Watermark(), clocks[i].Waits()) }
		left := 0
		for i := range times {
			clocks[i] = NewPartitionClock(BoundedDelay(0))
			tell(i)
			left += len(times[i])
		}
		for left > 0 {
			var ready []int
			for i := range times {
				if len(times[i]) == 0 {
					clocks[i].Answered(0, true)
					clocks[i].End()
				}
				tell(i)
			}
			for i := range times {
				if len(times[i]) > 0 && clocks[i].Watermark() <= a.Limit(within) {
					ready = append(ready, i)
				}
			}
			if len(ready) == 0 {
				t.Fatalf("all partitions are paused, %v are left", times)
			}
			i := rapid.SampledFrom(ready).Draw(t, "read")
			if _, err := clocks[i].Observe(times[i][0], 0); err != nil {
				t.Fatal(err)
			}
			times[i] = times[i][1:]
			left--
		}
	})
}
