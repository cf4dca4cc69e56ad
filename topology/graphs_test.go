package topology_test

import (
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// graphs are the topologies that the goldens describe.
var graphs = map[string]func(b *topology.Builder){
	"word-count": func(b *topology.Builder) {
		words := topology.FlatMap(source(b, "lines"), func(record, func(string, string) error) error { return nil })
		topology.GroupBy(words, str, str, func(r record) string { return r.Value }, topology.Named("by-word")).
			Count(topology.Store("counts")).Stream().
			To("word-counts", str, codec.Int64)
	},
	"windows": func(b *topology.Builder) {
		s := source(b, "events", topology.AndTopics("more-events")).
			EventTime(func(string) int64 { return 0 }, window.BoundedDelay(2*time.Minute).IdleAfter(5*time.Minute))
		w := topology.GroupBy(s, str, str, func(r record) string { return r.Value }, topology.Named("by-model"), topology.Partitions(8)).
			WindowedBy(window.Tumbling(5 * time.Minute).AllowedLateness(2 * time.Minute))
		w.Count(topology.Store("stats")).Stream().ToWindowed("stats", str, codec.Int64)
		w.Late().To("late", str, str)
	},
	"kinds": func(b *topology.Builder) {
		g := source(b, "events").GroupByKey(str, str)
		count := func(name string, w window.Windows, e window.Emit) {
			g.WindowedBy(w).Count(topology.Store(name), topology.Named("count-"+name), topology.Emit(e)).Stream().
				ToWindowed(name, str, codec.Int64)
		}
		hop := window.Hopping(15 * time.Minute).Every(time.Minute)
		count("hops", hop, window.OnTime())
		count("separate-hops", hop, window.OnTime().EarlyAfter(10))
		count("slides", window.Sliding(time.Minute).Retention(time.Hour), window.OnTime())
		count("sessions", window.Session(30*time.Minute).AtMost(4*time.Hour).AllowedLateness(time.Minute), window.OnTime().Retracting())
		count("days", window.Calendar(window.Day, "America/Sao_Paulo"), window.OnClose())
		count("hundreds", window.Count(100), window.OnTime())
	},
	"suppress": func(b *topology.Builder) {
		g := source(b, "events").GroupByKey(str, str)
		w := g.WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("minutes"))
		w.Suppress(topology.UntilWindowCloses(), topology.Named("finals")).ToWindowed("finals", str, codec.Int64)
		w.Suppress(topology.UntilTimeLimit(time.Second, topology.BufferIn("calm-minutes").MaxRecords(10))).ToWindowed("calm", str, codec.Int64)
		g.Count(topology.Store("totals"), topology.Named("totals")).
			Suppress(topology.UntilTimeLimit(time.Second, topology.BufferIn("calm-totals"))).To("totals", str, codec.Int64)
	},
	"mortal": func(b *topology.Builder) {
		s := source(b, "events")
		s.GroupByKey(str, str).Count(topology.Store("totals"), topology.TTL(24*time.Hour)).Stream().To("totals", str, codec.Int64)
		last := topology.KeyValueStore(b, "last", str, str, topology.TTL(90*time.Second))
		topology.Process(s, newNothing, topology.Uses(last), topology.Named("keep"))
		topology.Process(s, newNothing, topology.Uses(last), topology.Named("look"))
	},
	"branches": func(b *topology.Builder) {
		s := topology.SourcePattern(b, "logs", `logs\..*`, str, str)
		branches, rest := s.Split(topology.When("errors", all), topology.When("warnings", all))
		last := topology.KeyValueStore(b, "last", str, str)
		alerts := topology.Process(branches[0].Merge(branches[1], topology.Named("both")), newNothing,
			topology.Uses(last), topology.Named("alert"))
		alerts.ToEach(func(record) string { return "alerts" }, str, str)
		rest.To("quiet", str, str)
		topology.Process(source(b, "commands"), newNothing, topology.Uses(last), topology.Named("mute"))
		source(b, "alone")
	},
}

func build(t *testing.T, application string, f func(b *topology.Builder)) *topology.Topology {
	t.Helper()
	b := topology.New(application)
	f(b)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// hashed are small topologies that differ in one thing each.
var hashed = map[string]func(b *topology.Builder){
	"plain":             func(b *topology.Builder) { source(b, "in").GroupByKey(str, str).Count(topology.Store("s")) },
	"with filter":       func(b *topology.Builder) { source(b, "in").Filter(all).GroupByKey(str, str).Count(topology.Store("s")) },
	"store":             func(b *topology.Builder) { source(b, "in").GroupByKey(str, str).Count(topology.Store("t")) },
	"size 5 lateness 1": counted(window.Tumbling(5 * time.Minute).AllowedLateness(time.Minute)),
	"size 5 lateness 2": counted(window.Tumbling(5 * time.Minute).AllowedLateness(2 * time.Minute)),
	"size 6 lateness 1": counted(window.Tumbling(6 * time.Minute).AllowedLateness(time.Minute)),
	"partitions 4": func(b *topology.Builder) {
		source(b, "in").Repartition(str, str, topology.Named("r"), topology.Partitions(4))
	},
	"partitions 8": func(b *topology.Builder) {
		source(b, "in").Repartition(str, str, topology.Named("r"), topology.Partitions(8))
	},
}

func counted(w window.Windows) func(b *topology.Builder) {
	return func(b *topology.Builder) {
		source(b, "in").GroupByKey(str, str).WindowedBy(w).Count(topology.Store("s"))
	}
}
