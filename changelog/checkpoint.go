package changelog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"
)

// This file is the contract between who makes checkpoints, who restores from
// them, and who removes them, all of whom may be at it at once.
//
// # Making
//
// An Uploader stores the files of a folder, each under its hash, unless a
// manifest in the store refers to it already or it was stored a moment ago, and
// then the manifest. Whatever happens before that has stored a few files that
// nobody looks at.
//
// # Restoring
//
// List gives the checkpoints of a task, newest first. Whoever wants one reads its
// manifest, sees whether its positions can be gone on from (WholeReason), and
// fetches its files, each of which is compared with its hash. ErrDamaged says
// that the next older one is to be tried; without any the changelog has
// everything.
//
// # Removing
//
// Prune keeps the newest manifests and removes the files that no manifest refers
// to. A file that was stored less than Grace ago is left alone, since its
// manifest may be on its way; an Uploader stores a file again that nobody refers
// to and that is half that old.

// CheckpointConfig says where the checkpoints of an application are.
type CheckpointConfig struct {
	Store       BlobStore
	Application string
	// Keep is how many checkpoints of a task are kept. Default: 3.
	Keep int
	// Grace is for how long a file is kept that no manifest refers to. It must
	// be more than any upload takes, and than clocks differ. Default: 1 h.
	Grace time.Duration
	// Parallel is how many files are on their way at a time. Default: 4.
	Parallel int
	// Clock returns the wall-clock time. Default: time.Now.
	Clock func() time.Time
}

// Checkpoints are the checkpoints of an application's tasks. Its methods may be
// called by several goroutines at once.
type Checkpoints struct{ CheckpointConfig }

// Defaults of a CheckpointConfig.
const (
	DefaultKeep  = 3
	DefaultGrace = time.Hour
)

// NewCheckpoints returns the checkpoints that a store has, and is to get.
func NewCheckpoints(cfg CheckpointConfig) *Checkpoints {
	if cfg.Keep <= 0 {
		cfg.Keep = DefaultKeep
	}
	if cfg.Grace <= 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = atOnce
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return &Checkpoints{cfg}
}

const (
	// atOnce is the default of Parallel.
	atOnce = 4
	// leastTimeout is what a request of the store may take, and slowest the bytes
	// a second that a file may come or go at.
	leastTimeout = 30 * time.Second
	slowest      = 1 << 20
)

// timeout bounds a request that moves some bytes.
func timeout(ctx context.Context, size int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, leastTimeout+time.Duration(size/slowest)*time.Second)
}

// List returns the checkpoints of a task, the newest first: that which has come
// furthest in the changelogs. With an empty task it returns those of all tasks.
func (c *Checkpoints) List(ctx context.Context, task string) ([]Checkpoint, error) {
	prefix := c.Application + "/"
	if task != "" {
		prefix = manifestsOf(c.Application, task)
	}
	blobs, err := c.list(ctx, prefix)
	if err != nil {
		return nil, err
	}
	var all []Checkpoint
	for _, b := range blobs {
		if found, ok := parseKey(c.Application, b); ok {
			all = append(all, found)
		}
	}
	slices.SortFunc(all, newestFirst)
	return all, nil
}

func (c *Checkpoints) list(ctx context.Context, prefix string) ([]Blob, error) {
	ctx, cancel := timeout(ctx, 0)
	defer cancel()
	blobs, err := c.Store.List(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("changelog: listing checkpoints %s: %w", prefix, err)
	}
	return blobs, nil
}

// Read returns the manifest of a checkpoint. The error wraps ErrDamaged or
// ErrNewer if that can never be restored from.
func (c *Checkpoints) Read(ctx context.Context, of Checkpoint) (*Manifest, error) {
	const most = 64 << 20
	ctx, cancel := timeout(ctx, 0)
	defer cancel()
	var content []byte
	r, err := c.Store.Get(ctx, of.Key)
	if err == nil {
		content, err = io.ReadAll(io.LimitReader(r, most))
		err = errors.Join(err, r.Close())
	}
	var m *Manifest
	switch {
	case errors.Is(err, ErrNoBlob):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	case err == nil:
		m, err = decodeManifest(content)
	}
	if err == nil && (m.Application != c.Application || m.Task != of.Task) {
		err = fmt.Errorf("%w: it is that of task %s of %s", ErrDamaged, m.Task, m.Application)
	}
	if err != nil {
		return nil, fmt.Errorf("changelog: checkpoint %s: %w", of.Key, err)
	}
	return m, nil
}

// Fetch writes the files of a checkpoint to a folder, in place of what is there,
// and makes them durable. The error wraps ErrDamaged if one of them is missing or
// another than was stored; the folder is then of no use.
func (c *Checkpoints) Fetch(ctx context.Context, m *Manifest, fs vfs.FS, dir string) error {
	if err := errors.Join(fs.RemoveAll(dir), fs.MkdirAll(dir, 0o755)); err != nil {
		return fmt.Errorf("changelog: restoring a checkpoint to %s: %w", dir, err)
	}
	err := c.each(ctx, m, func(ctx context.Context, f ManifestFile) error {
		out, err := fs.Create(fs.PathJoin(dir, f.Name), vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		err = c.copy(ctx, m, f, out)
		if err == nil {
			err = out.Sync()
		}
		return errors.Join(err, out.Close())
	})
	if err == nil {
		err = syncFolder(fs, dir)
	}
	if err != nil {
		return fmt.Errorf("changelog: restoring a checkpoint of task %s to %s: %w", m.Task, dir, err)
	}
	return nil
}

// Verify reads all files of a checkpoint and compares them with their hashes. The
// error wraps ErrDamaged if one is missing or differs.
func (c *Checkpoints) Verify(ctx context.Context, m *Manifest) error {
	return c.each(ctx, m, func(ctx context.Context, f ManifestFile) error { return c.copy(ctx, m, f, io.Discard) })
}

// each does something for each file of a checkpoint, some at a time.
func (c *Checkpoints) each(ctx context.Context, m *Manifest, do func(context.Context, ManifestFile) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.Parallel)
	for _, f := range m.Files {
		group.Go(func() error {
			ctx, cancel := timeout(ctx, f.Size)
			defer cancel()
			if err := do(ctx, f); err != nil {
				return fmt.Errorf("file %s: %w", f.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// copy writes the content of a file to w.
func (c *Checkpoints) copy(ctx context.Context, m *Manifest, f ManifestFile, w io.Writer) error {
	if f.Size == 0 {
		return nil // nothing is kept of it
	}
	r, err := c.Store.Get(ctx, fileKey(m.Application, m.Task, f.Hash))
	if errors.Is(err, ErrNoBlob) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(w, newChecked(r, f), buffer(f.Size))
	return errors.Join(err, r.Close())
}

// buffer returns one to copy so many bytes with.
func buffer(size int64) []byte { return make([]byte, min(size+1, 256<<10)) }

func syncFolder(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checked reads a file and fails at its end if it was not what it should be.
type checked struct {
	r    io.Reader
	file ManifestFile
	hash hash.Hash
	size int64
}

func newChecked(r io.Reader, f ManifestFile) *checked {
	// One byte more than there should be is enough to see that it is too long.
	return &checked{r: io.LimitReader(r, f.Size+1), file: f, hash: sha256.New()}
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.hash.Write(p[:n])
	c.size += int64(n)
	if c.size > c.file.Size || errors.Is(err, io.EOF) && c.size < c.file.Size {
		return n, fmt.Errorf("%w: it has another size than the %d bytes that were stored", ErrDamaged, c.file.Size)
	}
	if errors.Is(err, io.EOF) && hex.EncodeToString(c.hash.Sum(nil)) != c.file.Hash {
		return n, fmt.Errorf("%w: its content is not what was stored", ErrDamaged)
	}
	return n, err
}

// putManifest stores a manifest and returns its key.
func (c *Checkpoints) putManifest(ctx context.Context, m *Manifest) (Checkpoint, error) {
	encoded, err := m.encode()
	if err != nil {
		return Checkpoint{}, err
	}
	ctx, cancel := timeout(ctx, int64(len(encoded)))
	defer cancel()
	key := m.key(encoded)
	made, _ := parseKey(m.Application, Blob{Key: key, Modified: c.Clock()})
	return made, c.Store.Put(ctx, key, bytes.NewReader(encoded), int64(len(encoded)))
}
