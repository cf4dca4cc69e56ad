package topology_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// Word count: lines are split into words, which meet by way of a repartition
// topic and are counted.
func Example() {
	b := topology.New("word-count")
	lines := topology.Source(b, "lines", codec.String, codec.String)
	words := topology.FlatMap(lines, func(r topology.Record[string, string], emit func(string, string) error) error {
		for word := range strings.FieldsSeq(r.Value) {
			if err := emit(r.Key, strings.ToLower(word)); err != nil {
				return err
			}
		}
		return nil
	})
	word := func(r topology.Record[string, string]) string { return r.Value }
	topology.GroupBy(words, codec.String, codec.String, word, topology.Named("by-word")).
		Count(topology.Store("counts")).Stream().
		To("word-counts", codec.String, codec.Int64)
	top, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	d, err := streamtest.Open(top)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	streamtest.Input(d, "lines", codec.String, codec.String).Send("", "The mill and the race", d.Now())
	for _, m := range streamtest.Output(d, "word-counts", codec.String, codec.Int64).All() {
		fmt.Println(m.Key, m.Value)
	}
	// Output:
	// the 2
	// mill 1
	// and 1
	// race 1
}

// A windowed aggregate sends a result on time, then corrections for late events,
// and one that is final.
func ExampleAggregate() {
	type request struct {
		Model   string
		Latency float64
	}
	type stats struct {
		Count int64
		Worst float64
	}
	b := topology.New("latency")
	w := topology.Source(b, "requests", codec.String, codec.JSON[request]()).
		GroupByKey(codec.String, codec.JSON[request]()).
		WindowedBy(window.Tumbling(time.Minute).AllowedLateness(time.Minute))
	worst := topology.Aggregate(w, codec.JSON[stats](), topology.Aggregator[request, stats]{
		New: func() *stats { return new(stats) },
		Add: func(s *stats, r request) error {
			s.Count++
			s.Worst = max(s.Worst, r.Latency)
			return nil
		},
	}, topology.Emit(window.OnTime().Late(window.EachUpdate)), topology.Store("stats"))
	worst.Stream().Peek(func(r topology.Record[string, stats]) {
		fmt.Printf("%s %s #%d: %d requests, worst %v, final %v\n", r.Key, r.Pane.Kind, r.Pane.Sequence, r.Value.Count, r.Value.Worst, r.Pane.Final)
	})
	top, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := streamtest.Open(top)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	in := streamtest.Input(d, "requests", codec.String, codec.JSON[request]())
	for _, r := range []struct{ second, latency int }{{10, 120}, {20, 90}, {60, 80}, {30, 300}, {120, 50}} {
		in.Send("gpt", request{"gpt", float64(r.latency)}, d.Now().Add(time.Duration(r.second)*time.Second))
	}
	// Output:
	// gpt on_time #0: 2 requests, worst 120, final false
	// gpt late #1: 3 requests, worst 300, final false
	// gpt on_time #0: 1 requests, worst 80, final false
	// gpt late #2: 3 requests, worst 300, final true
}

// Build returns every mistake at once, each with its node and place.
func ExampleBuilder_Build() {
	b := topology.New("app")
	clicks := topology.Source(b, "clicks", codec.String, codec.String)
	clicks.GroupByKey(codec.String, codec.String).Count()
	clicks.To("bad topic", codec.String, codec.String)
	_, err := b.Build()
	fmt.Println(strings.Count(err.Error(), "\n")+1, "mistakes")
	// Output: 2 mistakes
}

// A dashboard gets the number of requests of a minute while it goes up, and the bill
// only what is final.
func ExampleWindowedTable_Suppress() {
	b := topology.New("requests")
	minutes := topology.Source(b, "requests", codec.String, codec.String).
		GroupByKey(codec.String, codec.String).
		WindowedBy(window.Tumbling(time.Minute).AllowedLateness(30*time.Second)).
		Count(topology.Store("minutes"), topology.Emit(window.OnTime().EarlyAfter(1)))
	minutes.Stream().To("dashboard", codec.String, codec.Int64)
	minutes.Suppress(topology.UntilWindowCloses()).To("bill", codec.String, codec.Int64)
	top, err := b.Build()
	if err != nil {
		fmt.Println(err)
		return
	}

	d, err := streamtest.Open(top)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	in := streamtest.Input(d, "requests", codec.String, codec.String)
	for _, second := range []int{5, 20, 70, 50, 95} {
		in.Send("ann", "", d.Now().Add(time.Duration(second)*time.Second))
	}
	for _, topic := range []string{"dashboard", "bill"} {
		fmt.Print(topic, ":")
		for _, m := range streamtest.Output(d, topic, codec.String, codec.Int64).All() {
			fmt.Print(" ", m.Value)
		}
		fmt.Println()
	}
	// Output:
	// dashboard: 1 2 1 2 3 2 3
	// bill: 3
}
