//go:build integration && soak

package checkpoint_test

import "testing"

// TestSoakKilledUploadsLeaveNoTornState kills fifty processes.
func TestSoakKilledUploadsLeaveNoTornState(t *testing.T) { killedUploads(t, 50) }
