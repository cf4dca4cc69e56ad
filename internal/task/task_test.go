package task_test

import (
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// counter is an outlet that counts what is sent.
type counter struct{ sent int }

func (c *counter) Send(string, int32, []byte, []byte, int64, []processors.Header) error {
	c.sent++
	return nil
}
func (c *counter) Partitions(string) (int32, error) { return 1, nil }

// newTask makes the only task of a topology that reads the topic "in".
func newTask(t testing.TB, top *topology.Topology, out processors.Outlet, adjust ...func(*task.Config)) *task.Task {
	t.Helper()
	plan, err := task.NewPlan(top, "app", map[string]int32{"in": 1, "out": 1})
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
	id := processors.TaskID{}
	now := time.UnixMilli(0)
	cfg := task.Config{
		Topology: top, Application: "app", ID: id, Tasks: 1, State: state, Inputs: plan.Inputs(id), Outlet: out,
		Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range adjust {
		f(&cfg)
	}
	tk, err := task.New(cfg)
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

// marked is an outlet that keeps the generation of the last marker.
type marked struct {
	counter
	generation int32
}

func (m *marked) Send(_ string, _ int32, _, _ []byte, _ int64, headers []processors.Header) error {
	for _, h := range headers {
		if marker, err := window.DecodeMarker(h.Value); h.Key == window.MarkerHeader && err == nil {
			m.generation = marker.Generation
		}
	}
	return nil
}

// TestTheGenerationOfATaskNeverFalls: readers ignore markers of one that is lower
// than what they have seen, and orders from the past may come late.
func TestTheGenerationOfATaskNeverFalls(t *testing.T) {
	out := &marked{}
	tk := newTask(t, build(t, func(b *topology.Builder) {
		source(b, "in").Repartition(codec.String, codec.Int64, topology.Named("r")).To("out", codec.String, codec.Int64)
	}), out)
	for i, step := range []struct{ told, want int32 }{{5, 5}, {3, 5}, {6, 6}} {
		tk.SetGeneration(step.told)
		if err := tk.Inputs()[0].Process(fetched(int64(i), "k", int64(i)*60_000)); err != nil {
			t.Fatal(err)
		}
		commit(t, tk) // with a marker: the watermark has risen
		if out.generation != step.want {
			t.Errorf("told of generation %d: markers say %d, want %d", step.told, out.generation, step.want)
		}
	}
}

func commit(t testing.TB, tk *task.Task) *task.Commit {
	t.Helper()
	c, err := tk.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	if err := tk.Committed(c, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

func fetched(offset int64, key string, at int64) *task.Fetched {
	value, _ := codec.Int64.Append(nil, 1)
	return &task.Fetched{Offset: offset, Time: at, Key: []byte(key), Value: value}
}

// TestEndedWaitsForTables: while a table holds changes back, what stands behind
// it has not fired.
func TestEndedWaitsForTables(t *testing.T) {
	out := &counter{}
	tk := newTask(t, build(t, func(b *topology.Builder) {
		counts := source(b, "in").GroupByKey(codec.String, codec.Int64).Count(topology.Store("table")).Stream()
		counts.GroupByKey(codec.String, codec.Int64).WindowedBy(window.Tumbling(time.Minute)).
			Count(topology.Store("windows"), topology.Named("windows")).Stream().To("out", codec.String, codec.Int64)
	}), out)
	in := tk.Inputs()[0]
	if err := in.Process(fetched(0, "k", 5)); err != nil {
		t.Fatal(err)
	}
	if tk.Ended() || !tk.Dirty() {
		t.Errorf("before the end: ended %v, dirty %v", tk.Ended(), tk.Dirty())
	}
	in.End()
	if _, err := tk.Tick(time.UnixMilli(10)); err != nil {
		t.Fatal(err)
	}
	if tk.Ended() || out.sent != 0 {
		t.Errorf("ended %v with %d sent, though the table has yet to send", tk.Ended(), out.sent)
	}
	c := commit(t, tk)
	if !tk.Ended() || out.sent != 1 || tk.Dirty() {
		t.Errorf("after the commit: ended %v, %d sent, dirty %v", tk.Ended(), out.sent, tk.Dirty())
	}
	if len(c.Offsets) != 1 || c.Offsets[0].Next != 1 || c.Offsets[0].Topic != "in" {
		t.Errorf("offsets %+v", c.Offsets)
	}
	meta, err := codec.DecodeOffsetMetadata(c.Offsets[0].Metadata)
	if err != nil || meta.Time != 5 {
		t.Errorf("metadata %+v, %v: want the time of the last event, not of the end", meta, err)
	}
}

func TestMissingTopicsAreAllNamed(t *testing.T) {
	top := build(t, func(b *topology.Builder) {
		source(b, "a", topology.AndTopics("b")).To("c", codec.String, codec.Int64)
		topology.SourcePattern(b, "p", "x.*", codec.String, codec.Int64)
	})
	_, err := task.NewPlan(top, "app", map[string]int32{"other": 1})
	if !errors.Is(err, task.ErrMissingTopic) {
		t.Fatalf("error %v", err)
	}
	for _, name := range []string{`"a"`, `"b"`, `"c"`, `"^(?:x.*)$"`} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not in %v", name, err)
		}
	}
}

// TestPatternsLeaveOutTheApplicationsOwn, or it would read what it writes.
func TestPatternsLeaveOutTheApplicationsOwn(t *testing.T) {
	top := build(t, func(b *topology.Builder) {
		s := topology.SourcePattern(b, "all", ".*", codec.String, codec.Int64)
		s.Repartition(codec.String, codec.Int64, topology.Named("r")).GroupByKey(codec.String, codec.Int64).Count(topology.Store("s"))
	})
	plan, err := task.NewPlan(top, "app", map[string]int32{
		"in": 3, "app-r-repartition": 3, "app-s-changelog": 3, "app-r-meta-changelog": 3, "app-dlq": 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := plan.SourceTopics(); !slices.Equal(got, []string{"app-r-repartition", "in"}) {
		t.Errorf("reads %v", got)
	}
	if got := plan.Outside(); len(got) != 1 || got["in"] != 3 {
		t.Errorf("reads %v from outside", got)
	}
	if len(plan.Tasks()) != 6 || !plan.Has(processors.TaskID{Sub: 1, Partition: 2}) || plan.Has(processors.TaskID{Sub: 1, Partition: 3}) {
		t.Errorf("tasks %v", plan.Tasks())
	}
}

// TestOneTopicTwoSources: a pattern matches what another source reads by name.
func TestOneTopicTwoSources(t *testing.T) {
	top := build(t, func(b *topology.Builder) {
		source(b, "in")
		topology.SourcePattern(b, "all", "i.*", codec.String, codec.Int64)
	})
	if _, err := task.NewPlan(top, "app", map[string]int32{"in": 1}); !errors.Is(err, topology.ErrInvalid) {
		t.Errorf("error %v", err)
	}
}

// hotPath is decode -> filter -> tumbling aggregate.
func hotPath(t testing.TB) *task.Task {
	return newTask(t, build(t, func(b *topology.Builder) {
		source(b, "in").EventTime(nil, window.BoundedDelay(time.Minute)).
			Filter(func(r record) bool { return r.Value >= 0 }).
			GroupByKey(codec.String, codec.Int64).
			WindowedBy(window.Tumbling(5*time.Minute).AllowedLateness(2*time.Minute)).
			Count(topology.Store("counts")).Stream().
			To("out", codec.String, codec.Int64)
	}), &counter{})
}

// records are fetched records of 100 keys; a thousand a second of event time.
func records(n int) []*task.Fetched {
	list := make([]*task.Fetched, n)
	for i := range list {
		list[i] = fetched(int64(i), "model-"+strconv.Itoa(i%100), int64(i))
	}
	return list
}

// TestAllocationsOfTheHotPath: new windows, firing and commits included.
func TestAllocationsOfTheHotPath(t *testing.T) {
	const n = 100_000
	tk, list := hotPath(t), records(2*n)
	in := tk.Inputs()[0]
	process := func(from int) {
		for i, r := range list[from : from+n] {
			if err := in.Process(r); err != nil {
				t.Fatal(err)
			}
			if i%10_000 == 0 {
				commit(t, tk)
			}
		}
	}
	from := 0
	perRecord := testing.AllocsPerRun(1, func() {
		process(from)
		from += n
	}) / n
	t.Logf("%.4f allocations per record", perRecord)
	if perRecord > 0.2 {
		t.Errorf("%.3f allocations per record, want at most 0.2", perRecord)
	}
}

func BenchmarkHotPath(b *testing.B) {
	tk := hotPath(b)
	in := tk.Inputs()[0]
	list := records(100_000)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r := list[i%len(list)]
		r.Offset = int64(i)
		if err := in.Process(r); err != nil {
			b.Fatal(err)
		}
		if i%10_000 == 9_999 {
			commit(b, tk)
		}
		i++
	}
}
