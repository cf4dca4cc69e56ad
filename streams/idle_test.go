package streams

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace/millrace/window"
)

// replayed returns what a fast replay writes to a partition: ten minutes of
// events that are out of order by up to four seconds.
func replayed(partition int32, begin time.Time) []event {
	var events []event
	for i := range 600 {
		at := begin.Add(time.Duration(i)*time.Second - time.Duration(i*7%5)*time.Second)
		events = append(events, count(partition, fmt.Sprint("k", i%7), at))
	}
	return events
}

func TestAReplayThatBeginsWithTheInstanceLosesNothing(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		begin := time.Now().Add(-time.Hour)
		a := w.start("a", newDisk(), counts(t), nil)
		w.settled(tasks, a)
		w.pass(time.Second) // the empty partitions have been answered by now
		want := truth{}
		for p := range int32(partitions) {
			events := replayed(p, begin)
			want.add(events...)
			w.write(events...)
			w.pass(time.Second) // and what is in the topic is processed
		}
		a.stop()
		w.drain()
		w.expectExactly(want)
	})
}

func TestPartitionsThatStayEmptyHoldNothingBack(t *testing.T) {
	for name, c := range map[string]struct {
		strategy window.Strategy
		idle     time.Duration
	}{
		"for half as long as silent ones may": {window.BoundedDelay(time.Second).IdleAfter(6 * time.Second), 3 * time.Second},
		"for longer than a newcomer may take": {window.BoundedDelay(time.Second), newcomer},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, topics(), func(w *world) {
				a := w.start("a", newDisk(), countsBy(t, c.strategy), nil)
				w.settled(tasks, a)
				begin := time.Now()
				w.write(replayed(1, begin.Add(-time.Hour))...)
				w.pass(c.idle - time.Second - time.Since(begin))
				if n := len(w.read("results")); n > 0 {
					t.Errorf("%d results while other partitions may still be heard of", n)
				}
				w.pass(3 * time.Second)
				if len(w.read("results")) == 0 {
					t.Error("empty partitions hold all results back")
				}
				a.stop()
			})
		})
	}
}
