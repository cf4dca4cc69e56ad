package objectstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"

	"github.com/millrace/millrace/changelog"
)

// Store is a bucket or a folder. It is safe for use by several goroutines at once.
type Store struct {
	bucket *blob.Bucket
	name   string
}

var _ changelog.BlobStore = (*Store)(nil)

// ErrURL: the URL is none of a store.
var ErrURL = errors.New("objectstore: not the URL of a store")

// partBytes is what is sent of a file in one request: several are under way at a
// time, and each is held in memory.
const partBytes = 8 << 20

// Check returns what is wrong with the URL of a store. It wraps ErrURL.
func Check(text string) error {
	_, err := parse(text)
	return err
}

func parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	case u.User != nil:
		// The text is not repeated: it holds a secret.
		return nil, fmt.Errorf("%w: a key does not belong into a URL, which gets logged: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file with AWS_SHARED_CREDENTIALS_FILE", ErrURL)
	case u.Scheme == "s3" && u.Host != "", u.Scheme == "file" && u.Host == "" && len(u.Path) > 1:
		return u, nil
	}
	return nil, fmt.Errorf("%w: %q: want s3://BUCKET/PREFIX?region=REGION, with &endpoint=URL for a server that is not Amazon's, or file:///FOLDER", ErrURL, text)
}

// Open opens the store that a URL names. It does not reach for the bucket, which
// may be away for now; a folder is made if need be. Close it.
func Open(ctx context.Context, text string) (*Store, error) {
	u, err := parse(text)
	if err != nil {
		return nil, err
	}
	s := &Store{name: u.Scheme + "://" + u.Host + u.Path}
	if u.Scheme == "file" {
		s.bucket, err = fileblob.OpenBucket(filepath.FromSlash(u.Path), &fileblob.Options{
			CreateDir: true, NoTempDir: true, Metadata: fileblob.MetadataDontWrite,
		})
	} else {
		s.bucket, err = openS3(ctx, *u)
	}
	if err != nil {
		return nil, fmt.Errorf("objectstore: %s: %w", s.name, err)
	}
	return s, nil
}

func openS3(ctx context.Context, u url.URL) (*blob.Bucket, error) {
	prefix := strings.Trim(u.Path, "/")
	q := u.Query()
	if q.Has("endpoint") && !q.Has("use_path_style") {
		q.Set("use_path_style", "true") // elsewhere a bucket rarely has a host name of its own
	}
	if !q.Has("response_checksum_validation") {
		// All files are compared with their hashes; Amazon's library would warn of
		// each that was stored in parts.
		q.Set("response_checksum_validation", "when_required")
	}
	u.Path, u.RawQuery = "", q.Encode()
	bucket, err := new(s3blob.URLOpener).OpenBucketURL(ctx, &u)
	if err != nil || prefix == "" {
		return bucket, err
	}
	return blob.PrefixedBucket(bucket, prefix+"/"), nil
}

// String returns where the store is, without its settings.
func (s *Store) String() string { return s.name }

// Put is that of changelog.BlobStore. What is there before an upload is complete
// stays: a writer whose context has ended stores nothing when it is closed.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := s.bucket.NewWriter(ctx, key, &blob.WriterOptions{
		ContentType: "application/octet-stream", BufferSize: int(min(max(size, 1), partBytes)), MaxConcurrency: 1,
	})
	if err != nil {
		return s.wrap(key, err)
	}
	if _, err = io.Copy(w, r); err != nil {
		cancel()
		_ = w.Close() // it says that it was cancelled
		return s.wrap(key, err)
	}
	return s.wrap(key, w.Close())
}

// Get is that of changelog.BlobStore.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	r, err := s.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, s.wrap(key, err)
	}
	return r, nil
}

// List is that of changelog.BlobStore.
func (s *Store) List(ctx context.Context, prefix string) ([]changelog.Blob, error) {
	var blobs []changelog.Blob
	for it := s.bucket.List(&blob.ListOptions{Prefix: prefix}); ; {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return blobs, nil
		}
		if err != nil {
			return nil, s.wrap(prefix, err)
		}
		blobs = append(blobs, changelog.Blob{Key: o.Key, Size: o.Size, Modified: o.ModTime})
	}
}

// Delete is that of changelog.BlobStore.
func (s *Store) Delete(ctx context.Context, key string) error {
	err := s.bucket.Delete(ctx, key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return s.wrap(key, err)
}

// Close releases the store.
func (s *Store) Close() error { return s.bucket.Close() }

// wrap says which blob of which store err is about.
func (s *Store) wrap(key string, err error) error {
	switch {
	case err == nil:
		return nil
	case gcerrors.Code(err) == gcerrors.NotFound:
		return fmt.Errorf("%w: %s/%s: %w", changelog.ErrNoBlob, s.name, key, err)
	}
	return fmt.Errorf("objectstore: %s/%s: %w", s.name, key, err)
}
