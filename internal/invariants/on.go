//go:build invariants || race

package invariants

import "fmt"

// Enabled says whether this build checks its invariants.
const Enabled = true

// Check panics with the formatted message if cond is false and the build
// checks its invariants; else it does nothing. It is safe for use by several
// goroutines at once.
func Check(cond bool, format string, args ...any) {
	if !cond {
		panic("invariant violated: " + fmt.Sprintf(format, args...))
	}
}
