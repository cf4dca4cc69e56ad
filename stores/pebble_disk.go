package stores

import (
	"errors"
	"path/filepath"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableFS is the file system that Pebble sees. Once armed, the first write to a
// table that fails ends the database before Pebble hears of it: that flush or
// compaction, and each that writes later, waits for ever. It holds no lock then.
//
// Pebble survives a failed flush, and leaves a failed MANIFEST to Fatalf. But
// when both happen at once the flush cleans up with the tables of a version that
// was never installed, and panics where nobody can recover.
type tableFS struct {
	vfs.FS
	engine *pebbleEngine
	armed  *atomic.Bool
}

// write does something that writes to a table.
func (f tableFS) write(do func() error) error {
	if !f.armed.Load() {
		return do()
	}
	if f.engine.failure() == nil {
		err := do()
		if err == nil {
			return nil
		}
		f.engine.die(err)
	}
	select {}
}

func (f tableFS) Create(name string, category vfs.DiskWriteCategory) (file vfs.File, err error) {
	if filepath.Ext(name) != ".sst" {
		return f.FS.Create(name, category)
	}
	err = f.write(func() (err error) {
		file, err = f.FS.Create(name, category)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &bufferedFile{File: tableFile{file, f}}, nil
}

func (f tableFS) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return tableDir{dir, f.engine}, nil
}

// Unwrap lets Pebble find the file system below.
func (f tableFS) Unwrap() vfs.FS { return f.FS }

// tableFile is a table that is being written.
type tableFile struct {
	vfs.File
	fs tableFS
}

func (f tableFile) Write(p []byte) (n int, err error) {
	err = f.fs.write(func() (err error) {
		n, err = f.File.Write(p)
		return err
	})
	return n, err
}

func (f tableFile) Sync() error     { return f.fs.write(f.File.Sync) }
func (f tableFile) SyncData() error { return f.fs.write(f.File.SyncData) }

func (f tableFile) SyncTo(length int64) (full bool, err error) {
	err = f.fs.write(func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// writeBytes is how much is written to a table at once.
const writeBytes = 64 << 10

// bufferedFile writes in large pieces: Pebble hands a table over block by block.
type bufferedFile struct {
	vfs.File
	held []byte
	err  error // of the first write that failed
}

func (f *bufferedFile) Write(p []byte) (int, error) {
	if len(f.held)+len(p) > writeBytes {
		if err := f.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) >= writeBytes {
		return len(p), f.write(p)
	}
	if f.held == nil {
		f.held = make([]byte, 0, writeBytes)
	}
	f.held = append(f.held, p...)
	return len(p), nil
}

// flush writes what is held.
func (f *bufferedFile) flush() error {
	if len(f.held) == 0 {
		return f.err
	}
	err := f.write(f.held)
	f.held = f.held[:0]
	return err
}

// write writes, unless something before p is missing.
func (f *bufferedFile) write(p []byte) error {
	if f.err == nil {
		_, f.err = f.File.Write(p)
	}
	return f.err
}

func (f *bufferedFile) Sync() error { return f.flushed(f.File.Sync) }

func (f *bufferedFile) SyncData() error { return f.flushed(f.File.SyncData) }

func (f *bufferedFile) Close() error { return errors.Join(f.flush(), f.File.Close()) }

func (f *bufferedFile) SyncTo(length int64) (full bool, err error) {
	err = f.flushed(func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// flushed does sync behind what is held.
func (f *bufferedFile) flushed(sync func() error) error {
	if err := f.flush(); err != nil {
		return err
	}
	return sync()
}

// tableDir is the folder of the tables, which is synced when one is complete.
type tableDir struct {
	vfs.File
	engine *pebbleEngine
}

func (d tableDir) Sync() error {
	if d.engine.failure() != nil {
		select {}
	}
	return d.File.Sync()
}
