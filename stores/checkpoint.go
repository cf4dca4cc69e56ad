package stores

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A checkpoint is a copy of an engine as it was at one moment, in a folder of its
// own. Offsets are written with the entries that they cover, so that any moment
// between two writes will do: nobody waits for a commit, and no commit waits for
// a checkpoint.

// Checkpointer is an Engine of which checkpoints can be made.
type Checkpointer interface {
	// Checkpoint makes everything applied durable and puts a copy of it into dir,
	// which must not exist. The copy shares its files with the engine where the
	// file system has links, and stays as it is. It may run together with every
	// other call but Close.
	Checkpoint(dir string) error
}

// ErrNoCheckpoints: the engine is one that checkpoints cannot be made of.
var ErrNoCheckpoints = errors.New("stores: no checkpoints can be made of this engine")

// StoreState is what an engine remembers of one store.
type StoreState struct {
	Name string
	Kind Kind
	// Layout tells layouts of one kind apart.
	Layout string
	// Positioned says that the store has a place in its changelog: the next
	// offset to apply, and the time in Unix milliseconds at which the store was
	// known to hold everything before it.
	Positioned      bool
	Next, AppliedAt int64
	// Log is the id of the log that Next is in, or "" if that is not known.
	Log string
}

// Checkpoint puts a copy of the committed state into the folder dir, which must
// not exist, and returns what is in it: [ReadCheckpoint] of that folder. It holds
// up Close until it returns. Any goroutine may call it, and the task goes on
// meanwhile.
func (db *DB) Checkpoint(fs vfs.FS, dir string) ([]StoreState, error) {
	c, ok := db.engine.(Checkpointer)
	if !ok {
		return nil, ErrNoCheckpoints
	}
	db.mu.Lock()
	if db.closing {
		db.mu.Unlock()
		return nil, ErrClosed
	}
	db.views++
	db.mu.Unlock()
	err := c.Checkpoint(dir)
	db.viewClosed()
	if err != nil {
		return nil, fmt.Errorf("stores: checkpoint %s: %w", dir, err)
	}
	return ReadCheckpoint(fs, dir)
}

// States returns what the DB remembers of the stores that it has, in ascending
// order of their names: those on the disk and those that are open. Any goroutine
// may call it.
func (db *DB) States() []StoreState {
	db.mu.Lock()
	defer db.mu.Unlock()
	var states []StoreState
	for _, l := range db.layouts {
		s := StoreState{Name: l.name, Kind: Kind(l.kind), Layout: l.tag}
		if o, ok := db.offsets[l.name]; ok {
			s.Positioned, s.Next, s.AppliedAt, s.Log = true, o.next, o.appliedAt, db.logs[l.name]
		}
		states = append(states, s)
	}
	slices.SortFunc(states, func(a, b StoreState) int { return cmp.Compare(a.Name, b.Name) })
	return states
}

// ReadCheckpoint returns what is in a checkpoint. It changes nothing there but
// the lock file. Errors wrap ErrCorrupt and ErrLayout where they fit.
func ReadCheckpoint(fs vfs.FS, dir string) (states []StoreState, err error) {
	resources := NewPebbleResources(1<<20, 16, 1)
	defer resources.Close()
	engine, err := OpenPebble(PebbleConfig{Dir: dir, FS: fs, Resources: resources, readOnly: true})
	if err != nil {
		return nil, err
	}
	db, err := Open(Config{Engine: engine})
	if err != nil {
		return nil, err
	}
	states = db.States()
	return states, db.Close()
}

// Checkpoint is that of Checkpointer. Without a write-ahead log what is in the
// memtables would be missing, so these are flushed first; writers go on with new
// ones.
func (e *pebbleEngine) Checkpoint(dir string) error {
	return e.guard(func() error {
		if err := e.flush(); err != nil {
			return err
		}
		return e.db.Checkpoint(dir)
	})
}
