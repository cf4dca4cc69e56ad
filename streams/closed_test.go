package streams

import (
	"testing"
	"time"

	"github.com/millrace/millrace/window"
)

// TestAWindowStaysClosedWhenItsTopicIsPurged: the repartition topic holds neither
// events nor markers any more, and the disk is new. What the reader knows of time
// it has from what it committed.
func TestAWindowStaysClosedWhenItsTopicIsPurged(t *testing.T) {
	for name, c := range map[string]struct {
		strategy window.Strategy
		closing  bool // by later events; else by the clock
	}{
		"by events":    {window.BoundedDelay(time.Second).IdleAfter(5 * time.Second), true},
		"by the clock": {window.BoundedDelay(time.Second).IdleAfter(5 * time.Second).AdvanceWhenIdle(2 * time.Second), false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, map[string]int32{"events": 2, "results": 1}, func(w *world) {
				purging := func(c *Config) { c.PurgeInterval = time.Second }
				top := countsBy(t, c.strategy)
				a := w.start("a", newDisk(), top, purging)
				w.settled(4, a)
				w.pass(time.Until(time.Now().Truncate(windowSize).Add(windowSize)))
				begin := time.Now()
				want := truth{}
				send := func(after time.Duration, counts bool) {
					for p := range int32(2) {
						e := count(p, "k", begin.Add(after))
						w.write(e)
						if counts {
							want.add(e)
						}
					}
				}
				send(2*time.Second, true)
				if c.closing {
					send(18*time.Second, true)
				}
				w.until("the first window has closed", func() bool {
					got, err := finals(w.read("results"))
					return err == nil && len(got[slot{"k", begin.UnixMilli()}]) > 0
				})
				w.pass(3 * time.Second)
				repartition := "counts-by-key-repartition"
				purged := false
				for _, info := range w.cluster.Fake().PartitionInfos(repartition) {
					purged = purged || info.LogStartOffset > 0
				}
				if !purged {
					t.Fatal("nothing was purged")
				}
				a.stop()
				for i := range 2 {
					b := w.start([]string{"b", "c"}[i], newDisk(), top, purging)
					w.settled(4, b)
					send(3*time.Second, false) // dropped
					w.pass(4 * time.Second)
					if i == 0 {
						b.kill()
						w.pass(10 * time.Second) // until the session is over
						continue
					}
					b.stop()
				}
				w.drain()
				w.expectExactly(want)
				got, err := finals(w.read("results"))
				if n := len(got[slot{"k", begin.UnixMilli()}]); n != 1 || err != nil {
					t.Errorf("the window was sent %d times as final, %v", n, err)
				}
			})
		})
	}
}
