package changelog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Uploader stores the checkpoints of one open database. It remembers what it has
// hashed and stored, since tables never change while a database is open. It
// belongs to one goroutine.
type Uploader struct {
	set  *Checkpoints
	task string
	// hashes are those of the tables of the last checkpoint, by name.
	hashes map[string]ManifestFile
	// stored is when this uploader has stored a file, by hash.
	stored map[string]time.Time
	last   Checkpoint
	refers map[string]bool // the hashes that last refers to
}

// Uploaded is what one upload has done.
type Uploaded struct {
	Checkpoint Checkpoint
	// Files and Bytes are those of the checkpoint, NewFiles and NewBytes those
	// that were not in the store.
	Files, NewFiles int
	Bytes, NewBytes int64
}

// Uploader returns an uploader for a task whose database was opened.
func (c *Checkpoints) Uploader(task string) *Uploader {
	return &Uploader{set: c, task: task, hashes: map[string]ManifestFile{}, stored: map[string]time.Time{}}
}

// lockFile is the one file in a database's folder that is not part of it.
const lockFile = "LOCK"

// Upload stores a checkpoint that is in a folder. m says what is in it but for
// the files. After an error the checkpoint is as good as not stored, and the next
// Upload goes on with what has been.
func (u *Uploader) Upload(ctx context.Context, fs vfs.FS, dir string, m Manifest) (done Uploaded, err error) {
	c := u.set
	m.Format, m.Application, m.Task = manifestFormat, c.Application, u.task
	if m.Created == 0 {
		m.Created = c.Clock().UnixMilli()
	}
	if m.Files, err = u.hashAll(ctx, fs, dir); err != nil {
		return done, fmt.Errorf("changelog: checkpoint of task %s: %w", u.task, err)
	}
	there, err := u.there(ctx)
	if err != nil {
		return done, err
	}
	done.Files, done.Bytes = len(m.Files), m.Bytes()
	missing := m
	missing.Files = nil
	seen := map[string]bool{}
	for _, f := range m.Files {
		if f.Size > 0 && !there[f.Hash] && !seen[f.Hash] {
			seen[f.Hash] = true
			missing.Files = append(missing.Files, f)
		}
	}
	var mu sync.Mutex // guards done and stored
	err = c.each(ctx, &missing, func(ctx context.Context, f ManifestFile) error {
		if err := c.putFile(ctx, fs, dir, u.task, f); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		u.stored[f.Hash] = c.Clock()
		done.NewFiles++
		done.NewBytes += f.Size
		return nil
	})
	if err == nil {
		done.Checkpoint, err = c.putManifest(ctx, &m)
	}
	if err != nil {
		return done, fmt.Errorf("changelog: checkpoint of task %s: %w", u.task, err)
	}
	u.remember(done.Checkpoint, &m)
	return done, nil
}

// hashAll returns the files of a folder with their hashes.
func (u *Uploader) hashAll(ctx context.Context, fs vfs.FS, dir string) ([]ManifestFile, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	var files []ManifestFile
	hashes := map[string]ManifestFile{}
	for _, name := range names {
		if name == lockFile {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		if err != nil {
			return nil, err
		}
		known, ok := u.hashes[name]
		if !ok || known.Size != info.Size() {
			if known, err = hashFile(fs, path, name, info.Size()); err != nil {
				return nil, err
			}
		}
		files = append(files, known)
		if strings.HasSuffix(name, ".sst") {
			hashes[name] = known
		}
	}
	u.hashes = hashes
	return files, nil
}

func hashFile(fs vfs.FS, path, name string, size int64) (ManifestFile, error) {
	in, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return ManifestFile{}, err
	}
	h := sha256.New()
	n, err := io.CopyBuffer(h, in, buffer(size))
	return ManifestFile{Name: name, Size: n, Hash: hex.EncodeToString(h.Sum(nil))}, errors.Join(err, in.Close())
}

// there returns the hashes of the files that need not be stored: those that the
// newest manifest refers to, and those that were stored a moment ago, as far as
// the store lists them.
func (u *Uploader) there(ctx context.Context) (map[string]bool, error) {
	c := u.set
	blobs, err := c.list(ctx, folderOf(c.Application, u.task))
	if err != nil {
		return nil, err
	}
	var newest Checkpoint
	listed := map[string]bool{}
	for _, b := range blobs {
		if made, ok := parseKey(c.Application, b); ok {
			if newest.Key == "" || newestFirst(made, newest) < 0 {
				newest = made
			}
		} else if hash, ok := hashOf(c.Application, b.Key); ok {
			listed[hash] = true
		}
	}
	if newest.Key != "" && newest.Key != u.last.Key {
		m, err := c.Read(ctx, newest)
		switch {
		case err == nil:
			u.remember(newest, m)
		case errors.Is(err, ErrDamaged), errors.Is(err, ErrNewer):
			u.last, u.refers = Checkpoint{}, nil
		default:
			return nil, err
		}
	}
	there := map[string]bool{}
	now := c.Clock()
	for hash := range listed {
		when, ok := u.stored[hash]
		there[hash] = u.refers[hash] || ok && now.Sub(when) < c.Grace/2
	}
	for hash, when := range u.stored {
		if now.Sub(when) >= c.Grace/2 {
			delete(u.stored, hash)
		}
	}
	return there, nil
}

// remember notes what the newest manifest refers to.
func (u *Uploader) remember(made Checkpoint, m *Manifest) {
	u.last, u.refers = made, map[string]bool{}
	for _, f := range m.Files {
		u.refers[f.Hash] = true
	}
}

func hashOf(application, key string) (string, bool) {
	rest, in := strings.CutPrefix(key, application+"/")
	parts := fileRule.FindStringSubmatch(rest)
	if !in || parts == nil {
		return "", false
	}
	return parts[1], true
}

// putFile stores a file of a folder under its hash, unless it is another by now.
func (c *Checkpoints) putFile(ctx context.Context, fs vfs.FS, dir, task string, f ManifestFile) error {
	in, err := fs.Open(fs.PathJoin(dir, f.Name), vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	err = c.Store.Put(ctx, fileKey(c.Application, task, f.Hash), newChecked(in, f), f.Size)
	return errors.Join(err, in.Close())
}
