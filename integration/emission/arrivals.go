package emission

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/llm"
)

// appendTime is what the attributes of a record say whose time is the broker's.
const appendTime = 1

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
	highest [partitions]int64
	ends    [partitions]map[int64]int64
	// home is the partition that holds a model, where events are keyed by it.
	home   map[string]int32
	counts map[windowID]int64
	events int64
	// first and last are when the first and the last event arrived; seconds counts
	// the events that arrived in each second since the epoch.
	first, last int64
	seconds     map[int64]int64
	// behind is by how much each event that was not out of order arrived later
	// than its turn.
	behind distribution
}

func newArrivals(l Load) *arrivals {
	a := &arrivals{
		size: l.Window.Milliseconds(), delay: l.Disorder.Milliseconds(),
		home: map[string]int32{}, counts: map[windowID]int64{}, seconds: map[int64]int64{},
	}
	for p := range a.ends {
		a.ends[p] = map[int64]int64{}
	}
	return a
}

// take takes the next record of a partition.
func (a *arrivals) take(r *kgo.Record) error {
	if r.Attrs.TimestampType() != appendTime {
		return fmt.Errorf("emission: partition %d, offset %d: the broker has not stamped the record with its own time", r.Partition, r.Offset)
	}
	e, err := llm.PerformanceCodec.Decode(r.Value)
	if err != nil {
		return err
	}
	a.add(r.Partition, e.Model, e.Timestamp, r.Timestamp.UnixMilli())
	return nil
}

// add notes an event with its time and that of its appending.
func (a *arrivals) add(p int32, model string, at, appended int64) {
	if a.events == 0 {
		a.first = appended
	}
	a.events++
	a.first, a.last = min(a.first, appended), max(a.last, appended)
	a.seconds[appended/1000]++
	a.counts[windowID{model, at - at%a.size}]++
	a.home[model] = p
	if at <= a.highest[p] {
		return
	}
	a.behind.add(time.Duration(appended-at) * time.Millisecond)
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

// rate returns the least and the greatest number of events that arrived in a whole
// second, and the mean.
func (a *arrivals) rate() (least, greatest int64, mean float64) {
	for second := a.first/1000 + 1; second < a.last/1000; second++ {
		n := a.seconds[second]
		if greatest == 0 {
			least = n
		}
		least, greatest = min(least, n), max(greatest, n)
	}
	if a.last > a.first {
		mean = float64(a.events) * 1000 / float64(a.last-a.first)
	}
	return least, greatest, mean
}
