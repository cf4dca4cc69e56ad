package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/stores"
)

// StateFolder is the folder of the local state of an application's tasks, held
// against instances. It is for tools that fill it; one goroutine uses it.
type StateFolder struct {
	storage Folders
}

// OpenStateFolder opens a folder, StateDir with the application's name, and makes
// it if need be. The error wraps [stores.ErrInUse] if an instance has it.
func OpenStateFolder(dir string) (*StateFolder, error) {
	s, err := NewPebbleStorage(dir, nil, 1<<20, 1, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return &StateFolder{storage: s.(Folders)}, nil
}

// Close lets the folder go.
func (f *StateFolder) Close() error { return f.storage.Close() }

// Has reports whether there is state of a task.
func (f *StateFolder) Has(name string) (bool, error) {
	ids, err := f.storage.Tasks()
	for _, id := range ids {
		if id.String() == name {
			return true, err
		}
	}
	return false, err
}

// Restore puts a checkpoint in the place of a task's state, once it is whole and
// is what its manifest says; an error that wraps [changelog.ErrDamaged] says that it is
// not. An instance that finds it decides whether it can go on from there.
func (f *StateFolder) Restore(ctx context.Context, set *changelog.Checkpoints, m *changelog.Manifest) error {
	var id TaskID
	if n, err := fmt.Sscanf(m.Task, "%d_%d", &id.Sub, &id.Partition); n != 2 || err != nil || id.String() != m.Task {
		return fmt.Errorf("%w: there is no task %q", changelog.ErrDamaged, m.Task)
	}
	arriving := f.storage.Folder(id) + arrivingEnding
	if err := fetchWhole(ctx, set, m, f.storage.FS(), arriving); err != nil {
		return errors.Join(err, f.storage.FS().RemoveAll(arriving))
	}
	return installCheckpoint(f.storage, id)
}

// fetchWhole fetches a checkpoint and sees whether it is what its manifest says.
func fetchWhole(ctx context.Context, set *changelog.Checkpoints, m *changelog.Manifest, fs vfs.FS, dir string) error {
	if err := set.Fetch(ctx, m, fs, dir); err != nil {
		return err
	}
	states, err := stores.ReadCheckpoint(fs, dir)
	if err != nil {
		return fmt.Errorf("%w: %w", changelog.ErrDamaged, err)
	}
	at := map[string]changelog.Position{}
	for _, s := range states {
		if s.Positioned {
			at[s.Name] = changelog.Position{Next: s.Next, AppliedAt: s.AppliedAt, Log: s.Log}
		}
	}
	for _, want := range m.Stores {
		if got, ok := at[want.Name]; !ok || got != want.Position() {
			return fmt.Errorf("%w: store %q stands at %d, and the manifest says %d", changelog.ErrDamaged, want.Name, got.Next, want.Next)
		}
	}
	return nil
}

// installCheckpoint puts a checkpoint that was fetched in the place of a task's
// state, which is not open. A crash in the middle leaves the task without state,
// which is then restored like any that never was there.
func installCheckpoint(storage Folders, id TaskID) error {
	if err := storage.Remove(id); err != nil {
		return err
	}
	dir := storage.Folder(id)
	if err := storage.FS().Rename(dir+arrivingEnding, dir); err != nil {
		return fmt.Errorf("checkpoint of task %v: %w", id, err)
	}
	return nil
}
