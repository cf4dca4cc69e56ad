package stores

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// Every block of a table and every record of a MANIFEST has a checksum, so that
// Pebble finds out what a disk has changed when it reads it: in a call, or in a
// compaction. A database of which anything is known to be wrong is of no use:
// the changelog has all of it. It answers ErrCorrupt, to readers of what is wrong
// and to all writers, and whoever closes it removes it.

// dataCorruption hears of what Pebble finds, on the goroutine that found it.
func (e *pebbleEngine) dataCorruption(info pebble.DataCorruptionInfo) {
	e.corrupted(fmt.Errorf("file %s: %w", info.Path, info.Details))
}

// corrupted notes that the files cannot be trusted, and returns why. The first
// cause counts.
func (e *pebbleEngine) corrupted(err error) error {
	err = fmt.Errorf("%w: %s: %w", ErrCorrupt, e.cfg.Dir, err)
	if e.rot.CompareAndSwap(nil, &err) && e.open.Load() {
		e.cfg.OnFailure(err)
	}
	return *e.rot.Load()
}

// judge returns err as callers know it.
func (e *pebbleEngine) judge(err error) error {
	if err == nil || errors.Is(err, ErrCorrupt) || !pebble.IsCorruptionError(err) {
		return err
	}
	return e.corrupted(err)
}

// explainOpen is explain for a database that could not be opened. What the
// system has no part in is about what the files hold: Pebble does not call it
// corruption if a table is missing, or a file has another size than it should.
func (c PebbleConfig) explainOpen(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, ErrDead), errors.Is(err, ErrCorrupt), errors.Is(err, fs.ErrPermission):
	case errors.Is(err, fs.ErrNotExist), !errors.As(err, &errno):
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, c.Dir, err)
	}
	return c.explain(err)
}
