//go:build integration && soak

package checkpoint_test

import (
	"testing"
	"time"
)

// TestSoakKilledUploadsLeaveNoTornState kills fifty processes.
func TestSoakKilledUploadsLeaveNoTornState(t *testing.T) { killedUploads(t, 50) }

func TestSoakTheStoreGoesAway(t *testing.T) { storeGoes(t, time.Minute) }
