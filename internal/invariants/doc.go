// Package invariants holds the checks that the code makes of itself: cheap to
// write down where they must hold, run in every race and invariants build, and
// gone from a release.
//
// # What it is for
//
// An invariant is a condition that only a bug in this module can break: a
// watermark that falls, an offset that goes back, a task that runs on two
// workers, an iterator closed twice. A condition that a user, a broker or a
// disk can break is none; it gets an error that says what to do.
//
// # The names to know
//
// [Enabled] is a constant: true under the build tags "invariants" and "race"
// (go test -race sets the second by itself). [Check] panics if its condition is
// false. Both cost nothing when they are off: the compiler inlines Check to an
// empty body, and a block under "if invariants.Enabled" is removed.
//
//	invariants.Check(next >= last, "watermark fell from %d to %d", last, next)
//
// # Caveats
//
// Go evaluates arguments before the call, also when Check is off. Where a
// condition or an argument calls a function that costs something, or boxes a
// value on the path of a record, write the block instead:
//
//	if invariants.Enabled {
//		invariants.Check(slices.IsSorted(keys), "keys out of order: %q", keys)
//	}
//
// A check must not change what the code does: no state may be kept for it
// outside such a block.
package invariants
