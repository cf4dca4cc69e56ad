package topology_test

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

// run runs a topology for a test.
func run(t *testing.T, f func(b *topology.Builder), opts ...streamtest.Option) *streamtest.Driver {
	t.Helper()
	return streamtest.New(t, build(t, "app", f), opts...)
}

// texts returns all records of a topic as "key=value".
func texts(d *streamtest.Driver, topic string) []string {
	var out []string
	for _, m := range streamtest.Output(d, topic, str, str).All() {
		out = append(out, m.Key+"="+m.Value)
	}
	return out
}

func counts(d *streamtest.Driver, topic string) []string {
	var out []string
	for _, m := range streamtest.Output(d, topic, str, codec.Int64).All() {
		out = append(out, fmt.Sprintf("%s=%d", m.Key, m.Value))
	}
	return out
}

func wantTexts(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: have %q, want %q", what, got, want)
	}
}

func TestStatelessSteps(t *testing.T) {
	var peeked []string
	d := run(t, func(b *topology.Builder) {
		s := source(b, "in")
		s.Filter(func(r record) bool { return r.Value != "no" }).To("filter", str, str)
		s.Peek(func(r record) { peeked = append(peeked, strings.Clone(r.Value)) }).To("peek", str, str)
		topology.Map(s, func(r record) (string, string, error) { return r.Value, r.Key, nil }).To("map", str, str)
		topology.MapValues(s, func(r record) (int64, error) { return int64(len(r.Value)), nil }).To("map-values", str, codec.Int64)
		topology.SelectKey(s, func(r record) string { return "k-" + r.Value }).To("select-key", str, str)
		topology.FlatMap(s, func(r record, emit func(string, string) error) error {
			for _, letter := range r.Value {
				if err := emit(r.Key, string(letter)); err != nil {
					return err
				}
			}
			return nil
		}).To("flat-map", str, str)
	})
	in := streamtest.Input(d, "in", str, str)
	in.Send("a", "yes", d.Now())
	in.Send("b", "no", d.Now())
	wantTexts(t, "filter", texts(d, "filter"), "a=yes")
	wantTexts(t, "peek", peeked, "yes", "no")
	wantTexts(t, "map", texts(d, "map"), "yes=a", "no=b")
	wantTexts(t, "map-values", counts(d, "map-values"), "a=3", "b=2")
	wantTexts(t, "select-key", texts(d, "select-key"), "k-yes=yes", "k-no=no")
	wantTexts(t, "flat-map", texts(d, "flat-map"), "a=y", "a=e", "a=s", "b=n", "b=o")
}

func TestSplitAndMerge(t *testing.T) {
	begins := func(with string) func(record) bool {
		return func(r record) bool { return strings.HasPrefix(r.Value, with) }
	}
	d := run(t, func(b *topology.Builder) {
		branches, rest := source(b, "in").Split(topology.When("ex", begins("x")), topology.When("every", begins("")))
		branches[0].To("first", str, str)
		branches[1].Merge(source(b, "other")).To("second", str, str)
		rest.To("rest", str, str)
	})
	in, other := streamtest.Input(d, "in", str, str), streamtest.Input(d, "other", str, str)
	in.Send("1", "x", d.Now())
	in.Send("2", "y", d.Now())
	other.Send("3", "z", d.Now())
	wantTexts(t, "first", texts(d, "first"), "1=x")
	wantTexts(t, "second", texts(d, "second"), "2=y", "3=z")
	wantTexts(t, "rest", texts(d, "rest"))
}

func TestCountReduceAndAggregateTable(t *testing.T) {
	longest := topology.Aggregator[string, string]{
		New: func() *string { return new(string) },
		Add: func(a *string, v string) error {
			if len(v) > len(*a) {
				*a = strings.Clone(v)
			}
			return nil
		},
	}
	d := run(t, func(b *topology.Builder) {
		g := source(b, "in").GroupByKey(str, str)
		g.Count(topology.Store("count")).Stream().To("count", str, codec.Int64)
		g.Reduce(func(into *string, v string) error { *into += v; return nil }, topology.Store("reduce"), topology.Named("reduce")).
			Stream().To("reduce", str, str)
		topology.AggregateTable(g, str, longest, topology.Store("longest"), topology.Named("longest")).
			Stream().To("longest", str, str)
	})
	in := streamtest.Input(d, "in", str, str)
	d.Batch(func() {
		in.Send("a", "one", d.Now())
		in.Send("b", "x", d.Now())
		in.Send("a", "three", d.Now())
	})
	in.Send("a", "two", d.Now())
	wantTexts(t, "count: once a commit", counts(d, "count"), "a=2", "b=1", "a=3")
	wantTexts(t, "reduce", texts(d, "reduce"), "a=onethree", "b=x", "a=onethreetwo")
	wantTexts(t, "longest", texts(d, "longest"), "a=three", "b=x", "a=three")
	for store, want := range map[string]string{"reduce": "onethreetwo", "longest": "three"} {
		if got, ok := streamtest.Get[string](d.Store(store), "a"); !ok || got != want {
			t.Errorf("store %s holds %q, want %q", store, got, want)
		}
	}
	if n, _ := streamtest.Get[int64](d.Store("count"), "a"); n != 3 {
		t.Errorf("store count holds %d, want 3", n)
	}
}

// TestWindowedReduceKeepsACopy: the first value of a reduction outlives the
// fetched bytes, which the driver overwrites.
func TestWindowedReduceKeepsACopy(t *testing.T) {
	d := run(t, func(b *topology.Builder) {
		source(b, "in").GroupByKey(str, str).WindowedBy(window.Tumbling(time.Minute)).
			Reduce(func(into *string, v string) error { *into += "," + v; return nil }, topology.Store("s")).
			Stream().To("out", str, str)
	})
	in := streamtest.Input(d, "in", str, str)
	in.Send("k", "first", d.Now())
	in.Send("k", "second", d.Now())
	in.Send("k", "later", d.Now().Add(time.Minute))
	wantTexts(t, "results", texts(d, "out"), "k=first,second")
}

func TestHeadersPassThrough(t *testing.T) {
	trace := topology.Header{Key: "traceparent", Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}
	d := run(t, func(b *topology.Builder) {
		s := topology.MapValues(source(b, "in").Filter(all), func(r record) (string, error) { return r.Value + "!", nil })
		s = topology.SelectKey(s, func(r record) string { return r.Value }).Repartition(str, str, topology.Named("r"))
		s = topology.FlatMap(s, func(r record, emit func(string, string) error) error { return emit(r.Key, r.Value) })
		s = topology.Process(s, func() topology.Processor[string, string, string, string] { return &forwarder{} })
		s.To("out", str, str, topology.WithHeader("by", []byte("us")))
	})
	in := streamtest.Input(d, "in", str, str)
	in.With(trace, topology.Header{Key: "empty"}).Send("k", "v", d.Now())
	in.Send("k", "w", d.Now())
	got := streamtest.Output(d, "out", str, str).All()
	if len(got) != 2 {
		t.Fatalf("%d records", len(got))
	}
	want := []topology.Header{trace, {Key: "empty"}, {Key: "by", Value: []byte("us")}}
	if !reflect.DeepEqual(got[0].Headers, want) {
		t.Errorf("headers %q, want %q", got[0].Headers, want)
	}
	if want = want[2:]; !reflect.DeepEqual(got[1].Headers, want) {
		t.Errorf("the next record has headers %q, want %q", got[1].Headers, want)
	}
}

// forwarder sends every record on.
type forwarder struct {
	ctx *topology.Context[string, string]
}

func (f *forwarder) Init(ctx *topology.Context[string, string]) error { f.ctx = ctx; return nil }
func (f *forwarder) Process(r record) error                           { return f.ctx.Forward(r) }
func (f *forwarder) Close() error                                     { return nil }

func TestSinks(t *testing.T) {
	d := run(t, func(b *topology.Builder) {
		s := source(b, "in")
		s.ToEach(func(r record) string { return "to-" + r.Value }, str, str)
		s.To("own", str, str, topology.PartitionedBy(func(key []byte, n int32) int32 { return int32(len(key)) % n }))
		s.To("kafka", str, str)
	}, streamtest.Topic("own", 4), streamtest.Topic("kafka", 4))
	in := streamtest.Input(d, "in", str, str)
	in.Send("xx", "a", d.Now())
	in.Send("yyy", "b", d.Now())
	in.Send("xx", "", d.Now())
	wantTexts(t, "computed topic", texts(d, "to-b"), "yyy=b")
	for _, m := range streamtest.Output(d, "own", str, str).All() {
		if int(m.Partition) != len(m.Key) {
			t.Errorf("key %q went to partition %d", m.Key, m.Partition)
		}
	}
	for i, m := range streamtest.Output(d, "kafka", str, str).All() {
		if want := codec.Partition([]byte(m.Key), 4); m.Partition != want {
			t.Errorf("key %q went to partition %d, want %d", m.Key, m.Partition, want)
		}
		if m.NullValue {
			t.Errorf("record %d: a value was sent as null", i)
		}
	}
}

func TestEmptyValuesAreNotNull(t *testing.T) {
	d := run(t, func(b *topology.Builder) { source(b, "in").To("out", str, str) })
	in := streamtest.Input(d, "in", str, str)
	in.Send("", "", d.Now())
	m, ok := streamtest.Output(d, "out", str, str).Next()
	if !ok || m.NullKey || m.NullValue {
		t.Errorf("an empty key and value became %+v", m)
	}
}

func TestNullKeys(t *testing.T) {
	d := run(t, func(b *topology.Builder) {
		s := source(b, "in")
		s.To("out", str, str)
		s.GroupByKey(str, str).Count(topology.Store("counts"))
		s.Repartition(str, str, topology.Named("r"))
	}, streamtest.Topic("out", 2))
	in := streamtest.Input(d, "in", str, str)
	for range 4 {
		in.SendBytes(0, nil, []byte("v"), d.Now())
	}
	var partitions []int32
	for _, m := range streamtest.Output(d, "out", str, str).All() {
		if !m.NullKey {
			t.Errorf("the key became %q", m.Key)
		}
		partitions = append(partitions, m.Partition)
	}
	if !slices.Equal(partitions, []int32{0, 1, 0, 1}) {
		t.Errorf("records without a key went to partitions %v", partitions)
	}
	want := map[streamtest.Drop]int{{Node: "in.aggregate", Reason: "null_key"}: 4, {Node: "r.sink", Reason: "null_key"}: 4}
	if got := d.Dropped(); !reflect.DeepEqual(got, want) {
		t.Errorf("dropped %v, want %v", got, want)
	}
}

func TestWindowedKeys(t *testing.T) {
	d := run(t, func(b *topology.Builder) {
		source(b, "in").GroupByKey(str, str).WindowedBy(window.Tumbling(time.Minute)).
			Count(topology.Store("s")).Stream().ToWindowed("out", str, codec.Int64)
	}, streamtest.Partitions(3))
	in := streamtest.Input(d, "in", str, str)
	start := d.Now()
	for i := range 3 {
		for p := range int32(3) {
			in.SendTo(p, "k", "v", start.Add(time.Duration(i)*time.Minute))
		}
	}
	out := streamtest.WindowedOutput(d, "out", str, codec.Int64).All()
	if len(out) != 6 {
		t.Fatalf("%d results, want 2 windows on each of 3 partitions", len(out))
	}
	for _, m := range out {
		if m.Key != "k" || m.Partition != codec.Partition([]byte("k"), 3) || m.Value != 1 {
			t.Errorf("result %+v", m)
		}
	}
	if got := out[0].WindowStart; !got.Equal(start) {
		t.Errorf("window of the first result begins at %v, want %v", got, start)
	}
}

func TestLateEvents(t *testing.T) {
	d := run(t, func(b *topology.Builder) {
		w := source(b, "in").GroupByKey(str, str).WindowedBy(window.Tumbling(time.Minute).AllowedLateness(time.Minute))
		w.Late().To("late", str, str) // may stand before its aggregate
		w.Count(topology.Store("s")).Stream().To("out", str, codec.Int64)
	})
	in := streamtest.Input(d, "in", str, str)
	start := d.Now()
	in.Send("k", "now", start.Add(119*time.Second))
	in.Send("k", "still taken", start)
	in.Send("k", "closes the first window", start.Add(120*time.Second))
	in.Send("k", "too late", start.Add(59*time.Second))
	wantTexts(t, "late", texts(d, "late"), "k=too late")
	if got := d.Dropped()[streamtest.Drop{Node: "in.aggregate", Reason: "late"}]; got != 1 {
		t.Errorf("%d dropped, want 1", got)
	}
}

// TestTimesThatNoWindowTakes: an event whose window would not fit into int64 is
// counted, not lost in silence.
func TestTimesThatNoWindowTakes(t *testing.T) {
	d := run(t, func(b *topology.Builder) {
		source(b, "in").EventTime(func(string) int64 { return window.MinTime + 1 }, window.BoundedDelay(0)).
			GroupByKey(str, str).WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("s"))
	})
	streamtest.Input(d, "in", str, str).Send("k", "v", d.Now())
	if got := d.Dropped()[streamtest.Drop{Node: "in.aggregate", Reason: "late"}]; got != 1 {
		t.Errorf("dropped %v, want one", d.Dropped())
	}
}

func TestPatternSources(t *testing.T) {
	d := run(t, func(b *topology.Builder) {
		topology.SourcePattern(b, "logs", `logs\..*`, str, str).GroupByKey(str, str).Count(topology.Store("counts"))
	}, streamtest.Topic("logs.a", 2), streamtest.Topic("logs.b", 2), streamtest.Topic("xlogs.a", 1))
	streamtest.Input(d, "logs.a", str, str).SendTo(0, "k", "v", d.Now())
	streamtest.Input(d, "logs.b", str, str).SendTo(0, "k", "v", d.Now())
	streamtest.Input(d, "logs.b", str, str).SendTo(1, "k", "v", d.Now())
	for _, e := range streamtest.Entries[string, int64](d.Store("counts")) {
		if want := int64(2 - e.Partition); e.Value != want {
			t.Errorf("task %d counted %d, want %d: both topics' partitions meet in it", e.Partition, e.Value, want)
		}
	}
	if _, err := streamtest.Open(build(t, "app", graphs["branches"])); err == nil || !strings.Contains(err.Error(), "no topic matches") {
		t.Errorf("a pattern without topics: %v", err)
	}
}

// rememberer keeps the last value of each key and sends it with the next one.
type rememberer struct {
	ctx    *topology.Context[string, string]
	handle topology.KeyValue[string, string]
	last   *topology.ProcessorStore[string, string]
	closed *int
}

func (p *rememberer) Init(ctx *topology.Context[string, string]) (err error) {
	p.ctx = ctx
	p.last, err = p.handle.In(ctx)
	return err
}

func (p *rememberer) Process(r record) error {
	last, _, err := p.last.Get(r.Key)
	if err != nil {
		return err
	}
	if err := p.last.Put(r.Key, r.Value); err != nil {
		return err
	}
	r.Value = last + ">" + r.Value
	return p.ctx.Forward(r)
}

func (p *rememberer) Close() error { *p.closed++; return nil }

func TestProcessWithAStore(t *testing.T) {
	closed := 0
	d := run(t, func(b *topology.Builder) {
		last := topology.KeyValueStore(b, "last", str, str)
		make := func() topology.Processor[string, string, string, string] {
			return &rememberer{handle: last, closed: &closed}
		}
		topology.Process(source(b, "in"), make, topology.Uses(last)).To("out", str, str)
	})
	in := streamtest.Input(d, "in", str, str)
	in.Send("a", "1", d.Now())
	in.Send("b", "2", d.Now())
	d.Restart()
	in.Send("a", "3", d.Now())
	d.Crash()
	in.Send("a", "4", d.Now())
	wantTexts(t, "out", texts(d, "out"), "a=>1", "b=>2", "a=1>3", "a=3>4")
	if closed != 1 {
		t.Errorf("processors closed %d times, want once, at the restart", closed)
	}
	if v, ok := streamtest.Get[string](d.Store("last"), "a"); !ok || v != "4" {
		t.Errorf("the store holds %q", v)
	}
}

func TestAProcessorAsksForAStoreItWasNotGiven(t *testing.T) {
	closed := 0
	top := build(t, "app", func(b *topology.Builder) {
		last := topology.KeyValueStore(b, "last", str, str)
		s := source(b, "in")
		topology.Process(s, newNothing, topology.Uses(last), topology.Named("right"))
		make := func() topology.Processor[string, string, string, string] {
			return &rememberer{handle: last, closed: &closed}
		}
		topology.Process(s, make, topology.Named("wrong"))
	})
	_, err := streamtest.Open(top)
	if err == nil || !strings.Contains(err.Error(), `node "wrong"`) || !strings.Contains(err.Error(), "add topology.Uses") {
		t.Errorf("error %v", err)
	}
}

// TestErrorsOfForwardCannotBeLost: a processor that drops the error of a node
// behind it does not make the record count as done.
func TestErrorsOfForwardCannotBeLost(t *testing.T) {
	broken := errors.New("broken")
	d := run(t, func(b *topology.Builder) {
		s := topology.Process(source(b, "in"), func() topology.Processor[string, string, string, string] { return &careless{} })
		topology.MapValues(s, func(record) (string, error) { return "", broken }, topology.Named("breaks"))
	})
	streamtest.Input(d, "in", str, str).Send("k", "v", d.Now())
	if err := d.Err(); !errors.Is(err, broken) || !strings.Contains(err.Error(), `node "breaks"`) {
		t.Errorf("error %v", err)
	}
}

type careless struct{ forwarder }

func (c *careless) Process(r record) error {
	_ = c.ctx.Forward(r)
	return nil
}
