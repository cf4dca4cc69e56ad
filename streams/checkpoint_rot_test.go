package streams

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
)

// rottenCheckpoints has the occurrences topology count two events of each of some keys,
// breaks its state on the disk, which it returns, and has an instance store that as
// checkpoints, which are whole for all that their files tell.
func rottenCheckpoints(w *world, store *blobs, top *topology.Topology, keys int) *vfs.MemFS {
	t := w.t.(*testing.T)
	disk := newDisk()
	p := w.start("before", disk, top, nil)
	w.occur(keys)
	w.occur(keys)
	w.pass(compacted)
	p.stop()
	if breakTables(t, disk, "state/0_0") == 0 {
		t.Fatal("there is no table to break")
	}
	p = w.start("rotten", disk, top, checkpointed(store))
	w.until("there is a checkpoint", func() bool { return store.manifests(t, "occurrences")["0_0"] > 0 })
	p.stop()
	set, all := store.checkpoints(t, "occurrences")
	if len(all) == 0 {
		t.Fatal("there is no checkpoint")
	}
	for _, made := range all {
		m, err := set.Read(context.Background(), made)
		if err == nil {
			err = set.Verify(context.Background(), m)
		}
		if err != nil {
			t.Fatalf("the rot is to be seen in the store: %v", err)
		}
	}
	if w.log.count("local state is corrupt") != 0 {
		t.Fatal("the rot was noticed before anybody read it")
	}
	return disk
}

// TestACheckpointOfCorruptStateIsNotRestoredAgain: whoever finds that its state is
// corrupt, be it from the disk or from a checkpoint, goes by the changelogs, and
// by checkpoints again once it has stored one.
func TestACheckpointOfCorruptStateIsNotRestoredAgain(t *testing.T) {
	for _, begins := range []string{"on the disk", "from the checkpoint"} {
		t.Run(begins, func(t *testing.T) {
			inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
				const keys = 400
				store, top := newBlobs(), occurrences(t)
				disk, restored := rottenCheckpoints(w, store, top, keys), 0
				if begins == "from the checkpoint" {
					disk, restored = newDisk(), 1
				}
				p := w.start("after", disk, top, checkpointed(store))
				w.settled(1, p)
				w.occur(keys)
				if n := w.log.count("local state is corrupt"); n != 1 {
					t.Errorf("corrupt state was noticed %d times", n)
				}
				if n := w.log.count("state begins from a checkpoint"); n != restored {
					t.Errorf("state began from a checkpoint %d times, want %d", n, restored)
				}
				w.until("the mended state is stored", func() bool { return p.in.checkpoints.distrustOf(TaskID{}) == 0 })
				p.stop()
				p = w.start("mended", newDisk(), top, checkpointed(store))
				w.settled(1, p)
				w.occur(keys)
				p.stop()
				if n := w.log.count("state begins from a checkpoint"); n != restored+1 {
					t.Errorf("state began from a checkpoint %d times, want %d", n, restored+1)
				}
				if n := w.log.count("local state is corrupt"); n != 1 {
					t.Errorf("corrupt state was noticed %d times", n)
				}
				w.expectOccurrences(keys, 4)
			})
		})
	}
}

// unreadable is a Storage that finds state corrupt when it is read, unless it began
// here.
type unreadable struct{ Folders }

func (u unreadable) Open(id TaskID, onFailure func(error)) (stores.Engine, error) {
	_, err := u.FS().Stat(u.Folder(id))
	engine, openErr := u.Folders.Open(id, onFailure)
	if err != nil || openErr != nil {
		return engine, openErr
	}
	return &unreadableEngine{Engine: engine, onFailure: onFailure}, nil
}

type unreadableEngine struct {
	stores.Engine
	onFailure func(error)
}

// Get fails when it is asked for an entry of a store: what the DB keeps of its own
// begins with zeros.
func (e *unreadableEngine) Get(dst, key []byte) ([]byte, bool, error) {
	if bytes.HasPrefix(key, []byte{0, 0, 0, 0}) {
		return e.Engine.Get(dst, key)
	}
	e.onFailure(stores.ErrCorrupt)
	return dst, false, fmt.Errorf("a block: %w", stores.ErrCorrupt)
}

// TestACheckpointThatIsCorruptAtTheStart is given up for the changelog, and the
// instance lives.
func TestACheckpointThatIsCorruptAtTheStart(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top, store := counts(t), newBlobs()
		a := w.start("a", newDisk(), top, checkpointed(store))
		w.settled(tasks, a)
		w.pass(5 * time.Second)
		a.kill()
		b := w.start("b", newDisk(), top, func(c *Config) {
			checkpointed(store)(c)
			c.Storage = unreadable{c.Storage.(Folders)}
		})
		w.settled(tasks, b)
		if n := w.log.count("state begins from a checkpoint"); n != stateful {
			t.Errorf("%d tasks began from a checkpoint, want %d", n, stateful)
		}
		if n := w.log.count("local state is corrupt"); n != stateful {
			t.Errorf("the state of %d tasks was corrupt, want %d", n, stateful)
		}
		want := l.end()
		w.pass(time.Second)
		b.stop()
		w.drain()
		w.expectAtLeast(want)
		if errors.Is(b.err, stores.ErrCorrupt) {
			t.Errorf("the instance ended: %v", b.err)
		}
	})
}
