//go:build integration && soak

package integration_test

import (
	"os"
	"testing"
	"time"
)

// soak repeats a test until the time is over that MILLRACE_SOAK names, once at
// least.
func soak(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	limit, err := time.ParseDuration(os.Getenv("MILLRACE_SOAK"))
	if err != nil {
		t.Fatalf("MILLRACE_SOAK is to say how long, such as 10m: %v", err)
	}
	began := time.Now()
	for ok := true; ok; ok = time.Since(began) < limit {
		if !t.Run("round", test) {
			return
		}
	}
}

// TestSoakKilledCommandLosesNothing replays ten million events a round.
func TestSoakKilledCommandLosesNothing(t *testing.T) {
	soak(t, func(t *testing.T) { killedCommandLosesNothing(t, 10_000_000, 8000) })
}

// TestSoakStateIsNeverAheadOfTheChangelog runs all seeds a round, however long
// they take.
func TestSoakStateIsNeverAheadOfTheChangelog(t *testing.T) {
	soak(t, func(t *testing.T) { stateIsNeverAhead(t, 50, time.Hour) })
}
