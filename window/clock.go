package window

import (
	"fmt"
	"time"
)

// MaxSilence is how old the last answer about a partition may be for the
// partition to count as idle. It is longer than any fetch that waits for data.
const MaxSilence = 30 * time.Second

// ClockStep is how often, in milliseconds of processing time, the watermark
// follows the wall clock while everything is idle (Strategy.AdvanceWhenIdle).
const ClockStep = 1000

// PartitionClock is the watermark of one partition of a source: the highest
// event time seen less the strategy's delay or, if the strategy has a Generator,
// what that has said (Advance). It implements Input.
//
// The zero value is not usable; make one with NewPartitionClock. It reads no
// clock: every now is the wall clock in Unix milliseconds. It belongs to the
// task that reads the partition and is not safe for use by several goroutines.
type PartitionClock struct {
	delay, idleAfter, maxAhead int64
	generates                  bool
	behind                     int64
	follows                    bool // the wall clock, while it is idle

	watermark  int64
	highest    int64 // event time; MinTime if none is known
	clockAt    int64 // now of the last step of the wall clock; only while idle
	seen       bool  // a record was observed, now or before a restart
	lastRecord int64 // now of the last record, or of the first answer after Restore
	hasRecord  bool  // lastRecord is set
	lastAnswer int64
	idle       bool
	paused     bool
	ended      bool
	empty      bool // it has had no event, and had none to give when last asked
}

// NewPartitionClock returns the clock of a partition of which nothing is known
// yet. s must be valid.
func NewPartitionClock(s Strategy) *PartitionClock {
	behind, follows := s.BehindMillis()
	return &PartitionClock{
		delay:     s.DelayMillis(),
		idleAfter: s.IdleMillis(),
		maxAhead:  s.MaxAheadMillis(),
		generates: s.Generates(),
		behind:    behind,
		follows:   follows,
		watermark: MinTime,
		highest:   MinTime,
	}
}

// Restore sets the watermark that was kept with the input offset (see Durable),
// before the first record. MinTime means that none was kept.
func (c *PartitionClock) Restore(watermark int64) {
	c.watermark = max(c.watermark, watermark)
	c.seen = c.seen || watermark != MinTime
}

// RestoreHighest sets the highest event time that was kept with the input offset
// (see Highest), before the first record: the watermark of a bounded delay
// follows from it. MinTime means that none was kept.
func (c *PartitionClock) RestoreHighest(t int64) {
	c.highest = max(c.highest, t)
	c.seen = c.seen || t != MinTime
	if !c.generates {
		c.Restore(subSaturated(t, c.delay))
	}
}

// Observe takes note of a record with event time t that was read at now, and
// reports whether the watermark or idleness changed by it. If t is too far
// ahead of now it changes no watermark and returns ErrTooFarAhead; the partition
// counts as active all the same. The watermark of a strategy with a Generator is
// left to Advance.
func (c *PartitionClock) Observe(t, now int64) (moved bool, err error) {
	moved = c.idle
	c.idle, c.empty, c.seen, c.hasRecord, c.lastRecord = false, false, true, true, now
	if t > addSaturated(now, c.maxAhead) {
		return moved, c.tooFarAhead("event", t, now)
	}
	c.highest = max(c.highest, t)
	if !c.generates {
		moved = c.Advance(subSaturated(t, c.delay)) || moved
	}
	return moved, nil
}

// Check returns ErrTooFarAhead if w is a watermark that a Generator must not
// reach at now.
func (c *PartitionClock) Check(w, now int64) error {
	if w > addSaturated(now, c.maxAhead) || w == MaxTime {
		return c.tooFarAhead("watermark", w, now)
	}
	return nil
}

// Advance raises the watermark to w, if it is lower, and reports whether it was.
func (c *PartitionClock) Advance(w int64) (moved bool) {
	if w <= c.watermark {
		return false
	}
	c.watermark = w
	return true
}

func (c *PartitionClock) tooFarAhead(what string, t, now int64) error {
	return fmt.Errorf("%w: %s at %s, clock at %s, at most %v ahead is allowed", ErrTooFarAhead,
		what, FormatTime(t), FormatTime(now), time.Duration(c.maxAhead)*time.Millisecond)
}

// Answered takes note of a broker's answer about the partition at now, and
// reports whether idleness changed by it. atEnd says that the partition is read
// to its end: the answer held nothing new, and all that came before has been
// observed. An answer that shows a lag, or records still queued, has atEnd
// false and makes the partition active.
func (c *PartitionClock) Answered(now int64, atEnd bool) (changed bool) {
	c.lastAnswer, c.empty = now, atEnd && !c.seen
	if !c.hasRecord && c.seen {
		c.hasRecord, c.lastRecord = true, now
	}
	silent := !c.seen || c.idleAfter > 0 && now-c.lastRecord >= c.idleAfter
	changed = c.setIdle(atEnd && silent && !c.paused)
	if changed && c.idle {
		c.clockAt = now
	}
	return changed
}

// Empty takes note, behind Answered, that the partition has nothing to read, where
// its owner does not take it for idle yet: it may be about to have its first
// event. Partitions that are aligned with it do not wait for that.
func (c *PartitionClock) Empty() { c.empty = !c.seen }

// Tick makes an idle partition active if there was no answer about it for
// MaxSilence, and has one follow the wall clock whose strategy says so. It reports
// whether one of these changed something. Call it now and then.
func (c *PartitionClock) Tick(now int64) (changed bool) {
	changed = c.setIdle(c.idle && now-c.lastAnswer <= MaxSilence.Milliseconds())
	if c.idle && c.follows && now-c.clockAt >= ClockStep {
		c.clockAt, changed = now, true
	}
	return changed
}

// Clocked returns the wall clock, as of its last step, less the distance of
// Strategy.AdvanceWhenIdle, or the partition's watermark if that is higher; ok is
// false unless the strategy says so, the partition is idle, and it has had an
// event.
func (c *PartitionClock) Clocked() (w int64, ok bool) {
	if !c.follows || !c.idle || !c.seen {
		return MinTime, false
	}
	return max(c.watermark, subSaturated(c.clockAt, c.behind)), true
}

// Waits reports whether partitions that are aligned with this one must not run
// ahead of it: it may have events to bring. It does so unless it is idle or has
// ended, or the last answer has shown that it is empty and it never had an event.
func (c *PartitionClock) Waits() bool { return !c.idle && !c.ended && !c.empty }

// Wake makes the partition active: it has a record that is kept back, or its
// broker does not answer, so that nobody knows what it holds. The next answer
// ends that. It reports whether idleness changed.
func (c *PartitionClock) Wake() (changed bool) { return c.setIdle(false) }

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

// Highest returns the highest event time to keep with the input offset; MinTime
// if none is known.
func (c *PartitionClock) Highest() int64 { return c.highest }

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
