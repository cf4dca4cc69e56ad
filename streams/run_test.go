package streams

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// counts is a topology with a repartition: events are counted by their values
// in windows of a minute.
func counts(t testing.TB) *topology.Topology {
	t.Helper()
	b := topology.New("counts")
	events := topology.Source(b, "events", codec.String, codec.String, topology.AndTopics()).
		EventTime(eventTime, window.BoundedDelay(10*time.Second).IdleAfter(30*time.Second))
	byValue := topology.GroupBy(events, codec.String, codec.String, func(r topology.Record[string, string]) string { return r.Key }, topology.Named("by-key"))
	byValue.WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("counts")).Stream().
		To("results", codec.String, codec.Int64)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// eventTime reads the time out of a value.
func eventTime(v string) int64 {
	var at int64
	fmt.Sscan(v, &at)
	return at
}

func TestABoundedRunCountsEverythingAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, map[string]int32{"events": 3, "results": 2})
		defer w.close()
		begin := time.Now()
		var events []event
		for i := range 3000 {
			at := begin.Add(time.Duration(i) * 100 * time.Millisecond)
			events = append(events, event{"events", int32(i % 3), fmt.Sprint("k", i%7), fmt.Sprint(at.UnixMilli()), at})
		}
		w.write(events...)
		p := w.start("a", vfs.NewMem(), counts(t), func(c *Config) { c.UntilEnd = true })
		p.wait()
		var sum int64
		for _, r := range w.read("results") {
			n, err := codec.Int64.Decode(r.Value)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
		if sum != 3000 {
			t.Errorf("the windows hold %d events, want 3000", sum)
		}
	})
}
