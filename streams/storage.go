package streams

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/internal/assign"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

// Storage keeps the local state of an instance's tasks. Its methods may be
// called by several goroutines at once, but not twice for one task.
type Storage interface {
	// Process returns an id that stays with the storage over restarts.
	Process() [16]byte
	// Open opens the state of a task. onFailure is called once if the engine
	// cannot go on; it may run on any goroutine and does not block.
	Open(id processors.TaskID, onFailure func(error)) (stores.Engine, error)
	// Remove removes the state of a task that is not open: it is corrupt, and
	// is restored from the changelogs.
	Remove(id processors.TaskID) error
	// Tasks returns the tasks of which there is state.
	Tasks() ([]processors.TaskID, error)
	Close() error
}

// memoryStorage keeps state in memory: it is gone when a task moves or the
// instance stops, and restored from the changelogs.
type memoryStorage struct{ process [16]byte }

// NewMemoryStorage returns a Storage that keeps everything in memory.
func NewMemoryStorage() Storage {
	m := &memoryStorage{}
	rand.Read(m.process[:])
	return m
}

func (m *memoryStorage) Process() [16]byte { return m.process }

func (m *memoryStorage) Open(processors.TaskID, func(error)) (stores.Engine, error) {
	return stores.NewMemory(), nil
}

func (m *memoryStorage) Remove(processors.TaskID) error      { return nil }
func (m *memoryStorage) Tasks() ([]processors.TaskID, error) { return nil, nil }
func (m *memoryStorage) Close() error                        { return nil }

// pebbleStorage keeps a Pebble database a task, in a folder named after it.
type pebbleStorage struct {
	fs        vfs.FS
	dir       string
	lock      io.Closer
	process   [16]byte
	resources *stores.PebbleResources
	logger    *slog.Logger
}

// processFile is the file in a state folder that holds its id.
const processFile = "process-id"

// NewPebbleStorage returns a Storage in a folder, which it locks against other
// instances. cacheBytes are for the blocks and memtables of about tasks
// databases together. A nil fs is the operating system's.
func NewPebbleStorage(dir string, fs vfs.FS, cacheBytes int64, tasks int, logger *slog.Logger) (Storage, error) {
	if fs == nil {
		fs = vfs.Default
	}
	s := &pebbleStorage{fs: fs, dir: dir, logger: logger}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("%w: state folder %s cannot be made: %w; choose another with StateDir (--state)", stores.ErrReadOnly, dir, err)
	}
	var err error
	if s.lock, err = pebble.LockDirectory(dir, fs); err != nil {
		if isPermission(err) {
			return nil, fmt.Errorf("%w: state folder %s: %w; choose another with StateDir (--state)", stores.ErrReadOnly, dir, err)
		}
		return nil, fmt.Errorf("%w: state folder %s is held by another instance: stop it, or choose another folder with StateDir (--state): %w", stores.ErrInUse, dir, err)
	}
	if s.process, err = s.identify(); err == nil {
		err = s.removeLeftovers()
	}
	if err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	s.resources = stores.NewPebbleResources(cacheBytes, 1000, tasks)
	return s, nil
}

func isPermission(err error) bool { return errors.Is(err, fs.ErrPermission) }

// identify reads the folder's id, or makes one.
func (s *pebbleStorage) identify() (id [16]byte, err error) {
	path := s.fs.PathJoin(s.dir, processFile)
	f, err := s.fs.Open(path)
	if err == nil {
		defer f.Close()
		if _, err = io.ReadFull(f, id[:]); err == nil {
			return id, nil
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return id, fmt.Errorf("%s: %w", path, err)
		}
		// A crash came between its making and its writing.
	} else if !errors.Is(err, fs.ErrNotExist) {
		return id, fmt.Errorf("%w: %s: %w", stores.ErrReadOnly, path, err)
	}
	rand.Read(id[:])
	out, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return id, fmt.Errorf("%w: %s: %w", stores.ErrReadOnly, path, err)
	}
	_, err = out.Write(id[:])
	if err = errors.Join(err, out.Sync(), out.Close(), s.syncDir()); err != nil {
		return id, fmt.Errorf("%w: %s: %w", stores.ErrReadOnly, path, err)
	}
	return id, nil
}

// syncDir makes the names in the folder durable.
func (s *pebbleStorage) syncDir() error {
	dir, err := s.fs.OpenDir(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (s *pebbleStorage) Process() [16]byte { return s.process }

func (s *pebbleStorage) config(id processors.TaskID) stores.PebbleConfig {
	return stores.PebbleConfig{
		Dir: s.fs.PathJoin(s.dir, id.String()), FS: s.fs, Resources: s.resources,
		Logger: s.logger.With("task", id.String()),
	}
}

func (s *pebbleStorage) Open(id processors.TaskID, onFailure func(error)) (stores.Engine, error) {
	c := s.config(id)
	c.OnFailure = onFailure
	return stores.OpenPebble(c)
}

func (s *pebbleStorage) Remove(id processors.TaskID) error { return stores.RemovePebble(s.config(id)) }

func (s *pebbleStorage) Tasks() ([]processors.TaskID, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, fmt.Errorf("state folder %s: %w", s.dir, err)
	}
	var ids []processors.TaskID
	for _, name := range names {
		var id processors.TaskID
		if n, err := fmt.Sscanf(name, "%d_%d", &id.Sub, &id.Partition); err == nil && n == 2 && strings.EqualFold(name, id.String()) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// FS is that of Folders.
func (s *pebbleStorage) FS() vfs.FS { return s.fs }

// Folder is that of Folders.
func (s *pebbleStorage) Folder(id processors.TaskID) string { return s.config(id).Dir }

// removeLeftovers removes what was on its way to and from checkpoints when an
// earlier process ended.
func (s *pebbleStorage) removeLeftovers() error {
	names, err := s.fs.List(s.dir)
	for _, name := range names {
		if strings.HasSuffix(name, leavingEnding) || strings.HasSuffix(name, arrivingEnding) {
			err = errors.Join(err, s.fs.RemoveAll(s.fs.PathJoin(s.dir, name)))
		}
	}
	return err
}

// CacheBytes returns what the cache that the databases share holds.
func (s *pebbleStorage) CacheBytes() int64 { return s.resources.CacheBytes() }

// ResizeCache changes how much that cache may hold.
func (s *pebbleStorage) ResizeCache(bytes int64) { s.resources.ResizeCache(bytes) }

func (s *pebbleStorage) Close() error {
	s.resources.Close()
	return s.lock.Close()
}

func toAssign(id processors.TaskID) assign.Task {
	return assign.Task{Sub: int32(id.Sub), Partition: id.Partition}
}

func fromAssign(t assign.Task) processors.TaskID {
	return processors.TaskID{Sub: int(t.Sub), Partition: t.Partition}
}
