package task_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// tally is a processor that counts the records of each key in a store, and sends each
// count on.
type tally struct {
	handle topology.KeyValue[string, int64]
	ctx    *topology.Context[string, int64]
	counts *topology.State[string, int64]
	// init is called with the store when the processor begins; nil for nothing.
	init func(*topology.State[string, int64]) error
}

func (c *tally) Init(ctx *topology.Context[string, int64]) (err error) {
	c.ctx = ctx
	if c.counts, err = c.handle.In(ctx); err != nil || c.init == nil {
		return err
	}
	return c.init(c.counts)
}

func (c *tally) Process(r record) error {
	n, _, err := c.counts.Get(r.Key)
	if err != nil {
		return err
	}
	if err := c.counts.Put(r.Key, n+1); err != nil {
		return err
	}
	r.Value = n + 1
	return c.ctx.Forward(r)
}

func (c *tally) Close() error { return nil }

// mortal counts records by key, in a table and in a processor, for a time to live of
// 10 s.
func mortal(b *topology.Builder) {
	table, counts := counting(b)
	table.To("table", codec.String, codec.Int64)
	counts.To("counts", codec.String, codec.Int64)
}

func counting(b *topology.Builder) (table, counts topology.Stream[string, int64]) {
	in := source(b, "in")
	table = in.GroupByKey(codec.String, codec.Int64).Count(topology.Store("table"), topology.TTL(10*time.Second)).Stream()
	store := topology.KeyValueStore(b, "counts", codec.String, codec.Int64, topology.TTL(10*time.Second))
	counts = topology.Process(in, func() topology.Processor[string, int64, string, int64] { return &tally{handle: store} },
		topology.Uses(store), topology.Named("tally"))
	return table, counts
}

var mortalStores = []string{"table", "counts"}

// held returns what a store shows, as "key=value".
func held(d *streamtest.Driver, store string) (out []string) {
	for _, e := range streamtest.Entries[string, int64](d.Store(store)) {
		out = append(out, fmt.Sprintf("%s=%d", e.Key, e.Value))
	}
	slices.Sort(out)
	return out
}

// TestKeysExpireByEventTime, and begin anew; what is late for that is dropped.
func TestKeysExpireByEventTime(t *testing.T) {
	for _, pebble := range []bool{false, true} {
		var opts []streamtest.Option
		if pebble {
			opts = append(opts, streamtest.Pebble())
		}
		d := streamtest.New(t, build(t, mortal), opts...)
		in := input(d, "in")
		in.Send("a", 1, after(100))
		in.Send("a", 1, after(105))
		in.Send("b", 1, after(114))
		for _, s := range mortalStores {
			want(t, s+" at 114", held(d, s), "a=2", "b=1")
		}
		in.Send("b", 1, after(115))
		for _, s := range mortalStores {
			want(t, s+" at 115", held(d, s), "b=2")
		}
		in.Send("a", 1, after(105)) // its own time is over
		in.Send("a", 1, after(106)) // and this is not
		for _, s := range mortalStores {
			want(t, s+" with a new a", held(d, s), "a=1", "b=2")
		}
		for _, node := range []string{"in.aggregate", "tally"} {
			if n := d.Dropped()[streamtest.Drop{Node: node, Reason: "late"}]; n != 1 {
				t.Errorf("%s: %d dropped as late, want the one of 105", node, n)
			}
		}
		want(t, "the table", results(d, "table"), "a=1", "a=2", "b=1", "b=2", "a=1")
		for range 2 {
			d.Restart()
			for _, s := range mortalStores {
				want(t, s+" after a restart", held(d, s), "a=1", "b=2")
			}
		}
		in.Send("c", 1, after(200))
		d.Crash()
		for _, s := range mortalStores {
			want(t, s+" at 200", held(d, s), "c=1")
		}
	}
}

// TestExpiryIsLogged: each key that has expired has a tombstone, so that a restore does
// not bring it back, and no more records than that come of it.
func TestExpiryIsLogged(t *testing.T) {
	d := streamtest.New(t, build(t, mortal))
	in := input(d, "in")
	for i := range 5 {
		in.Send(fmt.Sprint("k", i), 1, after(i))
	}
	in.Send("clock", 1, after(100))
	for _, s := range mortalStores {
		if n := d.ChangelogRecords(s); n != 11 {
			t.Errorf("%s: %d records in the changelog, want 6 values and 5 tombstones", s, n)
		}
	}
	d.Restart()
	d.Crash()
	for _, s := range mortalStores {
		want(t, s, held(d, s), "clock=1")
		if n := d.ChangelogRecords(s); n != 11 {
			t.Errorf("%s: %d records in the changelog after restarts, want no more", s, n)
		}
	}
}

// TestReplaysFindWhatWasThere: a commit that fails behind its changelog records may have
// logged an aggregate that began anew. A replay must not find that in place of the old
// one, which the first of the records belong to.
func TestReplaysFindWhatWasThere(t *testing.T) {
	for _, step := range steps[1:] { // those of a commit
		d := streamtest.New(t, build(t, mortal), streamtest.CommitManually())
		in := input(d, "in")
		for range 5 {
			in.Send("a", 1, after(100))
		}
		d.Commit()
		in.Send("a", 2, after(100))
		in.Send("clock", 1, after(112))
		in.Send("a", 1, after(112))
		d.CrashAt(step)
		d.Commit()
		d.Commit()
		for _, topic := range mortalStores {
			last := int64(0)
			for _, m := range streamtest.Output(d, topic, codec.String, codec.Int64).All() {
				if m.Key != "a" {
					continue
				}
				if m.Value < min(last, 5) {
					t.Errorf("crash at %v: %s says %d behind %d, and the first 5 were committed", step, topic, m.Value, last)
				}
				last = max(last, m.Value)
			}
			if last < 7 {
				t.Errorf("crash at %v: %s says %d at most, want all 7", step, topic, last)
			}
		}
		if d.Crashes() != 1 {
			t.Errorf("crash at %v: %d crashes", step, d.Crashes())
		}
	}
}

// TestCrashesNeverLoseWhatIsAlive crashes at each step of some commits, in runs in
// which keys expire all the time. No count is ever less than that of a model in which
// each key expires at the watermark of the moment, which is the earliest that it may.
func TestCrashesNeverLoseWhatIsAlive(t *testing.T) {
	for _, pebble := range []bool{false, true} {
		for _, step := range steps {
			for commit := range 8 {
				name := fmt.Sprintf("%v of commit %d, pebble %v", step, commit, pebble)
				opts := []streamtest.Option{streamtest.CommitEvery(5)}
				if pebble {
					opts = append(opts, streamtest.Pebble())
				}
				crashWithExpiry(t, name, step, commit, opts)
			}
		}
	}
}

func crashWithExpiry(t *testing.T, name string, step streamtest.Step, commit int, opts []streamtest.Option) {
	t.Helper()
	type mark struct{ count, time int64 }
	rnd := rand.New(rand.NewPCG(uint64(commit), uint64(len(name))))
	d := streamtest.New(t, build(t, mortal), opts...)
	in := input(d, "in")
	model, w := map[string]mark{}, int64(0)
	for batch := range 12 {
		if batch == commit+1 {
			d.CrashAt(step)
		}
		d.Batch(func() {
			for range 5 {
				key := fmt.Sprint(rnd.IntN(6))
				at := max(1, w+int64(rnd.IntN(8000))-4000)
				w = max(w, at)
				in.Send(key, 1, after(0).Add(time.Duration(at)*time.Millisecond))
				old, ok := model[key]
				if ok = ok && old.time > w-10_000; !ok {
					old = mark{}
				}
				if ok || at > w-10_000 {
					model[key] = mark{old.count + 1, max(old.time, at)}
				}
			}
		})
	}
	d.Commit()
	d.Commit()
	if d.Crashes() != 1 {
		t.Errorf("%s: %d crashes", name, d.Crashes())
	}
	for _, store := range mortalStores {
		sent := map[string]int64{}
		for _, m := range streamtest.Output(d, store, codec.String, codec.Int64).All() {
			sent[m.Key] = m.Value
		}
		for key, x := range model {
			if sent[key] < x.count {
				t.Errorf("%s: %s last sent %d for %q, less than the %d that came while it was alive", name, store, sent[key], key, x.count)
			}
		}
		shown := map[string]int64{}
		for _, e := range streamtest.Entries[string, int64](d.Store(store)) {
			shown[e.Key] = e.Value
			if e.Value != sent[e.Key] {
				t.Errorf("%s: store %s holds %d for %q, and %d was sent last", name, store, e.Value, e.Key, sent[e.Key])
			}
		}
		for key, x := range model {
			if _, ok := shown[key]; !ok && x.time > w-10_000 {
				t.Errorf("%s: store %s lacks %q, which is alive", name, store, key)
			}
		}
	}
}

// TestExpiryExactlyOnce: crashes change nothing of what is committed, though every key
// expires between its bursts.
func TestExpiryExactlyOnce(t *testing.T) {
	var records []*task.Fetched
	send := func(key string, at int64) { records = append(records, fetched(int64(len(records)), key, at)) }
	for burst := range int64(12) {
		send("clock", burst*60_000)
		for i := range int64(10) {
			send(fmt.Sprint("k", burst*5%15+i%5), burst*60_000+i*200)
		}
	}
	countingOnce := func(opts ...topology.StoreOption) func() *topology.Topology {
		return func() *topology.Topology {
			return build(t, func(b *topology.Builder) {
				counts := topology.KeyValueStore(b, "counts", codec.String, codec.Int64, opts...)
				topology.Process(source(b, "in"), func() topology.Processor[string, int64, string, int64] { return &tally{handle: counts} },
					topology.Uses(counts)).To("out", codec.String, codec.Int64)
			})
		}
	}
	sameWithCrashes(t, countingOnce(topology.TTL(10*time.Second)), records, 8)

	o := newOnce(t, countingOnce(topology.TTL(10*time.Second))())
	expired := 0
	o.observer.Expired = func(store string, entries int) {
		if store != "counts" {
			t.Errorf("%d entries expired in %q", entries, store)
		}
		expired += entries
	}
	o.crash() // the observer is there from the start
	o.in = records
	for int(o.task.Inputs()[0].Next()) < len(records) {
		o.run(1) // the clock
		o.commit(false)
		o.run(10)
		o.commit(false)
	}
	o.end()
	most := int64(0)
	for _, s := range o.sent {
		key, value, _ := strings.Cut(s, "=")
		n, err := codec.Int64.Decode([]byte(value))
		o.check(err)
		if key != "clock" {
			most = max(most, n)
		}
	}
	if most != 2 {
		t.Errorf("the greatest count is %d, want the 2 of a burst", most)
	}
	if expired != 11*5 {
		t.Errorf("%d entries expired, want 5 between two bursts", expired)
	}
	alive := map[string]bool{}
	for _, r := range o.log.Records(changelog.TopicName("app", "counts"), 0) {
		if alive[string(r.Key)] = true; r.Value == nil {
			delete(alive, string(r.Key))
		}
	}
	// The end of a run is no time.
	want(t, "alive", slices.Sorted(maps.Keys(alive)), "clock", "k10", "k11", "k12", "k13", "k14")
}

// TestTheClockLetsKeysExpireWhenAllIsIdle: if the watermark follows it. What has
// nothing more to do is not dirty then.
func TestTheClockLetsKeysExpireWhenAllIsIdle(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		source(b, "in").EventTime(nil, advancing).GroupByKey(codec.String, codec.Int64).
			Count(topology.Store("table"), topology.TTL(10*time.Second))
	}))
	in := input(d, "in")
	in.Send("a", 1, d.Now())
	d.Advance(9 * time.Second)
	want(t, "after 9 s", held(d, "table"), "a=1")
	d.Advance(5 * time.Second)
	want(t, "after 14 s", held(d, "table"))
	if n := d.ChangelogRecords("table"); n != 2 {
		t.Errorf("%d records in the changelog, want the value and the tombstone", n)
	}
	d.Advance(10 * time.Minute)
	if n := d.ChangelogRecords("table"); n != 2 {
		t.Errorf("%d records in the changelog after ten idle minutes, want no more", n)
	}
}

// TestIdleKeysExpireOneAfterAnother: the second one is not shown until another pass may
// begin, which is a sixteenth of the time to live after the one that deletes the first.
func TestIdleKeysExpireOneAfterAnother(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		source(b, "in").EventTime(nil, advancing).GroupByKey(codec.String, codec.Int64).
			Count(topology.Store("table"), topology.TTL(time.Hour))
	}))
	in := input(d, "in")
	in.Send("a", 1, d.Now())
	in.Send("b", 1, d.Now().Add(time.Minute))
	d.Advance(time.Hour + 50*time.Second)
	want(t, "after the first", held(d, "table"), "b=1")
	d.Advance(90 * time.Second)
	want(t, "after the second", held(d, "table"))
}

// TestAnIdleTaskRests: time to live or not, it has nothing to commit.
func TestAnIdleTaskRests(t *testing.T) {
	tk := newTask(t, build(t, func(b *topology.Builder) { counting(b) }), &counter{})
	tick := func() {
		t.Helper()
		for more := true; more; {
			var err error
			if more, err = tk.Tick(time.UnixMilli(0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	in := tk.Inputs()[0]
	check := func(what string, dirty bool) {
		t.Helper()
		if tick(); tk.Dirty() != dirty {
			t.Errorf("%s: dirty %v, want %v", what, tk.Dirty(), dirty)
		}
	}
	check("at the start", false)
	for i, at := range []int64{1000, 5000, 11_000} {
		if err := in.Process(fetched(int64(i), fmt.Sprint(i), at)); err != nil {
			t.Fatal(err)
		}
	}
	check("with records", true)
	commit(t, tk)
	check("with the first key expired", true)
	c := commit(t, tk)
	tombstones := map[string]int{}
	for store, r := range c.Changes.All() {
		if r.Value == nil {
			tombstones[store+" "+string(r.Key)]++
		}
	}
	if !maps.Equal(tombstones, map[string]int{"table 0": 1, "counts 0": 1}) {
		t.Errorf("tombstones %v, want those of the first key", tombstones)
	}
	check("when it is deleted", false)
}

// TestASharedStoreGoesByTheSlowestNode: one node is behind an aggregate of windows,
// whose results come later.
func TestASharedStoreGoesByTheSlowestNode(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		counts := topology.KeyValueStore(b, "counts", codec.String, codec.Int64, topology.TTL(15*time.Second))
		make := func() topology.Processor[string, int64, string, int64] { return &tally{handle: counts} }
		in := source(b, "in")
		topology.Process(in, make, topology.Uses(counts), topology.Named("fast"))
		minutes := in.GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("minutes")).Stream()
		topology.Process(minutes, make, topology.Uses(counts), topology.Named("slow"))
	}))
	in := input(d, "in")
	in.Send("a", 1, after(0))
	in.Send("b", 1, after(50))
	want(t, "the window is open", held(d, "counts"), "a=1", "b=1")
	in.Send("c", 1, after(61))
	want(t, "its results have come", held(d, "counts"), "b=2", "c=1")
	d.Crash()
	want(t, "after a crash", held(d, "counts"), "b=2", "c=1")
}

// TestProcessorsBeginWithTheirClock: what has expired is gone for Init too, before any
// sweep, and what Init puts lives from the watermark on.
func TestProcessorsBeginWithTheirClock(t *testing.T) {
	var found []string
	begin := func(s *topology.State[string, int64]) error {
		found = nil
		for e, err := range s.Range(nil, nil) {
			if err != nil {
				return err
			}
			found = append(found, fmt.Sprintf("%s=%d", e.Key, e.Value))
		}
		return s.Put("init", 1)
	}
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		counts := topology.KeyValueStore(b, "counts", codec.String, codec.Int64, topology.TTL(10*time.Second))
		topology.Process(source(b, "in"), func() topology.Processor[string, int64, string, int64] {
			return &tally{handle: counts, init: begin}
		}, topology.Uses(counts))
	}), streamtest.CommitManually())
	in := input(d, "in")
	in.Send("a", 1, after(0))
	in.Send("b", 1, after(12))
	d.Commit()
	d.Crash()
	want(t, "in Init", found, "b=1")
	in.Send("c", 1, after(21))
	d.Commit()
	d.Crash()
	want(t, "in Init of the next one", found, "b=1", "c=1", "init=1")
	in.Send("c", 1, after(22))
	d.Commit()
	d.Restart()
	want(t, "when Init's first put has expired", found, "c=2", "init=1")
}

// TestANodeWithANewNameExpiresNothingThatIsAlive: behind windows a node's watermark is
// earlier than the task's, and that of the new name is not known.
func TestANodeWithANewNameExpiresNothingThatIsAlive(t *testing.T) {
	behind := func(name string) *topology.Topology {
		return build(t, func(b *topology.Builder) {
			windows := source(b, "in").EventTime(nil, window.BoundedDelay(0)).GroupByKey(codec.String, codec.Int64).
				WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("windows"))
			store := topology.KeyValueStore(b, "seen", codec.String, codec.Int64, topology.TTL(10*time.Second))
			topology.Process(windows.Stream(), func() topology.Processor[string, int64, string, int64] { return &tally{handle: store} },
				topology.Uses(store), topology.Named(name)).To("out", codec.String, codec.Int64)
		})
	}
	dir := t.TempDir() + "/one"
	d := streamtest.New(t, behind("one"))
	in, began := input(d, "in"), d.Now().Truncate(time.Minute)
	in.Send("x", 1, began.Add(-3*time.Second))
	in.Send("a", 1, began.Add(time.Second))
	in.Send("b", 1, began.Add(50*time.Second))
	want(t, "before", held(d, "seen"), "x=1")
	d.Save(dir)
	d = streamtest.New(t, behind("two"), streamtest.From(dir))
	want(t, "under the new name", held(d, "seen"), "x=1")
	input(d, "in").Send("c", 1, began.Add(61*time.Second))
	want(t, "results of the next windows", results(d, "out"), "x=1", "a=1", "b=1")
}

// TestTheTimeToLiveMayChange at a restart: a longer one shows again what was not yet
// deleted, a shorter one hides at once.
func TestTheTimeToLiveMayChange(t *testing.T) {
	living := func(opts ...topology.TableOption) *topology.Topology {
		return build(t, func(b *topology.Builder) {
			source(b, "in").GroupByKey(codec.String, codec.Int64).Count(append(opts, topology.Store("table"))...)
		})
	}
	dir := t.TempDir() + "/saved"
	d := streamtest.New(t, living())
	in := input(d, "in")
	for i := range 4 {
		in.Send(fmt.Sprint(i), 1, after(10*i))
	}
	d.Save(dir)
	for _, c := range []struct {
		ttl  time.Duration
		want []string
	}{
		{15 * time.Second, []string{"2=1", "3=1"}},
		{30 * time.Second, []string{"1=1", "2=1", "3=1"}},
		{time.Hour, []string{"0=1", "1=1", "2=1", "3=1"}},
	} {
		d := streamtest.New(t, living(topology.TTL(c.ttl)), streamtest.From(dir))
		d.Commit()
		want(t, c.ttl.String(), held(d, "table"), c.want...)
	}
}

// TestFailuresOfASweepAreTold with the task.
func TestFailuresOfASweepAreTold(t *testing.T) {
	o := newOnce(t, build(t, mortalOnce))
	o.in = []*task.Fetched{fetched(0, "a", 0), fetched(1, "b", 60_000)}
	o.run(2)
	o.commit(false)
	if _, err := o.task.Prepare(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.task.Tick(o.now); err == nil || !strings.Contains(err.Error(), "task 0_0: deleting what has expired") {
		t.Errorf("a sweep in the middle of a commit: %v", err)
	}
}

// TestExpiryAndUpgradesAreCountedOnce: with the commit that has succeeded, and not by
// those that have failed; what an upgrade finds expired counts as expired.
func TestExpiryAndUpgradesAreCountedOnce(t *testing.T) {
	program := func(value codec.Codec[int64]) *topology.Topology {
		return build(t, func(b *topology.Builder) {
			counts := topology.KeyValueStore(b, "counts", codec.String, value, topology.TTL(time.Second))
			topology.Process(source(b, "in"), func() topology.Processor[string, int64, string, int64] { return &tally{handle: counts} },
				topology.Uses(counts)).To("out", codec.String, codec.Int64)
		})
	}
	for _, by := range []string{"the sweep", "the upgrade"} {
		t.Run(by, func(t *testing.T) {
			o := newOnce(t, program(codec.Int64))
			expired, upgraded := 0, 0
			o.observer.Expired = func(_ string, entries int) { expired += entries }
			o.observer.Upgraded = func(_ string, values int) { upgraded += values }
			o.in = []*task.Fetched{fetched(0, "a", 0), fetched(1, "b", 10), fetched(2, "clock", 60_000)}
			o.run(3)
			o.commit(false)
			alive := 0
			if by == "the upgrade" {
				alive = 1 // the clock, which is all that it finds alive
				plan, err := task.NewPlan(program(codec.Versioned(2, codec.Codec[int64](codec.Int64),
					codec.From(1, codec.Codec[int64](codec.Int64), func(n int64) (int64, error) { return n, nil }))),
					"app", map[string]int32{"in": 1, "out": 1})
				o.check(err)
				o.plan = plan
			}
			o.crash()
			sweep := func() {
				if by == "the sweep" {
					o.tick()
				}
			}
			for range 3 {
				sweep()
				o.commit(true)
			}
			if expired != 0 || upgraded != 0 {
				t.Errorf("commits that have failed count %d as expired, %d as upgraded", expired, upgraded)
			}
			for range 3 {
				sweep()
				o.commit(false)
			}
			if expired != 2 || upgraded != alive {
				t.Errorf("%d have expired and %d were upgraded, want 2 and %d", expired, upgraded, alive)
			}
		})
	}
}

func mortalOnce(b *topology.Builder) {
	source(b, "in").GroupByKey(codec.String, codec.Int64).Count(topology.Store("table"), topology.TTL(time.Second)).Stream().
		To("out", codec.String, codec.Int64)
}
