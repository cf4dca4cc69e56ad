package task_test

import (
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// TestLateEventsMergeNoPanes: an event that is late for the earliest of the windows
// that hold it goes to one pane, as any other does. Windows are merged from their
// panes when they are sent, each as often as it has results. Windows that are not
// complete have not changed: the commit writes the pane, whose entry is that of the
// one window that is, and no other.
func TestLateEventsMergeNoPanes(t *testing.T) {
	const panes, events = 10, 500
	merges, results := 0, 0
	bags := bagging(true)
	merge := bags.Merge
	bags.Merge = func(into, from *bag) error { merges++; return merge(into, from) }
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		hopping := window.Hopping(panes * time.Second).Every(time.Second).AllowedLateness(2 * time.Second)
		topology.Aggregate(source(b, "in").EventTime(nil, window.BoundedDelay(0)).GroupByKey(codec.String, codec.Int64).WindowedBy(hopping),
			codec.Msgpack[bag](), bags, topology.Emit(window.OnTime().Late(window.EachCommit)), topology.Store("bags")).
			Stream().Peek(func(topology.Record[string, bag]) { results++ })
	}), streamtest.CommitManually())
	in := input(d, "in")
	start := d.Now().Truncate(time.Minute)
	for s := range 20 {
		in.Send("k", 1, start.Add(time.Duration(s)*time.Second))
	}
	d.Commit()
	before, written := results, d.ChangelogRecords("bags")
	merges = 0
	for range events {
		in.Send("k", 2, start.Add(18500*time.Millisecond))
	}
	if merges != 0 || results != before {
		t.Errorf("%d late events merged %d panes and sent %d results before the commit", events, merges, results-before)
	}
	d.Commit()
	if sent := results - before; sent != 1 || merges != panes {
		t.Errorf("the commit sent %d results and merged %d panes, want 1 and %d", sent, merges, panes)
	}
	if n := d.ChangelogRecords("bags") - written; n != 1 {
		t.Errorf("the commit wrote %d entries, want 1", n)
	}
}
