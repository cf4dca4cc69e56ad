package stores

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// openInMemory opens a database whose disk is in memory. It is closed with the test.
func openInMemory(t *testing.T, cacheBytes int64, openFiles int) *pebbleEngine {
	t.Helper()
	r := NewPebbleResources(cacheBytes, openFiles, 1)
	t.Cleanup(r.Close)
	e, err := OpenPebble(PebbleConfig{Dir: "state", FS: vfs.NewMem(), Resources: r})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e.(*pebbleEngine)
}

// TestAFlushLetsGoOfWhatReadsPin: behind a flush there may be no write for long, and
// what a read has opened would keep tables that are replaced.
func TestAFlushLetsGoOfWhatReadsPin(t *testing.T) {
	e := openInMemory(t, 1<<20, 16)
	for name, write := range map[string]func() error{
		"flush":      e.Flush,
		"checkpoint": func() error { return e.Checkpoint("copy") },
		"apply":      func() error { return e.Apply(&Batch{Set: []Pair{{Key: []byte("k"), Value: []byte("v")}}}) },
	} {
		if _, _, err := e.Get(nil, []byte("k")); err != nil {
			t.Fatal(err)
		}
		if e.finder.it == nil {
			t.Fatal("a read pins nothing: the test shows nothing")
		}
		if err := write(); err != nil {
			t.Fatal(err)
		}
		if e.finder.it != nil {
			t.Errorf("%s: what reads pin is still pinned", name)
		}
	}
}
