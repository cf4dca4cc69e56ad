package llm_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
	"github.com/millrace/millrace/llm/truth"
	"github.com/millrace/millrace/streamtest"
)

// applicationEnd is when the last request of a test happens.
var applicationEnd = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// application is the whole application under a test.
type application struct {
	*streamtest.Driver
	performance *streamtest.InputTopic[string, llm.Performance]
	feedback    *streamtest.InputTopic[string, llm.Feedback]
	responses   *streamtest.InputTopic[string, llm.Response]
	health      *streamtest.InputTopic[string, llm.Health]
	experiments *streamtest.InputTopic[string, llm.Experiment]
}

func newApplication(t *testing.T, c llm.Config, opts ...streamtest.Option) *application {
	t.Helper()
	top, err := llm.NewTopology(c)
	if err != nil {
		t.Fatal(err)
	}
	// The clock stands behind all events; a commit is made now and then.
	d := streamtest.New(t, top, append([]streamtest.Option{streamtest.Start(applicationEnd.Add(10 * time.Minute)), streamtest.CommitEvery(5000)}, opts...)...)
	return &application{
		Driver:      d,
		performance: streamtest.Input(d, c.Topic, codec.String, llm.PerformanceCodec),
		feedback:    streamtest.Input(d, c.Feedback.Topic, codec.String, llm.FeedbackCodec),
		responses:   streamtest.Input(d, c.Responses.Topic, codec.String, llm.ResponseCodec),
		health:      streamtest.Input(d, c.Health.Topic, codec.String, llm.HealthCodec),
		experiments: streamtest.Input(d, c.Experiments.Topic, codec.String, llm.ExperimentCodec),
	}
}

// send writes an event to its topic, under the id of its request.
func (a *application) send(i trace.Item) {
	at := time.UnixMilli(i.At)
	switch v := i.Event.(type) {
	case llm.Performance:
		a.performance.Send(v.RequestID.String(), v, at)
	case llm.Feedback:
		a.feedback.Send(v.RequestID.String(), v, at)
	case llm.Response:
		a.responses.Send(v.RequestID.String(), v, at)
	case llm.Health:
		a.health.Send(v.RequestID.String(), v, at)
	case llm.Experiment:
		a.experiments.Send(v.RequestID.String(), v, at)
	}
}

// traffic makes events of all kinds out of order, with degradations.
func traffic(t *testing.T, events int64, seed uint64) []trace.Item {
	t.Helper()
	all, err := trace.Load(trace.Both)
	if err != nil {
		t.Fatal(err)
	}
	end := applicationEnd.UnixMilli()
	plan := trace.Plan(seed, end-3_600_000, end)
	g, err := trace.NewTraffic(all, trace.Options{
		Events: events, End: applicationEnd, Disorder: time.Minute, DisorderShare: 0.05, Seed: seed,
	}, llm.SourceNames(), plan)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(g.All())
}

// values yields the values of a topic.
func values[V any](d *streamtest.Driver, topic string, c codec.Codec[V]) iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, m := range streamtest.Output(d, topic, codec.String, c).All() {
			if !yield(m.Value) {
				return
			}
		}
	}
}

// TestTheWholeApplicationEqualsTheDirectComputation runs the trace with events of
// all kinds, 5 % of them out of order, over three partitions, restarts in the
// middle, and wants every event in a final window, and every result equal.
func TestTheWholeApplicationEqualsTheDirectComputation(t *testing.T) {
	c := llm.FullConfig()
	a := newApplication(t, c, streamtest.Partitions(3))
	performance, sessions := truth.New(c.Size), truth.NewSessions(c.SessionGap, c.SessionAtMost)
	responses, components := truth.NewResponses(c.Size), truth.NewComponents(c.Size)
	experiments := truth.NewExperiments(c.ExperimentSize)
	verdicts := truth.NewVerdicts(c.AnomalySize, c.AnomalyEvery, c.Detection)
	sent := map[string]int64{}
	items := traffic(t, 0, 11)
	for n, chunk := range chunks(items, 1000) {
		a.Batch(func() {
			for _, i := range chunk {
				a.send(i)
				sent[i.Source]++
				switch v := i.Event.(type) {
				case llm.Performance:
					performance.Add(v)
					verdicts.AddPerformance(v)
				case llm.Feedback:
					sessions.Add(v)
				case llm.Response:
					responses.Add(v)
				case llm.Health:
					components.Add(v)
					verdicts.AddHealth(v)
				case llm.Experiment:
					experiments.Add(v)
				}
			}
		})
		if n == len(items)/2000 {
			a.Restart()
		}
	}
	a.End()
	late := 0
	for i := 1; i < len(items); i++ {
		if timeOf(items[i]) < items[i].At {
			late++
		}
	}
	if share := float64(late) / float64(len(items)); share < 0.03 {
		t.Errorf("a share of %v is out of order", share)
	}
	overlap := int64(c.AnomalySize / c.AnomalyEvery)
	for source, of := range map[string]struct {
		report truth.Report
		times  int64
	}{
		llm.PerformanceSource: {performance.Compare(values(a.Driver, llm.StatsTopic, llm.ResultJSON)), 1},
		llm.FeedbackSource:    {sessions.Compare(values(a.Driver, llm.FeedbackStatsTopic, llm.FeedbackSummaryJSON)), 1},
		llm.ResponseSource:    {responses.Compare(values(a.Driver, llm.ResponseStatsTopic, llm.ResponseSummaryJSON)), 1},
		llm.SystemSource:      {components.Compare(values(a.Driver, llm.HealthStatsTopic, llm.HealthSummaryJSON)), 1},
		llm.ExperimentSource:  {experiments.Compare(values(a.Driver, llm.ExperimentStatsTopic, llm.ExperimentSummaryJSON)), 1},
	} {
		t.Logf("%-11s %v", source, of.report)
		if want := sent[source] * of.times; !of.report.Equal() || of.report.Final != want || want < 100 {
			t.Errorf("%s: %d events, %v", source, want, of.report)
		}
	}
	report := verdicts.Compare(values(a.Driver, llm.AnomaliesTopic, llm.VerdictJSON))
	t.Logf("%-11s %v", "anomalies", report)
	if want := overlap * (sent[llm.PerformanceSource] + sent[llm.SystemSource]); !report.Equal() || report.Final != want {
		t.Errorf("anomalies: %d events, %v", want, report)
	}
	if n := len(streamtest.Output(a.Driver, llm.LateTopic, codec.String, codec.Bytes).All()); n > 0 || len(a.Dropped()) > 0 {
		t.Errorf("%d late events, dropped: %v", n, a.Dropped())
	}
	judged, anomalous := 0, 0
	for v := range values(a.Driver, llm.AnomaliesTopic, llm.VerdictJSON) {
		if v.Judged {
			judged++
		}
		if v.Anomalous {
			anomalous++
		}
	}
	if judged < 200 || anomalous < 5 {
		t.Errorf("%d verdicts are judged, %d anomalous", judged, anomalous)
	}
}

// timeOf returns the event time of an item.
func timeOf(i trace.Item) int64 {
	switch v := i.Event.(type) {
	case llm.Performance:
		return v.Timestamp
	case llm.Feedback:
		return v.Timestamp
	case llm.Response:
		return v.Timestamp
	case llm.Health:
		return v.Timestamp
	case llm.Experiment:
		return v.Timestamp
	}
	return 0
}

// chunks yields runs of items, numbered.
func chunks(items []trace.Item, size int) iter.Seq2[int, []trace.Item] {
	return func(yield func(int, []trace.Item) bool) {
		n := 0
		for chunk := range slices.Chunk(items, size) {
			if !yield(n, chunk) {
				return
			}
			n++
		}
	}
}

// TestExperimentsAreTheSameBitForBitHoweverPartitioned runs the same events over
// one partition and over five, in another order, and wants the same bytes.
func TestExperimentsAreTheSameBitForBitHoweverPartitioned(t *testing.T) {
	items := slices.DeleteFunc(traffic(t, 6000, 5), func(i trace.Item) bool { return i.Source != llm.ExperimentSource })
	run := func(opts ...streamtest.Option) map[string][]byte {
		a := newApplication(t, llm.FullConfig(), opts...)
		a.Batch(func() {
			for _, i := range items {
				a.send(i)
			}
		})
		a.End()
		final := map[string][]byte{}
		for _, m := range streamtest.Output(a.Driver, llm.ExperimentStatsTopic, codec.String, codec.Bytes).All() {
			v, err := llm.ExperimentSummaryJSON.Decode(m.Value)
			if err != nil {
				t.Fatal(err)
			}
			if v.Final && !v.Retracted {
				v.Sequence = 0 // early results may come more often
				if final[fmt.Sprint(v.Key, v.WindowStart)], err = llm.ExperimentSummaryCodec.Append(nil, v); err != nil {
					t.Fatal(err)
				}
			}
		}
		return final
	}
	one, five := run(), run(streamtest.Partitions(5), streamtest.Seed(3))
	if len(one) < 2 || len(items) < 500 {
		t.Fatalf("%d windows of %d events", len(one), len(items))
	}
	for key, want := range one {
		if !bytes.Equal(five[key], want) {
			t.Errorf("%s:\n%x\n%x", key, want, five[key])
		}
	}
	if len(one) != len(five) {
		t.Errorf("%d and %d windows", len(one), len(five))
	}
}

// TestSessionsEndByGapAndLength runs feedback whose sessions the gap ends, the
// bound cuts, and a late event joins.
func TestSessionsEndByGapAndLength(t *testing.T) {
	c := llm.FullConfig()
	c.SessionGap, c.SessionAtMost, c.Early = 5*time.Minute, 20*time.Minute, 0
	a := newApplication(t, c)
	sessions := truth.NewSessions(c.SessionGap, c.SessionAtMost)
	begin := applicationEnd.Add(-3 * time.Hour)
	var id byte
	send := func(session string, minute float64) {
		id++
		v := llm.Feedback{
			Event:  llm.Event{Timestamp: begin.Add(time.Duration(minute * float64(time.Minute))).UnixMilli(), RequestID: llm.RequestID{id}, Model: "m"},
			Rating: 1 + int64(id)%5, DwellMS: int64(id),
		}
		if session != "" {
			v.SessionID = llm.Some(session)
		}
		a.feedback.Send("k", v, begin)
		sessions.Add(v)
	}
	for _, minute := range []float64{0, 4, 9.1, 14, 25, 30, 27, 20} { // a gap after 4; the last two join what they reach
		send("gaps", minute)
	}
	for minute := 40.0; minute < 110; minute += 4 { // longer than allowed
		send("long", minute)
	}
	send("", 60)
	send("", 60)
	a.End()
	report := sessions.Compare(values(a.Driver, llm.FeedbackStatsTopic, llm.FeedbackSummaryJSON))
	if !report.Equal() || report.Final != int64(id) || report.Windows != 2+4+2 {
		t.Errorf("%d windows: %v", report.Windows, report)
	}
	for s := range values(a.Driver, llm.FeedbackStatsTopic, llm.FeedbackSummaryJSON) {
		if length := time.Duration(s.WindowEnd-1-s.WindowStart) * time.Millisecond; length > c.SessionAtMost {
			t.Errorf("a session of %v", length)
		}
	}
}

// TestLateEventsTellTheirKind sends an event of each kind far behind the others.
func TestLateEventsTellTheirKind(t *testing.T) {
	a := newApplication(t, llm.FullConfig())
	for i, at := range []time.Time{applicationEnd, applicationEnd.Add(-12 * time.Hour)} {
		e := llm.Event{Timestamp: at.UnixMilli(), RequestID: llm.RequestID{byte(i)}, SessionID: llm.Some("s"), Model: "m"}
		for _, event := range []any{
			llm.Performance{Event: e}, llm.Feedback{Event: e, Rating: 1}, llm.Response{Event: e, Status: "ok"},
			llm.Health{Event: e, Component: "c"}, llm.Experiment{Event: e, Experiment: "e", Variant: "v", Metric: "m"},
		} {
			a.send(trace.Item{Event: event, At: at.UnixMilli()})
		}
		a.Advance(time.Second) // the watermarks come through the repartitions
	}
	a.End()
	late := map[string]int{}
	for _, m := range streamtest.Output(a.Driver, llm.LateTopic, codec.String, codec.Bytes).All() {
		late[string(m.Header(llm.LateHeader))]++
	}
	for _, source := range llm.SourceNames() {
		if late[source] != 1 {
			t.Errorf("%s: %d late events", source, late[source])
		}
	}
}

// TestQueriesShowReadableFields looks at the JSON of what each store holds.
func TestQueriesShowReadableFields(t *testing.T) {
	a := newApplication(t, llm.FullConfig())
	a.Batch(func() {
		for _, i := range traffic(t, 3000, 2) {
			a.send(i)
		}
	})
	a.Commit()
	for store, want := range map[string]string{
		llm.StatsStore: `"latency_ms"`, llm.FeedbackStore: `"rating_mean"`, llm.ResponseStore: `"finish_reasons"`,
		llm.HealthStore: `"availability"`, llm.ExperimentStore: `"comparisons"`,
		llm.ModelSignalsStore: `"ms_per_token"`, llm.ComponentSignalsStore: `"queue_depth"`,
	} {
		if text := a.firstValue(t, store); !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s: no %s in %s", store, want, text)
		}
	}
}

// firstValue returns the JSON of the first entry of a store.
func (a *application) firstValue(t *testing.T, store string) []byte {
	t.Helper()
	s := a.Store(store)
	switch store {
	case llm.StatsStore:
		return marshalFirst(t, streamtest.Entries[string, llm.Stats](s))
	case llm.FeedbackStore:
		return marshalFirst(t, streamtest.Entries[string, *llm.FeedbackStats](s))
	case llm.ResponseStore:
		return marshalFirst(t, streamtest.Entries[string, *llm.ResponseStats](s))
	case llm.HealthStore:
		return marshalFirst(t, streamtest.Entries[string, *llm.HealthStats](s))
	case llm.ExperimentStore:
		return marshalFirst(t, streamtest.Entries[string, *llm.ExperimentStats](s))
	}
	return marshalFirst(t, streamtest.Entries[string, *llm.Signals](s))
}

func marshalFirst[V any](t *testing.T, entries []streamtest.Entry[string, V]) []byte {
	t.Helper()
	if len(entries) == 0 {
		t.Fatal("the store is empty")
	}
	b, err := json.Marshal(entries[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
