package stores_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// kit is a DB with a store of each kind.
type kit struct {
	db  *stores.DB
	kv  *stores.KeyValue[string, int64]
	win *stores.Windowed[string, int64]
	agg *stores.Aggregates[string, int64]
}

func newKit(t testing.TB, cfg stores.Config) *kit {
	t.Helper()
	if cfg.Engine == nil {
		cfg.Engine = stores.NewMemory()
	}
	db, err := stores.Open(cfg)
	check(t, err)
	k := &kit{db: db}
	k.kv, err = stores.OpenKeyValue(db, stores.KeyValueConfig[string, int64]{Name: "kv", Key: codec.String, Value: codec.Int64})
	check(t, err)
	k.win, err = stores.OpenWindowed(db, windowedConfig("tumbling 10"))
	check(t, err)
	k.agg, err = stores.OpenAggregates(db, stores.AggregatesConfig[string, int64]{
		Name: "agg", Key: codec.String, Value: codec.Int64, New: func() *int64 { return new(int64) },
	})
	check(t, err)
	return k
}

func windowedConfig(layout string) stores.WindowedConfig[string, int64] {
	return stores.WindowedConfig[string, int64]{
		Name: "win", Key: codec.String, Value: codec.Int64, New: func() *int64 { return new(int64) },
		Window: func(s int64) window.Window { return window.Window{Start: s, End: s + 10} },
		Layout: layout,
	}
}

// add makes or changes an aggregate of a window.
func (k *kit) add(t testing.TB, key string, start, n int64) {
	t.Helper()
	l, err := k.win.Get([]byte(key), start)
	check(t, err)
	if l == nil {
		l, err = k.win.Create([]byte(key), start)
		check(t, err)
	}
	*l.Value += n
	l.Time = start
	k.win.Touch(l)
}

// commit commits what there is, without offsets.
func (k *kit) commit(t testing.TB) {
	t.Helper()
	c, err := k.db.Collect()
	check(t, err)
	check(t, k.db.Commit(c, nil, 0))
}

func TestAnotherLayoutIsRefused(t *testing.T) {
	cfg := stores.PebbleConfig{Dir: "state", FS: vfs.NewMem(), Resources: resources(t)}
	e, err := stores.OpenPebble(cfg)
	check(t, err)
	k := newKit(t, stores.Config{Engine: e})
	k.add(t, "a", 0, 1)
	k.commit(t)
	check(t, k.db.Close())

	e, err = stores.OpenPebble(cfg)
	check(t, err)
	db, err := stores.Open(stores.Config{Engine: e})
	check(t, err)
	defer db.Close()
	_, err = stores.OpenWindowed(db, windowedConfig("tumbling 60"))
	for _, want := range []string{`store "win"`, `"tumbling 10" in the state folder`, `"tumbling 60" in the program`} {
		if !errors.Is(err, stores.ErrLayout) || !strings.Contains(err.Error(), want) {
			t.Errorf("another layout: %v, want ErrLayout that says %q", err, want)
		}
	}
	if _, err := stores.OpenMeta(db, "win"); !errors.Is(err, stores.ErrLayout) {
		t.Errorf("another kind: %v, want ErrLayout", err)
	}
	if _, err := stores.OpenWindowed(db, windowedConfig("tumbling 10")); err != nil {
		t.Errorf("the same layout: %v", err)
	}
}

func TestNamesThatCannotBeUsed(t *testing.T) {
	k := newKit(t, stores.Config{})
	defer k.db.Close()
	// costarring and liquid have the same FNV-1a hash.
	_, err := stores.OpenMeta(k.db, "costarring")
	check(t, err)
	for _, name := range []string{"", "kv", "a\x00b", "liquid"} {
		if _, err := stores.OpenMeta(k.db, name); !errors.Is(err, stores.ErrName) {
			t.Errorf("store name %q: %v, want ErrName", name, err)
		}
	}
	if got, want := k.db.Names(), []string{"agg", "costarring", "kv", "win"}; !slices.Equal(got, want) {
		t.Errorf("Names = %q, want %q", got, want)
	}
}

func TestCloseWaitsForViewsAndCancelsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, stores.Config{})
		check(t, k.kv.Put("a", 1))
		k.commit(t)
		check(t, k.kv.Put("a", 2))
		v, err := k.db.View(t.Context())
		check(t, err)
		closed := make(chan error)
		go func() { closed <- k.db.Close() }()
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("Close did not wait for the view")
		default:
		}
		if v.Context().Err() == nil {
			t.Error("the view's context goes on while the DB closes")
		}
		q, err := k.db.Queryable("kv")
		check(t, err)
		if _, _, err := q.Get(v, []byte("a")); !errors.Is(err, context.Canceled) {
			t.Errorf("Get with a cancelled view: %v, want context.Canceled", err)
		}
		if _, err := k.db.View(t.Context()); !errors.Is(err, stores.ErrClosed) {
			t.Errorf("View while the DB closes: %v, want ErrClosed", err)
		}
		check(t, v.Close())
		check(t, v.Close())
		check(t, <-closed)
		if err := k.db.Close(); !errors.Is(err, stores.ErrClosed) {
			t.Errorf("second Close: %v, want ErrClosed", err)
		}
		if _, err := k.db.Collect(); !errors.Is(err, stores.ErrClosed) {
			t.Errorf("Collect after Close: %v, want ErrClosed", err)
		}
	})
}

func TestQueriesSeeCommittedStateOnly(t *testing.T) {
	k := newKit(t, stores.Config{})
	defer k.db.Close()
	for start := int64(-20); start < 50; start += 10 {
		for _, key := range []string{"a", "b", "c"} {
			k.add(t, key, start, start)
		}
	}
	check(t, k.kv.Put("x", 1))
	k.commit(t)
	k.add(t, "b", 0, 100)
	check(t, k.kv.Put("x", 2))
	v, err := k.db.View(t.Context())
	check(t, err)
	defer v.Close()
	win, err := k.db.Queryable("win")
	check(t, err)
	key, err := win.ParseKey("b")
	check(t, err)
	page, err := win.Windows(v, stores.WindowsQuery{Key: key, From: -10, To: 30, Limit: 3})
	check(t, err)
	got := ""
	for len(page.Items) > 0 {
		for _, i := range page.Items {
			got += fmt.Sprintf("%v[%d,%d)=%d@%d ", i.Key, i.Window.Start, i.Window.End, *i.Value.(*int64), i.Time)
		}
		if page.Next == nil {
			break
		}
		page, err = win.Windows(v, stores.WindowsQuery{Key: key, From: -10, To: 30, Limit: 3, Cursor: page.Next})
		check(t, err)
	}
	if want := "b[-10,0)=-10@-10 b[0,10)=0@0 b[10,20)=10@10 b[20,30)=20@20 "; got != want {
		t.Errorf("windows of b:\n got %s\nwant %s", got, want)
	}
	kv, err := k.db.Queryable("kv")
	check(t, err)
	if i, ok, err := kv.Get(v, []byte("x")); !ok || err != nil || i.Value != int64(1) {
		t.Errorf("Get(x) = %+v, %v, %v, want the committed 1", i, ok, err)
	}
	for what, err := range map[string]error{
		"Get of a windowed store":       second(win.Get(v, key)),
		"Range of a windowed store":     first(win.Range(v, stores.RangeQuery{Limit: 1})),
		"Windows of a key-value store":  first(kv.Windows(v, stores.WindowsQuery{Limit: 1})),
		"Queryable that does not exist": unknown(k.db),
	} {
		if !errors.Is(err, stores.ErrQuery) && !errors.Is(err, stores.ErrUnknownStore) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func first(_ stores.Page, err error) error        { return err }
func second(_ stores.Item, _ bool, e error) error { return e }
func unknown(db *stores.DB) error                 { _, err := db.Queryable("nope"); return err }

func TestDeletesSurviveACrashBetweenTwoCommits(t *testing.T) {
	cfg := stores.PebbleConfig{Dir: "state", FS: vfs.NewMem(), Resources: resources(t)}
	open := func() *kit {
		e, err := stores.OpenPebble(cfg)
		check(t, err)
		return newKit(t, stores.Config{Engine: e})
	}
	k := open()
	check(t, k.kv.Put("a", 1))
	check(t, k.kv.Put("b", 1))
	k.add(t, "a", 0, 1)
	k.add(t, "b", 0, 1)
	k.commit(t)
	check(t, k.kv.Delete("a"))
	l, err := k.win.Get([]byte("a"), 0)
	check(t, err)
	k.win.Delete(l)
	waiting := k.db.AppendDeletes(nil)
	if k.db.Pending() != 2 {
		t.Errorf("Pending = %d, want 2", k.db.Pending())
	}
	k.commit(t)
	if again := k.db.AppendDeletes(nil); len(again) > 0 {
		t.Errorf("deletes that the next Collect has are listed: %q", again)
	}
	check(t, k.db.Close())

	k = open()
	if _, ok, err := k.kv.Get("a"); !ok || err != nil {
		t.Fatalf("without Redelete the delete is expected to be undone: %v, %v", ok, err)
	}
	check(t, k.db.Redelete(waiting))
	c, err := k.db.Collect()
	check(t, err)
	var got []string
	for store, r := range c.All() {
		got = append(got, fmt.Sprintf("%s %q %v", store, r.Key, r.Value == nil))
	}
	slices.Sort(got)
	want := []string{`kv "a" true`, fmt.Sprintf("win %q true", codec.AppendWindowKey(nil, []byte("a"), 0, 0))}
	if !slices.Equal(got, want) {
		t.Errorf("the commit after Redelete has %q, want %q", got, want)
	}
	check(t, k.db.Commit(c, nil, 0))
	check(t, k.db.Redelete(waiting))
	if _, ok, _ := k.kv.Get("b"); !ok {
		t.Error("another key is gone")
	}
	check(t, k.db.Redelete([]byte("\x04gone\x01a")))
	for _, bad := range [][]byte{{200}, {1}, []byte("\x02kv\x09")} {
		if err := k.db.Redelete(bad); !errors.Is(err, stores.ErrCorrupt) {
			t.Errorf("Redelete(%q) = %v, want an error", bad, err)
		}
	}
	check(t, k.db.Close())
}

// TestTimesOutsideTheLogsBounds: the header has them, and a restore finds them.
// What another program wrote without a header keeps the record's time.
func TestTimesOutsideTheLogsBounds(t *testing.T) {
	k := newKit(t, stores.Config{Engine: stores.NewMemory()})
	defer k.db.Close()
	k.db.BoundTimes(0, 1000)
	again := newKit(t, stores.Config{Engine: stores.NewMemory()})
	defer again.db.Close()
	times := []int64{-5, 0, 500, 1000, 1001, 1 << 40}
	for i, at := range times {
		k.db.SetTime(at)
		key := fmt.Sprint("key", i)
		l, err := k.win.Create([]byte(key), 0)
		check(t, err)
		l.Time = at
		check(t, k.kv.Put(key, 1))
	}
	c, err := k.db.Collect()
	check(t, err)
	records := map[string][]stores.LogRecord{}
	for store, r := range c.All() {
		if outside := r.Time < 0 || r.Time > 1000; store == "kv" && outside != (r.Header != nil) {
			t.Errorf("time %d: header %x", r.Time, r.Header)
		}
		r.Key, r.Value, r.Header = bytes.Clone(r.Key), bytes.Clone(r.Value), bytes.Clone(r.Header)
		r.Time = min(max(r.Time, 0), 1000)
		records[store] = append(records[store], r)
	}
	check(t, k.db.Commit(c, nil, 0))
	for store, list := range records {
		check(t, again.db.Ingest(t.Context(), store, list, 1, 0))
	}
	for _, store := range []string{"kv", "win"} {
		for j, r := range records[store] {
			mine, err := k.db.LogRecord(store, r.Key)
			if err != nil || !mine.Equal(r) || mine.Time != times[j] || !bytes.Equal(mine.Header, r.Header) {
				t.Errorf("%s: LogRecord %+v, %v, the log has %+v", store, mine, err, r)
			}
			unbound, err := again.db.LogRecord(store, r.Key)
			if err != nil || unbound.Time != times[j] || !unbound.Equal(r) {
				t.Errorf("%s: restored as %+v, %v, want time %d", store, unbound, err, times[j])
			}
		}
		if len(records[store]) != len(times) {
			t.Errorf("%s: %d records", store, len(records[store]))
		}
		broken := records[store][2]
		for _, h := range [][]byte{{}, {0xff}, append(window.AppendFiring(nil, window.Firing{}), 0x80)} {
			broken.Header = h
			if err := again.db.Ingest(t.Context(), store, []stores.LogRecord{broken}, 2, 0); !errors.Is(err, stores.ErrCorrupt) {
				t.Errorf("%s: the header %x: %v", store, h, err)
			}
		}
	}
}

func TestDropBeforeIsOneClearedSpanAndATombstonePerKey(t *testing.T) {
	spy := &spyEngine{Engine: stores.NewMemory()}
	k := newKit(t, stores.Config{Engine: spy, Deletes: stores.DeletesWithCommit})
	defer k.db.Close()
	for i := range int64(100) {
		k.add(t, fmt.Sprint("k", i%10), i/10*10, 1)
	}
	k.commit(t)
	n, err := k.win.DropBefore(50)
	check(t, err)
	c, err := k.db.Collect()
	check(t, err)
	check(t, k.db.Commit(c, nil, 0))
	if n != 50 || c.Len() != 50 || len(spy.last.Clear) != 1 || len(spy.last.Set) != 0 {
		t.Errorf("%d dropped, %d tombstones, %d spans, %d entries; want 50, 50, 1, 0",
			n, c.Len(), len(spy.last.Clear), len(spy.last.Set))
	}
}

// spyEngine remembers the last batch.
type spyEngine struct {
	stores.Engine
	last stores.Batch
}

func (e *spyEngine) Apply(b *stores.Batch) error {
	e.last = *b
	return e.Engine.Apply(b)
}

func TestAHotHitDoesNotAllocate(t *testing.T) {
	k := newKit(t, stores.Config{})
	defer k.db.Close()
	key := []byte("model-a")
	k.add(t, string(key), 10, 1)
	k.add(t, string(key), 20, 1)
	k.commit(t)
	start := int64(10)
	n := testing.AllocsPerRun(1000, func() {
		start = 30 - start
		l, err := k.win.Get(key, start)
		if l == nil || err != nil {
			t.Fatal(l, err)
		}
		*l.Value++
		k.win.Touch(l)
	})
	if n != 0 {
		t.Errorf("Get and Touch of a hot object: %v allocations, want 0", n)
	}
}

// TestBudgetIsHonest compares what the budget says of live objects with what
// the heap grows by.
func TestBudgetIsHonest(t *testing.T) {
	const n = 50_000
	budget := stores.NewBudget(math.MaxInt64)
	k := newKit(t, stores.Config{Budget: budget, Engine: discard{stores.NewMemory()}})
	defer k.db.Close()
	before := heap()
	for i := range n {
		k.add(t, fmt.Sprintf("some-model-%06d", i), int64(i%7)*10, 1)
	}
	for range 3 {
		// Small commits let go of what the large one has grown.
		k.commit(t)
		k.add(t, "some-model-000001", 10, 1)
	}
	grown, said := heap()-before, budget.Used()
	t.Logf("%d objects: the heap grew by %d bytes each, the budget says %d", n, grown/n, said/n)
	if said < grown*2/3 || said > grown*3/2 {
		t.Errorf("budget %d bytes, heap %d: off by more than half", said, grown)
	}
	runtime.KeepAlive(k)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// discard is an engine that keeps nothing.
type discard struct{ stores.Engine }

func (discard) Apply(*stores.Batch) error { return nil }

// TestOnlyCleanObjectsThatAreHeldCrowd: what has changed is over the budget between
// two commits, whoever holds it, and no sign that holders should let go.
func TestOnlyCleanObjectsThatAreHeldCrowd(t *testing.T) {
	const n = 1000
	type create func(key []byte, i int64) (*stores.Live[int64], error)
	kinds := map[string]func(t *testing.T, cfg stores.Config) (*stores.DB, create){
		"windows": func(t *testing.T, cfg stores.Config) (*stores.DB, create) {
			k := newKit(t, cfg)
			return k.db, func(key []byte, i int64) (*stores.Live[int64], error) { return k.win.Create(key, i/100*10) }
		},
		"keys": func(t *testing.T, cfg stores.Config) (*stores.DB, create) {
			k := newKit(t, cfg)
			return k.db, func(key []byte, _ int64) (*stores.Live[int64], error) { return k.agg.Create(key) }
		},
		"spans": func(t *testing.T, cfg stores.Config) (*stores.DB, create) {
			db, s := openSpans(t, cfg)
			return db, func(key []byte, i int64) (*stores.Live[int64], error) {
				return s.Create(key, window.Window{Start: i, End: i + 10})
			}
		},
	}
	for name, open := range kinds {
		for _, held := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, held: %v", name, held), func(t *testing.T) {
				db, create := open(t, stores.Config{Budget: stores.NewBudget(1), Engine: stores.NewMemory()})
				defer db.Close()
				var all []*stores.Live[int64]
				for i := range int64(n) {
					l, err := create(fmt.Append(nil, i), i)
					check(t, err)
					if held {
						l.Held = 1
					}
					all = append(all, l)
				}
				if db.Shrink(); db.Crowded() {
					t.Error("what has changed crowds")
				}
				if commitAll(t, db); db.Crowded() != held {
					t.Errorf("after a commit memory is short: %v, want %v", db.Crowded(), held)
				}
				for _, l := range all {
					l.Held = 0
				}
				if db.Shrink(); db.Crowded() {
					t.Error("nothing is held any more, and memory is short")
				}
			})
		}
	}
}

func TestEvictionKeepsTheBudget(t *testing.T) {
	budget := stores.NewBudget(40_000)
	k := newKit(t, stores.Config{Budget: budget})
	for i := range 2000 {
		k.add(t, fmt.Sprint("k", i), int64(i/100)*10, int64(i))
		l, err := k.agg.Create(fmt.Append(nil, "a", i))
		check(t, err)
		*l.Value = int64(i)
	}
	if !budget.Over() {
		t.Fatalf("budget %d before the commit: the test is to exceed it", budget.Used())
	}
	k.commit(t)
	if budget.Over() {
		t.Errorf("budget %d after a commit, the limit is %d", budget.Used(), budget.Limit())
	}
	n := 0
	for l, err := range k.win.Scan(math.MinInt64, math.MaxInt64, stores.Cursor{}) {
		check(t, err)
		if string(l.Key()) != fmt.Sprint("k", *l.Value) {
			t.Fatalf("key %s has %d", l.Key(), *l.Value)
		}
		n++
	}
	if n != 2000 {
		t.Errorf("%d windows after an eviction, want 2000", n)
	}
	check(t, k.db.Close())
	if budget.Used() != 0 {
		t.Errorf("%d bytes are used after Close", budget.Used())
	}
}
