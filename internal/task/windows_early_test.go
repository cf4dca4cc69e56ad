package task_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// TestPaneThatChangesWhileEarlyResultsAreSent: so many windows are due that they
// are sent in slices. Between two of them a pane changes whose own window is
// still to come; the other window that holds it was sent before, and is due
// again.
func TestPaneThatChangesWhileEarlyResultsAreSent(t *testing.T) {
	latest := map[string]int64{}
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		source(b, "in").EventTime(nil, window.BoundedDelay(time.Hour)).GroupByKey(codec.String, codec.Int64).
			WindowedBy(window.Hopping(2*time.Second).Every(time.Second)).
			Count(topology.Store("counts"), topology.Emit(window.OnTime().Early(time.Second))).Stream().
			Peek(func(r topology.Record[string, int64]) {
				if r.Key == "k" {
					latest[fmt.Sprint(r.Window.Start/1000%60)] = r.Value
				}
			})
	}), streamtest.CommitManually())
	in := input(d, "in")
	start := d.Now().Truncate(time.Minute)
	second := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	d.Batch(func() {
		in.Send("k", 1, second(11)) // due first: [10, 12) and [11, 13)
		for i := range 5000 {
			in.Send(fmt.Sprint(i), 1, second(11))
		}
		in.Send("k", 1, second(10)) // due last: [9, 11)
	})
	d.Advance(time.Second)
	if latest["10"] != 2 || latest["9"] != 0 {
		t.Fatalf("early results %v: want the first slice only", latest)
	}
	in.Send("k", 1, second(10))
	for range 5 {
		d.Advance(time.Second)
	}
	if latest["9"] != 2 || latest["10"] != 3 || latest["11"] != 1 {
		t.Errorf("early results %v; want 2, 3 and 1", latest)
	}
}
