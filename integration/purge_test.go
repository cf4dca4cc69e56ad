//go:build integration

package integration_test

import (
	"testing"
	"time"

	"github.com/millrace/millrace/streams"
)

// TestRepartitionTopicsArePurged waits until the starts of a repartition topic's
// logs follow what was committed, and loses nothing by it.
func TestRepartitionTopicsArePurged(t *testing.T) {
	c := newCluster(t)
	l := c.startLedger("purge", 2)
	top, err := ledger(l.spec.Application, l.spec.Topic)
	if err != nil {
		t.Fatal(err)
	}
	i := c.startInstance(top, streams.Config{Application: l.spec.Application, PurgeInterval: 200 * time.Millisecond})
	i.awaitRunning()
	repartition := l.spec.Application + "-by-family-repartition"
	var starts map[place]int64
	for range 3 {
		before := starts
		eventually(t, "both partitions of the repartition topic begin later", func() bool {
			starts = c.offsets(repartition, logStart)
			for at, start := range starts {
				if start <= before[at] {
					return false
				}
			}
			return len(starts) == 2
		})
		for at, committed := range only(c.committed(l.spec.Application), repartition) {
			if starts[at] > committed {
				t.Errorf("%v begins at %d, and only %d is committed", at, starts[at], committed)
			}
		}
	}
	l.stop()
	i.stop()
	t.Logf("the repartition topic's %d records begin at %v", total(c.offsets(repartition, logEnd)), starts)
	l.finish(t)
}
