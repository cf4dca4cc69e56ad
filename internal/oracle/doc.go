// Package oracle holds tests only: a brute-force model of windows, watermarks and
// results, and random runs of package streamtest that are compared with it.
//
// The model is slow and plain. It keeps every event, follows the order in which
// each task saw things (streamtest.Trace tells it) and says, step by step, what
// the task's watermark is and which results it sends: key, window, pane, sequence,
// final, retracted and the very events in the value. It shares no code with
// packages window and processors but the types that results come in.
//
//   - case_test.go: what a seed stands for: windows, triggers, mode, and a script
//     of batches, clock moves, commits, crashes, restarts and rebalances.
//   - run_test.go: runs a case through streamtest and keeps what happened.
//   - times_test.go: the model of watermarks, idle inputs, the clock and markers.
//   - generators_test.go: the strategies that look at events.
//   - model_test.go, place_test.go, calendar_test.go: the model of windows.
//   - suppress_test.go, ticks_test.go: the model of what Suppress holds back, and
//     of punctuators.
//   - check_test.go: compares, and checks what holds after any crash.
//   - shrink_test.go: makes a case that fails small, and prints its timeline.
//   - oracle_test.go, mutants_test.go: the tests.
//
// # How to run it
//
//	go test ./internal/oracle          a few dozen seeds
//	make oracle SEEDS=10000 FROM=1     more, with a line for each 1000 in docs/oracle.csv
//	make oracle                        goes on behind the last seed in that file
//
// # What is compared
//
// Each result, in the step that brings it, what Suppress sends of it, and each tick, as long as a task's state and its
// committed offsets say the same: through clean restarts, rebalances, and crashes
// at any step of a commit but those between its first changelog record and its
// offsets. After one of these, at least once, a replay counts events again; then,
// and in every run that drops nothing, each event is in final results of all
// windows that it belongs to.
package oracle
