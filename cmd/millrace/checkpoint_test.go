package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/changelog/objectstore"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
)

// TestCheckpointCommands makes checkpoints of a database in a folder, and lists,
// verifies, restores and prunes them.
func TestCheckpointCommands(t *testing.T) {
	where, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
	url := "file://" + where
	makeCheckpoints(t, url, 5)
	command := func(words ...string) (string, int) {
		t.Helper()
		var out, err bytes.Buffer
		args := append([]string{"millrace", "checkpoint"}, words...)
		code := run(t.Context(), append(args, "--checkpoints", url, "--application", "app"), nil, &out, &err, func(string) (string, bool) { return "", false })
		return out.String() + err.String(), code
	}
	expect := func(want int, text string, words ...string) {
		t.Helper()
		if out, code := command(words...); code != want || !strings.Contains(out, text) {
			t.Errorf("checkpoint %v: exit %d\n%s; want exit %d and %q", words, code, out, want, text)
		}
	}
	expect(exitOK, "kv@5", "list")
	expect(exitOK, "whole", "verify")
	expect(exitOK, "There are no checkpoints", "list", "--task", "7_7")
	expect(exitUsage, "want list, verify", "burn")
	expect(exitUsage, "--state", "restore")

	expect(exitOK, "would be restored", "restore", "--state", state)
	restored := filepath.Join(state, "app", "0_0")
	if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a dry run has restored: %v", err)
	}
	expect(exitOK, "was restored", "restore", "--state", state, "--execute")
	if states, err := stores.ReadCheckpoint(vfs.Default, restored); err != nil || len(states) != 1 || states[0].Next != 5 {
		t.Errorf("restored: %+v, %v", states, err)
	}
	expect(exitOK, "left alone", "restore", "--state", state, "--execute")

	expect(exitOK, "2 of 5 checkpoints", "prune")
	expect(exitOK, "2 of 5 checkpoints", "prune", "--execute")
	expect(exitOK, "0 of 3 checkpoints", "prune")

	// The newest is damaged: its tables, then its manifest.
	store, err := objectstore.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	set := changelog.NewCheckpoints(changelog.CheckpointConfig{Store: store, Application: "app"})
	all, err := set.List(t.Context(), "0_0")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), all[0].Key, strings.NewReader("torn"), 4); err != nil {
		t.Fatal(err)
	}
	expect(exitOK, "damaged", "list")
	expect(exitFailure, "1 of 3", "verify")
	elsewhere := t.TempDir()
	expect(exitOK, "was restored", "restore", "--state", elsewhere, "--execute")
	if states, err := stores.ReadCheckpoint(vfs.Default, filepath.Join(elsewhere, "app", "0_0")); err != nil || states[0].Next != 4 {
		t.Errorf("restored from the one before: %+v, %v", states, err)
	}
}

// prunes is a store whose checkpoint an instance removes, manifest first, when
// somebody asks for the first of its files.
type prunes struct {
	changelog.BlobStore
	manifest string
	once     sync.Once
}

func (p *prunes) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if strings.Contains(key, "/files/") {
		var err error
		p.once.Do(func() { err = errors.Join(p.Delete(ctx, p.manifest), p.Delete(ctx, key)) })
		if err != nil {
			return nil, err
		}
	}
	return p.BlobStore.Get(ctx, key)
}

// TestWhatWasPrunedMeanwhileIsNotDamaged: instances go on while checkpoints are
// verified. A file that is missing of a manifest which is there is damage.
func TestWhatWasPrunedMeanwhileIsNotDamaged(t *testing.T) {
	url := "file://" + t.TempDir()
	makeCheckpoints(t, url, 3)
	store, err := objectstore.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	set := changelog.NewCheckpoints(changelog.CheckpointConfig{Store: store, Application: "app"})
	all, err := set.List(t.Context(), "")
	if err != nil || len(all) != 3 {
		t.Fatalf("%d checkpoints, %v", len(all), err)
	}
	if err := store.Delete(t.Context(), all[1].Key); err != nil {
		t.Fatal(err)
	}
	set.Store = &prunes{BlobStore: store, manifest: all[0].Key}
	var out bytes.Buffer
	c := &copies{Checkpoints: set, p: &program{out: &out}, found: all[:2]}
	if err := c.verify(t.Context()); err != nil || strings.Count(out.String(), removedMeanwhile) != 2 {
		t.Errorf("%v, and\n%s", err, out.String())
	}
	out.Reset()
	if err := c.list(t.Context()); err != nil || strings.Count(out.String(), removedMeanwhile) != 2 {
		t.Errorf("%v, and\n%s", err, out.String())
	}
	set.Store = &prunes{BlobStore: store, manifest: "none"}
	c.found = all[2:]
	if err := c.verify(t.Context()); !errors.Is(err, errCheckpoints) {
		t.Errorf("%v of a checkpoint without one of its files", err)
	}
}

// makeCheckpoints stores some of a database of application app, task 0_0.
func makeCheckpoints(t *testing.T, url string, n int) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	store, err := objectstore.Open(t.Context(), url)
	must(err)
	defer store.Close()
	resources := stores.NewPebbleResources(1<<20, 16, 1)
	defer resources.Close()
	dir := t.TempDir()
	engine, err := stores.OpenPebble(stores.PebbleConfig{Dir: filepath.Join(dir, "db"), Resources: resources})
	must(err)
	db, err := stores.Open(stores.Config{Engine: engine})
	must(err)
	kv, err := stores.OpenKeyValue(db, stores.KeyValueConfig[string, string]{Name: "kv", Key: codec.String, Value: codec.String})
	must(err)
	set := changelog.NewCheckpoints(changelog.CheckpointConfig{Store: store, Application: "app"})
	u := set.Uploader("0_0")
	for i := range n {
		must(kv.Put(fmt.Sprint(i), strings.Repeat("x", 100)))
		c, err := db.Collect()
		must(err)
		must(db.Commit(c, map[string]int64{"kv": int64(i + 1)}, 1))
		to := filepath.Join(dir, fmt.Sprint("copy-", i))
		states, err := db.Checkpoint(vfs.Default, to)
		must(err)
		s := states[0]
		_, err = u.Upload(context.Background(), vfs.Default, to, changelog.Manifest{Stores: []changelog.ManifestStore{{
			Name: s.Name, Kind: s.Kind, Layout: s.Layout, Topic: "app-kv-changelog", Next: s.Next, AppliedAt: s.AppliedAt, Log: s.Log,
		}}})
		must(err)
	}
	must(db.Close())
}
