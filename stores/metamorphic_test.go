package stores_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

var seeds = flag.Int("seeds", 25, "how many seeds the metamorphic test runs of each kind")

// TestMetamorphic does random things to a DB and to a plain map, and compares.
// A failure names its seed: run it again with
//
//	go test ./stores -run 'TestMetamorphic/pebble/deferred/seed=17$' -seeds 18
func TestMetamorphic(t *testing.T) {
	policies := map[string]stores.DeletePolicy{
		"deferred": stores.DeletesDeferred, "with-commit": stores.DeletesWithCommit,
	}
	for _, engine := range []string{"memory", "pebble"} {
		for _, policy := range slices.Sorted(maps.Keys(policies)) {
			for seed := range *seeds {
				t.Run(fmt.Sprintf("%s/%s/seed=%d", engine, policy, seed), func(t *testing.T) {
					t.Parallel()
					m := newMachine(t, engine, policies[policy], uint64(seed))
					defer m.close()
					m.run(600)
				})
			}
		}
	}
}

// entry is what a store holds of a key, as strings so that it can be compared.
type entry struct {
	value, header string
	time          int64
}

// machine drives one DB and its model.
type machine struct {
	t      *testing.T
	rnd    *rand.Rand
	engine string
	policy stores.DeletePolicy
	step   int64
	ops    []string

	fs        *vfs.MemFS
	resources *stores.PebbleResources
	budget    *stores.Budget
	db        *stores.DB
	kv        *stores.KeyValue[string, []byte]
	win       *stores.Windowed[string, blob]
	agg       *stores.Aggregates[string, blob]
	ses       *stores.Spans[string, blob]
	handed    stores.Cursor // of the slice of a scan that is to go on
	visiting  visiting

	log map[string][]stores.LogRecord // by store, from offset 0
	// By store and changelog key: what reads see; what the log says; and when
	// and as what a key was deleted since it was last logged.
	visible, logged map[string]map[string]entry
	deleted         map[string]map[string]tomb
	interval        int
}

type tomb struct {
	interval int
	last     entry
	changed  bool // last was not yet logged
}

// blob is an aggregate whose decoded form aliases its input.
type blob struct{ b []byte }

type blobCodec struct{}

func (blobCodec) Append(dst []byte, v blob) ([]byte, error) { return append(dst, v.b...), nil }
func (blobCodec) Decode(b []byte) (blob, error)             { return blob{b}, nil }

var storeNames = []string{"kv", "win", "agg", "ses"}

func newMachine(t *testing.T, engine string, policy stores.DeletePolicy, seed uint64) *machine {
	m := &machine{
		t: t, engine: engine, policy: policy,
		rnd:     rand.New(rand.NewPCG(seed, 0x5eed)),
		fs:      vfs.NewCrashableMem(),
		log:     map[string][]stores.LogRecord{},
		visible: map[string]map[string]entry{}, logged: map[string]map[string]entry{},
		deleted: map[string]map[string]tomb{},
	}
	limits := []int64{0, 1 << 11, 1 << 30}
	m.budget = stores.NewBudget(limits[m.rnd.IntN(len(limits))])
	m.resources = stores.NewPebbleResources(1<<20, 64, 1)
	for _, s := range storeNames {
		m.visible[s], m.logged[s], m.deleted[s] = map[string]entry{}, map[string]entry{}, map[string]tomb{}
	}
	m.open()
	return m
}

func (m *machine) close() {
	m.must(m.db.Close())
	m.resources.Close()
	if used := m.budget.Used(); used != 0 {
		m.fatal("the budget holds %d bytes after Close", used)
	}
}

func (m *machine) must(err error) {
	if err != nil {
		m.t.Helper()
		m.fatal("%v", err)
	}
}

func (m *machine) fatal(format string, args ...any) {
	m.t.Helper()
	from := max(0, len(m.ops)-60)
	m.t.Fatalf("%s\nstep %d, last operations:\n%s", fmt.Sprintf(format, args...), m.step, strings.Join(m.ops[from:], "\n"))
}

func (m *machine) note(format string, args ...any) {
	m.ops = append(m.ops, fmt.Sprintf("%4d %s", m.step, fmt.Sprintf(format, args...)))
}

func (m *machine) open() {
	var e stores.Engine = stores.NewMemory()
	if m.engine == "pebble" {
		var err error
		e, err = stores.OpenPebble(stores.PebbleConfig{Dir: "state", FS: m.fs, Resources: m.resources})
		m.must(err)
	}
	var err error
	m.db, err = stores.Open(stores.Config{Engine: e, Deletes: m.policy, Budget: m.budget})
	m.must(err)
	m.kv, err = stores.OpenKeyValue(m.db, stores.KeyValueConfig[string, []byte]{Name: "kv", Key: codec.String, Value: codec.Bytes})
	m.must(err)
	m.win, err = stores.OpenWindowed(m.db, stores.WindowedConfig[string, blob]{
		Name: "win", Key: codec.String, Value: blobCodec{}, New: func() *blob { return new(blob) },
		Window: func(s int64) window.Window { return window.Window{Start: s, End: s + 10} },
	})
	m.must(err)
	m.agg, err = stores.OpenAggregates(m.db, stores.AggregatesConfig[string, blob]{
		Name: "agg", Key: codec.String, Value: blobCodec{}, New: func() *blob { return new(blob) },
	})
	m.must(err)
	m.ses, err = stores.OpenSpans(m.db, stores.SpansConfig[string, blob]{
		Name: "ses", Key: codec.String, Value: blobCodec{}, New: func() *blob { return new(blob) }, Due: spanDue,
	})
	m.must(err)
	m.interval++
}

func (m *machine) run(steps int) {
	for range steps {
		m.step++
		m.db.SetTime(m.step)
		switch n := m.rnd.IntN(100); {
		case n < 20:
			m.keyValue()
		case n < 45:
			m.windowed()
		case n < 55:
			m.session()
		case n < 68:
			m.aggregate()
		case n < 71:
			m.drop()
		case n < 72:
			m.dropSessions()
		case n < 82:
			m.compareOne()
		case n < 84:
			m.scanSlice()
		case n < 86:
			m.visitSlice()
		case n < 89:
			m.compareAll()
		case n < 97:
			m.commit(false)
		case n < 98:
			m.must(m.db.Flush())
		case n < 99:
			m.crash()
		default:
			m.commit(true)
		}
		m.must(m.ses.CheckLanes())
	}
	m.commit(false)
	m.compareAll()
}

func (m *machine) key() string { return []string{"", "a", "ab", "b", "c\x00", "\xff"}[m.rnd.IntN(6)] }
func (m *machine) start() int64 {
	return []int64{-20, -10, 0, 10, 20, 30, 40}[m.rnd.IntN(7)]
}

// put and remove tell the model.
func (m *machine) put(store, key string, e entry) {
	m.visible[store][key] = e
	delete(m.deleted[store], key)
}

func (m *machine) remove(store, key string) {
	e, ok := m.visible[store][key]
	if !ok {
		return
	}
	delete(m.visible[store], key)
	if store == "ses" {
		delete(m.visiting.left, key)
	}
	if old, stored := m.logged[store][key]; stored {
		m.deleted[store][key] = tomb{interval: m.interval, last: e, changed: old != e}
	}
}

func (m *machine) keyValue() {
	k := m.key()
	if m.rnd.IntN(3) == 0 {
		m.note("kv delete %q", k)
		m.must(m.kv.Delete(k))
		m.remove("kv", k)
		return
	}
	v := fmt.Sprint("v", m.step)[:m.rnd.IntN(3)]
	m.note("kv put %q %q", k, v)
	m.must(m.kv.Put(k, []byte(v)))
	m.put("kv", k, entry{value: v, time: m.step})
}

var rule = window.OnTime().Late(window.EachUpdate).Rule(window.Tumbling(10).AllowedLateness(5))

// change changes a live object, or deletes it.
func (m *machine) change(store, key string, l *stores.Live[blob], created bool, touch, remove func(*stores.Live[blob])) {
	if !created && m.rnd.IntN(4) == 0 {
		m.note("%s delete %q", store, key)
		remove(l)
		m.remove(store, key)
		return
	}
	m.note("%s change %q", store, key)
	early := m.rnd.IntN(2) == 0
	if early {
		touch(l)
	}
	l.Value.b = append(bytes.Clone(l.Value.b), byte('0'+m.step%10))
	if n := len(l.Value.b); n > 3 {
		l.Value.b = l.Value.b[n-3:]
	}
	l.Time = m.step
	if m.rnd.IntN(3) == 0 {
		l.Firing.OnTime(rule)
	}
	if !early {
		touch(l)
	}
	m.put(store, key, liveEntry(l))
}

func liveEntry(l *stores.Live[blob]) entry {
	return entry{value: string(l.Value.b), time: l.Time, header: string(window.AppendFiring(nil, l.Firing))}
}

func (m *machine) windowed() {
	k, s := m.key(), m.start()
	l, err := m.win.Get([]byte(k), s)
	m.must(err)
	m.same("win", winKey(k, s), l)
	if l == nil {
		created, err := m.win.Create([]byte(k), s)
		m.must(err)
		m.change("win", winKey(k, s), created, true, m.win.Touch, m.win.Delete)
		return
	}
	m.change("win", winKey(k, s), l, false, m.win.Touch, m.win.Delete)
}

func (m *machine) aggregate() {
	k := m.key()
	l, err := m.agg.Get([]byte(k))
	m.must(err)
	m.same("agg", k, l)
	if l == nil {
		created, err := m.agg.Create([]byte(k))
		m.must(err)
		m.change("agg", k, created, true, m.agg.Touch, m.agg.Delete)
		return
	}
	m.change("agg", k, l, false, m.agg.Touch, m.agg.Delete)
}

func winKey(k string, start int64) string {
	return string(codec.AppendWindowKey(nil, []byte(k), start, 0))
}

func splitWinKey(key string) (string, int64) {
	k, s, _, err := codec.SplitWindowKey([]byte(key))
	if err != nil {
		panic(err)
	}
	return string(k), s
}

func (m *machine) drop() {
	bound := m.start()
	want := 0
	for key := range m.visible["win"] {
		if _, s := splitWinKey(key); s < bound {
			want++
			m.remove("win", key)
		}
	}
	m.note("win drop before %d: %d", bound, want)
	got, err := m.win.DropBefore(bound)
	m.must(err)
	if got != want {
		m.fatal("DropBefore(%d) removed %d, want %d", bound, got, want)
	}
}

// same compares what Get returned with the model.
func (m *machine) same(store, key string, l *stores.Live[blob]) {
	m.t.Helper()
	want, ok := m.visible[store][key]
	switch {
	case ok != (l != nil):
		m.fatal("%s: Get(%q) found: %v, want %v", store, key, l != nil, ok)
	case ok && liveEntry(l) != want:
		m.fatal("%s: Get(%q) = %+v, want %+v", store, key, liveEntry(l), want)
	}
}

func (m *machine) compareOne() {
	k, s := m.key(), m.start()
	v, ok, err := m.kv.Get(k)
	m.must(err)
	if want, has := m.visible["kv"][k]; ok != has || ok && string(v) != want.value {
		m.fatal("kv: Get(%q) = %q, %v, want %q, %v", k, v, ok, want.value, has)
	}
	l, err := m.win.Get([]byte(k), s)
	m.must(err)
	m.same("win", winKey(k, s), l)
	want, has := int64(math.MaxInt64), false
	for key := range m.visible["win"] {
		if _, at := splitWinKey(key); at >= s && at < want {
			want, has = at, true
		}
	}
	got, ok, err := m.win.Next(s)
	m.must(err)
	if ok != has || ok && got != want {
		m.fatal("Next(%d) = %d, %v, want %d, %v", s, got, ok, want, has)
	}
}

// scanSlice scans a few objects on from where the last slice ended, and changes
// some of them.
func (m *machine) scanSlice() {
	from, to := m.start(), m.start()
	n := 0
	var last stores.Cursor
	for l, err := range m.win.Scan(from, to, m.handed) {
		m.must(err)
		key := winKey(string(l.Key()), l.Start())
		if l.Start() < from || l.Start() >= to || !after(l.Cursor(), m.handed) || !after(l.Cursor(), last) {
			m.fatal("Scan(%d, %d, %v) yields %v after %v", from, to, m.handed, l.Cursor(), last)
		}
		last = l.Cursor()
		m.same("win", key, l)
		if m.rnd.IntN(3) == 0 {
			m.change("win", key, l, false, m.win.Touch, m.win.Delete)
		}
		if n++; n == 4 {
			m.note("win scan slice to %v", last)
			m.handed = last
			return
		}
	}
	m.note("win scan %d to %d: %d", from, to, n)
	m.handed = stores.Cursor{}
}

func after(c, than stores.Cursor) bool {
	if than.Key == nil || c.Start != than.Start {
		return than.Key == nil || c.Start > than.Start
	}
	return bytes.Compare(c.Key, than.Key) > 0
}

// compareAll compares everything that reads see with the model.
func (m *machine) compareAll() {
	got := map[string]entry{}
	lastKey := ""
	for e, err := range m.kv.All() {
		m.must(err)
		if len(got) > 0 && e.Key <= lastKey {
			m.fatal("kv: %q after %q", e.Key, lastKey)
		}
		lastKey = e.Key
		got[e.Key] = entry{value: string(e.Value), time: e.Time}
	}
	m.equal("kv", got, m.visible["kv"])
	from, to := m.key(), m.key()
	for e, err := range m.kv.Range(&from, &to) {
		m.must(err)
		if e.Key < from || e.Key >= to {
			m.fatal("kv: Range(%q, %q) yields %q", from, to, e.Key)
		}
		delete(got, e.Key)
	}
	for k := range got {
		if k >= from && k < to {
			m.fatal("kv: Range(%q, %q) lacks %q", from, to, k)
		}
	}

	got = map[string]entry{}
	var last stores.Cursor
	for l, err := range m.win.Scan(math.MinInt64, math.MaxInt64, stores.Cursor{}) {
		m.must(err)
		if !after(l.Cursor(), last) {
			m.fatal("win: %v after %v", l.Cursor(), last)
		}
		last = l.Cursor()
		got[winKey(string(l.Key()), l.Start())] = liveEntry(l)
	}
	m.equal("win", got, m.visible["win"])

	got = map[string]entry{}
	for l, err := range m.agg.Range(nil, nil) {
		m.must(err)
		got[string(l.Key())] = liveEntry(l)
	}
	m.equal("agg", got, m.visible["agg"])
	m.compareSessions()
}

func (m *machine) equal(store string, got, want map[string]entry) {
	m.t.Helper()
	if !maps.Equal(got, want) {
		m.fatal("%s:\n got %v\nwant %v", store, got, want)
	}
}

// commit commits; with torn it crashes somewhere on the way.
func (m *machine) commit(torn bool) {
	m.note("commit, torn %v", torn)
	c, err := m.db.Collect()
	m.must(err)
	next := map[string]int64{}
	var lost bool
	stop := math.MaxInt
	if torn {
		stop = m.rnd.IntN(c.Len() + 1)
	}
	n := 0
	for store, r := range c.All() {
		if n++; n > stop {
			lost = true
			break
		}
		m.log[store] = append(m.log[store], stores.LogRecord{
			Key: bytes.Clone(r.Key), Value: bytes.Clone(r.Value), Time: r.Time, Header: bytes.Clone(r.Header),
		})
		next[store] = int64(len(m.log[store]))
	}
	if !lost {
		m.expectLogged()
	}
	if torn {
		m.crash()
		return
	}
	m.must(m.db.Commit(c, next, m.step))
	if n, b := m.db.Dirty(); n != 0 || b != 0 {
		m.fatal("after Commit %d entries, %d bytes are dirty", n, b)
	}
	m.interval++
	m.compareCommitted()
}

// expectLogged computes, without the log, what a commit makes the log say.
func (m *machine) expectLogged() {
	for _, s := range storeNames {
		want := maps.Clone(m.visible[s])
		for k, d := range m.deleted[s] {
			if m.policy == stores.DeletesDeferred && d.interval == m.interval {
				want[k] = m.logged[s][k]
				if d.changed {
					want[k] = d.last
				}
			} else {
				delete(m.deleted[s], k)
			}
		}
		got := replay(m.log[s])
		m.equal(s+" in the log", got, want)
		m.logged[s] = want
	}
}

// replay returns what a log says.
func replay(log []stores.LogRecord) map[string]entry {
	state := map[string]entry{}
	for _, r := range log {
		if r.Value == nil {
			delete(state, string(r.Key))
			continue
		}
		state[string(r.Key)] = entry{value: string(r.Value), time: r.Time, header: string(r.Header)}
	}
	return state
}

// compareCommitted compares, for each store, what queries see with the log up
// to the store's own offset: state is never ahead of it, nor behind.
func (m *machine) compareCommitted() {
	v, err := m.db.View(context.Background())
	m.must(err)
	defer v.Close()
	for _, s := range storeNames {
		next, _, ok := m.db.Offset(s)
		if !ok && next != 0 {
			m.fatal("%s: offset %d, but none", s, next)
		}
		m.equal(s+" in the engine", m.committed(v, s), replay(m.log[s][:next]))
	}
}

// committed reads a store page by page.
func (m *machine) committed(v *stores.View, store string) map[string]entry {
	q, err := m.db.Queryable(store)
	m.must(err)
	got := map[string]entry{}
	var cursor []byte
	for {
		var p stores.Page
		if store == "win" || store == "ses" {
			p, err = q.Windows(v, stores.WindowsQuery{From: math.MinInt64, To: math.MaxInt64, Limit: 3, Cursor: cursor})
		} else {
			p, err = q.Range(v, stores.RangeQuery{Limit: 3, Cursor: cursor})
		}
		m.must(err)
		for _, i := range p.Items {
			key, e := i.Key.(string), entry{time: i.Time}
			switch v := i.Value.(type) {
			case []byte:
				e.value = string(v)
			case *blob:
				e.value = string(v.b)
			}
			switch store {
			case "win":
				key = winKey(key, i.Window.Start)
			case "ses":
				key = sessionKey(key, *i.Window)
			}
			if was, ok := replay(m.log[store])[key]; ok {
				// Pages do not show headers; restores are checked for them.
				e.header = was.header
			}
			for _, r := range m.log[store] {
				if string(r.Key) == key && string(r.Value) == e.value && r.Time == e.time {
					e.header = string(r.Header)
				}
			}
			got[key] = e
		}
		if cursor = p.Next; cursor == nil {
			return got
		}
	}
}

// crash loses what was not flushed, or some of it, opens the DB again and
// restores its stores.
func (m *machine) crash() {
	m.note("crash")
	if m.engine == "pebble" {
		clone := m.fs.CrashClone(vfs.CrashCloneCfg{
			UnsyncedDataPercent: m.rnd.IntN(101), RNG: rand.New(rand.NewPCG(m.rnd.Uint64(), 1)),
		})
		m.must(m.db.Close())
		m.fs = clone
	} else {
		m.must(m.db.Close())
	}
	m.open()
	m.compareCommitted()
	for _, s := range storeNames {
		m.restore(s)
		m.logged[s] = replay(m.log[s])
		m.visible[s] = maps.Clone(m.logged[s])
		m.deleted[s] = map[string]tomb{}
	}
	m.compareCommitted()
	m.compareAll()
	m.handed, m.visiting = stores.Cursor{}, visiting{}
}

// restore ingests the rest of a store's log in chunks of random size.
func (m *machine) restore(s string) {
	next, _, ok := m.db.Offset(s)
	if m.rnd.IntN(8) == 0 {
		m.note("restore %s whole", s)
		m.must(m.db.Clear(s))
		if _, _, ok := m.db.Offset(s); ok {
			m.fatal("%s has an offset after Clear", s)
		}
		next, ok = 0, false
	}
	for int(next) < len(m.log[s]) || !ok {
		to := min(len(m.log[s]), int(next)+m.rnd.IntN(20))
		m.must(m.db.Ingest(context.Background(), s, m.log[s][next:to], int64(to), m.step))
		next, ok = int64(to), true
	}
}

func TestChangesBetweenCollectAndCommitAreRefused(t *testing.T) {
	m := newMachine(t, "memory", stores.DeletesDeferred, 1)
	defer m.close()
	m.must(m.kv.Put("a", nil))
	c, err := m.db.Collect()
	m.must(err)
	m.must(m.kv.Put("b", nil))
	if err := m.db.Commit(c, nil, 0); !errors.Is(err, stores.ErrProtocol) {
		t.Errorf("Commit after a change: %v, want ErrProtocol", err)
	}
	if _, err := m.db.Collect(); !errors.Is(err, stores.ErrProtocol) {
		t.Errorf("second Collect: %v, want ErrProtocol", err)
	}
	if _, _, err := m.db.Upgrade("kv", nil); !errors.Is(err, stores.ErrProtocol) {
		t.Errorf("Upgrade: %v, want ErrProtocol", err)
	}
}
