package chaos

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streamtest"
)

// outcome is what the topology makes of a load without any fault.
type outcome struct {
	sent          []sent
	results, late []*kgo.Record
}

func undisturbed(t *testing.T) outcome {
	t.Helper()
	top, err := newTopology("app")
	if err != nil {
		t.Fatal(err)
	}
	const partitions = 2
	names := newTopics("app")
	d := streamtest.New(t, top, streamtest.Partitions(partitions))
	in := streamtest.Input(d, names.Input, codec.String, codec.JSON[reading]())
	results := streamtest.Output(d, names.Results, codec.String, codec.JSON[result]())
	late := streamtest.Output(d, names.Late, codec.String, codec.JSON[reading]())
	var o outcome
	begin := d.Now()
	send := func(p int32, s sent) { in.SendTo(p, s.sensor, s.reading, time.UnixMilli(s.At)) }
	for i := range int64(600) {
		p := int32(i % partitions)
		s := sent{fmt.Sprintf("g%d-s%d", i%3, i%6), reading{ID: i, At: begin.UnixMilli() + i*50, Value: i}}
		if i > 300 && i%50 == 0 {
			s.At, s.Behind = s.At-12_000, true
		}
		o.sent = append(o.sent, s)
		send(p, s)
	}
	for p := range int32(partitions) {
		send(p, sent{fmt.Sprint(closingGroup, "-", p), reading{ID: -1, At: begin.Add(time.Minute + 30*time.Second).UnixMilli()}})
	}
	d.Advance(time.Second)
	for _, m := range results.All() {
		o.results = append(o.results, recordOf(t, m.Key, m.Value))
	}
	for _, m := range late.All() {
		o.late = append(o.late, recordOf(t, m.Key, m.Value))
	}
	return o
}

func recordOf(t *testing.T, key string, value any) *kgo.Record {
	t.Helper()
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return &kgo.Record{Key: []byte(key), Value: b}
}

// found returns what the ledger finds in results and late readings.
func (o outcome) found(t *testing.T, g streams.Guarantee, results, late []*kgo.Record) []string {
	t.Helper()
	l := newLedger(g, o.sent)
	if err := l.read(results, late); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, b := range l.open() {
		found = append(found, fmt.Sprintf("%v has no final result", b))
	}
	return append(found, l.differences()...)
}

func TestTheLedgerAgreesWithTheTopology(t *testing.T) {
	o := undisturbed(t)
	if len(o.late) == 0 || len(o.results) == 0 {
		t.Fatalf("%d results and %d late readings", len(o.results), len(o.late))
	}
	for _, g := range []streams.Guarantee{streams.ExactlyOnce, streams.AtLeastOnce} {
		if found := o.found(t, g, o.results, o.late); len(found) > 0 {
			t.Errorf("%s: %q", g, found)
		}
	}
}

// TestTheLedgerFindsEachMistake breaks what the topology has sent in one way at a
// time.
func TestTheLedgerFindsEachMistake(t *testing.T) {
	o := undisturbed(t)
	last := -1 // a final result
	for i, r := range o.results {
		var got result
		if err := json.Unmarshal(r.Value, &got); err != nil {
			t.Fatal(err)
		}
		if got.Final {
			last = i
		}
	}
	changed := func(change func(*result)) []*kgo.Record {
		var r result
		if err := json.Unmarshal(o.results[last].Value, &r); err != nil {
			t.Fatal(err)
		}
		change(&r)
		out := slices.Clone(o.results)
		out[last] = recordOf(t, string(o.results[last].Key), r)
		return out
	}
	inTime := o.sent[3]
	inTime.Number = 1
	for name, c := range map[string]struct {
		results, late []*kgo.Record
		// once: only exactly once is it a mistake.
		once bool
	}{
		"a final result is missing":       {results: slices.Delete(slices.Clone(o.results), last, last+1), late: o.late},
		"a final result twice":            {results: append(slices.Clone(o.results), o.results[last]), late: o.late, once: true},
		"a reading is not counted":        {results: changed(func(r *result) { r.Sums.Count-- }), late: o.late},
		"a reading is counted twice":      {results: changed(func(r *result) { r.Sums.Count++ }), late: o.late, once: true},
		"another reading is counted":      {results: changed(func(r *result) { r.Sums.Hashes++ }), late: o.late, once: true},
		"a sum is too small":              {results: changed(func(r *result) { r.Sums.Sum-- }), late: o.late},
		"a store was set back":            {results: changed(func(r *result) { r.Sums.Numbers-- }), late: o.late},
		"a sequence has a gap":            {results: changed(func(r *result) { r.Sequence++ }), late: o.late, once: true},
		"a late reading is gone":          {results: o.results, late: o.late[1:]},
		"a late reading twice":            {results: o.results, late: append(slices.Clone(o.late), o.late[0]), once: true},
		"a reading in time is late":       {results: o.results, late: append(slices.Clone(o.late), recordOf(t, groupOf(inTime.sensor), inTime.reading)), once: true},
		"a result where nothing was sent": {results: append(slices.Clone(o.results), recordOf(t, "g9", result{Final: true})), late: o.late},
	} {
		if found := o.found(t, streams.ExactlyOnce, c.results, c.late); len(found) == 0 {
			t.Errorf("exactly once: %s, and nothing is found", name)
		}
		if found := o.found(t, streams.AtLeastOnce, c.results, c.late); len(found) == 0 != c.once {
			t.Errorf("at least once: %s, found %q", name, found)
		}
	}
}
