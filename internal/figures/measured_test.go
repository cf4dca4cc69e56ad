package main

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/plot"

	"github.com/millrace/millrace/integration/bench"
	"github.com/millrace/millrace/integration/live"
	"github.com/millrace/millrace/streams"
)

// keep writes findings made by hand as benchmarks do, so that what they keep is what
// is read here.
func keep(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	run := func(contender string, g streams.Guarantee, each time.Duration) bench.LatencyRun {
		r := bench.LatencyRun{Contender: contender, Guarantee: g, Latency: new(live.Distribution)}
		for i := range time.Duration(100) {
			r.Latency.Add((i + 1) * each)
		}
		return r
	}
	both := []streams.Guarantee{streams.AtLeastOnce, streams.ExactlyOnce}
	latencies := bench.Latencies{LatencyPlan: bench.LatencyPlan{Guarantees: both, CommitMS: 100}, Runs: []bench.LatencyRun{
		run(bench.Millrace, both[0], time.Millisecond), run(bench.KafkaStreams, both[0], 1500*time.Microsecond),
		run(bench.KafkaStreams, both[1], 3*time.Millisecond), run(bench.Millrace, both[1], 2*time.Millisecond),
	}}
	point := func(millrace, floor float64) bench.GrowthPoint {
		return bench.GrowthPoint{Millrace: bench.Report{RecordsPerCPUSecond: 1e9 / millrace}, Floor: bench.Report{RecordsPerCPUSecond: 1e9 / floor}}
	}
	growth := bench.Growth{Growing: bench.Growing{Keys: []int64{1000, 10_000, 20_000}, Partitions: []int32{1, 64}}, Points: []bench.GrowthPoint{
		point(1111, 555), point(1222, 666), point(2333, 777), point(1444, 888), point(1555, 999),
	}}
	held := bench.Held{Holding: bench.Holding{Settings: bench.Settings{Memory: "512MiB"}}, Samples: []bench.MemorySample{
		{Seconds: 1, Resident: 100 << 20, State: 1 << 30}, {Seconds: 300, Resident: 500 << 20, State: 4 << 30}, {Seconds: 600, Resident: 530 << 20, State: 5 << 30},
	}}
	for _, err := range []error{
		latencies.Save(filepath.Join(dir, bench.LatencyFile)), growth.Save(filepath.Join(dir, bench.GrowthFile)), held.Save(filepath.Join(dir, bench.MemoryFile)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestWhatBenchmarksKeepIsDrawn(t *testing.T) {
	dir := keep(t)
	texts := map[string][]string{
		"latency": {"at least once, a commit every 100 ms", "exactly once", ">Kafka Streams 148 ms<", ">Millrace 99 ms<", ">Kafka Streams 297 ms<", ">Millrace 198 ms<", "p99 of each"},
		"growth":  {">1111<", ">1222<", ">2333<", ">1444<", ">1555<", ">10³<", ">10⁴<", ">20000<", ">64<", "raw floor"},
		"memory":  {"the budget, 512MiB", "resident memory", "state on disk", "1.1 times the budget"},
	}
	var names []string
	for _, f := range measured(dir) {
		names = append(names, f.name)
		svg, err := f.svg()
		if err != nil {
			t.Fatal(err)
		}
		wellFormed(t, svg)
		for _, want := range texts[f.name] {
			if !strings.Contains(string(svg), want) {
				t.Errorf("%s: %q is not in the picture", f.name, want)
			}
		}
		if again, err := f.svg(); err != nil || string(again) != string(svg) {
			t.Errorf("%s: the same data draw another picture (%v)", f.name, err)
		}
	}
	if !slices.Equal(names, []string{"latency", "growth", "memory"}) {
		t.Errorf("drawn: %v", names)
	}
	if err := os.Remove(filepath.Join(dir, bench.GrowthFile)); err != nil {
		t.Fatal(err)
	}
	if n := len(measured(dir)); n != 2 {
		t.Errorf("%d pictures of two files", n)
	}
}

func TestDataThatCannotBeDrawnAreNamed(t *testing.T) {
	for name, c := range map[string]struct{ file, text, says string }{
		"no JSON":          {bench.MemoryFile, "{", bench.MemoryFile},
		"no samples":       {bench.MemoryFile, `{"Memory": "1GiB"}`, "no samples"},
		"no budget":        {bench.MemoryFile, `{"Samples": [{"Seconds": 1}]}`, "want a size like"},
		"points too few":   {bench.GrowthFile, `{"Keys": [1, 2], "Partitions": [1]}`, "0 points, want one for each of 2"},
		"no rate":          {bench.GrowthFile, `{"Keys": [1], "Points": [{}]}`, "point 0 has no rate"},
		"no contender":     {bench.LatencyFile, `{"Guarantees": ["exactly-once"]}`, "nothing of kafka-streams, exactly-once"},
		"a sample of what": {bench.LatencyFile, `{"Runs": [{"Latency": "7:x"}]}`, `"7:x" in a sample`},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := write(t.TempDir(), dir); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBarsHoldAllThatIsShown: an outline goes up and down at each bar, in percent.
func TestBarsHoldAllThatIsShown(t *testing.T) {
	s := sample{1: 1, 9.9: 2, 10: 3, 25: 2}
	want := []point{{0, 0}, {0, 37.5}, {10, 37.5}, {10, 37.5}, {20, 37.5}, {20, 0}}
	if got := s.bars(10, 20); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if s.at(0.5) != 10 || s.at(0.99) != 25 || s.at(0.1) != 1 || (sample{}).at(1) != 0 {
		t.Errorf("p50 %v, p99 %v, p10 %v", s.at(0.5), s.at(0.99), s.at(0.1))
	}
}

func TestAxesEndWithRoundNumbers(t *testing.T) {
	for most, want := range map[float64]float64{1: 1, 114: 120, 1.7: 2, 870: 1000, 0.21: 0.25, 5000: 5000, 4801: 5000, 650: 800} {
		var a plot.Axis
		if upTo(&a, most); a.Min != 0 || math.Abs(a.Max-want) > 1e-9 {
			t.Errorf("an axis up to %v ends at %v, want %v", most, a.Max, want)
		}
	}
}
