package changelog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// BlobStore keeps named bytes: a bucket of an object store, or a folder. It is
// safe for use by several goroutines and processes at once. What one of them has
// put all others see from then on.
type BlobStore interface {
	// Put stores size bytes of r under key, in place of what is there. If it
	// returns an error, r's errors included, or never returns, then what was there
	// before stays. A store that cannot promise that is found out by the hashes.
	Put(ctx context.Context, key string, r io.Reader, size int64) error

	// Get returns the content of a blob, from its start. The error wraps ErrNoBlob
	// if there is none.
	Get(ctx context.Context, key string) (io.ReadCloser, error)

	// List returns the blobs whose keys begin with prefix, in any order.
	List(ctx context.Context, prefix string) ([]Blob, error)

	// Delete removes a blob. That there is none is no error.
	Delete(ctx context.Context, key string) error
}

// Blob is what a list says of a blob.
type Blob struct {
	Key  string
	Size int64
	// Modified is when it was put last, by the store's clock.
	Modified time.Time
}

// ErrNoBlob: there is no blob of that key.
var ErrNoBlob = errors.New("changelog: no such blob")

// MemoryBlobs is a BlobStore in memory, for tests.
type MemoryBlobs struct {
	clock func() time.Time

	mu    sync.Mutex // guards what follows; never held across a wait
	blobs map[string]memoryBlob
}

type memoryBlob struct {
	content  []byte
	modified time.Time
}

// NewMemoryBlobs returns an empty store. A nil clock is time.Now.
func NewMemoryBlobs(clock func() time.Time) *MemoryBlobs {
	if clock == nil {
		clock = time.Now
	}
	return &MemoryBlobs{clock: clock, blobs: map[string]memoryBlob{}}
}

// Put is that of BlobStore.
func (m *MemoryBlobs) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	content, err := io.ReadAll(r)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && int64(len(content)) != size {
		err = fmt.Errorf("%s: %d bytes were announced and %d came", key, size, len(content))
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[key] = memoryBlob{content, m.clock()}
	return nil
}

// Get is that of BlobStore.
func (m *MemoryBlobs) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.blobs[key]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNoBlob, key)
	}
	return io.NopCloser(bytes.NewReader(b.content)), nil
}

// List is that of BlobStore, in ascending order of keys.
func (m *MemoryBlobs) List(ctx context.Context, prefix string) ([]Blob, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var blobs []Blob
	for key, b := range m.blobs {
		if strings.HasPrefix(key, prefix) {
			blobs = append(blobs, Blob{key, int64(len(b.content)), b.modified})
		}
	}
	slices.SortFunc(blobs, func(a, b Blob) int { return strings.Compare(a.Key, b.Key) })
	return blobs, nil
}

// Delete is that of BlobStore.
func (m *MemoryBlobs) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.blobs, key)
	return nil
}
