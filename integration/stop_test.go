//go:build integration

package integration_test

import (
	"testing"
	"time"

	"github.com/millrace/millrace/streams"
)

// TestStopUnderLoadIsGraceful stops an instance while records come in, starts it
// again, and counts what is processed twice.
func TestStopUnderLoadIsGraceful(t *testing.T) {
	c := newCluster(t)
	const partitions = 4
	in, out, application := c.name("stop-in"), c.name("stop-out"), c.name("stop")
	c.create(in, partitions)
	c.create(out, 1)
	w := &watch{}
	cfg := streams.Config{Application: application, StateDir: t.TempDir(), CommitInterval: time.Second}
	load := c.trickle(in, partitions)
	var stops []time.Duration
	for range 3 {
		i := c.startInstance(relay(t, application, in, out, w), cfg)
		i.awaitRunning()
		before := total(c.offsets(out, logEnd))
		eventually(t, "a commit interval's worth has been relayed", func() bool {
			return total(c.offsets(out, logEnd)) > before+400
		})
		stops = append(stops, i.stop().Round(time.Millisecond))
		if ids, state := c.members(application); len(ids) > 0 || state != "Empty" {
			t.Errorf("after a graceful stop the group is %q with members %v", state, ids)
		}
		if committed, relayed := total(c.committed(application)), int64(len(c.relayed(out))); committed != relayed {
			t.Errorf("a graceful stop committed %d records of %d", committed, relayed)
		}
	}
	sent := load()
	i := c.startInstance(relay(t, application, in, out, w), cfg)
	c.awaitRelayed(out, sent)
	stops = append(stops, i.stop().Round(time.Millisecond))
	repeats := c.relayed(out).repeats()
	interval := 100 * partitions // records that come in a commit interval
	if repeats > interval {
		t.Errorf("%d of %d records were processed twice, more than the %d of a commit interval", repeats, sent, interval)
	}
	t.Logf("%d records, stops within %v, %d processed twice", sent, stops, repeats)
	for _, took := range stops {
		if took > 5*time.Second {
			t.Errorf("a graceful stop took %v, more than 5 s", took)
		}
	}
}
