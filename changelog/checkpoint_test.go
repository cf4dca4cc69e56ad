package changelog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/changelog"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// faulty is a blob store to which things happen, one at a time.
type faulty struct {
	*changelog.MemoryBlobs
	// before is called before each request, and can fail it.
	before func(request, key string) error
	// torn has a Put that fails leave half of its content, as an object store that
	// breaks its promise would.
	torn bool
	// shuffle has lists come in another order.
	shuffle *rand.Rand
	puts    []string
}

func newFaulty(clock func() time.Time) *faulty {
	return &faulty{MemoryBlobs: changelog.NewMemoryBlobs(clock), before: func(string, string) error { return nil }}
}

func (f *faulty) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := f.before("put", key); err != nil {
		if f.torn {
			half := content[:len(content)/2]
			return errors.Join(err, f.MemoryBlobs.Put(ctx, key, bytes.NewReader(half), int64(len(half))))
		}
		return err
	}
	f.puts = append(f.puts, key)
	return f.MemoryBlobs.Put(ctx, key, bytes.NewReader(content), size)
}

func (f *faulty) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := f.before("get", key); err != nil {
		return nil, err
	}
	return f.MemoryBlobs.Get(ctx, key)
}

func (f *faulty) List(ctx context.Context, prefix string) ([]changelog.Blob, error) {
	if err := f.before("list", prefix); err != nil {
		return nil, err
	}
	blobs, err := f.MemoryBlobs.List(ctx, prefix)
	if f.shuffle != nil {
		f.shuffle.Shuffle(len(blobs), func(i, j int) { blobs[i], blobs[j] = blobs[j], blobs[i] })
	}
	return blobs, err
}

func (f *faulty) Delete(ctx context.Context, key string) error {
	if err := f.before("delete", key); err != nil {
		return err
	}
	return f.MemoryBlobs.Delete(ctx, key)
}

// folder is what a database's folder holds.
type folder map[string]string

func (f folder) write(t *testing.T, fs vfs.FS, dir string) {
	t.Helper()
	check(t, fs.RemoveAll(dir))
	check(t, fs.MkdirAll(dir, 0o755))
	for name, content := range f {
		out, err := fs.Create(fs.PathJoin(dir, name), vfs.WriteCategoryUnspecified)
		check(t, err)
		_, err = out.Write([]byte(content))
		check(t, errors.Join(err, out.Close()))
	}
}

func readFolder(t *testing.T, fs vfs.FS, dir string) folder {
	t.Helper()
	names, err := fs.List(dir)
	check(t, err)
	f := folder{}
	for _, name := range names {
		in, err := fs.Open(fs.PathJoin(dir, name))
		check(t, err)
		content, err := io.ReadAll(in)
		check(t, errors.Join(err, in.Close()))
		f[name] = string(content)
	}
	return f
}

// version is the folder of a database that has seen n changes: it shares most of
// its tables with the one before.
func version(n int) folder {
	f := folder{"MANIFEST-1": fmt.Sprint("manifest of ", n), "marker.format-version.000001.025": "", "OPTIONS-2": "options"}
	for i := max(0, n-3); i <= n; i++ {
		f[fmt.Sprintf("%06d.sst", i)] = strings.Repeat(fmt.Sprint("table ", i, " "), 20)
	}
	return f
}

func manifestAt(next int, log string) changelog.Manifest {
	return changelog.Manifest{Stores: []changelog.ManifestStore{{Name: "kv", Topic: "t", Log: log, Next: int64(next), AppliedAt: 1}}}
}

func checkpoints(store changelog.BlobStore, clock func() time.Time) *changelog.Checkpoints {
	return changelog.NewCheckpoints(changelog.CheckpointConfig{Store: store, Application: "app", Parallel: 1, Clock: clock})
}

// upload stores a version by an uploader.
func upload(t *testing.T, u *changelog.Uploader, n int, log string) (changelog.Uploaded, error) {
	fs := vfs.NewMem()
	version(n).write(t, fs, "db")
	return u.Upload(t.Context(), fs, "db", manifestAt(n, log))
}

// newest returns the newest checkpoint that is whole, as a restore finds it.
func newest(t *testing.T, c *changelog.Checkpoints) (next int, content folder) {
	t.Helper()
	all, err := c.List(t.Context(), "0_0")
	check(t, err)
	for _, made := range all {
		m, err := c.Read(t.Context(), made)
		if err == nil {
			fs := vfs.NewMem()
			if err = c.Fetch(t.Context(), m, fs, "to"); err == nil {
				return int(m.Position()), readFolder(t, fs, "to")
			}
		}
		if !errors.Is(err, changelog.ErrDamaged) {
			t.Fatal(err)
		}
	}
	return 0, nil
}

// TestAnUploadThatEndsAnywhereIsNotSeen fails the requests of an upload from one
// on, for each: what a restore finds is the checkpoint before or the new one,
// whole, and the next upload mends everything.
func TestAnUploadThatEndsAnywhereIsNotSeen(t *testing.T) {
	for _, torn := range []bool{false, true} {
		for fails := 0; ; fails++ {
			store := newFaulty(nil)
			c := checkpoints(store, nil)
			_, err := upload(t, c.Uploader("0_0"), 5, "log")
			check(t, err)
			store.torn = torn
			n, gone := 0, errors.New("gone")
			store.before = func(string, string) error {
				if n++; n > fails {
					return gone
				}
				return nil
			}
			_, err = upload(t, c.Uploader("0_0"), 7, "log")
			store.before = func(string, string) error { return nil }
			next, content := newest(t, c)
			if want := map[bool]int{true: 7, false: 5}[err == nil]; next != want || !maps.Equal(content, version(want)) {
				t.Fatalf("torn %v, failing from request %d on: %v; found version %d with %v, want %d", torn, fails, err, next, content, want)
			}
			if err == nil {
				if fails < 5 {
					t.Fatalf("an upload took %d requests: nothing was tested", fails)
				}
				break
			}
			_, err = upload(t, c.Uploader("0_0"), 7, "log")
			check(t, err)
			if next, content := newest(t, c); next != 7 || !maps.Equal(content, version(7)) {
				t.Fatalf("torn %v, failing from request %d on: mended to version %d with %v", torn, fails, next, content)
			}
		}
	}
}

// TestOnlyNewFilesAreUploaded counts.
func TestOnlyNewFilesAreUploaded(t *testing.T) {
	store := newFaulty(nil)
	c := checkpoints(store, nil)
	u, n := c.Uploader("0_0"), 5
	first, err := upload(t, u, n, "log")
	check(t, err)
	if first.Files != 7 || first.NewFiles != 6 { // an empty file is in the manifest only
		t.Errorf("the first upload: %+v", first)
	}
	for _, u := range []*changelog.Uploader{u, c.Uploader("0_0")} { // the second one begins with what it finds
		store.puts = nil
		n++
		next, err := upload(t, u, n, "log")
		check(t, err)
		if next.NewFiles != 2 || next.Bytes <= next.NewBytes { // a table, and Pebble's own manifest
			t.Errorf("upload %d: %+v: %v", n, next, store.puts)
		}
	}
	same, err := upload(t, u, n, "log")
	check(t, err)
	if same.NewFiles != 0 {
		t.Errorf("the same again: %+v", same)
	}
}

// TestDamageIsFoundAndTheOneBeforeTaken damages each blob of a checkpoint, in each
// way.
func TestDamageIsFoundAndTheOneBeforeTaken(t *testing.T) {
	ways := map[string]func(string) (string, bool){
		"flipped":   func(s string) (string, bool) { return s[:len(s)/2] + string(s[len(s)/2]^1) + s[len(s)/2+1:], true },
		"truncated": func(s string) (string, bool) { return s[:len(s)-1], true },
		"emptied":   func(string) (string, bool) { return "", true },
		"longer":    func(s string) (string, bool) { return s + "x", true },
		"deleted":   func(string) (string, bool) { return "", false },
	}
	for name, damage := range ways {
		store := newFaulty(nil)
		c := checkpoints(store, nil)
		_, err := upload(t, c.Uploader("0_0"), 1, "log")
		check(t, err)
		before, err := store.List(t.Context(), "")
		check(t, err)
		_, err = upload(t, c.Uploader("0_0"), 9, "log") // shares no table
		check(t, err)
		blobs, err := store.List(t.Context(), "")
		check(t, err)
		tried := 0
		for _, b := range blobs {
			if slices.ContainsFunc(before, func(old changelog.Blob) bool { return old.Key == b.Key }) {
				continue
			}
			tried++
			r, err := store.Get(t.Context(), b.Key)
			check(t, err)
			content, err := io.ReadAll(r)
			check(t, err)
			check(t, store.Delete(t.Context(), b.Key))
			if bad, there := damage(string(content)); there {
				check(t, store.Put(t.Context(), b.Key, strings.NewReader(bad), int64(len(bad))))
			}
			if next, content := newest(t, c); next != 1 || !maps.Equal(content, version(1)) {
				t.Errorf("%s was %s: version %d was restored, with %v", b.Key, name, next, content)
			}
			check(t, store.Put(t.Context(), b.Key, bytes.NewReader(content), int64(len(content))))
		}
		if next, content := newest(t, c); next != 9 || !maps.Equal(content, version(9)) || tried < 5 {
			t.Errorf("%s: mended to version %d with %v, %d blobs", name, next, content, tried)
		}
	}
}

// TestWhoWritesLateHidesNothing has a process that lost its task store what it has,
// and the store list in any order.
func TestWhoWritesLateHidesNothing(t *testing.T) {
	store := newFaulty(nil)
	store.shuffle = rand.New(rand.NewPCG(1, 1))
	c := checkpoints(store, nil)
	zombie, owner := c.Uploader("0_0"), c.Uploader("0_0")
	for n := 1; n < 40; n++ {
		u, at := owner, n
		if n%3 == 0 {
			u, at = zombie, n/4
		}
		_, err := upload(t, u, at, "log")
		check(t, err)
		_, err = c.Prune(t.Context(), "0_0", false)
		check(t, err)
		if n%3 == 0 {
			at = n - 1
		}
		if next, content := newest(t, c); next != at || !maps.Equal(content, version(at)) {
			t.Fatalf("after version %d the newest is %d with %v", at, next, content)
		}
	}
}

// TestPruneKeepsTheNewest and what is young, and says beforehand what it removes.
func TestPruneKeepsTheNewest(t *testing.T) {
	now := time.UnixMilli(1e12)
	clock := func() time.Time { return now }
	store := newFaulty(clock)
	c := checkpoints(store, clock)
	for n := 1; n <= 10; n++ {
		_, err := upload(t, c.Uploader("0_0"), n, "old log")
		check(t, err)
	}
	now = now.Add(time.Minute)
	u := c.Uploader("0_0")
	for n := 1; n <= 5; n++ { // in another log, and behind
		_, err := upload(t, u, n, "log")
		check(t, err)
	}
	positions := func() (p []string) {
		all, err := c.List(t.Context(), "0_0")
		check(t, err)
		for _, made := range all {
			m, err := c.Read(t.Context(), made)
			check(t, err)
			p = append(p, fmt.Sprint(m.Stores[0].Log, " ", made.Position))
		}
		return p
	}
	prune := func(dry bool) changelog.Pruned {
		gone, err := c.Prune(t.Context(), "0_0", dry)
		check(t, err)
		return gone
	}
	if gone := prune(true); len(gone.Checkpoints) != 2 || gone.Files != 0 || len(positions()) != 15 {
		t.Errorf("a dry run: %+v, left %v", gone, positions())
	}
	if gone := prune(false); len(gone.Checkpoints) != 2 || gone.Files != 0 {
		t.Errorf("while everything is young: %+v", gone)
	}
	now = now.Add(2 * time.Hour)
	if gone := prune(false); len(gone.Checkpoints) != 10 || gone.Files == 0 || gone.Bytes == 0 {
		t.Errorf("when everything is old: %+v", gone)
	}
	if got, want := positions(), []string{"log 5", "log 4", "log 3"}; !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
	blobs, err := store.List(t.Context(), "app/0_0/files/")
	check(t, err)
	if len(blobs) != 6+3+1 { // tables 0 to 5, three manifests of Pebble's, one file of options
		t.Errorf("%d files are left", len(blobs))
	}
	if gone := prune(false); len(gone.Checkpoints)+gone.Files != 0 {
		t.Errorf("again: %+v", gone)
	}
}

// TestPruneNeverTakesWhatIsOnItsWay runs uploads, of the owner and of one that was
// it before, and prunes into one another at every request, with clocks that go on
// and requests that fail. The newest checkpoint is whole at any time.
func TestPruneNeverTakesWhatIsOnItsWay(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		now := time.UnixMilli(1e12)
		clock := func() time.Time { return now }
		store := newFaulty(clock)
		store.shuffle = rnd
		c := checkpoints(store, clock)
		owner, zombie := c.Uploader("0_0"), c.Uploader("0_0")
		made, depth := 0, 0
		flaky := errors.New("flaky")
		store.before = func(request, _ string) error {
			if depth > 0 {
				return nil
			}
			depth++
			defer func() { depth-- }()
			switch rnd.IntN(12) {
			case 0:
				if _, err := c.Prune(t.Context(), "0_0", false); err != nil {
					t.Fatal(err)
				}
			case 1:
				_, err := upload(t, zombie, made/2, "log")
				check(t, err)
			case 2:
				now = now.Add(time.Duration(rnd.IntN(20)) * time.Minute)
			case 3:
				return flaky
			}
			return nil
		}
		for n := 1; n < 60; n++ {
			_, err := upload(t, owner, n, "log")
			if err == nil {
				made = n
			} else if !errors.Is(err, flaky) {
				t.Fatal(err)
			}
			if rnd.IntN(10) == 0 {
				owner = c.Uploader("0_0") // the task has moved
			}
			depth++
			next, content := newest(t, c)
			depth--
			if next < made || next > 0 && !maps.Equal(content, version(next)) {
				t.Fatalf("seed %d: version %d was stored, and the newest that is whole is %d with %v", seed, made, next, content)
			}
		}
	}
}

// TestACheckpointOfANewerProgramIsLeftAlone neither reads nor removes it.
func TestACheckpointOfANewerProgramIsLeftAlone(t *testing.T) {
	now := time.UnixMilli(1e12)
	clock := func() time.Time { return now }
	store := newFaulty(clock)
	c := checkpoints(store, clock)
	_, err := upload(t, c.Uploader("0_0"), 3, "log")
	check(t, err)
	check(t, changelog.PutNewer(t.Context(), c, "0_0", 9))
	now = now.Add(24 * time.Hour)
	all, err := c.List(t.Context(), "")
	check(t, err)
	if _, err := c.Read(t.Context(), all[0]); !errors.Is(err, changelog.ErrNewer) {
		t.Errorf("%v, want ErrNewer", err)
	}
	for n := 4; n < 9; n++ {
		_, err := upload(t, c.Uploader("0_0"), n, "log")
		check(t, err)
	}
	gone, err := c.Prune(t.Context(), "0_0", false)
	check(t, err)
	if gone.Files != 0 {
		t.Errorf("%+v: nobody knows which files the newer one refers to", gone)
	}
}

// TestAManifestNamesNoFileElsewhere refuses names that lead out of the folder.
func TestAManifestNamesNoFileElsewhere(t *testing.T) {
	for _, name := range []string{"", "..", "../0_1/CURRENT", "/etc/passwd", `a\b`, ".hidden"} {
		if err := changelog.ReadName(name); !errors.Is(err, changelog.ErrDamaged) {
			t.Errorf("%q: %v, want ErrDamaged", name, err)
		}
	}
	check(t, changelog.ReadName("000012.sst"))
}
