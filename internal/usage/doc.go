// Package usage says what a process has taken of the machine, as benchmarks
// report it of themselves.
//
// ProcessorTime is the time of all threads together, in user and kernel mode.
// PeakMemory is the most memory that was resident, which is what an operator
// has to provide: a program that reports its average asks for less than it needs.
//
// Both are of the whole process from its start, so that no contender's warm-up
// is left out. They are 0 where the system does not tell: PeakMemory is told by
// Linux alone.
//
// Any goroutine may call them.
package usage
