package streams

import (
	"fmt"
	"slices"
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

// Another instance reads what the one that crashes would have sent on: it must not
// believe for ever that the partition has nothing to say.
func TestAnEventThatWakesAnIdlePartitionSurvivesACrash(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 2, "results": 1}, func(w *world) {
		top := countsBy(t, window.BoundedDelay(3*time.Second).IdleAfter(2*time.Second))
		var ps []*process
		for i := range 4 { // one for each task
			ps = append(ps, w.start(fmt.Sprint("p", i), newDisk(), top, nil))
		}
		w.settled(4, ps...)
		want := truth{}
		send := func(partition int32, key string, behind time.Duration) {
			e := count(partition, key, time.Now().Add(-behind))
			want.add(e)
			w.write(e)
		}
		w.pass(time.Until(time.Now().Truncate(windowSize).Add(windowSize)))
		began := time.Now() // of a window
		send(1, "b", 0)
		for time.Since(began) < 10500*time.Millisecond { // partition 1 falls silent and is idle
			send(0, "a", 0)
			w.pass(500 * time.Millisecond)
		}
		victim := slices.IndexFunc(ps, func(p *process) bool { return p.in.Tasks()[0].Task == TaskID{Sub: 0, Partition: 1} })
		ps[victim].kill()
		others := slices.Delete(ps, victim, victim+1)
		for _, key := range []string{"b", "c", "d", "e"} {
			send(1, key, time.Second) // of that window, and on time: the watermark is at 7.5 s
		}
		for time.Since(began) < 20*time.Second {
			send(0, "a", 0)
			w.pass(500 * time.Millisecond)
		}
		w.settled(4, others...)
		w.pass(3 * time.Second)
		for _, p := range others {
			p.stop()
		}
		w.drain()
		w.expectAtLeast(want)
	})
}
