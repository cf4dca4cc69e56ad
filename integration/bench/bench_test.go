package bench

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/llm"
)

func load(key Key) Load {
	return Load{Events: 20_000, Key: key, Seed: 7, End: time.UnixMilli(1_700_000_000_000)}
}

func TestALoadIsWhatItsSeedSays(t *testing.T) {
	for _, key := range []Key{ByModel, BySession} {
		a, b := newGenerator(load(key)), newGenerator(load(key))
		keys, late := map[string]int{}, 0
		highest := int64(0)
		for range load(key).Events {
			ka, ea := a.event()
			kb, eb := b.event()
			if ka != kb || ea != eb {
				t.Fatalf("%s %+v and %s %+v", ka, ea, kb, eb)
			}
			if err := ea.Validate(); err != nil {
				t.Fatal(err)
			}
			keys[ka]++
			if ea.Timestamp < highest {
				late++
			}
			if highest-ea.Timestamp > disorder {
				t.Fatalf("an event is %d ms out of order", highest-ea.Timestamp)
			}
			highest = max(highest, ea.Timestamp)
		}
		if highest != load(key).End.UnixMilli() {
			t.Errorf("the last event is at %d", highest)
		}
		if share := float64(late) / 20_000; share < 0.03 || share > 0.07 {
			t.Errorf("%.3f of the events are out of order", share)
		}
		switch {
		case key == ByModel && len(keys) != models:
			t.Errorf("%d models", len(keys))
		case key == BySession && (len(keys) < 1000 || len(keys) > 2500):
			t.Errorf("%d sessions of %d events", len(keys), sessionEvents)
		}
	}
}

func TestALoadOfManyKeysLiesInOneWindow(t *testing.T) {
	l := oneWindow(20_000, 3000, 5)
	g := newGenerator(l)
	keys, starts := map[string]bool{}, map[int64]bool{}
	for range l.Events {
		key, e := g.event()
		keys[key], starts[e.Timestamp/tumblingSize.Milliseconds()] = true, true
	}
	if len(starts) != 1 || len(keys) < 2900 || len(keys) > 3000 {
		t.Errorf("%d keys in %d windows", len(keys), len(starts))
	}
}

// sums aggregates a load as a floor does.
func sums(t *testing.T, s llm.Shape, l Load) map[int32]totals {
	t.Helper()
	sums := map[int32]totals{0: newTotals(s)}
	g := newGenerator(l)
	for range l.Events {
		key, e := g.event()
		if err := sums[0].add([]byte(key), e); err != nil {
			t.Fatal(err)
		}
	}
	return sums
}

func TestAFloorsResultsComeBackFromTheirFile(t *testing.T) {
	for shape, perEvent := range map[llm.Shape]int64{llm.TumblingShape: 1, llm.HoppingShape: 15, llm.SessionShape: 1} {
		sums := sums(t, shape, load(ByModel))
		path := filepath.Join(t.TempDir(), "results")
		if err := writeOutcome(path, sums); err != nil {
			t.Fatal(err)
		}
		got, err := readOutcome(path)
		if err != nil {
			t.Fatal(err)
		}
		want, counted := outcome{}, int64(0)
		for r := range sums[0].results {
			want.put(r)
			counted += r.Count
		}
		if err := got.equal(want); err != nil || counted != 20_000*perEvent || sums[0].events() != 20_000 || len(want) < models {
			t.Errorf("%s: %d events in %d windows: %v", shape, counted, len(want), err)
		}
	}
}

func TestAFloorsSessionsMerge(t *testing.T) {
	const minute = 60_000
	sessions := newTotals(llm.SessionShape)
	for _, at := range []int64{100, 161, 0, 130, 30, 191} { // 130 connects 100 with 161, and 191 is too far from 0 and 30
		v := llm.Performance{Event: llm.Event{Timestamp: at * minute, Model: "m"}}
		if err := sessions.add([]byte("m"), v); err != nil {
			t.Fatal(err)
		}
	}
	got := map[[2]int64]int64{}
	for r := range sessions.results {
		got[[2]int64{r.WindowStart, r.WindowEnd}] = r.Count
	}
	want := map[[2]int64]int64{{0, 30*minute + 1}: 2, {100 * minute, 130*minute + 1}: 2, {161 * minute, 191*minute + 1}: 2}
	if !maps.Equal(got, want) {
		t.Errorf("sessions %v, want %v", got, want)
	}
}

func TestARetractedResultTakesItsWindowAway(t *testing.T) {
	o := outcome{}
	o.put(llm.Result{Key: "k", WindowStart: 1, WindowEnd: 5})
	o.put(llm.Result{Key: "k", WindowStart: 1, WindowEnd: 9})
	o.put(llm.Result{Key: "k", WindowStart: 1, WindowEnd: 5, Retracted: true})
	if _, ok := o[windowID{"k", 1, 9}]; !ok || len(o) != 1 {
		t.Errorf("%v", o)
	}
}

func TestEveryDifferenceVoidsARun(t *testing.T) {
	want := outcome{}
	for r := range sums(t, llm.TumblingShape, load(ByModel))[0].results {
		want.put(r)
	}
	id := windowID{}
	for id = range want {
		break
	}
	for name, spoil := range map[string]func(o outcome, r *llm.Result){
		"count":  func(_ outcome, r *llm.Result) { r.Count++ },
		"errors": func(_ outcome, r *llm.Result) { r.Errors++ },
		"tokens": func(_ outcome, r *llm.Result) { r.PromptTokens-- },
		"end": func(o outcome, r *llm.Result) {
			delete(o, id)
			r.WindowEnd++
		},
		"cost":       func(_ outcome, r *llm.Result) { r.CostUSD *= 1.000001 },
		"quality":    func(_ outcome, r *llm.Result) { r.QualityMean = llm.Optional[float64]{} },
		"percentile": func(_ outcome, r *llm.Result) { r.LatencyMS.P99 *= 1.000001 },
		"window": func(o outcome, r *llm.Result) {
			delete(o, id)
			r.WindowStart++
		},
	} {
		got := maps.Clone(want)
		r := got[id]
		spoil(got, &r)
		got.put(r)
		if err := got.equal(want); !errors.Is(err, ErrVoid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	delete(want, id)
	if err := (outcome{}).equal(want); !errors.Is(err, ErrVoid) {
		t.Error(err)
	}
}

func TestReportsAreTheLastLine(t *testing.T) {
	r, err := parseReport([]byte("a word before\n" + `{"contender":"x","records":10,"peak_rss_bytes":2097152,"restored_records":6,"restore_seconds":2}` + "\n\n"))
	if err != nil || r.Records != 10 || peakMiB(r) != 2 || restoredPerSecond(r) != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := parseReport([]byte("no report")); err == nil || !strings.Contains(err.Error(), "no report") {
		t.Error(err)
	}
}

func TestThePageTellsWhatWasMissed(t *testing.T) {
	reports := func(name string, rates ...float64) []Report {
		var all []Report
		for _, rate := range rates {
			all = append(all, Report{Contender: name, RecordsPerCPUSecond: rate, PeakRSSBytes: 100 << 20, AllocsPerRecord: 0.01})
		}
		return all
	}
	c := &Comparison{
		Plan:       Plan{Settings: Settings{JVM: []string{"-XX:+UseSerialGC"}}, Work: Works()[0], Load: load(ByModel), Rounds: 3},
		Contenders: []string{Raw, KafkaStreams, Millrace},
		Runs: map[string][]Report{
			Raw: reports(Raw, 1000), KafkaStreams: reports(KafkaStreams, 90, 100, 500), Millrace: reports(Millrace, 590, 600),
		},
		Windows: 400,
	}
	bySession := *c
	bySession.Work = Works()[2]
	bySession.Restores = map[string][]Report{
		KafkaStreams: {{RestoredRecords: 100, RestoreSeconds: 1}}, Millrace: {{RestoredRecords: 100, RestoreSeconds: 0.25}},
	}
	hopping := *c
	hopping.Work = Works()[4]
	restore := bySession
	restore.Work = Works()[5]
	restore.Load = restore.Work.load(load(ByModel))
	dir := t.TempDir()
	path := filepath.Join(dir, "page.md")
	for _, c := range []*Comparison{c, &bySession, &hopping, &restore} {
		if err := c.Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := WritePage(path, dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Share() != 0.1 || c.Flatters() {
		t.Errorf("Kafka Streams comes to %v of the floor, which flatters: %v", c.Share(), c.Flatters())
	}
	slow := *c
	slow.Runs = maps.Clone(c.Runs)
	slow.Runs[KafkaStreams] = reports(KafkaStreams, 50)
	if !slow.Flatters() {
		t.Errorf("a peer of %v of the floor is taken for well written", slow.Share())
	}
	if strings.Contains(string(text), "| restore | events") {
		t.Error("a work that asks nothing of the rate has a goal for it")
	}
	for _, want := range []string{
		"| kafka-streams | 100 | 90 to 500 |",
		"| millrace | 595 | 590 to 600 |",
		"| tumbling | events a CPU second, times Kafka Streams | ≥ 5 | 5.95 | reached |",
		"share of the raw floor | ≥ 0.5 | 0.595 | reached |",
		"share of Kafka Streams | ≤ 0.333 | 1 | **missed** |",
		"| tumbling-by-session | peak memory, MiB | ≤ 512 | 100 | reached |",
		"| tumbling-by-session | records restored a second, times Kafka Streams | ≥ 3 | 4 | reached |",
		"| restore | records restored a second, times Kafka Streams | ≥ 3 | 4 | reached |",
		"by 6000000 keys, at-least-once",
		"`restore`: 3000000 events",
		"| hopping | events a CPU second, times Kafka Streams | ≥ 15 | 5.95 | **missed** |",
		"| hopping | cost of an event, times tumbling | ≤ 1.5 | 1 | reached |",
		"20000 events, 400 keys",
		"-work hopping -events 20000 -rounds 3",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
}

// TestCostsOfDifferentProgramsAreNotCompared: what was measured at another commit was
// measured on another day.
func TestCostsOfDifferentProgramsAreNotCompared(t *testing.T) {
	runs := map[string][]Report{Millrace: {{RecordsPerCPUSecond: 100}}}
	tumbling := &Comparison{Plan: Plan{Work: Works()[0]}, Machine: machine{Commit: "1"}, Runs: runs}
	for commit, rows := range map[string]int{"1": 1, "2": 0} {
		hopping := &Comparison{Plan: Plan{Work: Works()[4]}, Machine: machine{Commit: commit}, Runs: runs}
		n := 0
		for _, g := range hopping.goals(map[string]*Comparison{"tumbling": tumbling}) {
			if g.What == "cost of an event, times tumbling" {
				n++
			}
		}
		if n != rows {
			t.Errorf("commit %s beside 1: %d rows, want %d", commit, n, rows)
		}
	}
}

func TestAnUnknownWorkIsNamed(t *testing.T) {
	if _, err := FindWork("weaving"); err == nil || !strings.Contains(err.Error(), "tumbling-by-session") {
		t.Error(err)
	}
}
