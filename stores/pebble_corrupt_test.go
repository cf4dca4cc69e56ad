package stores_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
)

// disk is the files of a database by path, to break copies of.
type disk map[string][]byte

func readDisk(t *testing.T, fs vfs.FS, dir string) disk {
	t.Helper()
	d := disk{}
	names, err := fs.List(dir)
	check(t, err)
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		check(t, err)
		if info.IsDir() {
			maps.Copy(d, readDisk(t, fs, path))
			continue
		}
		f, err := fs.Open(path)
		check(t, err)
		b, err := io.ReadAll(f)
		check(t, errors.Join(err, f.Close()))
		d[path] = b
	}
	return d
}

// write returns a file system that holds d.
func (d disk) write(t *testing.T) vfs.FS {
	t.Helper()
	fs := vfs.NewMem()
	for path, b := range d {
		check(t, fs.MkdirAll(fs.PathDir(path), 0o755))
		f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
		check(t, err)
		_, err = f.Write(b)
		check(t, errors.Join(err, f.Close()))
	}
	return fs
}

// paths returns the files that hold something, in order.
func (d disk) paths(suffix string) (paths []string) {
	for _, path := range slices.Sorted(maps.Keys(d)) {
		if len(d[path]) > 0 && strings.HasSuffix(path, suffix) {
			paths = append(paths, path)
		}
	}
	return paths
}

// damaged returns a disk with one byte of a file changed.
func (d disk) damaged(path string, at int, mask byte) disk {
	out := maps.Clone(d)
	out[path] = bytes.Clone(d[path])
	out[path][at] ^= mask
	return out
}

// openPrompt opens a store whose deletes go with their commit.
func openPrompt(cfg stores.PebbleConfig) (*stores.DB, *stores.KeyValue[string, []byte], error) {
	e, err := stores.OpenPebble(cfg)
	if err != nil {
		return nil, nil, err
	}
	db, err := stores.Open(stores.Config{Engine: e, Deletes: stores.DeletesWithCommit})
	if err != nil {
		return nil, nil, err
	}
	kv, err := stores.OpenKeyValue(db, stores.KeyValueConfig[string, []byte]{Name: "kv", Key: codec.String, Value: codec.Bytes})
	return db, kv, err
}

// filled returns the disk of a database that was written by commits, a restore
// and compactions, and what it held after each commit, by its offset.
func filled(t *testing.T) (disk, map[int64]map[string]string) {
	t.Helper()
	fs := vfs.NewMem()
	cfg := stores.PebbleConfig{Dir: "state", FS: fs, Resources: resources(t)}
	db, kv, err := openPrompt(cfg)
	check(t, err)
	rnd := rand.New(rand.NewPCG(1, 1))
	held := map[string]string{}
	was := map[int64]map[string]string{}
	var restored []stores.LogRecord
	for i := range 200 {
		key, value := fmt.Sprintf("restored-%04d", i), strings.Repeat(fmt.Sprint(i), 20)
		restored = append(restored, stores.LogRecord{Key: []byte(key), Value: []byte(value)})
		held[key] = value
	}
	check(t, db.Ingest(context.Background(), "kv", restored, 1000, 0))
	was[1000] = maps.Clone(held)
	for next := int64(1001); next < 1040; next++ {
		for range 20 {
			key := fmt.Sprintf("restored-%04d", rnd.IntN(300))
			if rnd.IntN(4) == 0 {
				check(t, kv.Delete(key))
				delete(held, key)
				continue
			}
			value := strings.Repeat(fmt.Sprint(next), 1+rnd.IntN(60))
			check(t, kv.Put(key, []byte(value)))
			held[key] = value
		}
		check(t, commit(db, next))
		was[next] = maps.Clone(held)
		if next%3 == 0 {
			check(t, db.Flush())
		}
	}
	check(t, db.Close())
	return readDisk(t, fs, "state"), was
}

// contents reads a whole store, and its offset.
func contents(cfg stores.PebbleConfig) (got map[string]string, next int64, err error) {
	db, kv, err := openPrompt(cfg)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	got = map[string]string{}
	for entry, err := range kv.All() {
		if err != nil {
			return nil, 0, err
		}
		got[entry.Key] = string(entry.Value)
	}
	next, _, _ = db.Offset("kv")
	// What is written next may have to read what is wrong, to compact it.
	for i := range 5 {
		if err := kv.Put(fmt.Sprint("later", i), []byte("x")); err != nil {
			return nil, 0, err
		}
		if err := errors.Join(commit(db, next+int64(i)+1), db.Flush()); err != nil {
			return nil, 0, err
		}
	}
	return got, next, nil
}

// TestAFlippedByteIsNeverTakenForState changes one byte of one file at a time.
// Whoever reads the database then gets what was committed at the offset that it
// says, or ErrCorrupt.
func TestAFlippedByteIsNeverTakenForState(t *testing.T) {
	whole, was := filled(t)
	rnd := rand.New(rand.NewPCG(2, 2))
	kinds := map[string]int{}
	for _, path := range whole.paths("") {
		for range min(len(whole[path]), 15) {
			at, mask := rnd.IntN(len(whole[path])), byte(1<<rnd.IntN(8))
			broken := whole.damaged(path, at, mask)
			got, next, err := contents(stores.PebbleConfig{Dir: "state", FS: broken.write(t), Resources: resources(t)})
			kind := "read"
			switch {
			case errors.Is(err, stores.ErrCorrupt):
				kind = "found"
			case err != nil:
				t.Errorf("%s, byte %d of %d: %v, want ErrCorrupt or none", path, at, len(whole[path]), err)
			case !maps.Equal(got, was[next]):
				t.Errorf("%s, byte %d of %d: at offset %d there are %d entries, which are not the %d committed",
					path, at, len(whole[path]), next, len(got), len(was[next]))
			}
			if strings.HasSuffix(path, ".sst") {
				kind += " in a table"
			}
			kinds[kind]++
		}
	}
	t.Logf("one byte flipped: %v", kinds)
	if kinds["found in a table"] == 0 {
		t.Error("no damage was ever found in a table")
	}
}

// TestMissingFilesAreCorruption removes one file of a database at a time.
func TestMissingFilesAreCorruption(t *testing.T) {
	whole, was := filled(t)
	for _, path := range slices.Sorted(maps.Keys(whole)) {
		less := maps.Clone(whole)
		delete(less, path)
		got, next, err := contents(stores.PebbleConfig{Dir: "state", FS: less.write(t), Resources: resources(t)})
		switch {
		case errors.Is(err, stores.ErrCorrupt):
		case err != nil:
			t.Errorf("without %s: %v, want ErrCorrupt or none", path, err)
		case next == 0 && len(got) == 0: // it was made anew, and has no offset
		case !maps.Equal(got, was[next]):
			t.Errorf("without %s: at offset %d there are %d entries, which are not the %d committed", path, next, len(got), len(was[next]))
		}
	}
}

// TestCorruptionFoundWhileRunning breaks a block of a table that is not read when
// the database is opened.
func TestCorruptionFoundWhileRunning(t *testing.T) {
	fs := vfs.NewMem()
	db, kv, err := openKV(t, stores.PebbleConfig{Dir: "state", FS: fs, Resources: resources(t)})
	check(t, err)
	for i := range 10_000 {
		check(t, kv.Put(fmt.Sprintf("%08d", i*7919%10_000), fmt.Append(nil, rand.Uint64(), rand.Uint64())))
	}
	check(t, commit(db, 1))
	check(t, db.Close())
	whole := readDisk(t, fs, "state")
	tables := whole.paths(".sst")
	path := tables[len(tables)-1]
	whole = whole.damaged(path, len(whole[path])/2, 0xff)
	told := make(chan error, 2)
	cfg := stores.PebbleConfig{
		Dir: "state", FS: whole.write(t), Resources: resources(t), OnFailure: func(err error) { told <- err },
	}
	db, kv, err = openKV(t, cfg)
	check(t, err)
	if err := read(kv); !errors.Is(err, stores.ErrCorrupt) || !strings.Contains(err.Error(), ".sst") {
		t.Errorf("reading everything: %v, want ErrCorrupt with the file", err)
	}
	if err := <-told; !errors.Is(err, stores.ErrCorrupt) {
		t.Errorf("OnFailure was told %v, want ErrCorrupt", err)
	}
	check(t, kv.Put("a", []byte("1")))
	if err := commit(db, 2000); !errors.Is(err, stores.ErrCorrupt) {
		t.Errorf("Commit: %v, want ErrCorrupt", err)
	}
	if err := db.Close(); !errors.Is(err, stores.ErrCorrupt) {
		t.Errorf("Close: %v, want ErrCorrupt", err)
	}
	if len(told) > 0 {
		t.Errorf("OnFailure was told again: %v", <-told)
	}
	check(t, stores.RemovePebble(cfg))
	db, kv, err = openKV(t, cfg)
	check(t, err)
	if _, _, ok := db.Offset("kv"); ok || read(kv) != nil {
		t.Errorf("removed, there is still something: %v", read(kv))
	}
	check(t, db.Close())
}

// read reads a whole store.
func read(kv *stores.KeyValue[string, []byte]) error {
	for _, err := range kv.All() {
		if err != nil {
			return err
		}
	}
	return nil
}
