package streamtest_test

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// A topology runs without Kafka; each Send is processed before it returns.
func Example() {
	b := topology.New("clicks-per-page")
	clicks := topology.Source(b, "clicks", codec.String, codec.String)
	page := func(r topology.Record[string, string]) string { return r.Value }
	topology.GroupBy(clicks, codec.String, codec.String, page, topology.Named("by-page")).
		Count(topology.Store("counts")).Stream().
		To("pages", codec.String, codec.Int64)
	top, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	d, err := streamtest.Open(top) // in a test: d := streamtest.New(t, top)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	in := streamtest.Input(d, "clicks", codec.String, codec.String)
	out := streamtest.Output(d, "pages", codec.String, codec.Int64)
	for _, page := range []string{"/home", "/docs", "/home"} {
		in.Send("user-1", page, d.Now())
	}
	for _, m := range out.Rest() {
		fmt.Println(m.Key, m.Value)
	}
	n, _ := streamtest.Get[int64](d.Store("counts"), "/home")
	fmt.Println("stored:", n, d.Err())
	// Output:
	// /home 1
	// /docs 1
	// /home 2
	// stored: 2 <nil>
}

// A crash throws away what was not committed; the records are read again.
func ExampleDriver_CrashAt() {
	b := topology.New("per-minute")
	topology.Source(b, "events", codec.String, codec.Int64).
		GroupByKey(codec.String, codec.Int64).
		WindowedBy(window.Tumbling(time.Minute)).
		Count(topology.Store("counts")).Stream().
		To("results", codec.String, codec.Int64)
	top, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := streamtest.Open(top, streamtest.CommitManually())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	in := streamtest.Input(d, "events", codec.String, codec.Int64)
	start := d.Now()
	in.Send("a", 1, start)
	in.Send("a", 1, start.Add(time.Second))
	d.CrashAt(streamtest.BeforeOffsets)
	d.Commit() // crashes, starts again, and reads both events a second time
	in.Send("a", 1, start.Add(time.Minute))
	m, _ := streamtest.Output(d, "results", codec.String, codec.Int64).Next()
	fmt.Println(d.Crashes(), "crash:", m.Key, m.Value, "events, never less than 2")
	// Output:
	// 1 crash: a 4 events, never less than 2
}
