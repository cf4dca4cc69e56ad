package streamtest_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

type record = topology.Record[string, int64]

func build(t testing.TB, f func(b *topology.Builder)) *topology.Topology {
	t.Helper()
	b := topology.New("app")
	f(b)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// shuffled sums values up by their remainder, behind a shuffle.
func shuffled(b *topology.Builder) {
	s := topology.Source(b, "in", codec.String, codec.Int64)
	by := func(r record) string { return fmt.Sprint(r.Value % 3) }
	topology.GroupBy(s, codec.String, codec.Int64, by, topology.Named("shuffle")).
		Reduce(func(into *int64, v int64) error { *into += v; return nil }, topology.Store("sums")).Stream().
		To("out", codec.String, codec.Int64)
}

func send(d *streamtest.Driver, n int) {
	in := streamtest.Input(d, "in", codec.String, codec.Int64)
	d.Batch(func() {
		for i := range n {
			in.Send(fmt.Sprint(i), int64(i), d.Now())
		}
	})
}

func out(d *streamtest.Driver) *streamtest.OutputTopic[string, int64] {
	return streamtest.Output(d, "out", codec.String, codec.Int64)
}

// TestTheSameSeedTheSameRun: everything, times and offsets included.
func TestTheSameSeedTheSameRun(t *testing.T) {
	top := build(t, shuffled)
	runs := map[int64][]streamtest.Message[string, int64]{}
	for _, seed := range []int64{0, 1, 2, 0, 1, 2} {
		d := streamtest.New(t, top, streamtest.Partitions(4), streamtest.Seed(seed), streamtest.CommitEvery(7))
		send(d, 100)
		d.CrashAfter(5)
		send(d, 50)
		d.End()
		got := out(d).All()
		if before, ok := runs[seed]; ok && !reflect.DeepEqual(got, before) {
			t.Errorf("seed %d: two runs differ", seed)
		}
		runs[seed] = got
	}
	if reflect.DeepEqual(runs[1], runs[2]) || reflect.DeepEqual(runs[0], runs[1]) {
		t.Error("different seeds make the same run")
	}
}

func TestCommitPolicies(t *testing.T) {
	top := build(t, shuffled)
	for name, c := range map[string]struct {
		opts []streamtest.Option
		sent int // results of a table before the test commits
	}{
		"at rest":  {nil, 3},
		"manually": {[]streamtest.Option{streamtest.CommitManually()}, 0},
		"every 1":  {[]streamtest.Option{streamtest.CommitEvery(1)}, 9},
	} {
		d := streamtest.New(t, top, c.opts...)
		send(d, 9)
		if got := len(out(d).All()); got != c.sent {
			t.Errorf("%s: %d results, want %d", name, got, c.sent)
		}
		d.Commit()
		sums := map[string]int64{}
		for _, m := range out(d).All() {
			sums[m.Key] = m.Value
		}
		if want := map[string]int64{"0": 9, "1": 12, "2": 15}; !reflect.DeepEqual(sums, want) {
			t.Errorf("%s: sums %v, want %v", name, sums, want)
		}
	}
}

// TestStateSurvives restarts and crashes. With Pebble a restart reads what is on disk, and a
// crash restores what the disk has lost; in memory, the changelog has it all.
func TestStateSurvives(t *testing.T) {
	top := build(t, shuffled)
	for _, opts := range [][]streamtest.Option{nil, {streamtest.Pebble(), streamtest.Seed(3)}} {
		d := streamtest.New(t, top, append(opts, streamtest.Partitions(2))...)
		for range 5 {
			send(d, 9)
			d.Restart()
			send(d, 9)
			d.Crash()
		}
		for key, want := range map[string]int64{"0": 90, "1": 120, "2": 150} {
			if got, ok := streamtest.Get[int64](d.Store("sums"), key); !ok || got != want {
				t.Errorf("%d options: key %s holds %d, want %d", len(opts), key, got, want)
			}
		}
		if d.ChangelogRecords("sums") != 30 {
			t.Errorf("%d changelog records, want one for each key and commit", d.ChangelogRecords("sums"))
		}
	}
}

func TestOutputHandles(t *testing.T) {
	d := streamtest.New(t, build(t, shuffled))
	o := out(d)
	if _, ok := o.Next(); ok {
		t.Error("a record before any was sent")
	}
	send(d, 3)
	first, ok := o.Next()
	if !ok || len(o.Rest()) != 2 || len(o.All()) != 3 || len(o.Rest()) != 0 {
		t.Errorf("reading is off: first %+v, then %+v", first, o.All())
	}
	again, _ := out(d).Next()
	if !reflect.DeepEqual(first, again) {
		t.Errorf("another handle begins at %+v, not at %+v", again, first)
	}
	shuffle := streamtest.Output(d, "app-shuffle-repartition", codec.String, codec.Int64).All()
	if len(shuffle) != 3 {
		t.Errorf("the repartition has %d records, want 3 and no markers", len(shuffle))
	}
}

func TestEntriesOfWindows(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		topology.Source(b, "in", codec.String, codec.Int64).GroupByKey(codec.String, codec.Int64).
			WindowedBy(window.Tumbling(time.Minute).Retention(time.Hour)).Count(topology.Store("counts"))
	}))
	in := streamtest.Input(d, "in", codec.String, codec.Int64)
	in.Send("k", 1, d.Now())
	in.Send("k", 1, d.Now().Add(time.Minute))
	entries := streamtest.Entries[string, int64](d.Store("counts"))
	if len(entries) != 2 || !entries[0].Final || entries[1].Final || entries[0].Window.Start != d.Now().UnixMilli() {
		t.Errorf("entries %+v", entries)
	}
	if n, ok := streamtest.GetWindow[int64](d.Store("counts"), "k", d.Now().Add(time.Minute)); !ok || n != 1 {
		t.Errorf("the second window holds %d, %v", n, ok)
	}
	if _, ok := streamtest.GetWindow[int64](d.Store("counts"), "other", d.Now()); ok {
		t.Error("a window of a key that nobody sent")
	}
}

// TestBytesAreOverwritten: what keeps a view of a record's bytes sees it.
func TestBytesAreOverwritten(t *testing.T) {
	for _, keep := range []bool{false, true} {
		var kept string
		opts := []streamtest.Option{}
		if keep {
			opts = append(opts, streamtest.KeepBytes())
		}
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			topology.Source(b, "in", codec.String, codec.Int64).Peek(func(r record) { kept = r.Key })
		}), opts...)
		streamtest.Input(d, "in", codec.String, codec.Int64).Send("careless", 1, d.Now())
		if (kept == "careless") != keep {
			t.Errorf("KeepBytes %v: what was kept is %q", keep, kept)
		}
	}
}

func TestAdvanceMovesTheClock(t *testing.T) {
	start := time.Date(2020, time.May, 1, 0, 0, 0, 0, time.UTC)
	d := streamtest.New(t, build(t, shuffled), streamtest.Start(start), streamtest.TickEvery(time.Minute))
	d.Advance(90 * time.Second)
	if got := d.Now().Sub(start); got != 90*time.Second {
		t.Errorf("the clock has moved by %v", got)
	}
}

// TestMistakesOfTheCaller are errors, not panics; with a test they fail it.
func TestMistakesOfTheCaller(t *testing.T) {
	top := build(t, shuffled)
	for name, c := range map[string]struct {
		act  func(d *streamtest.Driver)
		want string
	}{
		"no such input": {func(d *streamtest.Driver) { streamtest.Input(d, "out", codec.String, codec.Int64) }, `reads no topic "out"`},
		"no such partition": {func(d *streamtest.Driver) {
			streamtest.Input(d, "in", codec.String, codec.Int64).SendTo(7, "", 0, d.Now())
		}, "no partition 7"},
		"no such store": {func(d *streamtest.Driver) { d.Store("none") }, `no store "none"`},
		"no such task":  {func(d *streamtest.Driver) { d.Watermark(5, 0) }, "no task 5_0"},
		"after the end": {func(d *streamtest.Driver) {
			d.End()
			send(d, 1)
		}, "call Restart first"},
		"wrong types": {func(d *streamtest.Driver) {
			send(d, 1)
			streamtest.Entries[string, string](d.Store("sums"))
		}, "holds keys string and values *int64"},
		"wrong codec": {func(d *streamtest.Driver) {
			send(d, 1)
			streamtest.Output(d, "out", codec.String, codec.Int32).Next()
		}, "cannot decode"},
	} {
		d, err := streamtest.Open(top)
		if err != nil {
			t.Fatal(err)
		}
		c.act(d)
		if err := d.Err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if err := d.Close(); err != d.Err() {
			t.Errorf("%s: Close returns %v", name, err)
		}
	}
	if _, err := streamtest.Open(top, streamtest.Topic("in", 0)); err == nil {
		t.Error("a topic without partitions was taken")
	}
	if _, err := streamtest.Open(top, streamtest.TickEvery(0)); err == nil {
		t.Error("a clock that does not move was taken")
	}
}

// TestErrorsFailTheTestUnlessAskedFor runs a driver for a test of its own.
func TestErrorsFailTheTestUnlessAskedFor(t *testing.T) {
	broken := errors.New("broken")
	top := build(t, func(b *topology.Builder) {
		topology.MapValues(topology.Source(b, "in", codec.String, codec.Int64), func(record) (int64, error) { return 0, broken })
	})
	for _, ask := range []bool{false, true} {
		inner := &recorder{TB: t}
		d := streamtest.New(inner, top)
		send(d, 1)
		if ask && !errors.Is(d.Err(), broken) {
			t.Errorf("error %v", d.Err())
		}
		inner.cleanup()
		if failed := len(inner.errors) > 0; failed == ask {
			t.Errorf("asked %v: the test's errors are %q", ask, inner.errors)
		}
	}
}

// recorder is a test that notes what it is told.
type recorder struct {
	testing.TB
	cleanups []func()
	errors   []string
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) cleanup() {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
}

// TestStepsHaveNames: each its own.
func TestStepsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for s := streamtest.AfterRecord; s <= streamtest.AfterCold; s++ {
		seen[s.String()] = true
	}
	if len(seen) != 8 || seen["Step(8)"] || streamtest.Step(8).String() != "Step(8)" {
		t.Errorf("names %v", seen)
	}
}

// TestATopologyThatFeedsItself is stopped.
func TestATopologyThatFeedsItself(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		topology.Source(b, "in", codec.String, codec.Int64).To("in", codec.String, codec.Int64)
	}))
	send(d, 1)
	if err := d.Err(); err == nil || !strings.Contains(err.Error(), "does not come to rest") {
		t.Errorf("error %v", err)
	}
}

// TestErrorsFromStart: a processor that cannot start stops Open.
func TestErrorsFromStart(t *testing.T) {
	broken := errors.New("broken")
	top := build(t, func(b *topology.Builder) {
		s := topology.Source(b, "in", codec.String, codec.Int64)
		topology.Process(s, func() topology.Processor[string, int64, string, int64] { return stubborn{broken} })
	})
	if _, err := streamtest.Open(top); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

type stubborn struct{ err error }

func (s stubborn) Init(*topology.Context[string, int64]) error { return s.err }
func (s stubborn) Process(record) error                        { return nil }
func (s stubborn) Close() error                                { return nil }
