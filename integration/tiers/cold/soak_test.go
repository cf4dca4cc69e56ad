//go:build integration && soak

package cold_test

import "testing"

// TestSoakKilledWhileItWritesAndEvicts kills more often.
func TestSoakKilledWhileItWritesAndEvicts(t *testing.T) { killed(t, 50) }
