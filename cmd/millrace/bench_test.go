package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/kafka"
)

// report reads the last line of a bench.
func (p *process) report() benchReport {
	p.t.Helper()
	var r benchReport
	if err := json.Unmarshal([]byte(p.lastLine()), &r); err != nil {
		p.t.Fatalf("%q: %v", p.lastLine(), err)
	}
	return r
}

func TestBenchMeasuresRestoresAndCleansUp(t *testing.T) {
	cluster, brokers := newCluster(t)
	state, profiles := t.TempDir(), t.TempDir()
	start(t, "replay", brokers, "--trace=code", "--events=5000", "--partitions=2").wait(exitOK)
	bench := func(args ...string) *process {
		return start(t, append([]string{"bench", brokers, "--state", state, "--application=measured"}, args...)...)
	}

	bench("--restore").wait(exitUsage).wants("measured has not run")
	first := bench("--profile", profiles).wait(exitOK).report()
	if first.Contender != "millrace" || first.Shape != "tumbling" || first.Guarantee != "at-least-once" ||
		first.Records != 5000 || first.Results < 5000 || first.Seconds <= 0 || first.CPUSeconds <= 0 || first.RestoredRecords != 0 {
		t.Errorf("%+v", first)
	}
	for _, name := range []string{"cpu.pprof", "allocs.pprof"} {
		if info, err := os.Stat(filepath.Join(profiles, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}

	bench().wait(exitUsage).wants("measured has run before", "--cleanup")
	restored := bench("--restore").wait(exitOK).report()
	if restored.Records != 0 || restored.RestoredRecords == 0 || restored.RestoreSeconds <= 0 {
		t.Errorf("%+v", restored)
	}
	for _, shape := range []string{"hopping", "session"} {
		other := bench("--cleanup", "--application="+shape, "--shape", shape).wait(exitOK).report()
		if other.Shape != shape || other.Records != 5000 || other.Results == 0 {
			t.Errorf("%+v", other)
		}
	}
	again := bench("--cleanup", "--guarantee=exactly-once").wait(exitOK).report()
	if again.Records != 5000 || again.Guarantee != "exactly-once" {
		t.Errorf("after a cleanup: %+v", again)
	}
	if _, err := os.Stat(filepath.Join(state, "measured")); err == nil {
		t.Error("a cleanup leaves the local state")
	}
	client, err := kafka.Open(t.Context(), kafka.Config{Brokers: cluster.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topics, err := client.Topics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(topics) != 1 || topics["llm.performance"] != 2 {
		t.Errorf("a cleanup leaves the topics %v", topics)
	}
}

func TestBenchRefusesWhatItDoesNotMeasure(t *testing.T) {
	start(t, "bench", "--brokers=127.0.0.1:1", "--shape=round").wait(exitUsage).wants(`--shape "round"`, "hopping")
	start(t, "bench", "--brokers=127.0.0.1:1", "--memory=1MiB", "--shape=round").wait(exitUsage).wants("at least 64MiB", `--shape "round"`)
	start(t, "bench").wait(exitUsage).wants("no brokers are given")
	start(t, "bench", "--brokers=127.0.0.1:1", "--workers=0").wait(exitUsage).wants("--workers 0")
}

// TestABenchThatGoesOnTakesWhatArrives: until it is stopped, and then reports and
// cleans up.
func TestABenchThatGoesOnTakesWhatArrives(t *testing.T) {
	cluster, brokers := newCluster(t)
	replay := func() { start(t, "replay", brokers, "--trace=code", "--events=500", "--partitions=2").wait(exitOK) }
	replay()
	client, err := kafka.Open(t.Context(), kafka.Config{Brokers: cluster.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	positions := func() (sum int64) {
		t.Helper()
		committed, err := client.CommittedOffsets(t.Context(), "living")
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range committed {
			sum += at.Offset
		}
		return sum
	}
	reaches := func(want int64) {
		t.Helper()
		tick, late := time.NewTicker(20*time.Millisecond), time.After(patienceOfTests)
		defer tick.Stop()
		for positions() < want {
			select {
			case <-tick.C:
			case <-late:
				t.Fatalf("the group is at %d, want %d", positions(), want)
			}
		}
	}
	p := start(t, "bench", brokers, "--state", t.TempDir(), "--application=living", "--until-end=false", "--commit=20ms", "--cleanup")
	reaches(500)
	replay()
	reaches(1000)
	p.stop()
	if r := p.wait(exitOK).report(); r.Records != 1000 || r.Results == 0 || r.Seconds <= 0 {
		t.Errorf("%+v", r)
	}
	topics, err := client.Topics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(topics) != 1 {
		t.Errorf("a cleanup leaves the topics %v", topics)
	}
}
