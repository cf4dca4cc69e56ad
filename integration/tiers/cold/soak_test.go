//go:build integration && soak

package cold_test

import (
	"testing"
	"time"
)

// TestSoakKilledWhileItWritesAndEvicts kills more often.
func TestSoakKilledWhileItWritesAndEvicts(t *testing.T) { killed(t, 50) }

func TestSoakStoppedUnderLoad(t *testing.T) { stoppedUnderLoad(t, time.Minute) }
