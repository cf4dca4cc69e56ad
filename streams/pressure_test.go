package streams

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

const mib = 1 << 20

func TestMemoryIsDividedWithinItsCeilings(t *testing.T) {
	for _, c := range []struct {
		memory, hot, cache int64
		wantHot, wantCache int64
		scaled             bool
	}{
		{1000, 0, 0, 500, 250, false},
		{1000, 100, 0, 100, 250, false},
		{1000, 0, 50, 500, 50, false},
		{1000, 400, 350, 400, 350, false},
		{4000, 2000, 4000, 1000, 2000, true}, // configs/production.yaml with 4 GB
		{1000, 900, 0, 586, 164, true},
	} {
		got, scaled := divide(&Config{Memory: c.memory, HotMemory: c.hot, CacheMemory: c.cache})
		if got.hot != c.wantHot || got.cache != c.wantCache || scaled != c.scaled {
			t.Errorf("%+v: %+v, scaled %v", c, got, scaled)
		}
	}
}

// cacheOnly is a storage that has only a cache.
type cacheOnly struct {
	Storage
	limit int64
}

func (c *cacheOnly) ResizeCache(bytes int64) { c.limit = bytes }

// pressed is a process of which a test says how much it takes: base, and what its
// live objects and its cache hold.
type pressed struct {
	t     *testing.T
	p     *pressure
	log   *eventLog
	cache *cacheOnly
	db    *stores.DB
	base  int64
	cycle uint64
	now   time.Time
	shed  int
}

// newPressed makes one with a budget of 100 MiB for what is live: half for objects, a quarter for the
// cache, both in full use.
func newPressed(t *testing.T) *pressed {
	x := &pressed{t: t, log: &eventLog{began: time.Now()}, cache: &cacheOnly{limit: 25 * mib}, now: time.UnixMilli(0)}
	in := &Instance{cfg: Config{Application: "app", ProcessMemory: 4 * 100 * mib / 3}, log: x.log.logger("a", slog.LevelInfo)}
	in.shares = shares{hot: 50 * mib, cache: 25 * mib}
	in.memory = newMemory("app", in.shares, func() []*stores.DB { return nil })
	in.memory.use(x.cache)
	in.cfg.hooks.footprint = func() footprint {
		return footprint{bytes: x.base + in.memory.objects.Used() + x.cache.limit, cycle: x.cycle}
	}
	x.p = newPressure(in)
	var err error
	if x.db, err = stores.Open(stores.Config{Engine: stores.NewMemory(), Budget: in.memory.objects}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.db.Close(); err != nil {
			t.Error(err)
		}
	})
	store, err := stores.OpenAggregates(x.db, stores.AggregatesConfig[string, []byte]{
		Name: "s", Key: codec.String, Value: codec.Bytes, New: func() *[]byte { return new([]byte) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // each is 2 MiB, as stores reckon
		live, err := store.Create([]byte{byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		*live.Value = make([]byte, mib)
	}
	changes, err := x.db.Collect()
	if err != nil {
		t.Fatal(err)
	}
	if err := x.db.Commit(changes, nil, 0); err != nil {
		t.Fatal(err)
	}
	x.p.shed = func() {
		x.shed++
		x.db.Shrink()
	}
	return x
}

// pass lets seconds go by, with a collection in each.
func (x *pressed) pass(seconds int) {
	for range seconds {
		x.now = x.now.Add(time.Second)
		x.cycle++
		x.p.step(x.now)
	}
}

func (x *pressed) held() int64 { return x.p.objects.Used() / mib }

// TestObjectsAreShedBeforeTheCache, and both have their shares back when there is
// room.
func TestObjectsAreShedBeforeTheCache(t *testing.T) {
	x := newPressed(t)
	x.base = 5 * mib
	x.pass(3)
	if x.p.now != relaxed || x.shed > 0 {
		t.Fatalf("at 70 of 100 MiB: %v, shed %d times\n%s", x.p.now, x.shed, x.log)
	}
	x.base = 26 * mib // 91 in all
	x.pass(10)
	if x.p.now == relaxed || x.held() > 36 || x.cache.limit != 25*mib {
		t.Errorf("at 91: %v, %d MiB of objects, cache %d MiB: want objects shed and the cache whole\n%s", x.p.now, x.held(), x.cache.limit/mib, x.log)
	}
	x.base = 70 * mib
	x.pass(30)
	if x.held() > 4 || x.cache.limit > 15*mib || x.cache.limit < 25*mib/leastShare {
		t.Errorf("with 70 of others: %d MiB of objects, cache %d MiB: want both shed\n%s", x.held(), x.cache.limit/mib, x.log)
	}
	x.base = 10 * mib
	x.pass(60)
	if x.cache.limit != 25*mib || x.p.objects.Limit() != 50*mib {
		t.Errorf("with room again: cache %d MiB, objects' limit %d MiB\n%s", x.cache.limit/mib, x.p.objects.Limit()/mib, x.log)
	}
	for _, change := range []string{"level=severe was=", "level=relaxed was="} {
		if x.log.count(change) == 0 {
			t.Errorf("the log has no %q:\n%s", change, x.log)
		}
	}
}

// TestGrowthCountsBeforeTheBudgetIsUsedUp: at 80 of 100 MiB, and 2 MiB more each
// second, the budget is tight.
func TestGrowthCountsBeforeTheBudgetIsUsedUp(t *testing.T) {
	x := newPressed(t)
	for x.base = 5 * mib; x.base < 17*mib; x.base += 2 * mib {
		x.pass(1)
	}
	if x.p.now == relaxed || x.shed == 0 {
		t.Errorf("at %d MiB and growing: %v, shed %d times\n%s", x.p.footprint/mib, x.p.now, x.shed, x.log)
	}
}

// TestALevelIsToldOnce: figures that waver about a bound are one change.
func TestALevelIsToldOnce(t *testing.T) {
	x := newPressed(t)
	x.p.shed = func() {} // nothing helps
	for i := range int64(20) {
		x.base = (19 + i%2*2) * mib // 84 and 86 in all
		x.pass(1)
	}
	// Far up and down, each for a few seconds.
	for i := range int64(30) {
		x.base = (5 + i%6*12) * mib
		x.pass(1)
	}
	if n := x.log.count("memory pressure"); n > 2 {
		t.Errorf("%d changes were told:\n%s", n, x.log)
	}
}

// TestWhatWasShedCountsOnceOnly: until the next collection the figures still have
// it, and no more is shed on their account.
func TestWhatWasShedCountsOnceOnly(t *testing.T) {
	x := newPressed(t)
	x.base = 26 * mib // 91 in all
	fixed := footprint{bytes: 91 * mib, cycle: 7}
	x.p.read = func() footprint { return fixed }
	for range 10 {
		x.now = x.now.Add(time.Second)
		x.p.step(x.now)
	}
	if held := x.held(); held < 30 {
		t.Errorf("%d MiB of objects are left of 40, where 6 were too many\n%s", held, x.log)
	}
}

func TestPressureShowsInMetrics(t *testing.T) {
	x := newPressed(t)
	x.base = 40 * mib
	x.pass(1)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(x.p)
	want := `# HELP millrace_memory_pressure 0 while the process is well within its memory budget, 1 if that is tight, 2 if it is all but used up.
# TYPE millrace_memory_pressure gauge
millrace_memory_pressure{application="app"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "millrace_memory_pressure"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry, "millrace_memory_limit_bytes"); err != nil || n != 3 {
		t.Errorf("%d limits, %v", n, err)
	}
}

// TestStateInMemoryIsToldWhenItIsAboveItsCeiling: it cannot be shed, and the live
// objects above it get what it leaves.
func TestStateInMemoryIsToldWhenItIsAboveItsCeiling(t *testing.T) {
	x := newPressed(t)
	storage := NewMemoryStorage()
	engine, err := storage.Open(processors.TaskID{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	db, err := stores.Open(stores.Config{Engine: engine})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	x.p.memory.open = func() []*stores.DB { return []*stores.DB{db} }
	x.p.memory.use(storage)
	fill := func(n int) {
		t.Helper()
		var set []stores.Pair
		for i := range n {
			set = append(set, stores.Pair{Key: []byte{9, 9, 9, 9, byte(i)}, Value: make([]byte, mib)})
		}
		if err := engine.Apply(&stores.Batch{Set: set}); err != nil {
			t.Fatal(err)
		}
	}
	fill(30)
	x.pass(2)
	if limit := x.p.objects.Limit() / mib; limit > 20 || limit < 19 {
		t.Errorf("30 of 50 MiB are state, and live objects may hold %d MiB", limit)
	}
	fill(60)
	x.pass(2)
	if n := x.log.count("state in memory is above its ceiling"); n != 1 {
		t.Errorf("told %d times:\n%s", n, x.log)
	}
}

// TestCeilingsThatAreTooHighAreToldOnce: a command makes several instances and runs
// one of them.
func TestCeilingsThatAreTooHighAreToldOnce(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		high := func(c *Config) { c.HotMemory = 1 << 40 }
		cfg := Config{Brokers: w.cluster.Addrs(), Dial: w.cluster.Dial, Logger: w.log.logger("admin", slog.LevelInfo)}
		high(&cfg)
		admin, err := OpenAdmin(context.Background(), counts(t), cfg)
		if err != nil {
			t.Fatal(err)
		}
		admin.Close()
		a := w.start("a", newDisk(), counts(t), high)
		w.settled(tasks, a)
		a.stop()
		if n := w.log.count("scaled down in proportion"); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}
