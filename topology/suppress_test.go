package topology_test

import (
	"testing"
	"time"

	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// TestWhatIsFinalIsNotRetracted: behind UntilWindowCloses an aggregate needs no
// Remove, and behind a time limit it does.
func TestWhatIsFinalIsNotRetracted(t *testing.T) {
	for name, c := range map[string]struct {
		until topology.Suppression
		fits  bool
	}{
		"closes": {topology.UntilWindowCloses(), true},
		"limit":  {topology.UntilTimeLimit(time.Second, topology.BufferIn("calm")), false},
	} {
		b := topology.New("app")
		w := source(b, "in").GroupByKey(str, str).WindowedBy(window.Tumbling(time.Minute))
		first := w.Reduce(func(*string, string) error { return nil }, topology.Store("first"), topology.Emit(window.OnTime().Retracting()))
		first.Suppress(c.until).GroupByKey(str, str).Reduce(func(*string, string) error { return nil }, topology.Store("second"))
		if _, err := b.Build(); (err == nil) != c.fits {
			t.Errorf("%s: %v", name, err)
		}
	}
}
