package task_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// TestWhatHasClosedStaysClosed restarts and crashes, with and without a shuffle,
// before and after the closed window's tombstone: an event that was dropped before
// is dropped after, and no window opens again. The watermark of no task falls.
func TestWhatHasClosedStaysClosed(t *testing.T) {
	strategies := map[string]window.Strategy{
		"bounded delay": window.BoundedDelay(time.Second).IdleAfter(30 * time.Second),
		"by the clock":  window.BoundedDelay(time.Second).IdleAfter(5 * time.Second).AdvanceWhenIdle(2 * time.Second),
	}
	for name, s := range strategies {
		for _, shuffle := range []bool{false, true} {
			for _, again := range []struct {
				name string
				do   func(d *streamtest.Driver)
			}{
				{"restart", (*streamtest.Driver).Restart}, {"crash", (*streamtest.Driver).Crash},
				{"crash, restart", func(d *streamtest.Driver) { d.Crash(); d.Restart() }},
			} {
				what := fmt.Sprintf("%s, shuffle %v, %s", name, shuffle, again.name)
				d := streamtest.New(t, build(t, func(b *topology.Builder) {
					tens(b, source(b, "in").EventTime(nil, s), shuffle, base)
				}), streamtest.Partitions(2), streamtest.Pebble())
				in := input(d, "in")
				both := func(second int) {
					in.SendTo(0, "a", 1, after(second))
					in.SendTo(1, "a", 1, after(second))
				}
				both(5)
				both(14)
				d.Advance(20 * time.Second)
				sent := len(texts(d))
				if sent == 0 {
					t.Errorf("%s: no window has closed", what)
				}
				subs := 1
				if shuffle {
					subs = 2
				}
				dropped := late(d)
				for range 3 {
					before := map[[2]int]int64{}
					for sub := range subs {
						for p := range 2 {
							before[[2]int{sub, p}] = d.Watermark(sub, int32(p))
						}
					}
					both(6)
					if dropped += 2; late(d) != dropped {
						t.Errorf("%s: %d late, want %d", what, late(d), dropped)
					}
					again.do(d)
					for task, w := range before {
						if got := d.Watermark(task[0], int32(task[1])); got < w {
							t.Errorf("%s: the watermark of %v fell from %s to %s", what, task, window.FormatTime(w), window.FormatTime(got))
						}
					}
				}
				both(60)
				both(75)
				starts := map[string]int{}
				for _, r := range texts(d) {
					starts[r]++
				}
				for r, n := range starts {
					wantN := 1
					if !shuffle {
						wantN = 2 // each partition has its own window of the key
					}
					if n != wantN {
						t.Errorf("%s: %q was sent %d times", what, r, n)
					}
				}
			}
		}
	}
}
