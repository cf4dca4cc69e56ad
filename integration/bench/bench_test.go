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

// sums aggregates a load as a floor does.
func sums(t *testing.T, l Load) map[int32]totals {
	t.Helper()
	sums := map[int32]totals{0: {}}
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
	sums := sums(t, load(ByModel))
	path := filepath.Join(t.TempDir(), "results")
	if err := writeOutcome(path, sums); err != nil {
		t.Fatal(err)
	}
	got, err := readOutcome(path)
	if err != nil {
		t.Fatal(err)
	}
	want, events := outcome{}, int64(0)
	for r := range sums[0].results {
		want.put(r)
		events += r.Count
	}
	if err := got.equal(want); err != nil || events != 20_000 || len(want) < models {
		t.Errorf("%d events in %d windows: %v", events, len(want), err)
	}
}

func TestEveryDifferenceVoidsARun(t *testing.T) {
	want := outcome{}
	for r := range sums(t, load(ByModel))[0].results {
		want.put(r)
	}
	id := windowID{}
	for id = range want {
		break
	}
	for name, spoil := range map[string]func(o outcome, r *llm.Result){
		"count":      func(_ outcome, r *llm.Result) { r.Count++ },
		"errors":     func(_ outcome, r *llm.Result) { r.Errors++ },
		"tokens":     func(_ outcome, r *llm.Result) { r.PromptTokens-- },
		"end":        func(_ outcome, r *llm.Result) { r.WindowEnd++ },
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
		Plan: Plan{Settings: Settings{Heap: "256m", JVM: []string{"-XX:+UseSerialGC"}}, Load: load(ByModel), Rounds: 3, Restore: true},
		Runs: map[string][]Report{
			Raw: reports(Raw, 1000), KafkaStreams: reports(KafkaStreams, 90, 100, 500), Millrace: reports(Millrace, 590, 600),
		},
		Restores: map[string][]Report{
			KafkaStreams: {{RestoredRecords: 100, RestoreSeconds: 1}}, Millrace: {{RestoredRecords: 100, RestoreSeconds: 0.25}},
		},
		Windows: 400,
	}
	path := filepath.Join(t.TempDir(), "page.md")
	if err := WritePage(path, c); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if p := newPage(path, c); p.StreamsShare != 0.1 || p.Flatters {
		t.Errorf("Kafka Streams comes to %v of the floor, which flatters: %v", p.StreamsShare, p.Flatters)
	}
	slow := *c
	slow.Runs = maps.Clone(c.Runs)
	slow.Runs[KafkaStreams] = reports(KafkaStreams, 50)
	if p := newPage(path, &slow); !p.Flatters {
		t.Errorf("a peer of %v of the floor is taken for well written", p.StreamsShare)
	}
	session := *c
	session.Load.Key = BySession
	goals := newPage(path, &session).Goals
	if len(goals) != 3 || goals[0].Want != goalSessionStreams || goals[1].Have != 100 || !goals[1].Met() {
		t.Errorf("by session: %+v", goals)
	}
	for _, want := range []string{
		"| kafka-streams | 100 | 90 to 500 |",
		"| millrace | 595 | 590 to 600 |",
		"times Kafka Streams | ≥ 5 | 5.95 | reached |",
		"share of the raw floor | ≥ 0.5 | 0.595 | reached |",
		"share of Kafka Streams | ≤ 0.333 | 1 | **missed** |",
		"restored a second, times Kafka Streams | ≥ 3 | 4 | reached |",
		"20000 PerformanceMetrics events",
		"-heap 256m -jvm=-XX:+UseSerialGC -restore -page " + path,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
}
