package streamtest_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

var rewrite = flag.Bool("rewrite", false, "write the saved runs in testdata anew")

// oldRun is a run of orders with values of the first version, as the last release
// of Millrace that knew no versions wrote it. Rewriting it with a later one would
// take away what it is for.
const oldRun = "testdata/first"

// first is the first version of what the stores of orders hold.
type first struct {
	Sum int64 `json:"sum"`
}

// form is one version of the values of orders.
type form[T any] struct {
	codec codec.Codec[T]
	add   func(*T, int64)
	sum   func(T) int64
}

var firstForm = form[first]{
	codec: codec.JSON[first](),
	add:   func(t *first, n int64) { t.Sum += n },
	sum:   func(t first) int64 { return t.Sum },
}

// orders sums amounts up in each kind of store: without windows, in panes, in
// sessions that are taken back, in a buffer, and by a processor.
func orders[T any](f form[T]) func(b *topology.Builder) {
	agg := topology.Aggregator[int64, T]{
		New:   func() *T { return new(T) },
		Add:   func(t *T, n int64) error { f.add(t, n); return nil },
		Merge: func(into, from *T) error { f.add(into, f.sum(*from)); return nil },
	}
	number := func(r topology.Record[string, T]) (int64, error) { return f.sum(r.Value), nil }
	marked := func(r topology.Record[string, T]) (string, error) {
		return fmt.Sprint(r.Window.Start/1000, " ", f.sum(r.Value), " ", r.Pane.Retracted), nil
	}
	return func(b *topology.Builder) {
		s := topology.Source(b, "orders", codec.String, codec.Int64).EventTime(nil, window.BoundedDelay(0))
		g := s.GroupByKey(codec.String, codec.Int64)
		table := topology.AggregateTable(g, f.codec, agg, topology.Store("totals"))
		topology.MapValues(table.Suppress(topology.UntilTimeLimit(time.Minute, topology.BufferIn("calm"))), number).
			To("totals", codec.String, codec.Int64)
		topology.MapValues(topology.Aggregate(g.WindowedBy(window.Hopping(time.Hour).Every(20*time.Minute)), f.codec, agg, topology.Store("hourly")).Stream(), marked).
			To("hours", codec.String, codec.String)
		topology.MapValues(topology.Aggregate(g.WindowedBy(window.Session(5*time.Minute)), f.codec, agg, topology.Store("visits"),
			topology.Emit(window.OnTime().EarlyAfter(1).Retracting())).Stream(), marked).
			To("visits", codec.String, codec.String)
		latest := topology.KeyValueStore(b, "latest", codec.String, f.codec)
		topology.Process(s, func() topology.Processor[string, int64, string, int64] {
			return &remembering[T]{form: f, handle: latest}
		}, topology.Uses(latest)).To("latest", codec.String, codec.Int64)
	}
}

// versioned are the stores of orders whose values have versions.
var versioned = []string{"totals", "calm", "hourly", "visits", "latest"}

// remembering adds each amount to what a store has of its key.
type remembering[T any] struct {
	form   form[T]
	handle topology.KeyValue[string, T]
	store  *processors.Store[string, T]
	ctx    *processors.Context[string, int64]
}

func (p *remembering[T]) Init(ctx *processors.Context[string, int64]) (err error) {
	p.ctx = ctx
	p.store, err = p.handle.In(ctx)
	return err
}

func (p *remembering[T]) Process(r processors.Record[string, int64]) error {
	v, _, err := p.store.Get(r.Key)
	if err != nil {
		return err
	}
	p.form.add(&v, r.Value)
	if err := p.store.Put(r.Key, v); err != nil {
		return err
	}
	return p.ctx.Forward(processors.Record[string, int64]{Key: r.Key, Value: p.form.sum(v), Time: r.Time})
}

func (p *remembering[T]) Close() error { return nil }

// sendOrders sends n amounts of 20 customers, one each 20 s.
func sendOrders(d *streamtest.Driver, from, n int) {
	in := streamtest.Input(d, "orders", codec.String, codec.Int64)
	begin := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	d.Batch(func() {
		for i := from; i < from+n; i++ {
			in.Send(fmt.Sprintf("customer-%02d", i*i%20), int64(i), begin.Add(time.Duration(i)*20*time.Second))
		}
	})
}

// oldOrders is how many amounts oldRun was sent.
const oldOrders = 100

// TestTheOldRunStandsAsItWas goes on from oldRun with the program that wrote it;
// -rewrite makes it anew.
func TestTheOldRunStandsAsItWas(t *testing.T) {
	top := build(t, orders(firstForm))
	late := streamtest.Start(time.Date(2026, time.January, 2, 0, 0, 0, 0, time.UTC))
	whole := streamtest.New(t, top, late)
	sendOrders(whole, 0, oldOrders)
	if *rewrite {
		if err := os.RemoveAll(oldRun); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(oldRun), 0o777); err != nil {
			t.Fatal(err)
		}
		d := streamtest.New(t, top, late, streamtest.Pebble())
		sendOrders(d, 0, oldOrders)
		d.Save(oldRun)
	}
	for _, opts := range [][]streamtest.Option{nil, {streamtest.Pebble()}} {
		d := streamtest.New(t, top, append(opts, streamtest.From(oldRun))...)
		if got, want := answers(d), answers(whole); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// answers returns everything that orders has sent.
func answers(d *streamtest.Driver) string {
	return fmt.Sprint(
		streamtest.Output(d, "totals", codec.String, codec.Int64).All(), "\n",
		streamtest.Output(d, "hours", codec.String, codec.String).All(), "\n",
		streamtest.Output(d, "visits", codec.String, codec.String).All(), "\n",
		streamtest.Output(d, "latest", codec.String, codec.Int64).All())
}
