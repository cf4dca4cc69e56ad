package task_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// sentPane is a result as a topic of these tests has it.
type sentPane struct {
	Key    string
	Window window.Window
	Time   int64
	Pane   window.Pane
	Value  bag
}

func (p sentPane) String() string {
	return fmt.Sprintf("%s%v #%d at %d: %v", p.Key, p.Window, p.Pane.Sequence, p.Time, p.Value)
}

func toPane(r topology.Record[string, bag]) (sentPane, error) {
	return sentPane{r.Key, r.Window, r.Time, r.Pane, slices.Clone(r.Value)}, nil
}

// sendPanes sends the results of a stream to a topic, with everything that they have.
func sendPanes(s topology.Stream[string, bag], topic string) {
	topology.MapValues(s, toPane).To(topic, codec.String, codec.JSON[sentPane]())
}

func panesOf(d *streamtest.Driver, topic string) []sentPane {
	var all []sentPane
	for _, m := range streamtest.Output(d, topic, codec.String, codec.JSON[sentPane]()).All() {
		all = append(all, m.Value)
	}
	return all
}

// bags gathers values in a table of windows.
func bags(b *topology.Builder, w window.Windows, e window.Emit, delay time.Duration) topology.WindowedTable[string, bag] {
	g := source(b, "in").EventTime(nil, window.BoundedDelay(delay).MaxAhead(24*time.Hour)).GroupByKey(codec.String, codec.Int64)
	return topology.Aggregate(g.WindowedBy(w), codec.JSON[bag](), bagging(true), topology.Store("bags"), topology.Emit(e))
}

// TestUntilWindowClosesSendsFinalResults: one a key and window, at the watermark
// that closes it, in the order of ends and keys.
func TestUntilWindowClosesSendsFinalResults(t *testing.T) {
	for name, w := range map[string]window.Windows{
		"tumbling": window.Tumbling(10 * time.Second), "panes": window.Hopping(10 * time.Second).Every(5 * time.Second),
		"sliding": window.Sliding(4 * time.Second), "session": window.Session(3 * time.Second),
	} {
		for mode, e := range map[string]window.Emit{
			"on time": window.OnTime().EarlyAfter(1), "retracting": window.OnTime().EarlyAfter(1).Retracting(), "on close": window.OnClose(),
		} {
			d := streamtest.New(t, build(t, func(b *topology.Builder) {
				all := bags(b, w.AllowedLateness(4*time.Second), e, 0)
				sendPanes(all.Stream(), "all")
				sendPanes(all.Suppress(topology.UntilWindowCloses()), "finals")
			}))
			in := input(d, "in")
			start := d.Now()
			for i := range int64(40) {
				at := start.Add(time.Duration(i) * time.Second)
				in.Send(string(rune('a'+i%3)), i, at.Add(-time.Duration(i%4)*time.Second))
			}
			d.Crash()
			d.End()
			var want []sentPane
			for _, p := range panesOf(d, "all") {
				if p.Pane.Final {
					want = append(want, p)
				}
			}
			got := panesOf(d, "finals")
			if len(want) < 10 || !slices.EqualFunc(got, want, func(a, b sentPane) bool { return a.String() == b.String() }) {
				t.Errorf("%s, %s: sent\n%v\nwant the final results\n%v", name, mode, got, want)
			}
		}
	}
}

// TestUntilTimeLimitKeepsThePlace: a result that follows takes the first one's
// place, and it is sent when the watermark has passed that by the limit, to the
// millisecond, in the order of times and keys.
func TestUntilTimeLimitKeepsThePlace(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		g := source(b, "in").GroupByKey(codec.String, codec.Int64)
		g.Count(topology.Store("counts")).Suppress(topology.UntilTimeLimit(10*time.Second, topology.BufferIn("calm"))).
			To("out", codec.String, codec.Int64)
	}))
	in, start := input(d, "in"), d.Now()
	send := func(key string, at time.Duration) { in.Send(key, 1, start.Add(at)) }
	send("b", 0)
	send("a", 0)
	for i := range 9 {
		send("a", time.Duration(i+1)*time.Second)
	}
	send("c", 10*time.Second-time.Millisecond)
	want(t, "a millisecond before", results(d, "out"))
	d.Restart()
	send("a", 10*time.Second)
	want(t, "when the limit is over", results(d, "out"), "a=10", "b=1")
	if m := streamtest.Output(d, "out", codec.String, codec.Int64).All()[0]; !m.Time.Equal(start.Add(9 * time.Second)) {
		t.Errorf("the time of the result is %v, want that of the last event in it", m.Time)
	}
	send("a", 12*time.Second)
	d.Crash()
	d.End()
	want(t, "at the end", results(d, "out"), "a=10", "b=1", "c=1", "a=12")
}

// TestUntilTimeLimitThinsOutEarlyResults: they need not wait for the end of their
// window, though no later result can be on time before it.
func TestUntilTimeLimitThinsOutEarlyResults(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		all := bags(b, window.Tumbling(time.Hour), window.OnTime().EarlyAfter(1), 0)
		sendPanes(all.Suppress(topology.UntilTimeLimit(time.Minute, topology.BufferIn("calm"))), "out")
	}))
	in, start := input(d, "in"), d.Now()
	for i := range int64(30) {
		in.Send("k", i, start.Add(time.Duration(i)*10*time.Second))
	}
	var sizes []int
	for _, p := range panesOf(d, "out") {
		sizes = append(sizes, len(p.Value))
	}
	if fmt.Sprint(sizes) != "[7 14 21 28]" {
		t.Errorf("results of %v events were sent, want one each 70 s: a minute, and the event that ends it", sizes)
	}
}

// TestAFullBuffer sends the earliest, or stops with an error that says what to do.
func TestAFullBuffer(t *testing.T) {
	run := func(buffer topology.Buffer) (*streamtest.Driver, error) {
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			g := source(b, "in").GroupByKey(codec.String, codec.Int64)
			g.Count(topology.Store("counts")).Suppress(topology.UntilTimeLimit(time.Hour, buffer), topology.OnError(topology.Skip)).
				To("out", codec.String, codec.Int64)
		}), streamtest.OnError(topology.Skip))
		in := input(d, "in")
		for i, key := range []string{"c", "a", "b", "a", "d"} {
			in.Send(key, 1, d.Now().Add(time.Duration(i)*time.Second))
		}
		return d, d.Err()
	}
	d, err := run(topology.BufferIn("calm").MaxRecords(2))
	if err != nil {
		t.Fatal(err)
	}
	want(t, "at most 2 records", results(d, "out"), "c=1", "a=2")
	d.End()
	want(t, "at the end", results(d, "out"), "c=1", "a=2", "b=1", "d=1")
	d, err = run(topology.BufferIn("calm").MaxBytes(1))
	if err != nil {
		t.Fatal(err)
	}
	want(t, "at most a byte", results(d, "out"), "c=1", "a=1", "b=1", "a=2", "d=1")
	_, err = run(topology.BufferIn("calm").MaxRecords(2).ShutDownWhenFull())
	if !errors.Is(err, topology.ErrBufferFull) {
		t.Fatalf("error %v", err)
	}
	for _, part := range []string{"suppress_test.go:", "in.aggregate.suppress", "holds 3 records", "may hold 2 records", "ShutDownWhenFull"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
	if _, err = run(topology.BufferIn("calm").MaxRecords(3).ShutDownWhenFull()); !errors.Is(err, topology.ErrBufferFull) {
		t.Errorf("4 keys of at most 3: %v", err)
	}
	if _, err = run(topology.BufferIn("calm").MaxRecords(4).ShutDownWhenFull()); err != nil {
		t.Errorf("4 keys of at most 4: %v", err)
	}
}

// bufferModel says what a buffer sends, by going through all of it each time.
type bufferModel struct {
	limit   int64
	records int
	w       int64
	held    []*modelHeld
	sent    []string
}

type modelHeld struct {
	id                string
	time              int64
	retraction, value *sentPane
}

func idOf(p sentPane) string {
	return fmt.Sprintf("%s %020d %020d", p.Key, uint64(p.Window.Start)^(1<<63), uint64(p.Window.End)^(1<<63))
}

func (m *bufferModel) send(p *sentPane) {
	if p != nil {
		m.sent = append(m.sent, fmt.Sprint(p.Pane.Retracted, p))
	}
}

func (m *bufferModel) due(t int64) bool { return m.w == window.MaxTime || m.w >= t+m.limit }

func (m *bufferModel) result(p sentPane) {
	i := slices.IndexFunc(m.held, func(h *modelHeld) bool { return h.id == idOf(p) })
	if i < 0 {
		if m.due(p.Time) {
			m.send(&p)
			return
		}
		m.held = append(m.held, &modelHeld{id: idOf(p), time: p.Time})
		i = len(m.held) - 1
	}
	h := m.held[i]
	h.time = min(h.time, p.Time)
	switch {
	case !p.Pane.Retracted:
		h.value = &p
	case h.value != nil:
		h.value = nil
	case h.retraction == nil:
		h.retraction = &p
	}
	for m.records > 0 && len(m.held) > m.records {
		m.release()
	}
}

// release sends the earliest entry.
func (m *bufferModel) release() {
	slices.SortFunc(m.held, func(a, b *modelHeld) int {
		if a.time != b.time {
			return int(a.time - b.time)
		}
		return strings.Compare(a.id, b.id)
	})
	m.send(m.held[0].retraction)
	m.send(m.held[0].value)
	m.held = m.held[1:]
}

func (m *bufferModel) advance(w int64) {
	m.w = w
	for slices.ContainsFunc(m.held, func(h *modelHeld) bool { return m.due(h.time) }) {
		m.release()
	}
}

// TestSuppressAgainstAModel feeds what random aggregates send to a plain model of
// the buffer. What the one and the other send is the same, and what a reader makes
// of it in the end is what the aggregate has sent last.
func TestSuppressAgainstAModel(t *testing.T) {
	retractions, sent := 0, 0
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, 4))
		w := []window.Windows{
			window.Tumbling(4 * time.Second), window.Hopping(4 * time.Second).Every(2 * time.Second),
			window.Session(2 * time.Second), window.Sliding(2 * time.Second),
		}[rng.IntN(4)].AllowedLateness(time.Duration(rng.IntN(4)) * time.Second)
		e := []window.Emit{window.OnTime(), window.OnTime().EarlyAfter(1), window.OnTime().EarlyAfter(2).Retracting(), window.OnTime().Retracting(), window.OnClose()}[rng.IntN(5)]
		m := bufferModel{limit: rng.Int64N(6) * 1000, records: rng.IntN(3) * 4, w: window.MinTime}
		buffer := topology.BufferIn("calm")
		if m.records > 0 {
			buffer = buffer.MaxRecords(int64(m.records))
		}
		var d *streamtest.Driver
		var raw []sentPane
		d = streamtest.New(t, build(t, func(b *topology.Builder) {
			all := bags(b, w, e, time.Duration(rng.IntN(3))*time.Second)
			sendPanes(all.Stream().Peek(func(r topology.Record[string, bag]) {
				p, _ := toPane(r)
				raw = append(raw, p)
			}), "all")
			sendPanes(all.Suppress(topology.UntilTimeLimit(ms(m.limit), buffer)), "out")
		}), streamtest.KeepBytes())
		in := input(d, "in")
		at := d.Now().UnixMilli()
		// The aggregate sends all that a watermark makes due before the buffer hears
		// of it; only then does the model.
		told := func() {
			for _, p := range raw {
				m.result(p)
			}
			raw = nil
			if w := d.Watermark(0, 0); w != window.MinTime {
				m.advance(w)
			}
		}
		for i := range int64(60) {
			at += rng.Int64N(1500)
			in.Send(string(rune('a'+rng.IntN(3))), i, time.UnixMilli(at-rng.Int64N(3000)))
			told()
			if rng.IntN(10) == 0 {
				d.Restart()
			}
		}
		d.End()
		told()
		var got []string
		last := map[bool]map[string]string{}
		for i, topic := range []string{"all", "out"} {
			last[i == 0] = map[string]string{}
			for _, p := range panesOf(d, topic) {
				if i == 1 {
					got = append(got, fmt.Sprint(p.Pane.Retracted, &p))
				}
				if p.Pane.Retracted {
					delete(last[i == 0], idOf(p))
					retractions++
					continue
				}
				last[i == 0][idOf(p)] = fmt.Sprint(p.Value)
			}
		}
		sent += len(got)
		if !slices.Equal(got, m.sent) {
			t.Fatalf("seed %d (%v; %v; limit %d, %d records): sent\n%s\nwant\n%s", seed, w, e, m.limit, m.records, strings.Join(got, "\n"), strings.Join(m.sent, "\n"))
		}
		if !maps.Equal(last[true], last[false]) {
			t.Fatalf("seed %d (%v; %v): a reader ends with %v, want %v", seed, w, e, last[false], last[true])
		}
	}
	if retractions < 100 || sent < 1000 {
		t.Errorf("%d results, %d retractions: the test tests less than it says", sent, retractions)
	}
}

// TestSuppressSurvivesCrashes: at least once, what was last sent of each key is
// never less than the truth, whatever step a crash comes at.
func TestSuppressSurvivesCrashes(t *testing.T) {
	for _, pebble := range []bool{false, true} {
		for _, step := range steps {
			for commit := range 5 {
				opts := []streamtest.Option{streamtest.CommitEvery(3), streamtest.Seed(int64(commit) + 1)}
				if pebble {
					opts = append(opts, streamtest.Pebble())
				}
				crashSuppress(t, fmt.Sprintf("%v of commit %d, pebble %v", step, commit, pebble), step, commit, opts)
			}
		}
	}
}

func crashSuppress(t *testing.T, name string, step streamtest.Step, commit int, opts []streamtest.Option) {
	t.Helper()
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		g := source(b, "in").GroupByKey(codec.String, codec.Int64)
		limit := func(store string) topology.TimeLimit {
			return topology.UntilTimeLimit(4*time.Second, topology.BufferIn(store).MaxRecords(3))
		}
		g.Count(topology.Store("table")).Suppress(limit("calm-table")).To("table", codec.String, codec.Int64)
		minutes := g.WindowedBy(window.Tumbling(time.Minute).AllowedLateness(time.Second)).
			Count(topology.Store("minutes"), topology.Named("minutes"), topology.Emit(window.OnTime().EarlyAfter(1)))
		minutes.Suppress(limit("calm-minutes")).To("minutes", codec.String, codec.Int64)
		minutes.Suppress(topology.UntilWindowCloses(), topology.Named("finals")).To("finals", codec.String, codec.Int64)
	}), opts...)
	in := input(d, "in")
	for batch := range 8 {
		if batch == commit+1 {
			d.CrashAt(step)
		}
		d.Batch(func() {
			for i := range 5 {
				in.Send(string(rune('a'+i)), 1, d.Now().Add(time.Duration(batch*5+i)*time.Second))
			}
		})
	}
	d.End()
	if d.Crashes() != 1 {
		t.Errorf("%s: %d crashes", name, d.Crashes())
	}
	for _, topic := range []string{"table", "minutes", "finals"} {
		last := map[string]int64{}
		for _, m := range streamtest.Output(d, topic, codec.String, codec.Int64).All() {
			last[m.Key] = m.Value
		}
		for i := range 5 {
			if key := string(rune('a' + i)); last[key] < 8 {
				t.Errorf("%s: topic %s has %d of the 8 events of %s: %v", name, topic, last[key], key, last)
			}
		}
	}
	d.Restart()
	table := len(streamtest.Entries[string, processors.Held[int64]](d.Store("calm-table")))
	minutes := len(streamtest.Entries[processors.HeldKey[string], processors.Held[int64]](d.Store("calm-minutes")))
	if table+minutes > 0 {
		t.Errorf("%s: %d and %d entries are left in the buffers", name, table, minutes)
	}
}

// TestSuppressExactlyOnce: with crashes the same is committed as without, and
// nothing else.
func TestSuppressExactlyOnce(t *testing.T) {
	var list []*task.Fetched
	for i := range int64(60) {
		list = append(list, fetched(i, string(rune('a'+i%5)), i*700-(i%3)*500))
	}
	for name, until := range map[string]topology.Suppression{
		"limit":   topology.UntilTimeLimit(5*time.Second, topology.BufferIn("calm")),
		"bounded": topology.UntilTimeLimit(time.Minute, topology.BufferIn("calm").MaxRecords(3)),
		"closes":  topology.UntilWindowCloses(),
	} {
		t.Run(name, func(t *testing.T) {
			sameWithCrashes(t, func() *topology.Topology {
				return build(t, func(b *topology.Builder) {
					source(b, "in").EventTime(nil, window.BoundedDelay(time.Second)).GroupByKey(codec.String, codec.Int64).
						WindowedBy(window.Session(2*time.Second).AllowedLateness(time.Second)).
						Count(topology.Store("counts"), topology.Emit(window.OnTime().EarlyAfter(1))).
						Suppress(until).To("out", codec.String, codec.Int64)
				})
			}, list, 20)
		})
	}
}

// TestBuffersAreMeasured: records and bytes, over restarts.
func TestBuffersAreMeasured(t *testing.T) {
	o := newOnce(t, build(t, func(b *topology.Builder) {
		source(b, "in").GroupByKey(codec.String, codec.Int64).Count(topology.Store("counts")).
			Suppress(topology.UntilTimeLimit(10*time.Millisecond, topology.BufferIn("calm"))).To("out", codec.String, codec.Int64)
	}))
	var records, bytes int64
	o.observer.Buffered = func(node string, r, b int64) {
		if node != "in.aggregate.suppress" {
			t.Errorf("node %q", node)
		}
		records, bytes = records+r, bytes+b
	}
	o.crash()
	o.in = []*task.Fetched{fetched(0, "a", 0), fetched(1, "b", 5), fetched(2, "a", 9)}
	o.run(3)
	o.commit(false)
	if records != 2 || bytes < 20 {
		t.Errorf("%d records, %d bytes; want 2 keys", records, bytes)
	}
	before := bytes
	o.crash()
	if records != 2 || bytes != before {
		t.Errorf("after a restart %d records, %d bytes; want 2, %d", records, bytes, before)
	}
	o.end()
	if records != 0 || bytes != 0 {
		t.Errorf("%d records, %d bytes are left", records, bytes)
	}
}
