package streamtest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// tiered counts by key in windows that stay warm for a time.
func tiered(t testing.TB, w window.Windows, emit window.Emit, ttl time.Duration) *topology.Topology {
	return build(t, func(b *topology.Builder) {
		s := topology.Source(b, "in", codec.String, codec.Int64).EventTime(nil, window.BoundedDelay(0))
		g := s.GroupByKey(codec.String, codec.Int64)
		sums := topology.Aggregate(g.WindowedBy(w), codec.Int64, topology.Aggregator[int64, int64]{
			New:   func() *int64 { return new(int64) },
			Add:   func(into *int64, v int64) error { *into += v; return nil },
			Merge: func(into, from *int64) error { *into += *from; return nil },
		}, topology.Store("sums"), topology.Emit(emit), topology.Tiered(topology.Tiers{WarmTTL: ttl, Cold: true}))
		topology.MapValues(sums.Stream(), func(r record) (string, error) {
			return fmt.Sprintf("%s=%d final=%t", place(r.Key, r.Window), r.Value, r.Pane.Final), nil
		}).To("out", codec.String, codec.String)
	})
}

func place(key string, w window.Window) string { return fmt.Sprintf("%s@%d-%d", key, w.Start, w.End) }

// warm returns the closed windows in the tasks' databases.
func warm(d *streamtest.Driver) map[string]int64 {
	found := map[string]int64{}
	for _, e := range streamtest.Entries[string, int64](d.Store("sums")) {
		if e.Final {
			found[place(e.Key, e.Window)] = e.Value
		}
	}
	return found
}

// cold returns the windows in the cold tier.
func cold(t testing.TB, c *streamtest.Cold, layout string) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	rows, err := c.Read(t.Context(), stores.ColdQuery{
		Store: stores.ColdStore{Application: "app", Name: "sums", Layout: layout}, Partitions: []int32{0, 1, 2, 3},
		From: window.MinTime, To: window.MaxTime, Limit: 1 << 30,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		v, err := codec.Int64.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		found[place(string(r.Key), r.Window)] = v
	}
	return found
}

// later is where the clock stands: events lie before it.
var later = time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)

// finals returns the final results, as the last one of each window has them.
func finals(d *streamtest.Driver) map[string]int64 {
	found := map[string]int64{}
	for _, m := range streamtest.Output(d, "out", codec.String, codec.String).All() {
		text, final := strings.CutSuffix(m.Value, " final=true")
		if at, value, ok := strings.Cut(text, "="); ok && final {
			var n int64
			fmt.Sscan(value, &n)
			found[at] = n
		}
	}
	return found
}

const (
	minute = time.Minute
	hour   = time.Hour
)

// TestClosedWindowsGoThroughTheTiers: warm until the TTL, in the cold tier as soon
// as they are closed, and never open again.
func TestClosedWindowsGoThroughTheTiers(t *testing.T) {
	c := streamtest.NewCold()
	windows := window.Tumbling(minute).AllowedLateness(minute)
	d := streamtest.New(t, tiered(t, windows, window.OnTime(), hour), streamtest.ColdTier(c), streamtest.Start(later))
	in := streamtest.Input(d, "in", codec.String, codec.Int64)
	begin := later.Add(-720 * hour)
	for i := range 180 {
		in.Send("k", 1, begin.Add(time.Duration(i)*minute))
	}
	// The watermark is at 179 minutes: 178 windows are complete and 177 closed. The
	// last pass over the state came with the commit before.
	if n := c.Len("sums"); n < 177 {
		t.Errorf("%d windows are cold, want 177", n)
	}
	if n := len(warm(d)); n < 60 || n > 63 {
		t.Errorf("%d closed windows are warm, want about an hour of them", n)
	}
	before := c.Writes()
	in.Send("k", 1, begin.Add(100*minute))
	in.Send("k", 1, begin.Add(150*minute))
	if n := d.Dropped()[streamtest.Drop{Node: "in.aggregate", Reason: "late"}]; n != 2 {
		t.Errorf("late events were not dropped: %v", d.Dropped())
	}
	if c.Writes() != before {
		t.Error("late events were written")
	}
	for at, n := range cold(t, c, windows.Layout()) {
		if n != 1 {
			t.Errorf("window %s holds %d", at, n)
		}
	}
}

// TestWindowsWaitForTheColdTier while it fails, whatever their age, and leave when
// it is back. A task that is made anew asks where it was.
func TestWindowsWaitForTheColdTier(t *testing.T) {
	c := streamtest.NewCold()
	d := streamtest.New(t, tiered(t, window.Tumbling(minute), window.OnTime(), 10*minute), streamtest.ColdTier(c), streamtest.Start(later))
	in := streamtest.Input(d, "in", codec.String, codec.Int64)
	at := later.Add(-720 * hour)
	run := func(minutes int) {
		for range minutes {
			at = at.Add(minute)
			in.Send("k", 1, at)
		}
	}
	run(30)
	written := c.Len("sums")
	down := errors.New("down")
	c.Fault(func(context.Context, streamtest.ColdCall, bool) error { return down })
	run(60)
	if n := c.Len("sums"); n != written {
		t.Errorf("%d windows were written to a tier that is down", n-written)
	}
	if n := len(warm(d)); n < 60 {
		t.Errorf("only %d closed windows are left", n)
	}
	if n := d.ColdBacklog(); n < 59 || n > 60 {
		t.Errorf("%d windows wait, want 60", n)
	}
	d.Crash()
	run(10)
	if n := len(warm(d)); n < 70 {
		t.Errorf("only %d closed windows are left after a crash", n)
	}
	c.Fault(nil)
	run(3)
	if n, all := len(warm(d)), c.Len("sums"); n > 13 || all < 101 || d.ColdBacklog() != 0 {
		t.Errorf("%d windows are warm, %d cold, %d wait", n, all, d.ColdBacklog())
	}
}

// TestABoundedRunWritesWhatItsEndCloses, and the run that follows goes on behind
// it.
func TestABoundedRunWritesWhatItsEndCloses(t *testing.T) {
	c := streamtest.NewCold()
	windows := window.Tumbling(hour)
	d := streamtest.New(t, tiered(t, windows, window.OnTime(), hour), streamtest.ColdTier(c), streamtest.Start(later))
	in := streamtest.Input(d, "in", codec.String, codec.Int64)
	begin := later.Add(-720 * hour)
	in.Send("a", 1, begin)
	in.Send("b", 2, begin.Add(90*minute))
	d.End()
	if n := c.Len("sums"); n != 2 {
		t.Errorf("%d windows are cold, want 2", n)
	}
	d.Restart()
	for i := range 10 {
		in.Send("c", 3, begin.Add(100*minute+time.Duration(i)*hour))
	}
	d.End()
	if got, want := cold(t, c, windows.Layout()), finals(d); !maps.Equal(got, want) {
		t.Errorf("cold\n%v\nfinal results\n%v", got, want)
	}
}

// TestABoundedRunThatClosesNothingBeforeItsEnd writes all the same.
func TestABoundedRunThatClosesNothingBeforeItsEnd(t *testing.T) {
	c := streamtest.NewCold()
	d := streamtest.New(t, tiered(t, window.Tumbling(hour), window.OnTime(), hour), streamtest.ColdTier(c), streamtest.Start(later))
	streamtest.Input(d, "in", codec.String, codec.Int64).Send("a", 1, later.Add(-hour))
	d.End()
	if n := c.Len("sums"); n != 1 {
		t.Errorf("%d windows are cold, want 1", n)
	}
}

// TestTiersLoseNothing compares both tiers with the final results, for each kind of
// windows, over random crashes and failures of the cold tier: what is closed is in
// one of them with the value of its final result, and what has left the warm one
// was in the cold one before.
func TestTiersLoseNothing(t *testing.T) {
	kinds := map[string]window.Windows{
		"tumbling":   window.Tumbling(minute).AllowedLateness(30 * time.Second),
		"hopping":    window.Hopping(3 * minute).Every(minute),
		"calendar":   window.Calendar(window.Hour, "Europe/Berlin"),
		"session":    window.Session(90 * time.Second).AllowedLateness(minute),
		"sliding":    window.Sliding(2 * minute),
		"no results": window.Tumbling(2 * minute).AllowedLateness(minute),
	}
	for name, windows := range kinds {
		t.Run(name, func(t *testing.T) {
			for seed := int64(1); seed <= 15; seed++ {
				emit := window.OnTime()
				if name == "no results" {
					emit = window.OnClose()
				}
				tiersOfSeed(t, seed, windows, emit)
			}
		})
	}
}

func tiersOfSeed(t *testing.T, seed int64, windows window.Windows, emit window.Emit) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(seed), 7))
	c := streamtest.NewCold()
	fail := errors.New("failed on purpose")
	failing := 0
	c.Fault(func(_ context.Context, call streamtest.ColdCall, done bool) error {
		switch {
		case call == streamtest.ColdRead:
			return nil
		case failing > 0:
			failing--
			return fail
		case rng.IntN(12) == 0: // from here, or when it is done, or for a while
			failing = rng.IntN(6)
			return fail
		}
		return nil
	})
	options := []streamtest.Option{
		streamtest.ColdTier(c), streamtest.Start(later), streamtest.ColdRows(1 + rng.IntN(5)), streamtest.Partitions(2), streamtest.Seed(seed), streamtest.CommitEvery(1 + rng.IntN(9)),
	}
	if seed%2 == 0 {
		options = append(options, streamtest.Pebble())
	}
	d := streamtest.New(t, tiered(t, windows, emit, 10*minute), options...)
	layout := windows.Layout()
	if windows.Kind() == window.HoppingKind {
		layout = windows.SeparateWindows().Layout()
	}
	in := streamtest.Input(d, "in", codec.String, codec.Int64)
	at := later.Add(-720 * hour)
	step := time.Second
	if windows.Kind() == window.CalendarKind {
		step = 10 * time.Second
	}
	seen := map[string]bool{}
	for round := range 60 {
		if rng.IntN(3) == 0 {
			d.CrashAfter(1 + rng.IntN(25))
		}
		d.Batch(func() {
			for range 1 + rng.IntN(8) {
				at = at.Add(step * time.Duration(rng.IntN(50)))
				in.Send(fmt.Sprint("k", rng.IntN(4)), int64(1+rng.IntN(9)), at.Add(-time.Duration(rng.IntN(120))*time.Second))
			}
		})
		if rng.IntN(9) == 0 {
			d.Crash()
		}
		inCold, inWarm := cold(t, c, layout), warm(d)
		for place := range seen {
			if _, ok := inCold[place]; !ok {
				if _, ok := inWarm[place]; !ok {
					t.Fatalf("seed %d, round %d: window %s was closed and is in no tier", seed, round, place)
				}
			}
		}
		for place := range inWarm {
			seen[place] = true
		}
	}
	c.Fault(nil)
	d.End()
	inCold, want := cold(t, c, layout), finals(d)
	for place, value := range want {
		if got, ok := inCold[place]; !ok || got != value {
			t.Fatalf("seed %d: window %s: cold %d (%t), final result %d", seed, place, got, ok, value)
		}
	}
	for place := range inCold {
		if _, ok := want[place]; !ok {
			t.Fatalf("seed %d: window %s is cold and had no final result", seed, place)
		}
	}
	if len(want) < 20 {
		t.Errorf("seed %d: only %d windows", seed, len(want))
	}
}

// TestTiersRefuseWhatDoesNotGoTogether and says what to do.
func TestTiersRefuseWhatDoesNotGoTogether(t *testing.T) {
	for want, f := range map[string]func(w topology.Windowed[string, int64]) topology.WindowedTable[string, int64]{
		"discarding": func(w topology.Windowed[string, int64]) topology.WindowedTable[string, int64] {
			return w.Count(topology.Store("s"), topology.Emit(window.OnTime().Discarding()), topology.Tiered(topology.Tiers{Cold: true}))
		},
		"warm TTL": func(w topology.Windowed[string, int64]) topology.WindowedTable[string, int64] {
			return w.Count(topology.Store("s"), topology.Tiered(topology.Tiers{WarmTTL: -1}))
		},
		"table without Cold": func(w topology.Windowed[string, int64]) topology.WindowedTable[string, int64] {
			return w.Count(topology.Store("s"), topology.Tiered(topology.Tiers{Table: &stores.ColdTable{}}))
		},
		"use up to 54": func(w topology.Windowed[string, int64]) topology.WindowedTable[string, int64] {
			return w.Count(topology.Store("s"), topology.Tiered(topology.Tiers{Cold: true, Table: &stores.ColdTable{Name: "No Table"}}))
		},
		"the tier has one": func(w topology.Windowed[string, int64]) topology.WindowedTable[string, int64] {
			return w.Count(topology.Store("s"), topology.Tiered(topology.Tiers{Cold: true, Table: &stores.ColdTable{Name: "lanes"}}))
		},
		"a name of its own": func(w topology.Windowed[string, int64]) topology.WindowedTable[string, int64] {
			return w.Count(topology.Store("s"), topology.Tiered(topology.Tiers{Cold: true, Table: &stores.ColdTable{Name: "t", Columns: []stores.ColdColumn{{}}}}))
		},
		"other columns at another store": func(w topology.Windowed[string, int64]) topology.WindowedTable[string, int64] {
			w.Count(topology.Store("r"), topology.Tiered(topology.Tiers{Cold: true, Table: &stores.ColdTable{Name: "t"}}))
			return w.Count(topology.Store("s"), topology.Tiered(topology.Tiers{Cold: true, Table: &stores.ColdTable{Name: "t", Columns: []stores.ColdColumn{{Name: "c"}}}}))
		},
	} {
		b := topology.New("app")
		s := topology.Source(b, "in", codec.String, codec.Int64)
		f(s.GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(hour)))
		if _, err := b.Build(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %q", err, want)
		}
	}
	top := tiered(t, window.Tumbling(hour), window.OnTime(), hour)
	if _, err := streamtest.Open(top); err == nil || !strings.Contains(err.Error(), "ColdTier") {
		t.Errorf("error %v", err)
	}
	if names := top.HasColdTier(); !slices.Equal(names, []string{"sums"}) {
		t.Errorf("stores %q", names)
	}
}
