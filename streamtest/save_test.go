package streamtest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/millrace/millrace/streamtest"
)

// TestARunGoesOnFromWhereItWasSaved saves a run, goes on with a copy from the disks
// and with one from the changelogs alone, and compares with the run itself.
func TestARunGoesOnFromWhereItWasSaved(t *testing.T) {
	top := build(t, shuffled)
	for name, opts := range map[string][]streamtest.Option{
		"memory": {streamtest.Partitions(2)},
		"disks":  {streamtest.Partitions(2), streamtest.Pebble(), streamtest.Instances(2)},
	} {
		t.Run(name, func(t *testing.T) {
			d := streamtest.New(t, top, opts...)
			send(d, 30)
			dir := filepath.Join(t.TempDir(), "saved")
			d.Save(dir)
			again := streamtest.New(t, top, append(opts, streamtest.From(dir))...)
			bare := streamtest.New(t, top, streamtest.Partitions(2), streamtest.From(dir))
			for _, x := range []*streamtest.Driver{d, again, bare} {
				send(x, 30)
				x.Crash()
			}
			want := fmt.Sprint(streamtest.Entries[string, int64](d.Store("sums")), out(d).All())
			for _, x := range []*streamtest.Driver{again, bare} {
				if got := fmt.Sprint(streamtest.Entries[string, int64](x.Store("sums")), out(x).All()); got != want {
					t.Errorf("went on to\n%s, want\n%s", got, want)
				}
			}
		})
	}
}

// TestSavedDisksAreUsed begins with the disks of a run whose changelogs have lost
// all their records since.
func TestSavedDisksAreUsed(t *testing.T) {
	top := build(t, shuffled)
	d := streamtest.New(t, top, streamtest.Pebble())
	send(d, 9)
	dir := filepath.Join(t.TempDir(), "saved")
	d.Save(dir)
	run := filepath.Join(dir, "run.json")
	b, err := os.ReadFile(run)
	var saved map[string]any
	if err != nil || json.Unmarshal(b, &saved) != nil {
		t.Fatal(err)
	}
	for _, p := range saved["changelogs"].(map[string]any)["partitions"].([]any) {
		delete(p.(map[string]any), "records")
	}
	if b, err = json.Marshal(saved); err == nil {
		err = os.WriteFile(run, b, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	again := streamtest.New(t, top, streamtest.Pebble(), streamtest.From(dir))
	if n, ok := streamtest.Get[int64](again.Store("sums"), "0"); n != 9 || !ok {
		t.Errorf("%d, %v, want 0+3+6", n, ok)
	}
}

func TestARunOfAnotherApplicationIsRefused(t *testing.T) {
	top := build(t, shuffled)
	d := streamtest.New(t, top)
	dir := filepath.Join(t.TempDir(), "saved")
	d.Save(dir)
	if _, err := streamtest.Open(top, streamtest.From(dir), streamtest.Application("other")); err == nil {
		t.Error("another application has begun from it")
	}
	if _, err := streamtest.Open(top, streamtest.From(dir), streamtest.Topic("in", 3)); err == nil {
		t.Error("a topic has another number of partitions now")
	}
	if _, err := streamtest.Open(top, streamtest.From(t.TempDir())); err == nil {
		t.Error("an empty folder is no run")
	}
}
