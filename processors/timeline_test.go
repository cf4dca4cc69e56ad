package processors_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// TestTimelines runs the tables in testdata: what is sent, when, as a windowed
// count meets events and the clock. -rewrite writes them anew.
//
// timeline size=D [lateness=D] [delay=D] [idle=D] [early=D] [late=POLICY]
// [onclose] [partitions=N] [shuffle] [manual] counts the events of each key. Its
// input has one action a line:
//
//	KEY TIME [KEY TIME ...] [on P] [; ...]   events with times since the start, as one batch
//	clock D                          the clock moves
//	commit, crash, restart, end
//
// The output shows the action and the results that it has brought, then the
// watermark of the first counting task, then what it dropped.
func TestTimelines(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "timeline" {
				d.Fatalf(t, "no command %q", d.Cmd)
			}
			return newTimeline(t, d).run(t, d)
		})
	})
}

type timeline struct {
	d     *streamtest.Driver
	in    *streamtest.InputTopic[string, int64]
	out   *streamtest.OutputTopic[string, string]
	start time.Time
	sub   int // the sub-topology that counts
	drops int
}

func newTimeline(t *testing.T, td *datadriven.TestData) *timeline {
	t.Helper()
	duration := func(name string) time.Duration {
		var text string
		td.MaybeScanArgs(t, name, &text)
		if text == "" {
			return 0
		}
		v, err := time.ParseDuration(text)
		if err != nil {
			td.Fatalf(t, "%s: %v", name, err)
		}
		return v
	}
	emit := window.OnTime()
	if td.HasArg("onclose") {
		emit = window.OnClose()
	}
	if every := duration("early"); every > 0 {
		emit = emit.Early(every)
	}
	var policy string
	if td.MaybeScanArgs(t, "late", &policy); policy != "" {
		emit = emit.Late(map[string]window.LatePolicy{"each_commit": window.EachCommit, "none": window.NoLate}[policy])
	}
	tl := &timeline{}
	b := topology.New("timeline")
	events := topology.Source(b, "in", codec.String, codec.Int64).
		EventTime(nil, window.BoundedDelay(duration("delay")).IdleAfter(duration("idle")).MaxAhead(24*time.Hour))
	if td.HasArg("shuffle") {
		events = events.Repartition(codec.String, codec.Int64, topology.Named("shuffle"), topology.Partitions(1))
		tl.sub = 1
	}
	results := events.GroupByKey(codec.String, codec.Int64).
		WindowedBy(window.Tumbling(duration("size")).AllowedLateness(duration("lateness"))).
		Count(topology.Store("counts"), topology.Emit(emit)).Stream()
	topology.MapValues(results, tl.describe).To("out", codec.String, codec.String)
	top, err := b.Build()
	if err != nil {
		td.Fatalf(t, "%v", err)
	}
	partitions := 1
	td.MaybeScanArgs(t, "partitions", &partitions)
	opts := []streamtest.Option{streamtest.Topic("in", partitions)}
	if td.HasArg("manual") {
		opts = append(opts, streamtest.CommitManually())
	}
	tl.d = streamtest.New(t, top, opts...)
	tl.start = tl.d.Now()
	tl.in = streamtest.Input(tl.d, "in", codec.String, codec.Int64)
	tl.out = streamtest.Output(tl.d, "out", codec.String, codec.String)
	return tl
}

// describe says in words what a result is.
func (tl *timeline) describe(r topology.Record[string, int64]) (string, error) {
	s := fmt.Sprintf("%s[%s,%s) %s #%d: %d", r.Key, tl.since(r.Window.Start), tl.since(r.Window.End), r.Pane.Kind, r.Pane.Sequence, r.Value)
	if r.Pane.Final {
		s += " final"
	}
	return s, nil
}

// since returns a time as people read it, from the start.
func (tl *timeline) since(ms int64) string {
	switch ms {
	case window.MinTime:
		return "-inf"
	case window.MaxTime:
		return "inf"
	}
	return (time.Duration(ms-tl.start.UnixMilli()) * time.Millisecond).String()
}

func (tl *timeline) run(t *testing.T, td *datadriven.TestData) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(td.Input) {
		line = strings.TrimSpace(line)
		tl.act(t, td, strings.Fields(line))
		if err := tl.d.Err(); err != nil {
			td.Fatalf(t, "%s: %v", line, err)
		}
		fmt.Fprintf(&out, "%-34s| W %s", line, tl.since(tl.d.Watermark(tl.sub, 0)))
		if n := tl.d.Dropped(); len(n) > 0 {
			total := 0
			for _, c := range n {
				total += c
			}
			if total > tl.drops {
				fmt.Fprintf(&out, ", dropped %d", total-tl.drops)
			}
			tl.drops = total
		}
		out.WriteByte('\n')
		for _, m := range tl.out.Rest() {
			fmt.Fprintf(&out, "%-34s|   %s\n", "", m.Value)
		}
	}
	return out.String()
}

func (tl *timeline) act(t *testing.T, td *datadriven.TestData, words []string) {
	t.Helper()
	parse := func(text string) time.Duration {
		v, err := time.ParseDuration(text)
		if err != nil {
			td.Fatalf(t, "%v", err)
		}
		return v
	}
	switch words[0] {
	case "clock":
		tl.d.Advance(parse(words[1]))
	case "commit":
		tl.d.Commit()
	case "crash":
		tl.d.Crash()
	case "restart":
		tl.d.Restart()
	case "end":
		tl.d.End()
	default:
		tl.d.Batch(func() {
			for part := range strings.SplitSeq(strings.Join(words, " "), ";") {
				words := strings.Fields(part)
				var partition int32
				if n := len(words); n > 2 && words[n-2] == "on" {
					if _, err := fmt.Sscan(words[n-1], &partition); err != nil {
						td.Fatalf(t, "%v", err)
					}
					words = words[:n-2]
				}
				for i := 0; i+1 < len(words); i += 2 {
					tl.in.SendTo(partition, words[i], 1, tl.start.Add(parse(words[i+1])))
				}
			}
		})
	}
}
