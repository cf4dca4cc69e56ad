package stores_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/stores"
)

// TestCheckpointsHoldWhatWasCommitted takes checkpoints between commits that go
// on. Each has exactly the entries that its own offset covers.
func TestCheckpointsHoldWhatWasCommitted(t *testing.T) {
	fs := vfs.NewMem()
	db, kv, err := openKV(t, stores.PebbleConfig{Dir: "db", FS: fs, Resources: resources(t)})
	check(t, err)
	const commits = 300
	taken := make(chan []stores.StoreState, 1)
	stop, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				ended <- n
				return
			default:
			}
			states, err := db.Checkpoint(fs, fmt.Sprint("checkpoint-", n))
			if err != nil {
				t.Error(err)
			}
			select {
			case taken <- states:
			default:
			}
		}
	}()
	db.SetLogID("kv", "log")
	for i := range commits {
		check(t, kv.Put(fmt.Sprint(i), []byte{byte(i)}))
		check(t, commit(db, int64(i+1)))
		if i == commits/2 {
			<-taken // one is under way while commits go on
		}
	}
	close(stop)
	n := <-ended
	check(t, db.Close())
	last := int64(-1)
	for i := range n {
		dir := fmt.Sprint("checkpoint-", i)
		states, err := stores.ReadCheckpoint(fs, dir)
		check(t, err)
		next := int64(0)
		if len(states) > 0 && states[0].Positioned {
			next = states[0].Next
			if states[0].Log != "log" || states[0].Name != "kv" || states[0].Kind != stores.KeyValueKind {
				t.Errorf("%s: %+v", dir, states)
			}
		}
		copied, kv, err := openKV(t, stores.PebbleConfig{Dir: dir, FS: fs, Resources: resources(t)})
		check(t, err)
		for k := range commits {
			_, ok, err := kv.Get(fmt.Sprint(k))
			check(t, err)
			if ok != (int64(k) < next) {
				t.Fatalf("%s stands at %d: key %d is there: %v", dir, next, k, ok)
			}
		}
		check(t, copied.Close())
		if next < last {
			t.Errorf("%s stands at %d, and the one before at %d", dir, next, last)
		}
		last = next
	}
	t.Logf("%d checkpoints during %d commits", n, commits)
}

// TestCheckpointsKeepTheirFiles changes and compacts the database behind a
// checkpoint, which stays as it was.
func TestCheckpointsKeepTheirFiles(t *testing.T) {
	fs := vfs.NewMem()
	db, kv, err := openKV(t, stores.PebbleConfig{Dir: "db", FS: fs, Resources: resources(t)})
	check(t, err)
	check(t, kv.Put("a", []byte("old")))
	check(t, commit(db, 1))
	_, err = db.Checkpoint(fs, "copy")
	check(t, err)
	if _, err := db.Checkpoint(fs, "copy"); err == nil {
		t.Error("a checkpoint was written over another one")
	}
	for i := range 50 {
		check(t, kv.Put("a", fmt.Append(nil, i)))
		check(t, commit(db, int64(2+i)))
		check(t, db.Flush())
	}
	check(t, db.Close())
	if _, err := db.Checkpoint(fs, "late"); !errors.Is(err, stores.ErrClosed) {
		t.Errorf("a checkpoint of a closed DB: %v, want ErrClosed", err)
	}
	copied, kv, err := openKV(t, stores.PebbleConfig{Dir: "copy", FS: fs, Resources: resources(t)})
	check(t, err)
	defer copied.Close()
	if v, ok, err := kv.Get("a"); err != nil || !ok || string(v) != "old" {
		t.Errorf("the checkpoint holds %q, %v, %v; want old", v, ok, err)
	}
	if _, err := stores.ReadCheckpoint(fs, "nowhere"); !errors.Is(err, stores.ErrCorrupt) {
		t.Errorf("a folder without a checkpoint: %v, want ErrCorrupt", err)
	}
}

// TestMemoryHasNoCheckpoints says so.
func TestMemoryHasNoCheckpoints(t *testing.T) {
	db, err := stores.Open(stores.Config{Engine: stores.NewMemory()})
	check(t, err)
	defer db.Close()
	if _, err := db.Checkpoint(vfs.NewMem(), "copy"); !errors.Is(err, stores.ErrNoCheckpoints) {
		t.Errorf("%v, want ErrNoCheckpoints", err)
	}
}

// TestTheRecordPathGoesOnDuringACheckpoint prints how long commits take while
// checkpoints are made one after another, and without.
func TestTheRecordPathGoesOnDuringACheckpoint(t *testing.T) {
	for _, checkpoints := range []bool{false, true} {
		dir, shared := t.TempDir(), stores.NewPebbleResources(64<<20, 256, 1)
		t.Cleanup(shared.Close)
		db, kv, err := openKV(t, stores.PebbleConfig{Dir: dir + "/db", Resources: shared})
		check(t, err)
		stop, ended := make(chan struct{}), make(chan struct{})
		var longest time.Duration
		made := 0
		go func() {
			defer close(ended)
			for checkpoints {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				if _, err := db.Checkpoint(vfs.Default, fmt.Sprintf("%s/copy-%d", dir, made)); err != nil {
					t.Error(err)
					return
				}
				longest = max(longest, time.Since(began))
				made++
			}
		}()
		var took []time.Duration
		value := make([]byte, 200)
		for i := range 100 {
			for k := range 1000 {
				check(t, kv.Put(fmt.Sprint(i*7919%50, k), value))
			}
			c, err := db.Collect()
			check(t, err)
			began := time.Now()
			check(t, db.Commit(c, map[string]int64{"kv": int64(i + 1)}, 0))
			took = append(took, time.Since(began))
		}
		close(stop)
		<-ended
		check(t, db.Close())
		slices.Sort(took)
		t.Logf("checkpoints %v (%d, longest %v): 1,000 entries are committed in %v, 99 %% within %v, longest %v", checkpoints, made,
			longest.Round(time.Microsecond), took[50].Round(time.Microsecond), took[98].Round(time.Microsecond), took[99].Round(time.Microsecond))
	}
}
