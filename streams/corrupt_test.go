package streams

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
)

// occurrences tells the how manieth event of its key each event is. Its processor
// hides what its store tells it, and the application skips records that fail: the
// worst that user code can do about a store that cannot be read.
func occurrences(t *testing.T) *topology.Topology {
	t.Helper()
	b := topology.New("occurrences")
	events := topology.Source(b, "events", codec.String, codec.String)
	seen := topology.KeyValueStore(b, "seen", codec.String, codec.String)
	topology.Process(events, func() topology.Processor[string, string, string, string] {
		return &occurrence{store: seen}
	}, topology.Uses(seen)).To("results", codec.String, codec.String)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

type occurrence struct {
	store topology.KeyValue[string, string]
	ctx   *topology.Context[string, string]
	seen  *topology.State[string, string]
}

func (o *occurrence) Init(ctx *topology.Context[string, string]) (err error) {
	o.ctx = ctx
	o.seen, err = o.store.In(ctx)
	return err
}

// Process keeps long values, so that a database has more than one block.
func (o *occurrence) Process(r topology.Record[string, string]) error {
	value, _, err := o.seen.Get(r.Key)
	if err != nil {
		return errors.New("it is not there")
	}
	count, _, _ := strings.Cut(value, " ")
	n, _ := strconv.Atoi(count)
	r.Value = strconv.Itoa(n + 1)
	if err := o.seen.Put(r.Key, r.Value+strings.Repeat(" "+r.Key, 100)); err != nil {
		return err
	}
	return o.ctx.Forward(r)
}

func (o *occurrence) Close() error { return nil }

// TestStateThatTurnsOutCorruptIsRestored flips a byte in the middle of each table
// of a database, which nobody reads when it is opened. Records are neither skipped
// nor forgotten for it, and the instance lives.
func TestStateThatTurnsOutCorruptIsRestored(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
				w.guarantee = guarantee
				const keys = 400
				skipping := func(c *Config) { c.OnError = topology.Skip }
				disk, top := newDisk(), occurrences(t)
				sent := 0
				send := func() {
					var events []event
					for k := range keys {
						events = append(events, event{topic: "events", key: fmt.Sprintf("key-%04d", k), at: time.Now()})
					}
					w.write(events...)
					sent += len(events)
				}
				results := func() bool { return len(w.read("results")) >= sent }
				p := w.start("before", disk, top, skipping)
				for range 2 {
					send()
					w.until("each event has a result", results)
				}
				p.stop()
				if n := breakTables(t, disk, "state/0_0"); n == 0 {
					t.Fatal("there is no table to break")
				}
				p = w.start("after", disk, top, skipping)
				for range 2 {
					send()
					w.until("each event has a result", results)
				}
				p.stop()
				if n := w.log.count("local state is corrupt"); n != 1 {
					t.Errorf("corrupt state was noticed %d times", n)
				}
				counts := map[string][]string{}
				for _, r := range w.read("results") {
					counts[string(r.Key)] = append(counts[string(r.Key)], string(r.Value))
				}
				for key, got := range counts {
					if guarantee == AtLeastOnce {
						got = slices.Compact(slices.Sorted(slices.Values(got)))
					}
					if want := []string{"1", "2", "3", "4"}; !slices.Equal(got, want) {
						t.Errorf("%s: counted %v, want %v", key, got, want)
					}
				}
				if len(counts) != keys {
					t.Errorf("%d keys have results, want %d", len(counts), keys)
				}
			})
		})
	}
}

// breakTables flips a byte in the middle of each table of a database, and returns
// how many there are.
func breakTables(t *testing.T, disk vfs.FS, dir string) (tables int) {
	t.Helper()
	names, err := disk.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		path := disk.PathJoin(dir, name)
		info, err := disk.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := disk.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		at := info.Size() / 2
		_, err = f.ReadAt(b[:], at)
		b[0] ^= 0x10
		if err == nil {
			_, err = f.WriteAt(b[:], at)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		tables++
	}
	return tables
}
