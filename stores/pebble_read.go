package stores

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// finder answers single reads of the newest state from one iterator that is kept
// from write to write. Pebble's own Get opens an iterator in each level, time after
// time, and asks no filter of the lowest level, so that a key which is not there
// costs a block. An iterator pins what it reads: whoever has written drops it.
type finder struct {
	mu sync.Mutex // guards it; held for one read
	it *pebble.Iterator
}

// find appends the value of key to dst.
func (f *finder) find(db *pebble.DB, dst, key []byte) (_ []byte, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.it == nil {
		if f.it, err = db.NewIter(&pebble.IterOptions{UseL6Filters: true}); err != nil {
			return dst, false, err
		}
	}
	var value []byte
	if ok = f.it.SeekPrefixGE(key); ok {
		value, err = f.it.ValueAndErr()
	} else {
		err = f.it.Error()
	}
	if err != nil {
		return dst, false, errors.Join(err, f.close())
	}
	return append(dst, value...), ok, nil
}

// drop has the next read see what was written.
func (f *finder) drop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.close()
}

func (f *finder) close() error {
	if f.it == nil {
		return nil
	}
	it := f.it
	f.it = nil
	return it.Close()
}

func (e *pebbleEngine) get(r pebble.Reader, dst, key []byte) ([]byte, bool, error) {
	value, closer, err := r.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return dst, false, nil
	case err != nil:
		return dst, false, e.judge(err)
	}
	dst = append(dst, value...)
	return dst, true, closer.Close()
}

func (e *pebbleEngine) iterate(r pebble.Reader, s Span) (Iterator, error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: s.Lower, UpperBound: s.Upper})
	if err != nil {
		return nil, e.judge(err)
	}
	return &pebbleIterator{engine: e, it: it}, nil
}

type pebbleSnapshot struct {
	engine *pebbleEngine
	s      *pebble.Snapshot
}

func (s pebbleSnapshot) Get(dst, key []byte) ([]byte, bool, error) {
	return s.engine.get(s.s, dst, key)
}
func (s pebbleSnapshot) Iterate(span Span) (Iterator, error) { return s.engine.iterate(s.s, span) }
func (s pebbleSnapshot) Close() error                        { return s.s.Close() }

type pebbleIterator struct {
	engine  *pebbleEngine
	it      *pebble.Iterator
	started bool
	value   []byte
	err     error
}

func (i *pebbleIterator) Next() bool {
	if !i.started {
		i.started = true
		return i.at(i.it.First())
	}
	return i.at(i.it.Next())
}

func (i *pebbleIterator) Seek(key []byte) bool {
	i.started = true
	return i.at(i.it.SeekGE(key))
}

func (i *pebbleIterator) at(valid bool) bool {
	if !valid || i.err != nil {
		return false
	}
	i.value, i.err = i.it.ValueAndErr()
	return i.err == nil
}

func (i *pebbleIterator) Key() []byte   { return i.it.Key() }
func (i *pebbleIterator) Value() []byte { return i.value }
func (i *pebbleIterator) Err() error    { return i.engine.judge(errors.Join(i.err, i.it.Error())) }
func (i *pebbleIterator) Close() error  { return i.engine.judge(i.it.Close()) }

// ingest writes entries as sorted tables and hands these to Pebble in one step.
// Each prefix gets a table of its own: one over two stores would overlap with
// all of both. Their keys end up in the lowest level, and they have its filters.
func (e *pebbleEngine) ingest(ctx context.Context, entries []Pair) (err error) {
	var paths []string
	defer func() {
		if err == nil {
			return
		}
		for _, p := range paths {
			// What is left is removed at the next start.
			_ = e.cfg.FS.Remove(p)
		}
	}()
	for len(entries) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 1
		for n < len(entries) && string(entries[n].Key[:prefixLen]) == string(entries[0].Key[:prefixLen]) {
			n++
		}
		path := e.cfg.FS.PathJoin(e.cfg.Dir, ingestFolder, fmt.Sprintf("%d.sst", e.files.Add(1)))
		paths = append(paths, path)
		if err := e.writeTable(path, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	e.compactions.ingesting()
	return errors.Join(e.db.Ingest(ctx, paths), e.finder.drop())
}

func (e *pebbleEngine) writeTable(path string, entries []Pair) error {
	f, err := e.cfg.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	// Options of the lowest level would have Pebble take deletes for obsolete.
	o := e.options.MakeWriterOptions(0, e.db.TableFormat())
	o.FilterPolicy = e.options.Levels[lowest].FilterPolicy
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(&bufferedFile{File: f}), o)
	for _, p := range entries {
		if p.Value == nil {
			err = w.Delete(p.Key)
		} else {
			err = w.Set(p.Key, p.Value)
		}
		if err != nil {
			return errors.Join(err, w.Close())
		}
	}
	return w.Close()
}

// emptyIngestFolder removes what an interrupted ingest has left.
func (e *pebbleEngine) emptyIngestFolder() error {
	dir := e.cfg.FS.PathJoin(e.cfg.Dir, ingestFolder)
	if err := e.cfg.FS.RemoveAll(dir); err != nil {
		return err
	}
	return e.cfg.FS.MkdirAll(dir, 0o755)
}
