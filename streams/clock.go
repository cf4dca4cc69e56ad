package streams

import (
	"time"

	"github.com/millrace/millrace/internal/kafka"
)

// clockJump is by how much the wall clock must differ from the monotonic one,
// between two looks, to count as set.
const clockJump = 2 * time.Second

// clocks is a moment on the wall clock and on the monotonic one.
type clocks struct {
	wall      int64 // Unix ms
	monotonic time.Time
}

func readClocks(wall func() time.Time) clocks { return clocks{wall().UnixMilli(), time.Now()} }

// watchClock notes that the wall clock was set, or that the machine slept. How
// long a partition has been silent is counted by the wall clock, so that a clock
// that is set forward would make all of them idle at once, and windows close
// over events that are on their way; one that is set back would keep them from
// being idle for as long. So what is counted moves with the clock.
func (w *worker) watchClock() {
	now := readClocks(w.in.cfg.Clock)
	jump := time.Duration(now.wall-w.clock.wall)*time.Millisecond - now.monotonic.Sub(w.clock.monotonic)
	w.clock = now
	if jump.Abs() < clockJump {
		return
	}
	w.in.log.Warn("the clock was set, or the machine has slept", "worker", w.index, "by", jump.Round(time.Millisecond))
	w.in.metrics.jumps.Inc()
	for _, r := range w.tasks {
		for _, f := range r.feeds {
			if !f.first.IsZero() {
				f.first = f.first.Add(jump)
			}
			if !f.failing.IsZero() {
				f.failing = f.failing.Add(jump)
			}
			f.input.ClockSet(jump)
		}
	}
	w.in.status.expire()
}

// arrived returns when a delivery came, by the clock as it is now: what came before
// the clock was set must not be compared with what was noted after that.
func (w *worker) arrived(d *kafka.Delivery) time.Time {
	return w.in.cfg.Clock().Add(-time.Since(d.Time))
}
