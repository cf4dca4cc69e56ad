package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/integration/live"
	"github.com/millrace/millrace/streams"
)

// spread99 is a run of a hundred events that took 1 to 100 times so long.
func spread99(contender string, g streams.Guarantee, each time.Duration, rate float64) LatencyRun {
	r := LatencyRun{Contender: contender, Guarantee: g, Rate: rate, Report: Report{CPUSeconds: 10}, Latency: new(live.Distribution)}
	for i := range time.Duration(100) {
		r.Latency.Add((i + 1) * each)
	}
	return r
}

func TestThePageTellsOfLatencyGrowthAndMemory(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "page.md")
	if err := WritePage(path, dir); err == nil || !strings.Contains(err.Error(), "holds no comparison") {
		t.Error(err)
	}
	both := []streams.Guarantee{streams.AtLeastOnce, streams.ExactlyOnce}
	latencies := &Latencies{
		LatencyPlan: LatencyPlan{
			Load: live.Load{Rate: 1000, WarmUp: 20 * time.Second, For: 30 * time.Second}, Guarantees: both, CommitMS: 100, Rounds: 3,
		},
		Runs: []LatencyRun{
			spread99(KafkaStreams, both[0], 2*time.Millisecond, 1000), spread99(Millrace, both[0], time.Millisecond, 995),
			spread99(Millrace, both[0], 3*time.Millisecond, 995), spread99(Millrace, both[0], time.Millisecond, 980),
			spread99(KafkaStreams, both[1], time.Millisecond, 980), spread99(Millrace, both[1], 2*time.Millisecond, 1000),
		},
	}
	growth := &Growth{Growing: Growing{Events: 500}, Points: []GrowthPoint{
		{Keys: 1000, Windows: 900, Partitions: 4, Millrace: Report{RecordsPerCPUSecond: 1e6, PeakRSSBytes: 3 << 20}, Floor: Report{RecordsPerCPUSecond: 2e6}},
	}}
	held := &Held{
		Holding: Holding{Settings: Settings{Memory: "100MiB"}, Events: 700, Keys: 70, Grown: 2 << 30, For: time.Minute},
		Report:  Report{PeakRSSBytes: 105 << 20, Records: 600}, GrownAfter: 1.2,
		Samples: []MemorySample{{1, 50 << 20, 1 << 30}, {2, 105 << 20, 3 << 30}, {3, 60 << 20, 2 << 30}},
	}
	c := &Comparison{Plan: Plan{Work: Works()[0]}}
	for _, err := range []error{
		c.Save(dir), latencies.Save(filepath.Join(dir, LatencyFile)), growth.Save(filepath.Join(dir, GrowthFile)), held.Save(filepath.Join(dir, MemoryFile)),
		WritePage(path, dir),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| latency-at-least-once | p99 of the latency, times Kafka Streams | ≤ 1 | 0.5 | reached |",
		"| latency-exactly-once | p99 of the latency, times Kafka Streams | ≤ 1 | 2 | **missed** |",
		"1000 events a second arrive for 30s, behind a warm-up of 20s",
		"| at-least-once | kafka-streams | 100 | 180 | 198 | 198 to 198 | 200 | 1000 | 10.0 |",
		"| at-least-once | millrace | 50 | 90 | 99 | 99 to 297 | 300 | 995 | 10.0 |",
		"| exactly-once | kafka-streams | 50 | 90 | 99 | 99 to 99 | 100 | 980, **too few** | 10.0 |",
		"-rate 1000 -warm-up 20s -for 30s -rounds 3",
		"(figures/latency.svg)",
		"| 1000 | 4 | 900 | 1000 | 500 | 3 |",
		"(figures/growth.svg)",
		"| memory | peak memory, times the budget | ≤ 1.1 | 1.05 | reached |",
		"600 events over 70 keys",
		"After 1 s the state had grown to\n2.0 GiB on disk; the run went on for 1m0s, in which it came to 3.0 GiB",
		"hold -events 700 -keys 70 -state 2048MiB -for 1m0s -memory 100MiB",
		"(figures/memory.svg)",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
	for _, name := range []string{LatencyFile, GrowthFile, MemoryFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := WritePage(path, dir); err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile(path); err != nil || strings.Contains(string(text), "figures/") {
		t.Errorf("the page shows what was not measured (%v):\n%s", err, text)
	}
}

func TestLatenciesArePrintedAsHistograms(t *testing.T) {
	l := &Latencies{LatencyPlan: LatencyPlan{Guarantees: []streams.Guarantee{streams.ExactlyOnce}}, Runs: []LatencyRun{
		spread99(Millrace, streams.ExactlyOnce, time.Millisecond, 0), spread99(Millrace, streams.ExactlyOnce, 2*time.Millisecond, 0),
		spread99(KafkaStreams, streams.ExactlyOnce, 10*time.Millisecond, 0), spread99(Millrace, streams.AtLeastOnce, time.Hour, 0),
	}}
	var text strings.Builder
	l.Write(&text)
	for _, want := range []string{
		"exactly-once, kafka-streams: p50 500ms, p90 900ms, p99 990ms, max 1s, of 100 events",
		"exactly-once, millrace: p50 67ms, p90 160ms, p99 196ms, max 200ms, of 200 events",
		"to 1000 ms      50 ###",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in:\n%s", want, &text)
		}
	}
}
