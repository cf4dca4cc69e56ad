package stores_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// mortal is a DB with a store of each kind that can have a time to live.
type mortal struct {
	t      testing.TB
	db     *stores.DB
	kv     *stores.KeyValue[string, int64]
	agg    *stores.Aggregates[string, int64]
	log    map[string][]stores.LogRecord
	clocks []*stores.Expiry
	// deletes is what the last commit kept of those that it left out.
	deletes []byte
}

var mortalStores = []string{"kv", "agg"}

const ttl = 20 // milliseconds

func openMortal(t testing.TB, cfg stores.Config) *mortal {
	t.Helper()
	if cfg.Engine == nil {
		cfg.Engine = stores.NewMemory()
	}
	db, err := stores.Open(cfg)
	check(t, err)
	m := &mortal{t: t, db: db, log: map[string][]stores.LogRecord{}}
	m.kv, err = stores.OpenKeyValue(db, stores.KeyValueConfig[string, int64]{
		Name: "kv", Key: codec.String, Value: codec.Int64, TTL: ttl * time.Millisecond,
	})
	check(t, err)
	m.agg, err = stores.OpenAggregates(db, stores.AggregatesConfig[string, int64]{
		Name: "agg", Key: codec.String, Value: codec.Int64, New: func() *int64 { return new(int64) }, TTL: ttl * time.Millisecond,
	})
	check(t, err)
	for _, s := range mortalStores {
		m.clocks = append(m.clocks, db.Expiry(s))
	}
	return m
}

// put puts a value into both stores as nodes do, and reports whether they took it.
func (m *mortal) put(key string, value, at int64) bool {
	m.t.Helper()
	kv, agg := m.putEach(key, value, at)
	if kv != agg {
		m.t.Fatalf("key %q at %d: taken as a value: %v, as an aggregate: %v", key, at, kv, agg)
	}
	return kv
}

// putEach is put for stores that may differ in what they take.
func (m *mortal) putEach(key string, value, at int64) (kv, agg bool) {
	m.t.Helper()
	err := m.kv.PutAt(key, value, at)
	if err != nil && !errors.Is(err, stores.ErrExpired) {
		m.t.Fatal(err)
	}
	kv = err == nil
	l, err := m.agg.Get([]byte(key))
	check(m.t, err)
	if l == nil && m.agg.Expired(at) {
		return kv, false
	}
	if l == nil {
		l, err = m.agg.Create([]byte(key))
		check(m.t, err)
		l.Time = at
	}
	*l.Value, l.Time = value, max(l.Time, at)
	m.agg.Touch(l)
	return kv, true
}

// delete deletes a key in both stores.
func (m *mortal) delete(key string) {
	m.t.Helper()
	check(m.t, m.kv.Delete(key))
	l, err := m.agg.Get([]byte(key))
	check(m.t, err)
	if l != nil {
		m.agg.Delete(l)
	}
}

// commit commits, with clocks at w behind it.
func (m *mortal) commit(w int64) {
	m.t.Helper()
	m.deletes = m.db.AppendDeletes(nil)
	c := m.collect(func(string) bool { return true })
	next := map[string]int64{}
	for s, log := range m.log {
		next[s] = int64(len(log))
	}
	check(m.t, m.db.Commit(c, next, 0))
	m.setClocks(w)
}

// collect collects, and logs the records of some keys.
func (m *mortal) collect(logs func(key string) bool) *stores.Changes {
	m.t.Helper()
	c, err := m.db.Collect()
	check(m.t, err)
	for s, r := range c.All() {
		if logs(string(r.Key)) {
			m.log[s] = append(m.log[s], stores.LogRecord{
				Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value), Time: r.Time, Header: bytes.Clone(r.Header),
			})
		}
	}
	return c
}

// restarted is m after a restart: what an engine has, the rest of the log, and the
// deletes that were on their way, with clocks at w.
func (m *mortal) restarted(cfg stores.Config, w int64) *mortal {
	m.t.Helper()
	check(m.t, m.db.Close())
	again := openMortal(m.t, cfg)
	again.log, again.deletes = m.log, m.deletes
	for s, log := range again.log {
		next, _, _ := again.db.Offset(s)
		check(m.t, again.db.Ingest(context.Background(), s, log[next:], int64(len(log)), 0))
	}
	again.setClocks(w)
	check(m.t, again.db.Redelete(again.deletes))
	return again
}

func (m *mortal) setClocks(w int64) {
	for _, e := range m.clocks {
		e.SetClock(w)
	}
}

// sweep calls Sweep of both stores until there is no more, and returns how many
// entries each has deleted.
func (m *mortal) sweep() (kv, agg int) {
	m.t.Helper()
	var deleted [2]int
	for i, e := range m.clocks {
		for more := true; more; {
			n, again, err := e.Sweep()
			check(m.t, err)
			deleted[i], more = deleted[i]+n, again
		}
	}
	return deleted[0], deleted[1]
}

// seen returns what both stores show, which is to be the same by every way to look.
func (m *mortal) seen() map[string]int64 {
	m.t.Helper()
	all, times := map[string]int64{}, map[string]int64{}
	for e, err := range m.kv.All() {
		check(m.t, err)
		all[e.Key], times[e.Key] = e.Value, e.Time
		if v, ok, err := m.kv.Get(e.Key); err != nil || !ok || v != e.Value {
			m.t.Errorf("kv: All shows %q as %d, Get as %d, %v, %v", e.Key, e.Value, v, ok, err)
		}
	}
	aggregates := map[string]int64{}
	for l, err := range m.agg.Range(nil, nil) {
		check(m.t, err)
		aggregates[string(l.Key())] = *l.Value
		if times[string(l.Key())] != l.Time {
			m.t.Errorf("%q has time %d as an aggregate, %d as a value", l.Key(), l.Time, times[string(l.Key())])
		}
	}
	if !maps.Equal(all, aggregates) {
		m.t.Errorf("values %v, aggregates %v", all, aggregates)
	}
	return all
}

// queried returns what queries see, by each way to look.
func (m *mortal) queried(store string, view *stores.View) map[string]int64 {
	m.t.Helper()
	q, err := m.db.Queryable(store)
	check(m.t, err)
	all := map[string]int64{}
	var cursor []byte
	for {
		p, err := q.Range(view, stores.RangeQuery{Limit: 3, Cursor: cursor})
		check(m.t, err)
		if len(p.Items) == 0 && p.Next != nil {
			m.t.Error("a page is empty and not the last")
		}
		for _, i := range p.Items {
			v, isValue := i.Value.(int64)
			if !isValue {
				v = *i.Value.(*int64)
			}
			all[i.Key.(string)] = v
			if _, ok, err := q.Get(view, []byte(i.Key.(string))); !ok || err != nil {
				m.t.Errorf("%s: Range has %q, Get says %v, %v", store, i.Key, ok, err)
			}
		}
		if cursor = p.Next; cursor == nil {
			return all
		}
	}
}

func (m *mortal) view() *stores.View {
	m.t.Helper()
	v, err := m.db.View(context.Background())
	check(m.t, err)
	return v
}

// TestExpiredEntriesAreGone: at the moment at which the clock reaches the end of their
// time, and before anything is deleted.
func TestExpiredEntriesAreGone(t *testing.T) {
	m := openMortal(t, stores.Config{})
	defer m.db.Close()
	m.put("a", 1, 100)
	m.put("b", 2, 101)
	m.commit(119)
	if got, want := m.seen(), map[string]int64{"a": 1, "b": 2}; !maps.Equal(got, want) {
		t.Errorf("a millisecond before: %v, want %v", got, want)
	}
	before := m.view()
	defer before.Close()
	m.commit(120)
	if got, want := m.seen(), map[string]int64{"b": 2}; !maps.Equal(got, want) {
		t.Errorf("when it is over: %v, want %v", got, want)
	}
	for _, key := range []string{"a", "b"} {
		_, ok, err := m.kv.Get(key)
		check(t, err)
		l, err := m.agg.Get([]byte(key))
		check(t, err)
		if want := key == "b"; ok != want || (l != nil) != want {
			t.Errorf("key %q: value %v, aggregate %v, want %v", key, ok, l != nil, want)
		}
	}
	after := m.view()
	defer after.Close()
	for _, s := range mortalStores {
		if got, want := m.queried(s, after), map[string]int64{"b": 2}; !maps.Equal(got, want) {
			t.Errorf("%s: a query sees %v, want %v", s, got, want)
		}
		if got := m.queried(s, before); len(got) != 2 {
			t.Errorf("%s: a view of before sees %v, want what was there then", s, got)
		}
		q, err := m.db.Queryable(s)
		check(t, err)
		if _, ok, err := q.Get(after, []byte("a")); ok || err != nil {
			t.Errorf("%s: a query gets what has expired: %v, %v", s, ok, err)
		}
	}
	if n := m.db.Pending(); n != 0 {
		t.Errorf("%d deletes wait, though nobody has swept", n)
	}
}

// TestAnExpiredEntryBeginsAnew: what was in it is not, be it in memory, in the engine
// or deleted already.
func TestAnExpiredEntryBeginsAnew(t *testing.T) {
	for _, how := range []string{"in memory", "in the engine", "swept", "swept and committed"} {
		for _, policy := range []stores.DeletePolicy{stores.DeletesDeferred, stores.DeletesWithCommit} {
			cfg := stores.Config{Deletes: policy}
			if how == "in the engine" {
				cfg.Budget = stores.NewBudget(0)
			}
			m := openMortal(t, cfg)
			m.put("a", 1, 100)
			m.commit(150)
			if strings.HasPrefix(how, "swept") {
				m.sweep()
			}
			if strings.HasSuffix(how, "committed") {
				m.commit(150)
			}
			l, err := m.agg.Create([]byte("a"))
			check(t, err)
			if *l.Value != 0 {
				t.Errorf("%s: begins with %d", how, *l.Value)
			}
			m.db.Close()

			m = openMortal(t, cfg)
			m.put("a", 1, 100)
			m.commit(150)
			if strings.HasPrefix(how, "swept") {
				m.sweep()
			}
			m.put("a", 2, 131)
			m.sweep()
			m.commit(150)
			m.commit(150)
			if got, want := m.seen(), map[string]int64{"a": 2}; !maps.Equal(got, want) {
				t.Errorf("%s: %v, want %v", how, got, want)
			}
			for _, s := range mortalStores {
				if got := replay(m.log[s])["a"].time; got != 131 {
					t.Errorf("%s: the log of %s has time %d, want 131", how, s, got)
				}
			}
			m.db.Close()
		}
	}
}

// TestTimesNeverGoBack: a late value does not shorten the life of what it replaces, and
// takes nothing's place if its own is over.
func TestTimesNeverGoBack(t *testing.T) {
	for _, committed := range []bool{false, true} {
		m := openMortal(t, stores.Config{})
		m.put("a", 1, 100)
		if committed {
			m.commit(90)
		}
		m.put("a", 2, 95)
		m.commit(119)
		if got, want := m.seen(), map[string]int64{"a": 2}; !maps.Equal(got, want) {
			t.Errorf("committed %v: at 119 %v, want %v", committed, got, want)
		}
		if m.put("b", 3, 99) {
			t.Errorf("committed %v: an entry of 99 is taken at 119, when its time is over", committed)
		}
		if !m.put("b", 3, 100) || !m.put("b", 4, 1) {
			t.Errorf("committed %v: an entry of 100, or a late value for it, is not taken at 119", committed)
		}
		m.commit(120)
		if got := m.seen(); len(got) != 0 {
			t.Errorf("committed %v: at 120 %v, want nothing", committed, got)
		}
		m.db.Close()
	}
	// Without a time to live a put has the time that it is given.
	k := newKit(t, stores.Config{})
	defer k.db.Close()
	check(t, k.kv.PutAt("a", 1, 100))
	check(t, k.kv.PutAt("a", 2, 95))
	for e := range k.kv.All() {
		if e.Time != 95 {
			t.Errorf("time %d, want the 95 of the last put", e.Time)
		}
	}
}

// TestSweepDeletesASliceAtATime: and goes on after a commit; the deletes are in the
// log with the next one, under either policy.
func TestSweepDeletesASliceAtATime(t *testing.T) {
	const keys, old = 3500, 2000
	for _, policy := range []stores.DeletePolicy{stores.DeletesDeferred, stores.DeletesWithCommit} {
		for _, budget := range []int64{0, 1 << 30} {
			m := openMortal(t, stores.Config{Deletes: policy, Budget: stores.NewBudget(budget)})
			for i := range keys {
				at := int64(100)
				if i >= old {
					at = 200
				}
				m.put(fmt.Sprintf("%04d", i), int64(i), at)
			}
			m.commit(150)
			calls, total := 0, map[string]int{}
			for more := true; more; calls++ {
				more = false
				for i, e := range m.clocks {
					n, again, err := e.Sweep()
					check(t, err)
					if n > 1000 {
						t.Errorf("a call has deleted %d", n)
					}
					total[mortalStores[i]] += n
					more = more || again
				}
				if n := m.db.Pending(); n != total["kv"]+total["agg"] && calls < 1 {
					t.Errorf("%d deletes wait, want the %v of this call", n, total)
				}
				m.commit(150)
				if n := m.db.Pending(); n != 0 {
					t.Fatalf("%d deletes wait for a commit after the next", n)
				}
			}
			if calls != 4 || total["kv"] != old || total["agg"] != old {
				t.Errorf("%d calls have deleted %v, want 4 and %d of each", calls, total, old)
			}
			for _, s := range mortalStores {
				if got := len(replay(m.log[s])); got != keys-old {
					t.Errorf("the log of %s has %d keys, want %d", s, got, keys-old)
				}
				if r, err := m.db.LogRecord(s, []byte("0000")); err != nil || r.Value != nil {
					t.Errorf("%s: the engine has what has expired: %v, %v", s, r, err)
				}
			}
			if n := len(m.seen()); n != keys-old {
				t.Errorf("%d left, want %d", n, keys-old)
			}
			m.db.Close()
		}
	}
}

// TestSweepLeavesTheChangedAlone: what has a new value since the last commit, or was
// deleted by its owner.
func TestSweepLeavesTheChangedAlone(t *testing.T) {
	m := openMortal(t, stores.Config{})
	defer m.db.Close()
	for _, key := range []string{"expired", "renewed", "deleted"} {
		m.put(key, 1, 100)
	}
	m.commit(119)
	m.put("renewed", 2, 130)
	check(t, m.kv.Delete("deleted"))
	l, err := m.agg.Get([]byte("deleted"))
	check(t, err)
	m.agg.Delete(l)
	m.setClocks(125) // as if the commit before had been there
	if kv, agg := m.sweep(); kv != 1 || agg != 1 {
		t.Errorf("%d values and %d aggregates deleted, want only what has expired", kv, agg)
	}
	m.commit(125)
	if got, want := m.seen(), map[string]int64{"renewed": 2}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	m.commit(125)
	m.commit(125)
	for _, s := range mortalStores {
		if got := slices.Collect(maps.Keys(replay(m.log[s]))); !slices.Equal(got, []string{"renewed"}) {
			t.Errorf("the log of %s has %q, want what was renewed", s, got)
		}
	}
}

// TestASweepWaitsForACommit: deletes are held in memory until then, and there are not
// more than some tens of thousands of them.
func TestASweepWaitsForACommit(t *testing.T) {
	const keys = 40_000
	m := openMortal(t, stores.Config{})
	defer m.db.Close()
	for i := range keys {
		m.put(fmt.Sprint(i), 1, 100)
	}
	m.commit(150)
	first := [2]int{}
	first[0], first[1] = m.sweep()
	for i, s := range mortalStores {
		if n := first[i]; n < 30_000 || n > 35_000 {
			t.Errorf("%s: %d deletes before a commit", s, n)
		}
	}
	m.commit(150)
	kv, agg := m.sweep()
	if kv != keys-first[0] || agg != keys-first[1] {
		t.Errorf("%d values and %d aggregates deleted behind the commit, want the rest of %d", kv, agg, keys)
	}
	m.commit(150)
	for _, s := range mortalStores {
		if left := replay(m.log[s]); len(left) != 0 {
			t.Errorf("%s: %d keys are left", s, len(left))
		}
	}
	if kv, agg := m.sweep(); kv+agg != 0 || m.db.Pending() != 0 {
		t.Errorf("%d deleted of an empty store, %d wait", kv+agg, m.db.Pending())
	}
}

// TestExpiryFreesMemory: objects that come and go leave nothing behind, in a store that
// nobody ever goes through in order.
func TestExpiryFreesMemory(t *testing.T) {
	budget := stores.NewBudget(1 << 30)
	m := openMortal(t, stores.Config{Budget: budget})
	defer m.db.Close()
	const keys = 2000
	at := int64(0)
	turn := func() {
		for i := range keys {
			m.put(fmt.Sprintf("%d/%d", at, i), 1, at)
		}
		m.put("kept", 1, at)
		m.commit(at)
		at += ttl
		m.put("kept", 1, at)
		m.commit(at)
		m.sweep()
		m.commit(at)
		clear(m.log)
	}
	for range 3 {
		turn()
	}
	before, held := heap(), budget.Used()
	for range 50 {
		turn()
	}
	if grown := heap() - before; grown > 50*keys*20 {
		t.Errorf("the heap has grown by %d bytes for each key that has expired", grown/(50*keys))
	}
	if used := budget.Used(); used != held {
		t.Errorf("the budget says %d bytes, and %d at the beginning", used, held)
	}
}

// TestPassesBeginWhenSomethingIsDue: the store is not read over and over. Awaits says
// the same of a clock that is yet to be committed.
func TestPassesBeginWhenSomethingIsDue(t *testing.T) {
	reads := &counted{Engine: stores.NewMemory()}
	m := openMortal(t, stores.Config{Engine: reads})
	defer m.db.Close()
	scans := func() int {
		before := reads.iterators
		m.sweep()
		return reads.iterators - before
	}
	if n := scans(); n != 0 {
		t.Errorf("%d scans without a clock", n)
	}
	m.put("a", 1, 100)
	m.commit(100)
	if n := scans(); n != 2 {
		t.Errorf("%d scans when the clock is first known, want one of each store", n)
	}
	for w := int64(101); w < 120; w++ {
		if e := m.clocks[0]; e.Awaits(w) {
			t.Errorf("at %d the store waits for a commit, and nothing expires before 120", w)
		}
		m.commit(w)
		if n := scans(); n != 0 {
			t.Errorf("%d scans at %d, and nothing expires before 120", n, w)
		}
	}
	for i, e := range m.clocks {
		if !e.Awaits(120) {
			t.Errorf("%s does not wait for the commit with which its entry expires", mortalStores[i])
		}
	}
	m.commit(120)
	if n := scans(); n != 2 || m.db.Pending() != 2 {
		t.Errorf("%d scans when it is due, %d deletes", n, m.db.Pending())
	}
	m.commit(140)
	for i, e := range m.clocks {
		if e.Awaits(1000) {
			t.Errorf("%s is empty and waits for a commit", mortalStores[i])
		}
	}
	// A value that is late within its time is due earlier than all that are there.
	m.put("b", 1, 150)
	m.put("c", 1, 130)
	m.commit(140)
	if e := m.clocks[1]; e.Awaits(149) || !e.Awaits(150) {
		t.Errorf("awaits 149: %v, 150: %v", e.Awaits(149), e.Awaits(150))
	}
}

// counted counts the iterators of an engine.
type counted struct {
	stores.Engine
	iterators int
}

func (c *counted) Iterate(s stores.Span) (stores.Iterator, error) {
	c.iterators++
	return c.Engine.Iterate(s)
}

// TestTimesToLiveThatCannotBe are refused when the store is opened.
func TestTimesToLiveThatCannotBe(t *testing.T) {
	db, err := stores.Open(stores.Config{Engine: stores.NewMemory()})
	check(t, err)
	defer db.Close()
	for _, d := range []time.Duration{-time.Second, time.Microsecond, 1500 * time.Microsecond} {
		_, err := stores.OpenKeyValue(db, stores.KeyValueConfig[string, int64]{Name: "kv", Key: codec.String, Value: codec.Int64, TTL: d})
		if err == nil || !strings.Contains(err.Error(), d.String()) {
			t.Errorf("%v: %v", d, err)
		}
	}
	if db.Expiry("kv") != nil {
		t.Error("a store that was not opened has a time to live")
	}
}

// TestAClockWithoutTime: extremes of time neither overflow nor let anything expire.
func TestAClockWithoutTime(t *testing.T) {
	m := openMortal(t, stores.Config{})
	defer m.db.Close()
	m.put("a", 1, window.MinTime)
	m.put("z", 1, window.MaxTime)
	m.commit(window.MinTime)
	m.commit(window.MinTime + 5)
	if got := m.seen(); len(got) != 2 {
		t.Errorf("%v, want both", got)
	}
	m.commit(0)
	m.commit(window.MinTime) // a clock does not go back
	if got, want := m.seen(), map[string]int64{"z": 1}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// upgradable writes entries with values of the first version at some times, and opens
// their stores with the codec of the second one and a clock at 150.
func upgradable(t *testing.T, upgrades *int, times map[string]int64) *stores.DB {
	t.Helper()
	engine := stores.NewMemory()
	open := func(c codec.Codec[string]) (*stores.DB, *stores.KeyValue[string, string], *stores.Aggregates[string, string]) {
		db, err := stores.Open(stores.Config{Engine: unclosed{engine}})
		check(t, err)
		kv, err := stores.OpenKeyValue(db, stores.KeyValueConfig[string, string]{Name: "kv", Key: codec.String, Value: c, TTL: ttl * time.Millisecond})
		check(t, err)
		agg, err := stores.OpenAggregates(db, stores.AggregatesConfig[string, string]{
			Name: "agg", Key: codec.String, Value: c, New: func() *string { return new(string) }, TTL: ttl * time.Millisecond,
		})
		check(t, err)
		return db, kv, agg
	}
	db, kv, agg := open(numbers())
	for key, at := range times {
		check(t, kv.PutAt(key, "7", at))
		l, err := agg.Create([]byte(key))
		check(t, err)
		*l.Value, l.Time = "7", at
	}
	commitAll(t, db)
	check(t, db.Close())
	db, _, _ = open(texts(upgrades))
	for _, s := range mortalStores {
		db.Expiry(s).SetClock(150)
	}
	return db
}

// TestUpgradesLeaveNothingExpired: values that have expired need no older step any
// more once the pass is through, and count as expired with the commit.
func TestUpgradesLeaveNothingExpired(t *testing.T) {
	upgrades := 0
	db := upgradable(t, &upgrades, map[string]int64{"old": 100, "new": 200})
	defer db.Close()
	for _, s := range mortalStores {
		next, n, err := db.Upgrade(s, nil)
		if next != nil || n != 1 || err != nil {
			t.Errorf("%s: %d upgraded, next %q, %v; want the one that is alive", s, n, next, err)
		}
	}
	for i, want := range []int{0, 1, 0} { // before the commit, behind it, behind the next one
		for _, s := range mortalStores {
			if n := db.Expiry(s).Gone(); n != want {
				t.Errorf("%s: %d gone after %d commits, want %d", s, n, i, want)
			}
		}
		commitAll(t, db)
	}
	if upgrades != 2 {
		t.Errorf("%d values were read by the step, want the 2 that are alive", upgrades)
	}
	for _, s := range mortalStores {
		if r, err := db.LogRecord(s, []byte("old")); err != nil || r.Value != nil {
			t.Errorf("%s: a value of the old version is left: %q, %v", s, r.Value, err)
		}
	}
}

// TestASliceOfAnUpgradeIsBoundedForDeletes: what has expired counts toward it like what
// is upgraded.
func TestASliceOfAnUpgradeIsBoundedForDeletes(t *testing.T) {
	const n = 5000
	times := map[string]int64{}
	for i := range int64(n) {
		times[fmt.Sprintf("%04d", i)] = 100 + i%10*10 // four of ten have expired
	}
	upgrades := 0
	db := upgradable(t, &upgrades, times)
	defer db.Close()
	for _, s := range mortalStores {
		slices, upgraded, gone := 0, 0, 0
		for next, first := []byte(nil), true; first || next != nil; first = false {
			var done int
			var err error
			next, done, err = db.Upgrade(s, next)
			check(t, err)
			if deleted := db.Pending(); done+deleted > 2<<10 || deleted == 0 {
				t.Fatalf("%s: a slice has upgraded %d and deleted %d", s, done, deleted)
			}
			commitAll(t, db)
			upgraded, gone, slices = upgraded+done, gone+db.Expiry(s).Gone(), slices+1
		}
		if slices != 3 || gone != n*4/10 || upgraded+gone != n {
			t.Errorf("%s: %d upgraded and %d gone in %d slices, want all %d in 3", s, upgraded, gone, slices, n)
		}
	}
}

// unclosed is an engine that goes on after its DB.
type unclosed struct{ stores.Engine }

func (unclosed) Close() error { return nil }

// TestQueriesWhileSweeping: a view never shows a key twice or lacks one that is renewed
// all the time, whatever is swept meanwhile. Run with -race.
func TestQueriesWhileSweeping(t *testing.T) {
	m := openMortal(t, stores.Config{})
	defer m.db.Close()
	m.put("renewed", 0, 0)
	m.commit(0)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, s := range mortalStores {
		q, err := m.db.Queryable(s)
		check(t, err)
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				v, err := m.db.View(context.Background())
				if err != nil {
					t.Errorf("%s: %v", s, err)
					return
				}
				p, err := q.Range(v, stores.RangeQuery{Limit: 1000})
				_, ok, gerr := q.Get(v, []byte("renewed"))
				if err != nil || gerr != nil || !ok || len(p.Items) == 0 || p.Items[len(p.Items)-1].Key != "renewed" {
					t.Errorf("%s: the key that is renewed is missing: %v, %v, %v", s, ok, err, gerr)
				}
				check(t, v.Close())
			}
		})
	}
	for at := int64(1); at < 2000; at++ {
		m.put(fmt.Sprintf("%03d", at%300), at, at)
		// Each commit renews the key, which would expire with it.
		if at%(ttl/2) == 0 {
			m.put("renewed", at, at)
			m.sweep()
			m.commit(at + 3*ttl/4)
		}
	}
	close(done)
	wg.Wait()
}

// TestAViewHasTheClockOfItsState: a commit renews a key that expires with it while a
// view is made. The view shows the old value or the new one, and not none.
func TestAViewHasTheClockOfItsState(t *testing.T) {
	engine := &snapped{Engine: stores.NewMemory()}
	m := openMortal(t, stores.Config{Engine: engine})
	defer m.db.Close()
	m.put("a", 1, 100)
	m.commit(119)
	m.put("a", 2, 119)
	engine.then = func() { m.commit(130) }
	v := m.view()
	defer v.Close()
	for _, s := range mortalStores {
		if got, want := m.queried(s, v), map[string]int64{"a": 1}; !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", s, got, want)
		}
	}
}

// snapped is an engine that calls then right behind a snapshot.
type snapped struct {
	stores.Engine
	then func()
}

func (s *snapped) Snapshot() (stores.Snapshot, error) {
	snapshot, err := s.Engine.Snapshot()
	s.then()
	return snapshot, err
}
