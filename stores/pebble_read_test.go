package stores

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestAFlushLetsGoOfWhatReadsPin: behind a flush there may be no write for long, and
// what a read has opened would keep tables that are replaced.
func TestAFlushLetsGoOfWhatReadsPin(t *testing.T) {
	r := NewPebbleResources(1<<20, 16, 1)
	defer r.Close()
	opened, err := OpenPebble(PebbleConfig{Dir: "state", FS: vfs.NewMem(), Resources: r})
	if err != nil {
		t.Fatal(err)
	}
	e := opened.(*pebbleEngine)
	defer e.Close()
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
