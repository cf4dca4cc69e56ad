package task_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// The values that tell keeper to delete a key, or all keys.
const (
	remove    = 0
	removeAll = -1
)

// keeper keeps the last value of each key, until it is told to delete it.
type keeper struct {
	handle topology.KeyValue[string, int64]
	last   *topology.ProcessorStore[string, int64]
}

func (k *keeper) Init(ctx *topology.Context[string, int64]) (err error) {
	k.last, err = k.handle.In(ctx)
	return err
}

func (k *keeper) Process(r record) error {
	switch r.Value {
	case remove:
		return k.last.Delete(r.Key)
	case removeAll:
		for e, err := range k.last.Range(nil, nil) {
			if err != nil {
				return err
			}
			if err := k.last.Delete(e.Key); err != nil {
				return err
			}
		}
		return nil
	}
	return k.last.Put(strings.Clone(r.Key), r.Value)
}

func (k *keeper) Close() error { return nil }

// keeping is a topology with a keeper and its store "last".
func keeping(b *topology.Builder) {
	last := topology.KeyValueStore(b, "last", codec.String, codec.Int64)
	topology.Process(source(b, "in"), func() topology.Processor[string, int64, string, int64] {
		return &keeper{handle: last}
	}, topology.Uses(last))
}

// kept returns what the store "last" holds, as "key=value".
func kept(d *streamtest.Driver) []string {
	var out []string
	for _, e := range streamtest.Entries[string, int64](d.Store("last")) {
		out = append(out, fmt.Sprintf("%s=%d", e.Key, e.Value))
	}
	slices.Sort(out)
	return out
}

// TestADeletedKeyStaysDeleted crashes at each step of the commit with the offset
// of a delete, and of the one after it, which has the tombstone. In one run the
// key is put again in between, and stays.
func TestADeletedKeyStaysDeleted(t *testing.T) {
	for _, pebble := range []bool{false, true} {
		for _, again := range []bool{false, true} {
			for commit := range 2 {
				for _, step := range steps[1:] {
					name := fmt.Sprintf("%v of commit %d, put again %v, pebble %v", step, commit, again, pebble)
					opts := []streamtest.Option{streamtest.CommitManually()}
					if pebble {
						opts = append(opts, streamtest.Pebble(), streamtest.Seed(int64(step)+1))
					}
					d := streamtest.New(t, build(t, keeping), opts...)
					in := input(d, "in")
					in.Send("a", 1, d.Now())
					in.Send("b", 1, d.Now())
					d.Commit()
					commits := func(i int) {
						if i == commit {
							d.CrashAt(step)
						}
						d.Commit()
					}
					in.Send("a", remove, d.Now())
					commits(0)
					if again {
						in.Send("a", 2, d.Now())
					}
					commits(1)
					if d.Crashes() != 1 {
						t.Errorf("%s: %d crashes", name, d.Crashes())
					}
					d.Restart()
					d.Restart()
					want := []string{"b=1"}
					if again {
						want = []string{"a=2", "b=1"}
					}
					if got := kept(d); !slices.Equal(got, want) {
						t.Errorf("%s: have %q, want %q", name, got, want)
					}
				}
			}
		}
	}
}

// TestTheEndOfARunDeletes: a bounded run whose last record deletes a key is over
// only when the changelog says so.
func TestTheEndOfARunDeletes(t *testing.T) {
	d := streamtest.New(t, build(t, keeping), streamtest.CommitManually())
	in := input(d, "in")
	in.Send("a", 1, d.Now())
	d.Commit()
	in.Send("a", remove, d.Now())
	d.End()
	if n := d.ChangelogRecords("last"); n != 2 {
		t.Errorf("%d records in the changelog, want the value and its tombstone", n)
	}
	d.Crash()
	want(t, "after the end", kept(d))
}

// TestIdleTasksDelete: nothing comes after the delete, and it is made durable all
// the same.
func TestIdleTasksDelete(t *testing.T) {
	d := streamtest.New(t, build(t, keeping))
	in := input(d, "in")
	in.Send("a", 1, d.Now())
	in.Send("a", remove, d.Now())
	if n := d.ChangelogRecords("last"); n != 2 {
		t.Errorf("%d records in the changelog, want the value and its tombstone", n)
	}
}

// seeds is how many random runs a test makes.
const seeds = 300

// TestPutsAndDeletesWithCrashesAnywhere: each key ends with what was asked of it
// last.
func TestPutsAndDeletesWithCrashesAnywhere(t *testing.T) {
	crashes := 0
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, 3))
		opts := []streamtest.Option{streamtest.Partitions(2), streamtest.Seed(int64(seed) + 1), streamtest.CommitEvery(1 + rng.IntN(6))}
		if seed%20 == 0 {
			opts = append(opts, streamtest.Pebble())
		}
		d := streamtest.New(t, build(t, keeping), opts...)
		in := input(d, "in")
		truth := map[string]int64{}
		for range 12 {
			d.CrashAfter(1 + rng.IntN(25))
			d.Batch(func() {
				for range rng.IntN(8) {
					p := rng.Int32N(2)
					key := fmt.Sprintf("p%d-%d", p, rng.IntN(3)) // a key belongs to one partition
					value := rng.Int64N(3)
					in.SendTo(p, key, value, d.Now())
					if truth[key] = value; value == remove {
						delete(truth, key)
					}
				}
			})
			if rng.IntN(4) == 0 {
				d.Commit()
			}
		}
		d.End()
		d.Crash()
		crashes += d.Crashes()
		var want []string
		for key, value := range truth {
			want = append(want, fmt.Sprintf("%s=%d", key, value))
		}
		slices.Sort(want)
		if got := kept(d); !slices.Equal(got, want) {
			t.Fatalf("seed %d: have %q, want %q", seed, got, want)
		}
	}
	if crashes < seeds {
		t.Errorf("%d crashes: the test tests less than it says", crashes)
	}
}

// logged is what outlives a task that is run by hand: changelogs and offsets.
type logged struct {
	records map[string][]stores.LogRecord
	offsets []task.Offset
}

// open makes the task of keeping, restored from l.
func (l *logged) open(t *testing.T) *task.Task {
	t.Helper()
	top := build(t, keeping)
	plan, err := task.NewPlan(top, "app", map[string]int32{"in": 1})
	if err != nil {
		t.Fatal(err)
	}
	db, err := stores.Open(stores.Config{Engine: stores.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	state, err := task.OpenState(top, 0, db)
	if err != nil {
		t.Fatal(err)
	}
	for store, records := range l.records {
		if err := db.Ingest(context.Background(), store, records, int64(len(records)), 0); err != nil {
			t.Fatal(err)
		}
	}
	inputs := plan.Inputs(processors.TaskID{})
	for _, o := range l.offsets {
		inputs[0].Offset, inputs[0].Metadata = o.Next, o.Metadata
	}
	tk, err := task.New(task.Config{
		Topology: top, Application: "app", Tasks: 1, State: state, Inputs: inputs, Outlet: &counter{},
		Now: func() time.Time { return time.UnixMilli(0) }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(tk.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return tk
}

// log takes the changelog records of some stores.
func (l *logged) log(c *task.Commit, stores ...string) {
	for store, r := range c.Changes.All() {
		if slices.Contains(stores, store) {
			r.Key, r.Value = slices.Clone(r.Key), slices.Clone(r.Value)
			l.records[store] = append(l.records[store], r)
		}
	}
}

// commit commits all.
func (l *logged) commit(t *testing.T, tk *task.Task) {
	t.Helper()
	c, err := tk.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	l.log(c, "last", "in-meta")
	if len(c.Offsets) > 0 {
		l.offsets = c.Offsets
	}
	if err := tk.Committed(c, nil); err != nil {
		t.Fatal(err)
	}
}

// keys returns the keys whose last record in the changelog is no tombstone.
func (l *logged) keys() []string {
	live := map[string]bool{}
	for _, r := range l.records["last"] {
		if live[string(r.Key)] = true; r.Value == nil {
			delete(live, string(r.Key))
		}
	}
	return slices.Sorted(maps.Keys(live))
}

func told(t *testing.T, tk *task.Task, offset int64, key string, value int64) {
	t.Helper()
	f := fetched(offset, key, 0)
	f.Value, _ = codec.Int64.Append(nil, value)
	if err := tk.Inputs()[0].Process(f); err != nil {
		t.Fatal(err)
	}
}

// TestACrashAmidTheChangelogs: the commit with the tombstone moves no offset, and
// a crash leaves some of its changelogs written and others not. The task's own
// store may then have an entry that nothing has been committed with.
func TestACrashAmidTheChangelogs(t *testing.T) {
	for commits := range int64(2) { // before, so that either slot has its turn
		for _, written := range [][]string{nil, {"last"}, {"in-meta"}, {"last", "in-meta"}} {
			l := &logged{records: map[string][]stores.LogRecord{}}
			tk := l.open(t)
			for offset := range commits {
				told(t, tk, offset, "a", 1)
				l.commit(t, tk)
			}
			told(t, tk, commits, "a", 2)
			l.commit(t, tk)
			told(t, tk, commits+1, "a", remove)
			l.commit(t, tk)
			c, err := tk.Prepare()
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Offsets) != 1 || c.Offsets[0].Next != commits+2 {
				t.Fatalf("offsets %+v: want the one that tells which entry counts", c.Offsets)
			}
			l.log(c, written...)
			for range 2 {
				tk = l.open(t)
				for tk.Dirty() {
					l.commit(t, tk)
				}
				want(t, fmt.Sprintf("with %v written", written), l.keys())
			}
		}
	}
}

// TestAnyNumberOfDeletes: a processor clears a store of a size that would make a
// record larger than brokers take.
func TestAnyNumberOfDeletes(t *testing.T) {
	const keys = 100_000
	l := &logged{records: map[string][]stores.LogRecord{}}
	tk := l.open(t)
	for i := range keys {
		told(t, tk, int64(i), fmt.Sprintf("key-%d", i), 1)
	}
	l.commit(t, tk)
	told(t, tk, keys, "", removeAll)
	l.commit(t, tk)
	largest := 0
	for _, r := range l.records["in-meta"] {
		largest = max(largest, len(r.Value))
	}
	if largest > 300<<10 {
		t.Errorf("a record of %d bytes", largest)
	}
	if got := len(l.keys()); got != keys {
		t.Errorf("the changelog has %d keys before the commit with the tombstones, want %d", got, keys)
	}
	tk = l.open(t)
	for tk.Dirty() {
		l.commit(t, tk)
	}
	want(t, "after the crash", l.keys())
	told(t, tk, keys+1, "a", 1) // over the entry with the deletes
	for tk.Dirty() {
		l.commit(t, tk)
	}
	live := map[string]bool{}
	for _, r := range l.records["in-meta"] {
		live[string(r.Key)] = r.Value != nil
	}
	maps.DeleteFunc(live, func(_ string, v bool) bool { return !v })
	want(t, "the records of the task's own store", slices.Sorted(maps.Keys(live)), "0", "1", "shape")
}

// ms returns so many milliseconds.
func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// TestChangesHaveTheTimeOfTheirRecord: behind windows that is the result's, and not
// that of the record that made it due.
func TestChangesHaveTheTimeOfTheirRecord(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		last := topology.KeyValueStore(b, "last", codec.String, codec.Int64)
		minutes := source(b, "in").GroupByKey(codec.String, codec.Int64).
			WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("minutes")).Stream()
		topology.Process(minutes, func() topology.Processor[string, int64, string, int64] { return &keeper{handle: last} },
			topology.Uses(last))
	}))
	in := input(d, "in")
	in.Send("a", 1, after(5))
	in.Send("b", 1, after(90))
	entries := streamtest.Entries[string, int64](d.Store("last"))
	if len(entries) != 1 || !entries[0].Time.Equal(after(5)) {
		t.Errorf("%+v, want a with the time of its event, %v", entries, after(5))
	}
}
