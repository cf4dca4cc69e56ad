package topology_test

import (
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

type (
	record = topology.Record[string, string]
	stream = topology.Stream[string, string]
)

var (
	str = codec.String
	all = func(record) bool { return true }
)

func source(b *topology.Builder, topic string, opts ...topology.SourceOption) stream {
	return topology.Source(b, topic, str, str, opts...)
}

type nothing struct{}

func (nothing) Init(*topology.Context[string, string]) error { return nil }
func (nothing) Process(record) error                         { return nil }
func (nothing) Close() error                                 { return nil }

func newNothing() topology.Processor[string, string, string, string] { return nothing{} }

// mistakes has a topology a case. A comment 'want "PATTERN"' says that Build
// reports a mistake with the number of that line and a text that matches; two
// patterns say that there are two.
var mistakes = map[string]func(b *topology.Builder){
	"topics and patterns": func(b *topology.Builder) {
		topology.Source(b, "bad topic", str, str)                                                                         // want `topic's name "bad topic" has a character` `no blank`
		topology.Source(b, "t1", str, str, topology.AndTopics(""))                                                        // want `topic's name "" is empty`
		topology.Source(b, strings.Repeat("x", 201), str, str)                                                            // want `longer than 200`
		topology.SourcePattern(b, "p", "(", str, str)                                                                     // want `pattern: error parsing regexp`
		topology.SourcePattern(b, "q", "q.*", str, str, topology.AndTopics("other"))                                      // want `AndTopics has no place beside a pattern`
		topology.Source(b, "twice", str, str)                                                                             // the first is right
		topology.Source(b, "twice", str, str, topology.Named("again"))                                                    // want `topic "twice" is read already by node "twice"`
		topology.Source[string, string](b, "t2", nil, str)                                                                // want `a source needs a codec`
		topology.SourcePattern[string, string](b, "t3", "t3", str, nil)                                                   // want `a source needs a codec`
		topology.Source(b, "t4", str, str).EventTime(nil, window.BoundedDelay(-time.Second))                              // want `watermark: .*watermark delay`
		topology.Source(b, "t7", str, str).EventTime(nil, window.Punctuated(func(int) (int64, bool) { return 0, false })) // want `watermark: .*Punctuated looks at values of type int, and those of the source are string \(mistakes_test.go`
		topology.Source(b, "t8", str, str).EventTime(nil, window.Custom[string](nil))                                     // want `watermark: .*the function of window.Custom is nil`
		topology.Source(b, "t9", str, str).EventTime(nil, window.BoundedDelay(0).AlignWithin(time.Minute))                // want `watermark: .*AlignWithin without IdleAfter`
		topology.Source(b, "t5", str, str).Filter(all).EventTime(nil, window.BoundedDelay(0))                             // want `EventTime belongs directly behind`
		topology.Source(b, "t6", str, str).EventTime(nil, window.BoundedDelay(0)).EventTime(nil, window.BoundedDelay(0))  // want `EventTime is set twice`
	},
	"times to live": func(b *topology.Builder) {
		s := source(b, "t1")
		g := s.GroupByKey(str, str)
		g.Count(topology.Store("c1"), topology.Named("n1"), topology.TTL(0))                     // want `topology.TTL\(0s\): use whole milliseconds, at least one`
		g.Count(topology.Store("c2"), topology.Named("n2"), topology.TTL(-time.Hour))            // want `topology.TTL\(-1h0m0s\): use whole milliseconds`
		g.Count(topology.Store("c3"), topology.Named("n3"), topology.TTL(1500*time.Microsecond)) // want `topology.TTL\(1.5ms\): use whole milliseconds`
		kv := topology.KeyValueStore(b, "kv", str, str, topology.TTL(time.Microsecond))          // want `key-value store "kv" .*has topology.TTL\(1µs\): use whole milliseconds`
		topology.Process(s, newNothing, topology.Uses(kv))
		sessions := g.WindowedBy(window.Session(time.Minute).AllowedLateness(time.Minute)).Count(topology.Store("c4"), topology.Named("n4"))
		sessions.Stream().GroupByKey(str, codec.Int64).Count(topology.Store("c5"), topology.Named("n5"), topology.TTL(time.Hour)) // want `topology.TTL: results that come here may be retracted`
		sessions.Suppress(topology.UntilWindowCloses()).GroupByKey(str, codec.Int64).Count(topology.Store("c6"), topology.Named("n6"), topology.TTL(time.Hour))
	},
	"versions": func(b *topology.Builder) {
		up := func(s string) (string, error) { return s, nil }
		second := codec.Versioned(2, codec.Codec[string](str), codec.From(1, codec.Codec[string](str), up))
		gap := codec.Versioned(3, codec.Codec[string](str), codec.From(1, codec.Codec[string](str), up))
		s := topology.Source(b, "plain", str, str)
		topology.Source(b, "marked", str, second)                                          // want `codec.Versioned marks what it writes`
		s.To("also-marked", str, second)                                                   // want `codec.Versioned marks what it writes`
		s.Repartition(str, second, topology.Named("shuffle"))                              // the application's own
		s.Repartition(second, str, topology.Named("shuffle-2"))                            // want `its repartition topic: has a codec for its keys whose version is not 1`
		st := topology.KeyValueStore(b, "good", str, second)                               // the store is the application's own
		bad := topology.KeyValueStore(b, "bad", str, gap)                                  // want `step 1 is from version 1, want 2`
		keys := topology.KeyValueStore(b, "keys", second, str)                             // want `what a key was written as is what it is found under`
		topology.Process(s, newNothing, topology.Uses(st, bad, keys), topology.Named("p")) // the processor
	},
	"suppress": func(b *topology.Builder) {
		g := source(b, "in").GroupByKey(str, str)
		w := g.WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("windows"))
		table := g.Count(topology.Store("table"), topology.Named("table"))
		limit := topology.UntilTimeLimit
		w.Suppress(limit(time.Second, topology.BufferIn("")), topology.Named("s1"))                        // want `buffer "" .*its name is empty; give one with topology.BufferIn`
		w.Suppress(nil, topology.Named("s2"))                                                              // want `buffer "" .*its name is empty`
		table.Suppress(limit(time.Second, topology.Buffer{}), topology.Named("s3"))                        // want `buffer "" .*its name is empty`
		table.Suppress(limit(time.Second, topology.BufferIn("a b")), topology.Named("s4"))                 // want `buffer "a b" .*a character`
		table.Suppress(limit(time.Second, topology.BufferIn("table")), topology.Named("s5"))               // want `buffer "table" .*has the name of the store made at`
		table.Suppress(limit(-time.Second, topology.BufferIn("b6")), topology.Named("s6"))                 // want `node "s6" .*until a time limit: -1s: want whole milliseconds, at least 0`
		table.Suppress(limit(time.Nanosecond, topology.BufferIn("b7")), topology.Named("s7"))              // want `node "s7" .*1ns: want whole milliseconds`
		table.Suppress(limit(0, topology.BufferIn("b8").MaxRecords(0).MaxBytes(-1)), topology.Named("s8")) // want `at most 0 records: want at least 1` `at most -1 bytes: want at least 1`
		table.Suppress(limit(0, topology.BufferIn("b9").ShutDownWhenFull()), topology.Named("s9"))         // want `ShutDownWhenFull belongs to a buffer with MaxRecords or MaxBytes`
		parts := g.WindowedBy(window.Tumbling(time.Minute)).Count(topology.Store("parts"), topology.Named("parts"),
			topology.Emit(window.OnTime().Discarding()))
		parts.Suppress(topology.UntilWindowCloses(), topology.Named("s10")) // want `node "s10" .*discarding results are parts`
	},
	"names": func(b *topology.Builder) {
		s := source(b, "in")
		s.Filter(all, topology.Named("x"))
		s.Peek(func(record) {}, topology.Named("x")) // want `name is taken by the node made at mistakes_test.go`
		s.Filter(all, topology.Named("with blank"))  // want `no blank and no comma`
		s.Filter(all, topology.Named("a,b"))         // want `no blank and no comma`
		s.Split(topology.When("", all))              // want `a case of Split has no name`
	},
	"steps": func(b *topology.Builder) {
		s := source(b, "in")
		s.Filter(nil)                                                                 // want `the predicate is nil`
		s.Peek(nil)                                                                   // want `the function is nil`
		topology.Map[string, string, string, string](s, nil)                          // want `the function is nil`
		topology.MapValues[string, string, string](s, nil)                            // want `the function is nil`
		topology.FlatMap[string, string, string, string](s, nil)                      // want `the function is nil`
		topology.SelectKey[string, string, string](s, nil)                            // want `the function is nil`
		s.Split()                                                                     // want `Split needs at least one`
		s.Split(topology.When[string, string]("branch", nil))                         // want `the predicate of a case is nil`
		s.Merge(s)                                                                    // want `merged with itself`
		s.Merge(source(topology.New("other"), "elsewhere"), topology.Named("merged")) // want `different builders`
	},
	"sinks": func(b *topology.Builder) {
		s := source(b, "in")
		s.To("bad/topic", str, str, topology.Named("s1")) // want `topic's name "bad/topic"`
		s.To("out", nil, str, topology.Named("s2"))       // want `a sink needs a codec`
		s.ToWindowed("", str, str, topology.Named("s3"))  // want `topic's name "" is empty`
		s.ToEach(nil, str, str, topology.Named("s4"))     // want `function that returns topics is nil`
	},
	"repartitions": func(b *topology.Builder) {
		s := source(b, "in")
		by := func(r record) string { return r.Value }
		topology.GroupBy(s, str, str, by) // want `node "in.select-key.sink" .*give one with topology.Named`
		s.Repartition(str, str)           // want `node "in.sink" .*give one with topology.Named`
		s.Repartition(str, str)           // want `node "in.sink-2" .*give one with topology.Named`
		s.Repartition(str, str, topology.Named("r"))
		s.Repartition(str, str, topology.Named("r"))                                               // want `repartition "r" is made already` `name is taken` `name is taken`
		s.Repartition(str, str, topology.Named("zero"), topology.Partitions(0))                    // want `Partitions\(0\): want at least 1`
		s.Repartition(nil, str, topology.Named("n"))                                               // want `needs a codec`
		topology.GroupBy[string, string, string](s, str, str, nil, topology.Named("nil-function")) // want `the function is nil`
	},
	"stores": func(b *topology.Builder) {
		g := source(b, "in").GroupByKey(str, str)
		g.Count() // want `topology.Store`
		g.Count(topology.Store("same"), topology.Named("c1"))
		g.Count(topology.Store("same"), topology.Named("c2"))    // want `has the name of the store made at`
		g.Count(topology.Store("x-meta"), topology.Named("c3"))  // want `ends in "-meta"`
		topology.KeyValueStore(b, "unused", str, str)            // want `used by no processor`
		topology.KeyValueStore[string, string](b, "k", nil, str) // want `needs a codec` `used by no processor`
	},
	"aggregates": func(b *topology.Builder) {
		g := source(b, "in").GroupByKey(str, str)
		w := g.WindowedBy(window.Tumbling(0))
		w.Count(topology.Store("s1")) // want `windows: .*window size`
		w = g.WindowedBy(window.Tumbling(time.Minute))
		w.Count(topology.Store("s2"), topology.Emit(window.OnClose().Early(time.Second)), topology.Named("a2")) // want `emit: .*OnClose`
		updates := g.WindowedBy(window.Tumbling(time.Hour)).Count(topology.Store("s8"), topology.Emit(window.OnUpdate()), topology.Named("a8"))
		updates.Suppress(topology.UntilWindowCloses(), topology.Named("a9"))                                                                                                        // want `sends updates only has no final result`
		g.WindowedBy(window.Tumbling(time.Hour)).Count(topology.Store("s10"), topology.Emit(window.OnUpdate()), topology.Tiered(topology.Tiers{Cold: true}), topology.Named("a10")) // want `which is what the cold tier takes`
		agg := topology.Aggregator[string, int64]{}
		topology.Aggregate(g.WindowedBy(window.Tumbling(time.Hour)), codec.Int64, agg, topology.Store("s3"), topology.Named("a3")) // want `needs New and Add`
		topology.AggregateTable[string, string, int64](g, nil, agg, topology.Store("s4"), topology.Named("a4"))                    // want `needs a codec` `needs New and Add`
		g.Reduce(nil, topology.Store("s5"), topology.Named("a5"))                                                                  // want `needs New and Add`
		g.WindowedBy(window.Tumbling(time.Hour)).Late()                                                                            // want `these windows have none`
		w.Late()
		w.Count(topology.Store("s6"), topology.Named("a6"))                                  // want `Late belongs to one aggregate`
		topology.Source(b, "in2", str, str).GroupByKey(nil, str).Count(topology.Store("s7")) // want `an aggregate needs a codec for its keys`
	},
	"windows": func(b *topology.Builder) {
		g := source(b, "in").GroupByKey(str, str)
		agg := topology.Aggregator[string, string]{New: func() *string { return new(string) }, Add: func(*string, string) error { return nil }}
		sessions := g.WindowedBy(window.Session(time.Minute).AllowedLateness(time.Second))
		topology.Aggregate(sessions, str, agg, topology.Store("w1"), topology.Named("w1"))                                                       // want `session 1m0s, lateness 1s windows merge, and the aggregator has no Merge`
		g.WindowedBy(window.Hopping(time.Minute)).Count(topology.Store("w2"), topology.Named("w2"))                                              // want `set it with Every`
		g.WindowedBy(window.Calendar(window.Day, "Nowhere")).Count(topology.Store("w3"), topology.Named("w3"))                                   // want `time zone "Nowhere"`
		g.WindowedBy(window.Sliding(time.Minute)).Count(topology.Store("w4"), topology.Named("w4"), topology.Emit(window.OnTime().Discarding())) // want `cannot discard`
		counts := g.WindowedBy(window.Count(3).AllowedLateness(time.Second))
		counts.Count(topology.Store("w5"), topology.Named("w5")) // want `count windows know no time` `leave out Late`
		counts.Late()
	},
	"retractions": func(b *topology.Builder) {
		taken := source(b, "in").GroupByKey(str, str).WindowedBy(window.Tumbling(time.Minute)).
			Reduce(func(*string, string) error { return nil }, topology.Store("r1"), topology.Named("r1"), topology.Emit(window.OnTime().Retracting())).
			Stream().Filter(all).GroupByKey(str, str)
		taken.Count(topology.Store("r2"), topology.Named("r2"))
		taken.Reduce(func(*string, string) error { return nil }, topology.Store("r3"), topology.Named("r3")) // want `may be retracted, and the aggregator has no Remove`
		taken.WindowedBy(window.Count(3)).Count(topology.Store("r4"), topology.Named("r4"))                  // want `a count window that has ended cannot give one back`
		shuffled := source(b, "in2").GroupByKey(str, str).WindowedBy(window.Session(time.Minute).AllowedLateness(time.Second)).
			Reduce(func(*string, string) error { return nil }, topology.Store("r5"), topology.Named("r5")).Stream().
			Repartition(str, str, topology.Named("again"))
		shuffled.GroupByKey(str, str).Reduce(func(*string, string) error { return nil }, topology.Store("r6"), topology.Named("r6")) // want `may be retracted`
	},
	"processors": func(b *topology.Builder) {
		s := source(b, "in")
		topology.Process[string, string, string, string](s, nil) // want `function that makes processors is nil`
		foreign := topology.KeyValueStore(topology.New("other"), "foreign", str, str)
		topology.Process(s, newNothing, topology.Uses(foreign), topology.Named("p2"))                             // want `a store that this builder has not made`
		topology.Process(s, newNothing, topology.Uses(nil), topology.Named("p3"))                                 // want `a store that this builder has not made`
		topology.Process(s, newNothing, topology.Uses(topology.KeyValue[string, string]{}), topology.Named("p4")) // want `a store that this builder has not made`
	},
}

// parts are mistakes that only the division into sub-topologies shows.
var parts = map[string]func(b *topology.Builder){
	"replicas": func(b *topology.Builder) {
		counts := source(b, "in").GroupByKey(str, str).Count(topology.Store("counts")).Stream()
		counts.To("a", str, codec.Int64, topology.Replicated("counts"))                         // the first is right
		counts.To("b", str, codec.Int64, topology.Replicated("counts"), topology.Named("b"))    // want `store "counts" are replicated already by node`
		counts.To("c", str, codec.Int64, topology.Replicated("elsewhere"), topology.Named("c")) // want `names "elsewhere", which is no store of its sub-topology \(counts\)`
	},
	"a name that makes no topic": func(b *topology.Builder) {
		topology.Source(b, "in", str, str, topology.Named("a/b")).GroupByKey(str, str).Count(topology.Store("s")) // want `gives its sub-topology a name`
	},
	"one name for two": func(b *topology.Builder) {
		s := source(b, "in")
		s.GroupByKey(str, str).Count(topology.Store("s"))
		s.Repartition(str, str, topology.Named("in")).GroupByKey(str, str).Count(topology.Store("t")) // want `which the node made at mistakes_test.go:\d+ has given`
	},
	"a circle through a store": func(b *topology.Builder) {
		st := topology.KeyValueStore(b, "st", str, str)
		s := topology.Process(source(b, "in"), newNothing, topology.Uses(st), topology.Named("p1"))
		again := s.Repartition(str, str, topology.Named("around")) // want `"around" leads back to the sub-topology`
		topology.Process(again, newNothing, topology.Uses(st), topology.Named("p2"))
	},
	"a circle through two": func(b *topology.Builder) {
		st := topology.KeyValueStore(b, "st", str, str)
		s := topology.Process(source(b, "in"), newNothing, topology.Uses(st), topology.Named("p1"))
		there := s.Repartition(str, str, topology.Named("there"))   // want `"there" leads back`
		back := there.Repartition(str, str, topology.Named("back")) // want `"back" leads back`
		topology.Process(back, newNothing, topology.Uses(st), topology.Named("p2"))
	},
}

var (
	wantComment = regexp.MustCompile("// want ((?:`[^`]*` ?)+)")
	wantPattern = regexp.MustCompile("`([^`]*)`")
	placed      = regexp.MustCompile(`\(mistakes_test\.go:(\d+)\)`)
)

// TestMistakes builds every topology above: each mistake is reported, at its
// line, and nothing else is.
func TestMistakes(t *testing.T) {
	data, err := os.ReadFile("mistakes_test.go")
	if err != nil {
		t.Fatal(err)
	}
	want := map[int][]string{}
	for i, line := range strings.Split(string(data), "\n") {
		if m := wantComment.FindStringSubmatch(line); m != nil {
			for _, p := range wantPattern.FindAllStringSubmatch(m[1], -1) {
				want[i+1] = append(want[i+1], p[1])
			}
		}
	}
	for _, cases := range []map[string]func(*topology.Builder){mistakes, parts} {
		for name, build := range cases {
			b := topology.New("app")
			build(b)
			_, err := b.Build()
			if err == nil {
				t.Errorf("%s: no mistake found", name)
				continue
			}
			for _, mistake := range err.(interface{ Unwrap() []error }).Unwrap() {
				if !errors.Is(mistake, topology.ErrInvalid) {
					t.Errorf("%s: %v does not wrap ErrInvalid", name, mistake)
				}
				checkMistake(t, name, mistake.Error(), want)
			}
		}
	}
	for line, patterns := range want {
		t.Errorf("line %d: not reported: %q", line, patterns)
	}
}

// checkMistake takes the first pattern that fits off the list of its line.
func checkMistake(t *testing.T, name, mistake string, want map[int][]string) {
	t.Helper()
	m := placed.FindStringSubmatch(mistake)
	if m == nil {
		t.Errorf("%s: no place in %s", name, mistake)
		return
	}
	line, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range want[line] {
		if regexp.MustCompile(p).MatchString(mistake) {
			want[line] = append(want[line][:i:i], want[line][i+1:]...)
			if len(want[line]) == 0 {
				delete(want, line)
			}
			return
		}
	}
	t.Errorf("%s: nobody asked for: %s", name, mistake)
}

func TestMistakesOfTheWhole(t *testing.T) {
	for name, c := range map[string]struct {
		build func() *topology.Builder
		want  string
	}{
		"no source":        {func() *topology.Builder { return topology.New("app") }, "has no source"},
		"application name": {func() *topology.Builder { b := topology.New("my app"); source(b, "in"); return b }, `application name "my app" has a character`},
		"empty name":       {func() *topology.Builder { b := topology.New(""); source(b, "in"); return b }, `application name "" is empty`},
		"built twice": {func() *topology.Builder {
			b := topology.New("app")
			source(b, "in")
			if _, err := b.Build(); err != nil {
				t.Error(err)
			}
			return b
		}, "Build was called twice (mistakes_test.go:"},
	} {
		if _, err := c.build().Build(); !errors.Is(err, topology.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
