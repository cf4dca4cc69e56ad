package task_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// seeds is how many random runs each of the tests below makes.
const seeds = 300

// pane is a result, as the counts below send it.
type pane struct {
	Key      string
	Start    int64 // since the beginning, in milliseconds
	Kind     window.PaneKind
	Sequence int64
	Final    bool
	Count    int64
}

func (p pane) String() string {
	return fmt.Sprintf("%s@%d %v #%d final=%v: %d", p.Key, p.Start, p.Kind, p.Sequence, p.Final, p.Count)
}

// rules are what a run is made of.
type rules struct {
	size, lateness, delay, early int64 // milliseconds
	late                         window.LatePolicy
	onClose                      bool
}

func randomRules(rng *rand.Rand) rules {
	r := rules{size: 1000 * (1 + rng.Int64N(5)), lateness: 500 * rng.Int64N(6), delay: 500 * rng.Int64N(4)}
	switch rng.IntN(4) {
	case 0:
		r.onClose = true
	case 1:
		r.early = 1000
	}
	if !r.onClose {
		r.late = []window.LatePolicy{window.EachUpdate, window.NoLate}[rng.IntN(2)]
	}
	return r
}

func (r rules) String() string {
	return fmt.Sprintf("size %d, lateness %d, delay %d, early %d, %v, onClose %v", r.size, r.lateness, r.delay, r.early, r.late, r.onClose)
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// counting is a topology that counts in windows, behind a shuffle or not, and
// sends panes.
func (r rules) counting(t testing.TB, shuffle bool, base time.Time) *topology.Topology {
	emit := window.OnTime()
	if r.onClose {
		emit = window.OnClose()
	} else {
		emit = emit.Late(r.late)
	}
	if r.early > 0 {
		emit = emit.Early(ms(r.early))
	}
	return build(t, func(b *topology.Builder) {
		s := source(b, "in").EventTime(nil, window.BoundedDelay(ms(r.delay)).MaxAhead(24*time.Hour))
		g := s.GroupByKey(codec.String, codec.Int64)
		if shuffle {
			by := func(r record) string { return fmt.Sprintf("key-%d", r.Value) }
			g = topology.GroupBy(s, codec.String, codec.Int64, by, topology.Named("shuffle"))
		}
		w := window.Tumbling(ms(r.size)).AllowedLateness(ms(r.lateness)).Retention(24 * time.Hour)
		counts := g.WindowedBy(w).Count(topology.Store("counts"), topology.Emit(emit)).Stream()
		topology.MapValues(counts, func(r record) (pane, error) {
			return pane{r.Key, r.Window.Start - base.UnixMilli(), r.Pane.Kind, r.Pane.Sequence, r.Pane.Final, r.Value}, nil
		}).To("out", codec.String, codec.JSON[pane]())
	})
}

// oracle computes what one task sends, by going through all windows each time.
type oracle struct {
	rules
	watermark int64
	windows   map[oracleKey]*oracleWindow
	sent      []pane
	dropped   int
}

type oracleKey struct {
	start int64
	key   string
}

type oracleWindow struct {
	count, sequence int64
	passed, final   bool
	changed         bool
}

func (o *oracle) event(key string, t int64) {
	start := t - t%o.size
	if t < 0 && t%o.size != 0 {
		start -= o.size
	}
	if o.watermark >= start+o.size+o.lateness {
		o.dropped++
	} else {
		k := oracleKey{start, key}
		w := o.windows[k]
		if w == nil {
			w = &oracleWindow{}
			o.windows[k] = w
		}
		w.count++
		if o.watermark >= start+o.size {
			w.passed = w.passed || !o.onClose
			if !o.onClose && o.late == window.EachUpdate {
				o.send(k, w, window.LatePane, false)
			}
		} else {
			w.changed = true
		}
	}
	o.watermark = max(o.watermark, t-o.delay)
	o.fire()
}

func (o *oracle) fire() {
	for _, k := range o.keys() {
		w := o.windows[k]
		if !o.onClose && !w.passed && o.watermark >= k.start+o.size {
			w.passed = true
			o.send(k, w, window.OnTimePane, o.lateness == 0)
		}
	}
	for _, k := range o.keys() {
		w := o.windows[k]
		if !w.final && o.watermark >= k.start+o.size+o.lateness {
			kind := window.LatePane
			if !w.passed {
				kind = window.OnTimePane
			}
			w.passed = true
			o.send(k, w, kind, true)
		}
	}
}

// tick is an early timer.
func (o *oracle) tick() {
	for _, k := range o.keys() {
		if w := o.windows[k]; w.changed {
			w.changed = false
			if !w.passed {
				o.send(k, w, window.EarlyPane, false)
			}
		}
	}
}

func (o *oracle) send(k oracleKey, w *oracleWindow, kind window.PaneKind, final bool) {
	o.sent = append(o.sent, pane{k.key, k.start, kind, w.sequence, final, w.count})
	w.sequence++
	w.final = w.final || final
}

func (o *oracle) keys() []oracleKey {
	return slices.SortedFunc(maps.Keys(o.windows), func(a, b oracleKey) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.key, b.key))
	})
}

// TestOracleOfOneTask compares every result of one task, in its order, with the
// oracle: events of any disorder, late and dropped ones among them, and clean
// restarts and crashes between commits, which change nothing.
func TestOracleOfOneTask(t *testing.T) {
	drops := 0
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, 1))
		r := randomRules(rng)
		opts := []streamtest.Option{}
		if seed%20 == 0 {
			opts = append(opts, streamtest.Pebble(), streamtest.Seed(int64(seed)+1))
		}
		start := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
		d := streamtest.New(t, r.counting(t, false, start), opts...)
		in := input(d, "in")
		d.Advance(0)
		d.Batch(func() {}) // the early timer runs from here
		o := &oracle{rules: r, watermark: window.MinTime, windows: map[oracleKey]*oracleWindow{}}
		at := int64(0)
		for range 60 {
			switch n := rng.IntN(20); {
			case n == 0 && r.early > 0:
				d.Advance(ms(r.early))
				o.tick()
			case n == 1 && r.early == 0:
				d.Crash()
			case n == 2 && r.early == 0:
				d.Restart()
			default:
				at += rng.Int64N(800)
				eventTime := at - rng.Int64N(1+rng.Int64N(9000))
				key := string(rune('a' + rng.IntN(3)))
				in.Send(key, 1, start.Add(ms(eventTime)))
				o.event(key, eventTime)
			}
		}
		o.watermark = window.MaxTime - 1
		o.fire()
		d.End()
		compare(t, seed, r, panes(d), o.sent)
		n := 0
		for _, c := range d.Dropped() {
			n += c
		}
		if n != o.dropped {
			t.Errorf("seed %d (%v): %d dropped, want %d", seed, r, n, o.dropped)
		}
		drops += n
		if t.Failed() {
			return
		}
	}
	if drops == 0 {
		t.Error("nothing was dropped in any run: the test tests less than it says")
	}
}

func panes(d *streamtest.Driver) []pane {
	var got []pane
	for _, m := range streamtest.Output(d, "out", codec.String, codec.JSON[pane]()).All() {
		got = append(got, m.Value)
	}
	return got
}

// compare wants the same results; early ones of several keys may come in any
// order.
func compare(t *testing.T, seed uint64, r rules, got, want []pane) {
	t.Helper()
	early := func(list []pane) []pane {
		list = slices.Clone(list)
		for from := 0; from < len(list); {
			to := from
			for to < len(list) && list[to].Kind == window.EarlyPane {
				to++
			}
			slices.SortStableFunc(list[from:to], func(a, b pane) int {
				return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Sequence, b.Sequence))
			})
			from = to + 1
		}
		return list
	}
	got, want = early(got), early(want)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("seed %d (%v): result %d differs: have\n%v, want\n%v", seed, r, i, got[min(i, len(got)):], want[min(i, len(want)):])
			return
		}
	}
}

// TestOracleOfManyTasks: several partitions, a shuffle or none, an order that
// chance decides, commits now and then, and crashes anywhere. Disorder stays
// within delay and lateness, so that nothing is dropped: no result that is final
// is less than the truth, and without crashes each is final once and equal.
func TestOracleOfManyTasks(t *testing.T) {
	crashes, more := 0, 0
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, 2))
		r := randomRules(rng)
		shuffle := rng.IntN(3) > 0
		partitions := 1 + rng.IntN(3)
		opts := []streamtest.Option{
			streamtest.Partitions(partitions), streamtest.Seed(int64(seed) + 1), streamtest.CommitEvery(1 + rng.IntN(30)),
		}
		if seed%20 == 0 {
			opts = append(opts, streamtest.Pebble())
		}
		crashing := rng.IntN(3) > 0
		start := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
		d := streamtest.New(t, r.counting(t, shuffle, start), opts...)
		truth := sendAtRandom(d, rng, r, shuffle, crashing, partitions, start)
		d.End()
		if err := d.Err(); err != nil {
			t.Fatalf("seed %d (%v): %v", seed, r, err)
		}
		crashes += d.Crashes()
		if dropped := d.Dropped(); len(dropped) > 0 && !crashing {
			t.Errorf("seed %d (%v): dropped %v", seed, r, dropped)
		}
		if checkFinals(t, seed, r, panes(d), truth, crashing) {
			more++
		}
		checkStore(t, seed, r, d, start, truth, crashing)
		if t.Failed() {
			t.Logf("seed %d: shuffle %v, %d partitions, crashing %v", seed, shuffle, partitions, crashing)
			return
		}
	}
	t.Logf("%d crashes; %d runs counted something twice", crashes, more)
	if crashes < seeds || more == 0 {
		t.Error("too few crashes: the test tests less than it says")
	}
}

// sendAtRandom sends events and returns how many there are by key and window.
func sendAtRandom(d *streamtest.Driver, rng *rand.Rand, r rules, shuffle, crashing bool, partitions int, start time.Time) map[oracleKey]int64 {
	in := input(d, "in")
	truth := map[oracleKey]int64{}
	at := make([]int64, partitions)
	for p := range at {
		at[p] = rng.Int64N(20_000) // partitions are apart
	}
	send := func(p int) {
		at[p] += rng.Int64N(500)
		eventTime := max(0, at[p]-rng.Int64N(1+r.delay+r.lateness))
		value := rng.Int64N(4)
		key := fmt.Sprintf("p%d-%d", p, value) // a key belongs to one partition
		in.SendTo(int32(p), key, value, start.Add(ms(eventTime)))
		if shuffle {
			key = fmt.Sprintf("key-%d", value)
		}
		truth[oracleKey{eventTime - eventTime%r.size, key}]++
	}
	// The first batch reaches every partition: none is ever idle.
	d.Batch(func() {
		for p := range partitions {
			send(p)
		}
	})
	for range 12 {
		if crashing && rng.IntN(2) == 0 {
			d.CrashAfter(1 + rng.IntN(40))
		}
		d.Batch(func() {
			for range rng.IntN(20) {
				send(rng.IntN(partitions))
			}
		})
		if rng.IntN(3) == 0 {
			d.Advance(ms(rng.Int64N(3000)))
		}
		if rng.IntN(10) == 0 {
			d.Restart()
		}
	}
	if crashing {
		d.CrashAfter(1 + rng.IntN(20))
	}
	return truth
}

// checkFinals checks the results and reports whether something counted twice.
func checkFinals(t *testing.T, seed uint64, r rules, got []pane, truth map[oracleKey]int64, crashing bool) (more bool) {
	t.Helper()
	finals := map[oracleKey]int{}
	last := map[oracleKey]pane{}
	for _, p := range got {
		k := oracleKey{p.Start, p.Key}
		if !crashing {
			if before, ok := last[k]; ok && (before.Final || p.Sequence != before.Sequence+1) {
				t.Errorf("seed %d (%v): %v after %v", seed, r, p, before)
			}
		}
		last[k] = p
		if !p.Final {
			continue
		}
		finals[k]++
		more = more || p.Count > truth[k]
		if p.Count < truth[k] || !crashing && p.Count != truth[k] {
			t.Errorf("seed %d (%v): %v, the truth is %d", seed, r, p, truth[k])
		}
	}
	for k := range truth {
		if finals[k] == 0 || !crashing && finals[k] != 1 {
			t.Errorf("seed %d (%v): %d final results for %v", seed, r, finals[k], k)
		}
	}
	for k := range finals {
		if truth[k] == 0 {
			t.Errorf("seed %d (%v): a result for %v, which nobody sent", seed, r, k)
		}
	}
	return more
}

func checkStore(t *testing.T, seed uint64, r rules, d *streamtest.Driver, start time.Time, truth map[oracleKey]int64, crashing bool) {
	t.Helper()
	stored := map[oracleKey]int64{}
	for _, e := range streamtest.Entries[string, int64](d.Store("counts")) {
		stored[oracleKey{e.Window.Start - start.UnixMilli(), e.Key}] += e.Value
		if !e.Final {
			t.Errorf("seed %d (%v): the entry %+v is not final", seed, r, e)
		}
	}
	for k, n := range truth {
		if stored[k] < n || !crashing && stored[k] != n {
			t.Errorf("seed %d (%v): %v is stored as %d, the truth is %d", seed, r, k, stored[k], n)
		}
	}
}
