package trace_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
)

func Example() {
	rows, err := trace.Load(trace.Code)
	if err != nil {
		fmt.Println(err)
		return
	}
	g, err := trace.NewGenerator(rows, trace.Options{Events: 2, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	for d := range g.All() {
		fmt.Println(time.UnixMilli(d.At).UTC().Format(time.RFC3339), d.Event.Model,
			d.Event.PromptTokens, d.Event.CompletionTokens)
	}
	// Output:
	// 2023-11-16T18:17:03Z code-small 4808 10
	// 2023-11-16T18:17:04Z code-small 3180 8
}

func rows(t interface{ Fatal(...any) }, name trace.Name) []trace.Row {
	rows, err := trace.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestRowsOfTheTraces(t *testing.T) {
	// The sums were computed from the published files by awk.
	for name, want := range map[trace.Name]struct{ rows, read, written int64 }{
		trace.Code: {8819, 18059974, 245896},
		trace.Conv: {19366, 22361870, 4088665},
		trace.Both: {28185, 40421844, 4334561},
	} {
		all := rows(t, name)
		var read, written int64
		for _, r := range all {
			read += r.ContextTokens
			written += r.GeneratedTokens
		}
		if int64(len(all)) != want.rows || read != want.read || written != want.written {
			t.Errorf("%s: %d rows, %d and %d tokens; want %v", name, len(all), read, written, want)
		}
		if !slices.IsSortedFunc(all, func(a, b trace.Row) int { return int(a.At - b.At) }) {
			t.Errorf("%s is not by time", name)
		}
	}
	first := rows(t, trace.Code)[0]
	if want := time.Date(2023, 11, 16, 18, 17, 3, 979e6, time.UTC).UnixMilli(); first.At != want {
		t.Errorf("first row at %d, want %d", first.At, want)
	}
	if _, err := trace.Load("cod"); !errors.Is(err, trace.ErrUnknown) {
		t.Errorf("%v", err)
	}
}

func TestReadCSVNamesTheLine(t *testing.T) {
	const head = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:03.9799600,1,2\r\n"
	for text, want := range map[string]string{
		"":                                 "trace: wrong format: f.csv: no rows behind the headings",
		head + "x":                         `trace: wrong format: f.csv:3: "x": want time,context tokens,generated tokens`,
		head + "yesterday,1,2":             `trace: wrong format: f.csv:3: parsing time "yesterday" as "2006-01-02 15:04:05": cannot parse "yesterday" as "2006"`,
		head + "2023-11-16 18:17:03,-1,2":  `trace: wrong format: f.csv:3: tokens "-1": want a whole number below 2^32`,
		head + "2023-11-16 18:17:03,1,2,3": `trace: wrong format: f.csv:3: tokens "2,3": want a whole number below 2^32`,
	} {
		if _, err := trace.ReadCSV(strings.NewReader(text), "f.csv", trace.CodeService); err == nil || err.Error() != want {
			t.Errorf("%q:\n%v, want\n%s", text, err, want)
		}
	}
}

func generate(t interface{ Fatal(...any) }, rows []trace.Row, o trace.Options) []trace.Delivery {
	g, err := trace.NewGenerator(rows, o)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(g.All())
}

func TestPlainReplayIsTheTrace(t *testing.T) {
	all := rows(t, trace.Both)
	end := time.UnixMilli(1_800_000_000_000)
	shift := end.UnixMilli() - all[len(all)-1].At
	plain := generate(t, all, trace.Options{Seed: 1, End: end})
	if len(plain) != len(all) {
		t.Fatalf("%d events of %d rows", len(plain), len(all))
	}
	ids := map[llm.RequestID]bool{}
	for i, d := range plain {
		row, v := all[i], d.Event
		if v.Timestamp != row.At+shift || d.At != v.Timestamp ||
			v.PromptTokens != row.ContextTokens || v.CompletionTokens != row.GeneratedTokens {
			t.Fatalf("event %d: %+v of %+v", i, d, row)
		}
		if err := v.Validate(); err != nil {
			t.Fatal(err)
		}
		if ids[v.RequestID] {
			t.Fatalf("request %v twice", v.RequestID)
		}
		ids[v.RequestID] = true
		if want := []string{"code-", "chat-"}[row.Service]; !strings.HasPrefix(v.Model, want) {
			t.Fatalf("%v of service %d", v.Model, row.Service)
		}
	}
}

// TestModelShares checks that the model is as README.md describes it.
func TestModelShares(t *testing.T) {
	models, errs, judged, priced, ok := map[string]float64{}, 0.0, 0.0, 0.0, 0.0
	events := generate(t, rows(t, trace.Conv), trace.Options{Seed: 3})
	for _, d := range events {
		models[d.Event.Model]++
		if d.Event.Error {
			errs++
			if _, has := d.Event.CostUSD.Get(); has {
				t.Fatal("a failed request has a cost")
			}
			continue
		}
		ok++
		if _, has := d.Event.Quality.Get(); has {
			judged++
		}
		if _, has := d.Event.CostUSD.Get(); has {
			priced++
		}
	}
	n := float64(len(events))
	for what, pair := range map[string][2]float64{
		"chat-small":  {models["chat-small"] / n, 0.5},
		"chat-medium": {models["chat-medium"] / n, 0.3},
		"chat-large":  {models["chat-large"] / n, 0.2},
		"errors":      {errs / n, 0.5*0.002 + 0.3*0.004 + 0.2*0.01},
		"judged":      {judged / ok, 0.2},
		"priced":      {priced / ok, 0.98},
	} {
		if math.Abs(pair[0]-pair[1]) > 0.012 {
			t.Errorf("%s: share %v, want about %v", what, pair[0], pair[1])
		}
	}
	if errs == 0 {
		t.Error("no errors at all")
	}
}

func TestRepetitionsFollowEachOther(t *testing.T) {
	all := rows(t, trace.Code)
	n := int64(3*len(all) + 5)
	end := time.UnixMilli(1_800_000_000_000)
	events := generate(t, all, trace.Options{Seed: 1, Events: n, End: end})
	if int64(len(events)) != n || events[n-1].At != end.UnixMilli() {
		t.Fatalf("%d events, the last at %d", len(events), events[n-1].At)
	}
	size := len(all)
	for i := 1; i < len(events); i++ {
		if events[i].At < events[i-1].At {
			t.Fatalf("event %d goes back", i)
		}
		if i >= size && events[i].At-events[i-size].At != events[size].At-events[0].At {
			t.Fatalf("event %d is shifted by another period", i)
		}
	}
	if gap := events[size].At - events[size-1].At; gap <= 0 || gap > 10_000 {
		t.Errorf("%d ms between repetitions", gap)
	}
}

// TestDeliveryIsBounded checks disorder and duplicates on any options.
func TestDeliveryIsBounded(t *testing.T) {
	all := rows(t, trace.Code)[:500]
	rapid.Check(t, func(t *rapid.T) {
		o := trace.Options{
			Events:        rapid.Int64Range(1, 1200).Draw(t, "events"),
			Seed:          rapid.Uint64().Draw(t, "seed"),
			Disorder:      time.Duration(rapid.IntRange(0, 100_000).Draw(t, "disorder ms")) * time.Millisecond,
			DisorderShare: rapid.Float64Range(0, 1).Draw(t, "share"),
			Duplicates:    rapid.SampledFrom([]float64{0, 0.1, 1}).Draw(t, "duplicates"),
		}
		deliveries := generate(t, all, o)
		if again := generate(t, all, o); !reflect.DeepEqual(deliveries, again) {
			t.Fatal("not deterministic")
		}
		times := map[llm.RequestID]int{}
		latest := int64(math.MinInt64)
		for i, d := range deliveries {
			if i > 0 && d.At < deliveries[i-1].At {
				t.Fatalf("delivery %d goes back", i)
			}
			latest = max(latest, d.Event.Timestamp)
			if behind := latest - d.Event.Timestamp; behind > o.Disorder.Milliseconds() {
				t.Fatalf("delivery %d is %d ms behind, allowed %v", i, behind, o.Disorder)
			}
			times[d.Event.RequestID]++
		}
		if int64(len(times)) != o.Events {
			t.Fatalf("%d requests, want %d", len(times), o.Events)
		}
		switch got := int64(len(deliveries)); {
		case o.Duplicates == 0 && got != o.Events, o.Duplicates == 1 && got != 2*o.Events:
			t.Fatalf("%d deliveries of %d events, duplicates %v", got, o.Events, o.Duplicates)
		}
		// Delivery does not change the events.
		plain := generate(t, all, trace.Options{Events: o.Events, Seed: o.Seed})
		want := map[llm.RequestID]llm.Performance{}
		for _, d := range plain {
			want[d.Event.RequestID] = d.Event
		}
		for _, d := range deliveries {
			if want[d.Event.RequestID] != d.Event {
				t.Fatalf("%+v, want %+v", d.Event, want[d.Event.RequestID])
			}
		}
	})
}

func TestDisorderHappens(t *testing.T) {
	deliveries := generate(t, rows(t, trace.Both), trace.Options{Seed: 1, Disorder: time.Minute, DisorderShare: 0.05})
	late := 0
	for _, d := range deliveries {
		if d.At > d.Event.Timestamp {
			late++
		}
	}
	if share := float64(late) / float64(len(deliveries)); math.Abs(share-0.05) > 0.005 {
		t.Errorf("a share of %v is late, want about 0.05", share)
	}
}

func TestWrongOptions(t *testing.T) {
	all := rows(t, trace.Code)
	end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for want, o := range map[string]trace.Options{
		"trace: wrong option: events -1, want 0 or more":                        {Events: -1},
		"trace: wrong option: disorder -1s, want 0 to a year":                   {Disorder: -time.Second},
		"trace: wrong option: disorder share NaN, want 0 to 1":                  {DisorderShare: math.NaN()},
		"trace: wrong option: duplicates 2, want 0 to 1":                        {Duplicates: 2},
		"trace: wrong option: events 9223372036854775807 reach beyond any date": {Events: math.MaxInt64},
		"trace: wrong option: events 9000000000 begin before 1970 if they end 2026-01-01T00:00:00Z: " +
			"ask for fewer, or keep the trace's time": {Events: 9_000_000_000, End: end},
	} {
		if _, err := trace.NewGenerator(all, o); err == nil || err.Error() != want || !errors.Is(err, trace.ErrOptions) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := trace.NewGenerator(nil, trace.Options{}); !errors.Is(err, trace.ErrOptions) {
		t.Errorf("no rows: %v", err)
	}
}

func BenchmarkGenerator(b *testing.B) {
	g, err := trace.NewGenerator(rows(b, trace.Both), trace.Options{
		Seed: 1, Events: 1 << 40, Disorder: time.Minute, DisorderShare: 0.05})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := g.Next(); !ok {
			b.Fatal("over")
		}
	}
}
