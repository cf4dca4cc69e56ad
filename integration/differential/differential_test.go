//go:build integration

package differential

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

//go:embed java/pom.xml java/*.java
var java embed.FS

// kase is records for a windowed aggregate, which both sides are given.
type kase struct {
	kind                 string // time, sliding or session, as Kafka Streams calls them; table: no windows
	size, advance, grace int64  // milliseconds; size is the gap of a session, the difference of sliding windows
	emit                 string // update, close, suppress (until windows close) or limit (suppress until then)
	limit, bound         int64  // of suppress: milliseconds, records; no bound is 0
	store                string // Kafka Streams': memory or rocksdb
	records              []record
}

type record struct {
	key      string
	time, id int64
}

// result is what a record has brought.
type result struct {
	record     int // index of the record
	key        string
	start, end int64
	time       int64
	ids        string // the records in it, sorted; "-" where the result is taken back
}

func (r result) String() string {
	return fmt.Sprintf("%d: %s[%d, %d] at %d: %s", r.record, r.key, r.start, r.end, r.time, r.ids)
}

// outcome is what one side makes of a case.
type outcome struct {
	results []result
	dropped int
}

// lines are the results as text, window by window: between windows the order is
// free.
func (o outcome) lines() (lines []string) {
	sorted := slices.Clone(o.results)
	slices.SortStableFunc(sorted, func(a, b result) int {
		if a.record != b.record {
			return a.record - b.record
		}
		if a.key != b.key {
			return strings.Compare(a.key, b.key)
		}
		return int((a.start-b.start)*1_000_000 + a.end - b.end)
	})
	for _, r := range sorted {
		lines = append(lines, r.String())
	}
	return lines
}

// kafkaStreams runs cases through the TopologyTestDriver, in one JVM.
func kafkaStreams(t *testing.T, cases []kase) []outcome {
	t.Helper()
	var input bytes.Buffer
	for i, k := range cases {
		fmt.Fprintf(&input, "case c%d %s %d %d %d %s %s %d %d\n", i, k.kind, k.size, k.advance, k.grace, k.emit, k.store, k.limit, k.bound)
		for _, r := range k.records {
			fmt.Fprintf(&input, "%s %d %d\n", r.key, r.time, r.id)
		}
		input.WriteString("end\n")
	}
	classpath := compile(t)
	tool, err := servers.JDKTool("java")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), tool, "-XX:+UseSerialGC", "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
		"-cp", classpath, "Differential", t.TempDir())
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &input, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("java: %v\n%s", err, stderr.Bytes())
	}
	outcomes := parse(t, stdout.String())
	if len(outcomes) != len(cases) {
		t.Fatalf("%d outcomes of %d cases\n%s", len(outcomes), len(cases), stderr.Bytes())
	}
	return outcomes
}

// compile compiles the Java side, and returns the class path.
func compile(t *testing.T) (classpath string) {
	t.Helper()
	project, err := fs.Sub(java, "java")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if classpath, err = servers.CompileJava(ctx, "kafka-streams-differential", project, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return classpath
}

// parse reads what Differential.java prints.
func parse(t *testing.T, text string) (outcomes []outcome) {
	t.Helper()
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.Split(line, " ")
		switch f[0] {
		case "case":
			outcomes = append(outcomes, outcome{})
		case "result":
			o := &outcomes[len(outcomes)-1]
			o.results = append(o.results, result{int(number(f[1])), f[2], number(f[3]), number(f[4]), number(f[5]), sorted(f[6])})
		case "dropped":
			outcomes[len(outcomes)-1].dropped = int(number(f[1]))
		}
	}
	return outcomes
}

// sorted sorts a list of numbers.
func sorted(list string) string {
	ids := strings.Split(list, ",")
	slices.SortFunc(ids, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return strings.Join(ids, ",")
}

// windows are those of a case on this side.
func (k kase) windows() window.Windows {
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	var w window.Windows
	switch k.kind {
	case "time":
		w = window.Hopping(ms(k.size)).Every(ms(k.advance))
		if k.size == k.advance {
			w = window.Tumbling(ms(k.size))
		}
	case "sliding":
		w = window.Sliding(ms(k.size))
	default:
		w = window.Session(ms(k.size))
	}
	return w.AllowedLateness(ms(k.grace))
}

// emission is when this side sends results: as Kafka Streams does with each
// update, which Suppress may hold back, or when the window is closed.
func (k kase) emission() window.Emit {
	if k.emit == "close" {
		return window.OnClose()
	}
	return window.OnTime().EarlyAfter(1).Late(window.EachUpdate)
}

// until is what Suppress is given.
func (k kase) until() topology.TimeLimit {
	buffer := topology.BufferIn("held")
	if k.bound > 0 {
		buffer = buffer.MaxRecords(k.bound)
	}
	return topology.UntilTimeLimit(time.Duration(k.limit)*time.Millisecond, buffer)
}

type list = []int64

// listing aggregates the records themselves.
func listing() topology.Aggregator[int64, list] {
	return topology.Aggregator[int64, list]{
		New:   func() *list { return new(list) },
		Add:   func(l *list, v int64) error { *l = append(*l, v); return nil },
		Merge: func(into, from *list) error { *into = append(*into, *from...); return nil },
	}
}

// results is the stream of a case on this side.
func (k kase) results(source topology.Stream[string, int64]) topology.Stream[string, list] {
	grouped := source.GroupByKey(codec.String, codec.Int64)
	if k.kind == "table" {
		return topology.AggregateTable(grouped, codec.JSON[list](), listing(), topology.Store("store")).Suppress(k.until())
	}
	table := topology.Aggregate(grouped.WindowedBy(k.windows()), codec.JSON[list](), listing(), topology.Store("store"), topology.Emit(k.emission()))
	switch k.emit {
	case "suppress":
		return table.Suppress(topology.UntilWindowCloses())
	case "limit":
		return table.Suppress(k.until())
	}
	return table.Stream()
}

// millrace runs a case through streamtest. All results are shown if all is set;
// else those that Kafka Streams has too: not those that time alone has brought.
func millrace(t *testing.T, k kase, all bool) outcome {
	t.Helper()
	var o outcome
	index := 0
	b := topology.New("differential")
	source := topology.Source(b, "in", codec.String, codec.Int64).
		EventTime(nil, window.BoundedDelay(0).MaxAhead(math.MaxInt64/time.Millisecond*time.Millisecond))
	k.results(source).Peek(func(r topology.Record[string, list]) {
		p := r.Pane
		if !all && k.emit == "update" && !p.Retracted && (p.Kind == window.OnTimePane || p.Final) {
			return
		}
		res := result{record: index, key: strings.Clone(r.Key), start: r.Window.Start, end: r.Window.End, time: r.Time}
		if k.kind == "sliding" || k.kind == "session" {
			res.end-- // inclusive, as Kafka Streams has it
		}
		for i, id := range r.Value {
			if i > 0 {
				res.ids += ","
			}
			res.ids += strconv.FormatInt(id, 10)
		}
		if res.ids = sorted(res.ids); p.Retracted {
			res.ids = "-"
		}
		o.results = append(o.results, res)
	})
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	d := streamtest.New(t, top)
	in := streamtest.Input(d, "in", codec.String, codec.Int64)
	for i, r := range k.records {
		index = i
		in.Send(r.key, r.id, time.UnixMilli(r.time))
	}
	for _, n := range d.Dropped() {
		o.dropped += n
	}
	return o
}
