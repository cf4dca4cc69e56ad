package trace_test

import (
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
)

// collect returns the events of all kinds that a traffic makes.
func collect(t *testing.T, o trace.Options, kinds []string, plan []trace.Degradation) []trace.Item {
	t.Helper()
	all, err := trace.Load(trace.Both)
	if err != nil {
		t.Fatal(err)
	}
	g, err := trace.NewTraffic(all, o, kinds, plan)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(g.All())
}

// eventOf returns what all events have, and whether the event is valid.
func eventOf(t *testing.T, i trace.Item) llm.Event {
	t.Helper()
	var e llm.Event
	var err error
	switch v := i.Event.(type) {
	case llm.Performance:
		e, err = v.Event, v.Validate()
	case llm.Feedback:
		e, err = v.Event, v.Validate()
	case llm.Response:
		e, err = v.Event, v.Validate()
	case llm.Health:
		e, err = v.Event, v.Validate()
	case llm.Experiment:
		e, err = v.Event, v.Validate()
	default:
		t.Fatalf("an event of type %T", v)
	}
	if err != nil {
		t.Fatalf("%+v: %v", i, err)
	}
	return e
}

func TestTrafficIsDeliveredInOrderAndNotTooLate(t *testing.T) {
	o := trace.Options{Events: 4000, Seed: 3, Disorder: time.Minute, DisorderShare: 0.05}
	items := collect(t, o, llm.SourceNames(), nil)
	if again := collect(t, o, llm.SourceNames(), nil); !reflect.DeepEqual(items, again) {
		t.Fatal("not deterministic")
	}
	counts, latest, late := map[string]int{}, map[string]int64{}, 0
	for n, i := range items {
		if n > 0 && i.At < items[n-1].At {
			t.Fatalf("item %d goes back from %d to %d", n, items[n-1].At, i.At)
		}
		e := eventOf(t, i)
		latest[i.Source] = max(latest[i.Source], e.Timestamp)
		bound := time.Minute
		if i.Source == llm.SystemSource {
			bound = 10 * time.Second
		}
		if behind := time.Duration(latest[i.Source]-e.Timestamp) * time.Millisecond; behind > bound {
			t.Fatalf("%s is %v behind", i.Source, behind)
		}
		if i.At > e.Timestamp {
			late++
		}
		counts[i.Source]++
	}
	if counts[llm.PerformanceSource] != 4000 || counts[llm.ResponseSource] != 4000 {
		t.Errorf("%v", counts)
	}
	for _, source := range llm.SourceNames() {
		if counts[source] < 50 {
			t.Errorf("%s: %d events", source, counts[source])
		}
	}
	if share := float64(late) / float64(len(items)); math.Abs(share-0.05) > 0.01 {
		t.Errorf("a share of %v is late", share)
	}
}

func TestTrafficHasTheEventsOfTheGenerator(t *testing.T) {
	o := trace.Options{Events: 2000, Seed: 9, Disorder: time.Minute, DisorderShare: 0.1, Duplicates: 0.05}
	var alone, mixed []llm.Performance
	for _, d := range generate(t, rows(t, trace.Both), o) {
		alone = append(alone, d.Event)
	}
	for _, i := range collect(t, o, llm.SourceNames(), nil) {
		if v, ok := i.Event.(llm.Performance); ok {
			mixed = append(mixed, v)
		}
	}
	if !slices.Equal(alone, mixed) {
		t.Errorf("%d events, and %d with others", len(alone), len(mixed))
	}
	// What is left out does not change the rest.
	some := collect(t, o, []string{llm.FeedbackSource}, nil)
	var of []trace.Item
	for _, i := range collect(t, o, llm.SourceNames(), nil) {
		if i.Source == llm.FeedbackSource {
			of = append(of, i)
		}
	}
	if !reflect.DeepEqual(some, of) || len(of) == 0 {
		t.Errorf("%d and %d feedback events", len(some), len(of))
	}
}

func TestDegradationsShowWhereTheyArePlanted(t *testing.T) {
	o := trace.Options{Seed: 4}
	plain := collect(t, o, llm.SourceNames(), nil)
	begin := plain[0].At
	plan := []trace.Degradation{
		{Kind: trace.SlowModel, Target: "chat-small", From: begin + 600_000, To: begin + 1_200_000, Amount: 2},
		{Kind: trace.FailingModel, Target: "code-small", From: begin + 600_000, To: begin + 1_200_000, Amount: 0.2},
		{Kind: trace.SickComponent, Target: "server-chat-large", From: begin + 600_000, To: begin + 1_200_000, Amount: 0.5},
	}
	before := map[llm.RequestID]llm.Performance{}
	for _, i := range plain {
		if v, ok := i.Event.(llm.Performance); ok {
			before[v.RequestID] = v
		}
	}
	var slow, failed, code, sick, reports float64
	for _, i := range collect(t, o, llm.SourceNames(), plan) {
		switch v := i.Event.(type) {
		case llm.Performance:
			was := before[v.RequestID]
			planted := v.Timestamp >= plan[0].From && v.Timestamp < plan[0].To
			switch {
			case planted && v.Model == "chat-small":
				if v.LatencyMS != 2*was.LatencyMS {
					t.Fatalf("%v after %v", v.LatencyMS, was.LatencyMS)
				}
				slow++
			case planted && v.Model == "code-small":
				code++
				if v.Error {
					failed++
				}
			case v != was:
				t.Fatalf("%+v, and was %+v", v, was)
			}
		case llm.Health:
			if v.Timestamp >= plan[2].From && v.Timestamp < plan[2].To && v.Component == plan[2].Target {
				reports++
				if !v.Healthy {
					sick++
				}
			}
		}
	}
	if slow == 0 || math.Abs(failed/code-0.2) > 0.05 || math.Abs(sick/reports-0.5) > 0.2 {
		t.Errorf("%v slow, %v of %v failed, %v of %v sick", slow, failed, code, sick, reports)
	}
	for _, d := range append(trace.Plan(1, begin, begin+4*3_600_000), trace.PlanFaint(1, begin, begin+4*3_600_000)...) {
		if length := d.To - d.From; length < 4*60_000 || length > 12*60_000 || d.From < begin+25*60_000 || d.To > begin+4*3_600_000 {
			t.Errorf("%+v", d)
		}
	}
}

// TestARampGrowsFromNothing: evenly, up to its amount.
func TestARampGrowsFromNothing(t *testing.T) {
	o := trace.Options{Seed: 4}
	plain := collect(t, o, []string{llm.PerformanceSource}, nil)
	before := map[llm.RequestID]llm.Performance{}
	for _, i := range plain {
		v := i.Event.(llm.Performance)
		before[v.RequestID] = v
	}
	from := plain[0].At + 600_000
	plan := []trace.Degradation{{Kind: trace.SlowModel, Target: "chat-small", From: from, To: from + 600_000, Amount: 3, Ramp: true}}
	n := 0
	for _, i := range collect(t, o, []string{llm.PerformanceSource}, plan) {
		v := i.Event.(llm.Performance)
		if v.Model != "chat-small" || v.Timestamp < from || v.Timestamp >= from+600_000 {
			continue
		}
		n++
		want := 1 + 2*float64(v.Timestamp-from)/600_000
		if got := v.LatencyMS / before[v.RequestID].LatencyMS; math.Abs(got-want) > 1e-9 {
			t.Fatalf("%v times as slow after %d ms, want %v", got, v.Timestamp-from, want)
		}
	}
	if n < 50 {
		t.Errorf("only %d requests", n)
	}
}
