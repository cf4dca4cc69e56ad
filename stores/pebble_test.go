package stores_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
)

func resources(t testing.TB) *stores.PebbleResources {
	r := stores.NewPebbleResources(4<<20, 64, 1)
	t.Cleanup(r.Close)
	return r
}

// failingFS is a file system on which operations fail while fail says so.
func failingFS(under vfs.FS, fail func(errorfs.Op) error) vfs.FS {
	return errorfs.Wrap(under, errorfs.InjectorFunc(fail))
}

func openKV(t testing.TB, cfg stores.PebbleConfig) (*stores.DB, *stores.KeyValue[string, []byte], error) {
	t.Helper()
	e, err := stores.OpenPebble(cfg)
	if err != nil {
		return nil, nil, err
	}
	db, err := stores.Open(stores.Config{Engine: e})
	if err != nil {
		return nil, nil, err
	}
	kv, err := stores.OpenKeyValue(db, stores.KeyValueConfig[string, []byte]{Name: "kv", Key: codec.String, Value: codec.Bytes})
	return db, kv, err
}

func commit(db *stores.DB, next int64) error {
	c, err := db.Collect()
	if err != nil {
		return err
	}
	return db.Commit(c, map[string]int64{"kv": next}, 0)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStateFolderInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "0_1")
	cfg := stores.PebbleConfig{Dir: dir, Resources: resources(t)}
	db, _, err := openKV(t, cfg)
	check(t, err)
	for name, open := range map[string]func() error{
		"OpenPebble":   func() error { _, err := stores.OpenPebble(cfg); return err },
		"RemovePebble": func() error { return stores.RemovePebble(cfg) },
	} {
		if err := open(); !errors.Is(err, stores.ErrInUse) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s of a folder in use: %v, want ErrInUse with the path", name, err)
		}
	}
	check(t, db.Close())
	db, _, err = openKV(t, cfg)
	check(t, err)
	check(t, db.Close())
	check(t, stores.RemovePebble(cfg))
}

func TestStateFolderReadOnly(t *testing.T) {
	for _, cause := range []error{fs.ErrPermission, syscall.EROFS} {
		cfg := stores.PebbleConfig{Dir: "state", Resources: resources(t), FS: failingFS(vfs.NewMem(), func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				return cause
			}
			return nil
		})}
		if _, err := stores.OpenPebble(cfg); !errors.Is(err, stores.ErrReadOnly) || !strings.Contains(err.Error(), "state") {
			t.Errorf("OpenPebble where writing gives %v: %v, want ErrReadOnly with the path", cause, err)
		}
	}
}

func TestCloseKeepsWhatWasCommitted(t *testing.T) {
	cfg := stores.PebbleConfig{Dir: "state", FS: vfs.NewCrashableMem(), Resources: resources(t)}
	db, kv, err := openKV(t, cfg)
	check(t, err)
	check(t, kv.Put("a", []byte("1")))
	check(t, commit(db, 1))
	check(t, kv.Put("a", []byte("not committed")))
	check(t, db.Close())
	db, kv, err = openKV(t, cfg)
	check(t, err)
	if v, ok, err := kv.Get("a"); string(v) != "1" || !ok || err != nil {
		t.Errorf("Get = %q, %v, %v, want what was committed", v, ok, err)
	}
	if next, _, ok := db.Offset("kv"); next != 1 || !ok {
		t.Errorf("Offset = %d, %v, want 1", next, ok)
	}
	check(t, db.Close())
}

// TestFatalErrorsOfPebbleKillTheDatabaseOnly lets the MANIFEST fail, which
// Pebble answers with Fatalf, in the background and in a call.
func TestFatalErrorsOfPebbleKillTheDatabaseOnly(t *testing.T) {
	for name, write := range map[string]func(*stores.DB) error{
		"flush":  func(db *stores.DB) error { return db.Flush() },
		"ingest": func(db *stores.DB) error { return db.Ingest(context.Background(), "other", nil, 7, 0) },
		"close":  func(db *stores.DB) error { return db.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			var failing atomic.Bool
			told := make(chan error, 1)
			cfg := stores.PebbleConfig{
				Dir: "state", Resources: stores.NewPebbleResources(4<<20, 64, 1),
				OnFailure: func(err error) { told <- err },
				FS: failingFS(vfs.NewMem(), func(op errorfs.Op) error {
					if failing.Load() && strings.Contains(op.Path, "MANIFEST") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
						return syscall.ENOSPC
					}
					return nil
				}),
			}
			db, kv, err := openKV(t, cfg)
			check(t, err)
			_, err = stores.OpenMeta(db, "other")
			check(t, err)
			check(t, kv.Put("a", []byte("1")))
			check(t, commit(db, 1))
			view, err := db.View(t.Context())
			check(t, err)
			failing.Store(true)
			if name == "close" {
				check(t, view.Close())
			}
			if err := write(db); !errors.Is(err, stores.ErrDead) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "state") {
				t.Errorf("the call returns %v, want ErrDead with the path and the cause", err)
			}
			if err := <-told; !errors.Is(err, stores.ErrDead) {
				t.Errorf("OnFailure was told %v, want ErrDead", err)
			}
			if name == "close" {
				return
			}
			if v, ok, err := kv.Get("a"); string(v) != "1" || !ok || err != nil {
				t.Errorf("Get = %q, %v, %v: reads must go on", v, ok, err)
			}
			check(t, kv.Put("a", []byte("2")))
			if err := commit(db, 2); !errors.Is(err, stores.ErrDead) {
				t.Errorf("Commit after that: %v, want ErrDead", err)
			}
			check(t, view.Close())
			if err := db.Close(); !errors.Is(err, stores.ErrDead) {
				t.Errorf("Close = %v, want ErrDead", err)
			}
		})
	}
}

func TestDiskFullStopsTheDatabase(t *testing.T) {
	var failing atomic.Bool
	told := make(chan error, 1)
	mem := vfs.NewCrashableMem()
	cfg := stores.PebbleConfig{
		Dir: "state", Resources: stores.NewPebbleResources(1<<20, 64, 1), OnFailure: func(err error) { told <- err },
		FS: failingFS(mem, func(op errorfs.Op) error {
			if failing.Load() && strings.HasSuffix(op.Path, ".sst") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				return syscall.ENOSPC
			}
			return nil
		}),
	}
	db, kv, err := openKV(t, cfg)
	check(t, err)
	check(t, kv.Put("a", []byte("1")))
	check(t, commit(db, 1))
	check(t, db.Flush())
	failing.Store(true)
	value := bytes.Repeat([]byte("x"), 10_000)
	for i := int64(2); ; i++ {
		for n := range 100 {
			check(t, kv.Put(fmt.Sprint(i, n), value))
		}
		if err = commit(db, i); err != nil {
			break
		}
	}
	if !errors.Is(err, stores.ErrDead) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Commit on a full disk: %v, want ErrDead and ENOSPC", err)
	}
	<-told
	if err := db.Close(); !errors.Is(err, stores.ErrDead) {
		t.Errorf("Close = %v, want ErrDead", err)
	}
	// The folder stays locked until the process ends: look at the disk it leaves.
	db, kv, err = openKV(t, stores.PebbleConfig{Dir: "state", FS: mem.CrashClone(vfs.CrashCloneCfg{}), Resources: resources(t)})
	check(t, err)
	defer db.Close()
	if v, _, err := kv.Get("a"); string(v) != "1" || err != nil {
		t.Errorf("after the disk was full: Get = %q, %v: state is not intact", v, err)
	}
}

// TestFailingFilesLeaveStateCoveredByItsLog breaks a file operation at a random
// point, and looks at what the disk then holds.
func TestFailingFilesLeaveStateCoveredByItsLog(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 3))
			mem := vfs.NewCrashableMem()
			var left atomic.Int64
			left.Store(1 << 40)
			cfg := stores.PebbleConfig{Dir: "state", Resources: stores.NewPebbleResources(1<<20, 64, 1), FS: failingFS(mem, func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && left.Add(-1) < 0 {
					return syscall.EIO
				}
				return nil
			})}
			db, kv, err := openKV(t, cfg)
			check(t, err)
			left.Store(rnd.Int64N(60))
			var log []stores.LogRecord
			for err == nil {
				log, err = grow(rnd, db, kv, log)
			}
			if !errors.Is(err, stores.ErrDead) && !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			// What Close says does not matter: the state is looked at afterwards.
			_ = db.Close()

			disk := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rnd.IntN(101), RNG: rand.New(rand.NewPCG(seed, 4))})
			db, kv, err = openKV(t, stores.PebbleConfig{Dir: "state", FS: disk, Resources: resources(t)})
			check(t, err)
			defer db.Close()
			next, _, _ := db.Offset("kv")
			if next > int64(len(log)) {
				t.Fatalf("offset %d, the log has %d", next, len(log))
			}
			got := map[string]entry{}
			for e, err := range kv.All() {
				check(t, err)
				got[e.Key] = entry{value: string(e.Value), time: e.Time}
			}
			if want := replay(log[:next]); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("at offset %d:\n got %v\nwant %v", next, got, want)
			}
		})
	}
}

// grow commits, flushes or ingests, and returns the log with what it wrote.
func grow(rnd *rand.Rand, db *stores.DB, kv *stores.KeyValue[string, []byte], log []stores.LogRecord) ([]stores.LogRecord, error) {
	key := func() string { return fmt.Sprint("k", rnd.IntN(20)) }
	switch rnd.IntN(4) {
	case 0:
		return log, db.Flush()
	case 1:
		// Another owner wrote: its records come by a restore.
		from := len(log)
		for range rnd.IntN(10) {
			log = append(log, stores.LogRecord{Key: []byte(key()), Value: fmt.Append(nil, rnd.IntN(100))})
		}
		if err := db.Ingest(context.Background(), "kv", log[from:], int64(len(log)), 0); err != nil {
			return log, err
		}
		return log, nil
	}
	for range rnd.IntN(10) {
		if rnd.IntN(3) == 0 {
			if err := kv.Delete(key()); err != nil {
				return log, err
			}
		} else if err := kv.Put(key(), fmt.Append(nil, rnd.IntN(100))); err != nil {
			return log, err
		}
	}
	c, err := db.Collect()
	if err != nil {
		return log, err
	}
	for _, r := range c.All() {
		log = append(log, stores.LogRecord{Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value), Time: r.Time})
	}
	return log, db.Commit(c, map[string]int64{"kv": int64(len(log))}, 0)
}

// TestTheCacheCanBeMadeSmaller: what it holds beyond that is given back at once,
// and it can have its size again.
func TestTheCacheCanBeMadeSmaller(t *testing.T) {
	r := stores.NewPebbleResources(8<<20, 100, 1)
	defer r.Close()
	db, kv, err := openKV(t, stores.PebbleConfig{Dir: "db", FS: vfs.NewMem(), Resources: r})
	check(t, err)
	defer func() { check(t, db.Close()) }()
	const entries = 4000
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range entries {
		value := make([]byte, 1<<10)
		for j := range value {
			value[j] = byte(rnd.Uint32())
		}
		check(t, kv.Put(fmt.Sprintf("key-%05d", i), value))
	}
	check(t, commit(db, 1))
	check(t, db.Flush())
	read := func() int64 {
		t.Helper()
		for i := range entries {
			if _, ok, err := kv.Get(fmt.Sprintf("key-%05d", i)); !ok || err != nil {
				t.Fatalf("entry %d: %v, %v", i, ok, err)
			}
		}
		return r.CacheBytes()
	}
	if held := read(); held < 3<<20 {
		t.Fatalf("the cache holds %d bytes of 4 MB that were read", held)
	}
	r.ResizeCache(1 << 20)
	if held := r.CacheBytes(); held > 1<<20 {
		t.Errorf("made smaller, the cache holds %d bytes", held)
	}
	if held := read(); held > 1<<20 {
		t.Errorf("after further reads it holds %d", held)
	}
	r.ResizeCache(64 << 20) // no more than it was made for
	if held := read(); held < 3<<20 || held > 8<<20 {
		t.Errorf("given back its size, it holds %d bytes", held)
	}
}

// TestAKeyThatIsNotThereSeldomCostsABlock looks for keys between those of a table in the
// lowest level that the cache does not hold: the filters must tell of seven in eight
// that they are not there. The first write after it must be seen all the same.
func TestAKeyThatIsNotThereSeldomCostsABlock(t *testing.T) {
	var reads atomic.Int64
	fs := failingFS(vfs.NewMem(), func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt {
			reads.Add(1)
		}
		return nil
	})
	r := stores.NewPebbleResources(1<<20, 64, 1)
	defer r.Close()
	e, err := stores.OpenPebble(stores.PebbleConfig{Dir: "state", FS: fs, Resources: r})
	check(t, err)
	defer e.Close()
	const entries = 40_000
	key := func(i int) []byte { return fmt.Appendf(nil, "kv\x00\x00%08d", i) }
	pairs, random := make([]stores.Pair, entries), rand.NewChaCha8([32]byte{})
	for i := range pairs {
		value := make([]byte, 100)
		_, _ = random.Read(value) // it never fails
		pairs[i] = stores.Pair{Key: key(2 * i), Value: value}
	}
	check(t, e.Ingest(context.Background(), pairs))
	get := func(i int) bool {
		value, ok, err := e.Get(nil, key(i))
		check(t, err)
		if ok && i%2 == 0 && !bytes.Equal(value, pairs[i/2].Value) {
			t.Fatalf("key %d has another value", i)
		}
		return ok
	}
	reads.Store(0)
	for i := range entries / 10 {
		if get(20*i + 1) {
			t.Fatalf("key %d is found", 20*i+1)
		}
	}
	if n := reads.Load(); n > entries/10/7 {
		t.Errorf("%d keys that are not there took %d reads", entries/10, n)
	}
	reads.Store(0)
	for i := range entries / 10 {
		if !get(20 * i) {
			t.Fatalf("key %d is not found", 20*i)
		}
	}
	if n := reads.Load(); n < 100 {
		t.Errorf("keys that are there took %d reads: the cache holds them all, and this test shows nothing", n)
	}
	check(t, e.Apply(&stores.Batch{Set: []stores.Pair{{Key: key(1), Value: []byte("new")}, {Key: key(0)}}}))
	if !get(1) || get(0) {
		t.Error("a read does not see the write before it")
	}
	check(t, e.Ingest(context.Background(), []stores.Pair{{Key: key(1)}, {Key: key(3), Value: []byte("new")}}))
	if get(1) || !get(3) {
		t.Error("a read does not see what was ingested before it")
	}
}
