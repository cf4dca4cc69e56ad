package task_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
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

func source(b *topology.Builder, topic string, opts ...topology.SourceOption) topology.Stream[string, int64] {
	return topology.Source(b, topic, codec.String, codec.Int64, opts...)
}

func input(d *streamtest.Driver, topic string) *streamtest.InputTopic[string, int64] {
	return streamtest.Input(d, topic, codec.String, codec.Int64)
}

// results returns what a topic holds, as "key=value".
func results(d *streamtest.Driver, topic string) []string {
	var out []string
	for _, m := range streamtest.Output(d, topic, codec.String, codec.Int64).All() {
		out = append(out, fmt.Sprintf("%s=%d", m.Key, m.Value))
	}
	return out
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: have %q, want %q", what, got, want)
	}
}

// The value that the aggregate below fails at.
const poisoned = 13

// sumOf adds values up. At a poisoned one it fails in the middle: half of the
// change is made by then.
func sumOf(fail func() error) topology.Aggregator[int64, [2]int64] {
	return topology.Aggregator[int64, [2]int64]{
		New: func() *[2]int64 { return new([2]int64) },
		Add: func(a *[2]int64, v int64) error {
			a[0] += v
			if v == poisoned {
				return fail()
			}
			a[1]++
			return nil
		},
	}
}

var errBad = errors.New("bad value")

func panics() error { panic("bad value") }
func fails() error  { return errBad }

// pair is the codec of such an aggregate.
type pair struct{}

func (pair) Append(dst []byte, v [2]int64) ([]byte, error) {
	dst, _ = codec.Int64.Append(dst, v[0])
	return codec.Int64.Append(dst, v[1])
}

func (pair) Decode(b []byte) (v [2]int64, err error) {
	if v[0], err = codec.Int64.Decode(b[:8]); err != nil {
		return v, err
	}
	v[1], err = codec.Int64.Decode(b[8:])
	return v, err
}

// TestFailureInTheMiddleOfAdd: under skip and dead letter, state is what it
// would be if the record had never come, and everything else counts once.
func TestFailureInTheMiddleOfAdd(t *testing.T) {
	for name, c := range map[string]struct {
		policy topology.ErrorPolicy
		fail   func() error
		opts   []streamtest.Option
	}{
		"skip, error":              {topology.Skip, fails, nil},
		"skip, panic":              {topology.Skip, panics, nil},
		"skip, panic, pebble":      {topology.Skip, panics, []streamtest.Option{streamtest.Pebble()}},
		"skip, panic, few commits": {topology.Skip, panics, []streamtest.Option{streamtest.CommitEvery(3)}},
		"dead letter, panic":       {topology.DeadLetter, panics, nil},
	} {
		t.Run(name, func(t *testing.T) {
			top := build(t, func(b *topology.Builder) {
				g := source(b, "in").GroupByKey(codec.String, codec.Int64)
				w := g.WindowedBy(window.Tumbling(time.Minute))
				topology.Aggregate(w, pair{}, sumOf(c.fail), topology.Store("windows"))
				topology.AggregateTable(g, pair{}, sumOf(c.fail), topology.Store("table"), topology.Named("table"))
			})
			d := streamtest.New(t, top, append(c.opts, streamtest.OnError(c.policy))...)
			in := input(d, "in")
			d.Batch(func() {
				for _, v := range []int64{1, 2, poisoned, 3, poisoned, 4, 5} {
					in.Send("k", v, d.Now())
				}
			})
			in.Send("k", 6, d.Now())
			d.Commit()
			truth := [2]int64{21, 6}
			if got, _ := streamtest.GetWindow[[2]int64](d.Store("windows"), "k", d.Now().Truncate(time.Minute)); got != truth {
				t.Errorf("the window holds %v, want %v", got, truth)
			}
			if got, _ := streamtest.Get[[2]int64](d.Store("table"), "k"); got != truth {
				t.Errorf("the table holds %v, want %v", got, truth)
			}
			if d.Replays() == 0 {
				t.Error("no replay: the test tests nothing")
			}
			checkDeadLetters(t, d, c.policy)
		})
	}
}

func checkDeadLetters(t *testing.T, d *streamtest.Driver, policy topology.ErrorPolicy) {
	t.Helper()
	letters := streamtest.Output(d, task.DeadLetterTopic("app"), codec.String, codec.Int64).All()
	if policy != topology.DeadLetter {
		if len(letters) != 0 {
			t.Errorf("%d dead letters under %v", len(letters), policy)
		}
		return
	}
	offsets := map[string]bool{}
	for _, m := range letters {
		if m.Value != poisoned {
			t.Errorf("a good record became a dead letter: %+v", m)
		}
		offsets[string(m.Header("__streams.errors.offset"))] = true
	}
	if len(offsets) != 2 || !offsets["2"] || !offsets["4"] {
		t.Errorf("dead letters of offsets %v, want 2 and 4", offsets)
	}
	m := letters[0]
	for header, text := range map[string]string{
		"__streams.errors.topic": "in", "__streams.errors.partition": "0", "__streams.errors.message": "panic: bad value",
		"__streams.errors.exception": "PanicError", "__streams.errors.stacktrace": "policy_test.go",
	} {
		if got := string(m.Header(header)); !strings.Contains(got, text) {
			t.Errorf("header %s is %q, want %q in it", header, got, text)
		}
	}
}

func TestFailStopsAndNamesEverything(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		topology.MapValues(source(b, "in"), func(r record) (int64, error) { return 0, errBad }, topology.Named("breaks"))
	}))
	in := input(d, "in")
	in.Send("k", 1, d.Now())
	err := d.Err()
	if !errors.Is(err, errBad) {
		t.Fatalf("error %v", err)
	}
	for _, part := range []string{"0_0", "in/0@0", `node "breaks"`, "policy_test.go:"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
	in.Send("k", 2, d.Now())
	if d.Err() != err {
		t.Errorf("it goes on after the error: %v", d.Err())
	}
}

// TestANodesPolicyComesFirst: the application skips, the node does not.
func TestANodesPolicyComesFirst(t *testing.T) {
	top := build(t, func(b *topology.Builder) {
		s := source(b, "in")
		bad := func(r record) (int64, error) {
			if r.Value == poisoned {
				return 0, errBad
			}
			return r.Value, nil
		}
		topology.MapValues(source(b, "strict"), bad, topology.OnError(topology.Fail))
		topology.MapValues(s, bad).To("out", codec.String, codec.Int64)
	})
	d := streamtest.New(t, top, streamtest.OnError(topology.Skip))
	input(d, "in").Send("k", poisoned, d.Now())
	input(d, "in").Send("k", 1, d.Now())
	want(t, "skipped", results(d, "out"), "k=1")
	if d.Replays() != 0 {
		t.Errorf("%d replays, though nothing was touched", d.Replays())
	}
	input(d, "strict").Send("k", poisoned, d.Now())
	if err := d.Err(); !errors.Is(err, errBad) {
		t.Errorf("error %v", err)
	}
}

func TestBytesThatDoNotDecode(t *testing.T) {
	top := build(t, func(b *topology.Builder) { source(b, "in").To("out", codec.String, codec.Int64) })
	for _, policy := range []topology.ErrorPolicy{topology.Fail, topology.Skip, topology.DeadLetter} {
		d := streamtest.New(t, top, streamtest.OnError(policy))
		in := input(d, "in")
		in.With(topology.Header{Key: "h", Value: []byte("v")}).SendBytes(0, []byte("k"), []byte("short"), d.Now())
		in.Send("k", 1, d.Now())
		if policy == topology.Fail {
			if err := d.Err(); !errors.Is(err, codec.ErrDecode) || !strings.Contains(err.Error(), "in/0@0") {
				t.Errorf("fail: error %v", err)
			}
			continue
		}
		want(t, policy.String(), results(d, "out"), "k=1")
		letters := streamtest.Output(d, "app-dlq", codec.String, codec.Bytes).All()
		if policy == topology.DeadLetter {
			if len(letters) != 1 || string(letters[0].Value) != "short" || string(letters[0].Header("h")) != "v" {
				t.Errorf("dead letters %+v", letters)
			}
		} else if len(letters) != 0 {
			t.Errorf("skip: dead letters %+v", letters)
		}
	}
}

// TestEventTooFarAhead: it goes to the error policy and moves no watermark.
func TestEventTooFarAhead(t *testing.T) {
	top := build(t, func(b *topology.Builder) {
		source(b, "in").EventTime(nil, window.BoundedDelay(0).MaxAhead(time.Hour)).To("out", codec.String, codec.Int64)
	})
	d := streamtest.New(t, top, streamtest.OnError(topology.Skip))
	in := input(d, "in")
	in.Send("k", 1, d.Now())
	in.Send("k", 2, d.Now().AddDate(1, 0, 0))
	in.Send("k", 3, d.Now().Add(time.Hour))
	want(t, "out", results(d, "out"), "k=1", "k=3")
	if got := d.Watermark(0, 0); got != d.Now().Add(time.Hour).UnixMilli() {
		t.Errorf("watermark %s", window.FormatTime(got))
	}
	strict := streamtest.New(t, top)
	input(strict, "in").Send("k", 1, strict.Now().AddDate(1, 0, 0))
	if err := strict.Err(); !errors.Is(err, window.ErrTooFarAhead) {
		t.Errorf("error %v", err)
	}
}

// TestAFailingResultTakesNoRecordWithIt: a result that the watermark has made due
// fails in a node behind its aggregate. The record that moved the watermark, and
// all that is in the window, stay counted; the node's own state does not keep the
// half of the result that it took.
func TestAFailingResultTakesNoRecordWithIt(t *testing.T) {
	for _, fail := range []func() error{fails, panics} {
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			counts := source(b, "in").GroupByKey(codec.String, codec.Int64).
				WindowedBy(window.Tumbling(time.Minute).AllowedLateness(time.Minute)).
				Reduce(func(into *int64, v int64) error { *into += v; return nil }, topology.Store("windows"))
			g := counts.Stream().GroupByKey(codec.String, codec.Int64)
			topology.AggregateTable(g, pair{}, sumOf(fail), topology.Store("table"), topology.Named("table"))
		}), streamtest.OnError(topology.Skip))
		in := input(d, "in")
		start := d.Now()
		for i, v := range []int64{1, poisoned, 2} {
			in.Send("k", v, start.Add(time.Duration(i)*time.Minute))
		}
		in.Send("k", 3, start.Add(10*time.Minute))
		if last, ok := streamtest.GetWindow[int64](d.Store("windows"), "k", start.Add(10*time.Minute)); !ok || last != 3 {
			t.Errorf("the record that moved the watermark counts %d, want 3", last)
		}
		// Each window's value comes twice, on time and final; that of the
		// poisoned one never.
		if got, _ := streamtest.Get[[2]int64](d.Store("table"), "k"); got != [2]int64{6, 4} {
			t.Errorf("the table holds %v, want [6 4]", got)
		}
		if d.Replays() == 0 {
			t.Error("no replay: the test tests nothing")
		}
	}
}

// TestAFailingStatelessResultIsDropped: a result that fails in a node without
// state is left out, wherever it stands among those that are due, and the others are
// sent.
func TestAFailingStatelessResultIsDropped(t *testing.T) {
	for kind, windows := range map[string]window.Windows{"tumbling": window.Tumbling(time.Minute), "session": window.Session(time.Minute)} {
		for how, fail := range map[string]func() error{"error": fails, "panic": panics} {
			for _, keys := range [][]string{{"bad"}, {"a", "bad"}, {"bad", "c"}, {"a", "bad", "c"}} {
				t.Run(fmt.Sprint(kind, " ", how, " ", keys), func(t *testing.T) { failingResult(t, windows, fail, keys) })
			}
		}
	}
}

func failingResult(t *testing.T, windows window.Windows, fail func() error, keys []string) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		counts := source(b, "in").GroupByKey(codec.String, codec.Int64).WindowedBy(windows).Count(topology.Store("windows"))
		topology.MapValues(counts.Stream(), func(r record) (int64, error) {
			if r.Key == "bad" {
				return 0, fail()
			}
			return r.Value, nil
		}).To("out", codec.String, codec.Int64)
	}), streamtest.OnError(topology.Skip))
	in := input(d, "in")
	var good []string
	for _, key := range keys {
		in.Send(key, 1, d.Now())
		if key != "bad" {
			good = append(good, key+"=1")
		}
	}
	in.Send("d", 1, d.Now().Add(2*time.Minute))
	want(t, "results", results(d, "out"), good...)
	if d.Replays() != 0 {
		t.Errorf("%d replays, though nothing was touched", d.Replays())
	}
}

// TestATablesResultThatPanicsIsDropped: and those behind it are sent.
func TestATablesResultThatPanicsIsDropped(t *testing.T) {
	for _, fail := range []func() error{fails, panics} {
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			counts := source(b, "in").GroupByKey(codec.String, codec.Int64).Count(topology.Store("table"))
			topology.MapValues(counts.Stream(), func(r record) (int64, error) {
				if r.Key == "bad" {
					return 0, fail()
				}
				return r.Value, nil
			}).To("out", codec.String, codec.Int64)
		}), streamtest.OnError(topology.Skip))
		in := input(d, "in")
		d.Batch(func() {
			for _, key := range []string{"a", "bad", "c"} {
				in.Send(key, 1, d.Now())
			}
		})
		want(t, "results", results(d, "out"), "a=1", "c=1")
		if d.Replays() != 0 {
			t.Errorf("%d replays, though nothing was touched", d.Replays())
		}
	}
}

// TestAResultIsLeftOutOnce: that its time has passed is stored, so that the next
// start does not meet it again.
func TestAResultIsLeftOutOnce(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		counts := source(b, "in").GroupByKey(codec.String, codec.Int64).
			WindowedBy(window.Tumbling(time.Minute).Retention(time.Hour)).
			Reduce(func(into *int64, v int64) error { *into += v; return nil }, topology.Store("windows"))
		g := counts.Stream().GroupByKey(codec.String, codec.Int64)
		topology.AggregateTable(g, pair{}, sumOf(fails), topology.Store("table"), topology.Named("table"))
	}), streamtest.OnError(topology.Skip), streamtest.CommitManually())
	in := input(d, "in")
	in.Send("k", poisoned, d.Now())
	d.Commit()
	in.Send("k", 1, d.Now().Add(time.Minute))
	d.Commit()
	if d.Replays() != 1 {
		t.Fatalf("%d replays, want one without the result", d.Replays())
	}
	d.Restart()
	d.Advance(time.Second)
	if d.Replays() != 1 {
		t.Errorf("%d replays after a restart: the result came again", d.Replays())
	}
	if e := streamtest.Entries[string, int64](d.Store("windows"))[0]; !e.Final {
		t.Errorf("%+v is not final", e)
	}
}

// stubborn sends each record on and fails for a reason of its own if that does.
type stubborn struct {
	ctx *topology.Context[string, int64]
}

func (s *stubborn) Init(ctx *topology.Context[string, int64]) error { s.ctx = ctx; return nil }
func (s *stubborn) Close() error                                    { return nil }
func (s *stubborn) Process(r record) error {
	if err := s.ctx.Forward(r); err != nil {
		return errors.New("could not send it on")
	}
	return nil
}

// TestTheFirstNodeThatFailsIsToBlame: those before it skip, it does not, however
// they report what it said.
func TestTheFirstNodeThatFailsIsToBlame(t *testing.T) {
	bad := func(record) (int64, error) { return 0, errBad }
	for name, f := range map[string]func(topology.Stream[string, int64]) topology.Stream[string, int64]{
		"process": func(s topology.Stream[string, int64]) topology.Stream[string, int64] {
			return topology.Process(s, func() topology.Processor[string, int64, string, int64] { return &stubborn{} })
		},
		"flat map": func(s topology.Stream[string, int64]) topology.Stream[string, int64] {
			return topology.FlatMap(s, func(r record, emit func(string, int64) error) error {
				if err := emit(r.Key, r.Value); err != nil {
					return errors.New("could not send it on")
				}
				return nil
			})
		},
	} {
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			topology.MapValues(f(source(b, "in")), bad, topology.OnError(topology.Fail))
		}), streamtest.OnError(topology.Skip))
		input(d, "in").Send("k", 1, d.Now())
		if err := d.Err(); !errors.Is(err, errBad) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// closer notes that it was closed, and panics if it is told to.
type closer struct {
	closed *int
	panics bool
}

func (c *closer) Init(*topology.Context[string, int64]) error { return nil }
func (c *closer) Process(record) error                        { return nil }
func (c *closer) Close() error {
	*c.closed++
	if c.panics {
		panic("cannot close")
	}
	return nil
}

// TestEveryNodeIsClosed: although one panics.
func TestEveryNodeIsClosed(t *testing.T) {
	closed := 0
	top := build(t, func(b *topology.Builder) {
		s := source(b, "in")
		for i := range 3 {
			topology.Process(s, func() topology.Processor[string, int64, string, int64] {
				return &closer{&closed, i == 0}
			}, topology.Named(fmt.Sprint("p", i)))
		}
	})
	d, err := streamtest.Open(top)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); closed != 3 || err == nil || !strings.Contains(err.Error(), "cannot close") {
		t.Errorf("%d closed, error %v", closed, err)
	}
}
