//go:build integration

package streams

import "github.com/millrace/millrace/internal/task"

// This file lets the tests against a real Kafka, which are in another package,
// stop a process in the middle of a commit. No other build has it.

// SetCommitHook has f called before each step of each commit with the number of
// the worker and the step's name: flush, changelog, offsets, state, done. It
// runs on the worker's goroutine; an error fails the commit.
func (c *Config) SetCommitHook(f func(worker int, step string) error) { c.hooks.step = f }

// SetStateFirst breaks the order of a commit: databases are written before
// their changelogs. A test that cannot tell the difference tests nothing.
func (c *Config) SetStateFirst() { c.hooks.stateFirst = true }

// SetColdHook has f called before and after each batch is written to the cold
// tier. It runs on the goroutine that writes.
func (c *Config) SetColdHook(f func() error) { c.hooks.cold = func(task.ColdStep) error { return f() } }
