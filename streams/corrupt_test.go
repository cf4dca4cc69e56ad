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

// occur writes an event of each of some keys for the occurrences topology, and waits
// until as many results have come.
func (w *world) occur(keys int) {
	w.t.Helper()
	var events []event
	for k := range keys {
		events = append(events, event{topic: "events", key: fmt.Sprintf("key-%04d", k), at: time.Now()})
	}
	want := len(w.read("results")) + keys
	w.write(events...)
	w.until("each event has a result", func() bool { return len(w.read("results")) >= want })
}

// expectOccurrences compares the results with those of so many events of each of some
// keys. At least once some may have come again.
func (w *world) expectOccurrences(keys, times int) {
	w.t.Helper()
	var want []string
	for n := range times {
		want = append(want, fmt.Sprint(n+1))
	}
	counts := map[string][]string{}
	for _, r := range w.read("results") {
		counts[string(r.Key)] = append(counts[string(r.Key)], string(r.Value))
	}
	for key, got := range counts {
		if w.guarantee != ExactlyOnce {
			got = slices.Compact(slices.Sorted(slices.Values(got)))
		}
		if !slices.Equal(got, want) {
			w.t.Errorf("%s: counted %v, want %v", key, got, want)
		}
	}
	if len(counts) != keys {
		w.t.Errorf("%d keys have results, want %d", len(counts), keys)
	}
}

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
				p := w.start("before", disk, top, skipping)
				w.occur(keys)
				w.occur(keys)
				w.pass(compacted)
				p.stop()
				if n := breakTables(t, disk, "state/0_0"); n == 0 {
					t.Fatal("there is no table to break")
				}
				p = w.start("after", disk, top, skipping)
				w.occur(keys)
				w.occur(keys)
				p.stop()
				if n := w.log.count("local state is corrupt"); n != 1 {
					t.Errorf("corrupt state was noticed %d times", n)
				}
				w.expectOccurrences(keys, 4)
			})
		})
	}
}

// compacted is how long it takes until what a restore has brought is compacted. The
// keys of the database itself, which are read when it is opened, have tables of their
// own before that.
const compacted = 3 * time.Second

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
