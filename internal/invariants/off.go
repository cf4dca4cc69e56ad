//go:build !invariants && !race

package invariants

// Enabled says whether this build checks its invariants.
const Enabled = false

// Check panics with the formatted message if cond is false and the build
// checks its invariants; else it does nothing. It is safe for use by several
// goroutines at once.
func Check(cond bool, format string, args ...any) {}
