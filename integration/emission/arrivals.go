package emission

import (
	"time"

	"github.com/millrace/millrace/integration/live"
)

// windowID names a window of a model.
type windowID struct {
	model string
	start int64
}

// arrivals is what the input says, read back: when windows became complete, and
// what was in them.
type arrivals struct {
	size, delay int64
	// highest is the greatest event time of each partition, ends when its watermark
	// came to each end of a window: the time of appending.
	highest [live.Partitions]int64
	ends    [live.Partitions]map[int64]int64
	// home is the partition that holds a model, where events are keyed by it.
	home   map[string]int32
	counts map[windowID]int64
	pace   live.Pace
	// behind is by how much each event that was not out of order arrived later
	// than its turn.
	behind live.Distribution
}

func newArrivals(l Load) *arrivals {
	a := &arrivals{
		size: l.Window.Milliseconds(), delay: l.Disorder.Milliseconds(),
		home: map[string]int32{}, counts: map[windowID]int64{},
	}
	for p := range a.ends {
		a.ends[p] = map[int64]int64{}
	}
	return a
}

// add notes an event with its time and that of its appending.
func (a *arrivals) add(p int32, model string, at, appended int64) {
	a.pace.Add(appended)
	a.counts[windowID{model, at - at%a.size}]++
	a.home[model] = p
	if at <= a.highest[p] {
		return
	}
	a.behind.Add(time.Duration(appended-at) * time.Millisecond)
	before := a.highest[p] - a.delay
	a.highest[p] = at
	if before < 0 {
		return // which windows its first event completes is not known, and none has events
	}
	for end := before - before%a.size + a.size; end <= at-a.delay; end += a.size {
		a.ends[p][end] = appended
	}
}

// completed returns when the event arrived that completed a window: that of its
// model's partition, or of the last of all. ok is false while it is not complete.
func (a *arrivals) completed(id windowID, repartitioned bool) (appended int64, ok bool) {
	end := id.start + a.size
	if !repartitioned {
		appended, ok = a.ends[a.home[id.model]][end]
		return appended, ok
	}
	for p := range a.ends {
		at, ok := a.ends[p][end]
		if !ok {
			return 0, false
		}
		appended = max(appended, at)
	}
	return appended, true
}
