//go:build integration && soak

package chaos

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/millrace/millrace/streams"
)

// soakFaults is how many faults a soak must see, however long it takes, and
// soakRound how many of them before the ledger is drawn up.
const soakFaults, soakRound = 100, 22

// TestSoakChaos goes from seed to seed, exactly once and at least once by turns,
// until the time is over that MILLRACE_SOAK names and enough faults were seen.
func TestSoakChaos(t *testing.T) {
	limit, err := time.ParseDuration(os.Getenv("MILLRACE_SOAK"))
	if err != nil {
		t.Fatalf("MILLRACE_SOAK is to say how long, such as 10m: %v", err)
	}
	e, dir := environment(t)
	began, seed, seen := time.Now(), setting(t, "MILLRACE_CHAOS_SEED", 1), 0
	for time.Since(began) < limit || seen < soakFaults {
		p := plan{seed: uint64(seed), faults: soakRound, guarantee: streams.ExactlyOnce}
		if seed%3 == 0 {
			p.guarantee = streams.AtLeastOnce
		}
		ok := t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { e.run(t, p, dir) })
		if !ok {
			return
		}
		seen += soakRound
		seed++
	}
	t.Logf("%d faults were seen in %v", seen, time.Since(began).Round(time.Second))
}
