package window

import (
	"fmt"
	"time"
)

// MaxSilence is how old the last answer about a partition may be for the
// partition to count as idle. It is longer than any fetch that waits for data.
const MaxSilence = 30 * time.Second

// PartitionClock is the watermark of one partition of a source: the highest
// event time seen less the strategy's delay. It implements Input.
//
// The zero value is not usable; make one with NewPartitionClock. It reads no
// clock: every now is the wall clock in Unix milliseconds. It belongs to the
// task that reads the partition and is not safe for use by several goroutines.
type PartitionClock struct {
	delay, idleAfter, maxAhead int64

	watermark  int64
	seen       bool  // a record was observed, now or before a restart
	lastRecord int64 // now of the last record, or of the first answer after Restore
	hasRecord  bool  // lastRecord is set
	lastAnswer int64
	idle       bool
	paused     bool
	ended      bool
}

// NewPartitionClock returns the clock of a partition of which nothing is known
// yet. s must be valid.
func NewPartitionClock(s Strategy) *PartitionClock {
	return &PartitionClock{
		delay:     s.DelayMillis(),
		idleAfter: s.IdleMillis(),
		maxAhead:  s.MaxAheadMillis(),
		watermark: MinTime,
	}
}

// Restore sets the watermark that was kept with the input offset (see Durable),
// before the first record. MinTime means that none was kept.
func (c *PartitionClock) Restore(watermark int64) {
	c.watermark = max(c.watermark, watermark)
	c.seen = c.seen || watermark != MinTime
}

// Observe takes note of a record with event time t that was read at now, and
// reports whether the watermark or idleness changed by it. If t is too far
// ahead of now it changes no watermark and returns ErrTooFarAhead; the partition
// counts as active all the same.
func (c *PartitionClock) Observe(t, now int64) (moved bool, err error) {
	moved = c.idle
	c.idle, c.seen, c.hasRecord, c.lastRecord = false, true, true, now
	if t > addSaturated(now, c.maxAhead) {
		return moved, c.tooFarAhead(t, now)
	}
	if w := subSaturated(t, c.delay); w > c.watermark {
		c.watermark = w
		moved = true
	}
	return moved, nil
}

func (c *PartitionClock) tooFarAhead(t, now int64) error {
	return fmt.Errorf("%w: event at %s, clock at %s, at most %v ahead is allowed", ErrTooFarAhead,
		FormatTime(t), FormatTime(now), time.Duration(c.maxAhead)*time.Millisecond)
}

// Answered takes note of a broker's answer about the partition at now, and
// reports whether idleness changed by it. atEnd says that the partition is read
// to its end: the answer held nothing new, and all that came before has been
// observed. An answer that shows a lag, or records still queued, has atEnd
// false and makes the partition active.
func (c *PartitionClock) Answered(now int64, atEnd bool) (changed bool) {
	c.lastAnswer = now
	if !c.hasRecord && c.seen {
		c.hasRecord, c.lastRecord = true, now
	}
	silent := !c.seen || c.idleAfter > 0 && now-c.lastRecord >= c.idleAfter
	return c.setIdle(atEnd && silent && !c.paused)
}

// Tick makes an idle partition active if there was no answer about it for
// MaxSilence, and reports whether it did. Call it now and then.
func (c *PartitionClock) Tick(now int64) (changed bool) {
	return c.setIdle(c.idle && now-c.lastAnswer <= MaxSilence.Milliseconds())
}

// Lost makes the partition active because its broker does not answer: what it
// holds is unknown. The next answer ends that. It reports whether idleness
// changed.
func (c *PartitionClock) Lost() (changed bool) { return c.setIdle(false) }

// Pause says that the partition is not read for now, because its queue is full
// or its task restores; Resume that it is again. A paused partition is not
// idle. Both report whether idleness changed.
func (c *PartitionClock) Pause() (changed bool) {
	c.paused = true
	return c.setIdle(false)
}

// Resume ends what Pause began; the next answer decides on idleness.
func (c *PartitionClock) Resume() { c.paused = false }

// End says that a bounded run has read the partition to where it stops: the
// watermark is MaxTime from now on, whatever is observed.
func (c *PartitionClock) End() {
	c.ended, c.idle = true, false
}

// Watermark returns the partition's watermark: MinTime before the first record,
// MaxTime after End. It never falls.
func (c *PartitionClock) Watermark() int64 {
	if c.ended {
		return MaxTime
	}
	return c.watermark
}

// Durable returns the watermark to keep with the input offset. It is that of
// Watermark, but for End, which is not kept: the next run may bring more.
func (c *PartitionClock) Durable() int64 { return c.watermark }

// Idle reports whether the partition does not hold its task's watermark back.
func (c *PartitionClock) Idle() bool { return c.idle }

func (c *PartitionClock) setIdle(idle bool) (changed bool) {
	idle = idle && !c.ended
	changed = idle != c.idle
	c.idle = idle
	return changed
}

// FormatTime returns t as people read it: RFC 3339 with milliseconds in UTC,
// "-infinity" for MinTime, "infinity" for MaxTime.
func FormatTime(t int64) string {
	switch t {
	case MinTime:
		return "-infinity"
	case MaxTime:
		return "infinity"
	}
	return time.UnixMilli(t).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}
