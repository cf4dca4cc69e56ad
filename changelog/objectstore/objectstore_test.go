package objectstore_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/changelog/objectstore"
)

func open(t *testing.T, url string) *objectstore.Store {
	t.Helper()
	s, err := objectstore.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestAFolderIsABlobStore does what the contract says.
func TestAFolderIsABlobStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	s, ctx := open(t, "file://"+dir), t.Context()
	put := func(key, content string) {
		t.Helper()
		if err := s.Put(ctx, key, strings.NewReader(content), int64(len(content))); err != nil {
			t.Fatal(err)
		}
	}
	put("app/0_0/files/a", "one")
	put("app/0_0/files/a", "other")
	put("app/0_1/manifests/b", "")
	put("other/x", "two")
	broken := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("torn")))
	if err := s.Put(ctx, "app/0_0/files/a", broken, 100); err == nil || !strings.Contains(err.Error(), "torn") {
		t.Errorf("a reader that fails: %v", err)
	}
	r, err := s.Get(ctx, "app/0_0/files/a")
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || string(content) != "other" {
		t.Errorf("got %q, %v; want what was stored whole", content, err)
	}
	if _, err := s.Get(ctx, "app/0_0/files/none"); !errors.Is(err, changelog.ErrNoBlob) {
		t.Errorf("%v, want ErrNoBlob", err)
	}
	blobs, err := s.List(ctx, "app/")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, b := range blobs {
		keys = append(keys, b.Key)
		if age := time.Since(b.Modified); age < -time.Minute || age > time.Minute {
			t.Errorf("%s was stored %v ago", b.Key, age)
		}
	}
	if slices.Sort(keys); !slices.Equal(keys, []string{"app/0_0/files/a", "app/0_1/manifests/b"}) {
		t.Errorf("listed are %v", keys)
	}
	for range 2 { // that there is none is no error
		if err := s.Delete(ctx, "app/0_0/files/a"); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "app/0_0/files/a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// TestURLs says which are taken.
func TestURLs(t *testing.T) {
	for _, good := range []string{"s3://bucket", "s3://bucket/a/b?region=eu-central-1&endpoint=http://127.0.0.1:1", "file:///tmp/x"} {
		if err := objectstore.Check(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "s3://", "/tmp/x", "file://tmp/x", "file:///", "http://bucket", "s3://key:secret@bucket", "::"} {
		err := objectstore.Check(bad)
		if !errors.Is(err, objectstore.ErrURL) {
			t.Errorf("%s: %v, want ErrURL", bad, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: the secret is told", err)
		}
	}
	if _, err := objectstore.Open(t.Context(), "s3://bucket?region=x&nonsense=1"); err == nil {
		t.Error("a parameter that nobody knows was taken")
	}
}
