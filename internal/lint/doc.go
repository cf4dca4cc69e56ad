// Package lint checks the rules of this repository that the compiler does not:
// which package may import which, what no package may call, what must be
// documented. It runs as a test, so that go test ./... needs no further tool.
//
// # The names to know
//
//   - [Load] reads the tree into a [Tree]; the checks are functions of it and
//     return each [Finding] with its file, its line and what to do.
//   - rooms (rooms.go) is the table of which package may import which. A new
//     top-level folder with Go code needs a row there.
//   - drivers (drivers.go) lists the modules that only some packages may carry,
//     directly or through what they import.
//
// # The rules
//
//   - Imports follow the table; core packages carry no driver.
//   - The whole tree builds for Windows.
//   - No Go file has more than 900 lines; all are formatted.
//   - Nothing registers itself with a global registry, replaces the global
//     logger, ends the process from a library, or has an init function.
//   - Nothing sleeps: code waits for a condition and a context, and tests run
//     under testing/synctest or wait for a condition. No test skips itself.
//   - Packages whose time is event time or a clock that is handed in never read
//     the wall clock.
//   - Each package has a package comment in doc.go, each public package a
//     runnable example, each exported identifier a comment.
//   - No file holds a mark of unfinished work, a path of one machine, or the
//     host name of a package registry.
//
// # Caveats
//
// Names are resolved by each file's imports, not by types: a dot import would
// hide a call, and so is a finding itself. A test may sleep if a test file of
// its package uses testing/synctest, as a helper often makes the bubble; that
// the sleep stands inside it is not checked. Exceptions are listed beside their
// rule, with the reason.
package lint
