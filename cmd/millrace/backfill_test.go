package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
)

// finals returns the final results that a topic holds, by key and window, without
// what tells panes apart; more counts those that came again.
func finals(t *testing.T, client *kafka.Client, topic string) (results map[resultKey]map[string]any, more int) {
	t.Helper()
	results = map[resultKey]map[string]any{}
	tail, err := follow(t.Context(), client, func(_ kafka.TopicPartition, r kafka.Record) error {
		var result map[string]any
		if err := json.Unmarshal(r.Value, &result); err != nil || result["final"] != true {
			return err
		}
		key := resultKey{result["key"].(string), int64(result["window_start"].(float64))}
		if _, ok := results[key]; ok {
			more++
		}
		delete(result, "pane")
		delete(result, "sequence")
		results[key] = result
		return nil
	}, topic)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.close()
	if err := tail.catchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	return results, more
}

// begins returns when the windows of some results begin, in order.
func begins[T any](results map[resultKey]T) []int64 {
	var all []int64
	for key := range results {
		all = append(all, key.start)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// outputsOfAllKinds are the topics of results.
var outputsOfAllKinds = []string{
	llm.StatsTopic, llm.FeedbackStatsTopic, llm.ResponseStatsTopic, llm.HealthStatsTopic, llm.ExperimentStatsTopic, llm.AnomaliesTopic,
}

func TestABackfillGivesWhatTheLiveRunGave(t *testing.T) {
	cluster, brokers := newCluster(t)
	start(t, "replay", brokers, "--kinds=all", "--events=100000", "--partitions=2").wait(exitOK)
	state := "--state=" + t.TempDir()
	start(t, "run", "--http=127.0.0.1:0", brokers, state, "--until-end").wait(exitOK)
	client, err := kafka.Open(t.Context(), kafka.Config{Brokers: cluster.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	live, _ := finals(t, client, llm.StatsTopic)
	starts := begins(live)
	from, to := starts[len(starts)/3], starts[len(starts)*2/3]

	args := []string{"backfill", brokers, state, "--from", strconv.FormatInt(from, 10), "--to", time.UnixMilli(to).UTC().Format(time.RFC3339)}
	p := start(t, args...).wait(exitOK)
	name := "llm-metrics-backfill-" + compact(time.UnixMilli(from)) + "-" + compact(time.UnixMilli(to))
	p.wants(name + "." + llm.StatsTopic)
	found := regexp.MustCompile(`(\d+) of (\d+) records read`).FindStringSubmatch(p.out.String())
	if found == nil || found[1] != found[2] {
		t.Fatalf("%s", p.out)
	}
	for _, topic := range outputsOfAllKinds {
		want, _ := finals(t, client, topic)
		maps.DeleteFunc(want, func(k resultKey, _ map[string]any) bool { return k.start < from || k.start >= to })
		got, more := finals(t, client, name+"."+topic)
		if differs := difference(got, want); len(want) == 0 || len(got) != len(want) || more > 0 || differs != "" {
			t.Errorf("%s: %d results, %d of them again, and %d live: %s", topic, len(got), more, len(want), differs)
		}
	}

	p = start(t, args...).wait(exitOK)
	p.wants("had been read before", "millrace reset --application "+name, "0 of "+found[2])
}

// difference says where results differ from those that are wanted.
func difference(got, want map[resultKey]map[string]any) string {
	var b strings.Builder
	for key, w := range want {
		if g := got[key]; !same(g, w) && b.Len() < 2000 {
			fmt.Fprintf(&b, "\n%v: %v, live %v", key, g, w)
		}
	}
	return b.String()
}

// same compares what JSON holds. Sums of floats differ in their last digits, by the
// order in which events were read.
func same(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && math.Abs(a-b) <= 1e-12*math.Abs(b)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, same)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, same)
	}
	return a == b
}

func TestABackfillReadsOnlyWhatItNeeds(t *testing.T) {
	cluster, brokers := newCluster(t)
	start(t, "replay", brokers, "--events=60000", "--partitions=2").wait(exitOK)
	client, err := kafka.Open(t.Context(), kafka.Config{Brokers: cluster.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	from := time.Now().Add(-time.Hour).Truncate(5 * time.Minute).UTC()
	p := start(t, "backfill", brokers, "--state", t.TempDir(), "--sources=performance", "--name=again", "--slack=1m",
		"--from", from.Format(time.RFC3339), "--to", from.Add(10*time.Minute).Format(time.RFC3339)).wait(exitOK)
	total, _ := strconv.Atoi(regexp.MustCompile(`of (\d+) records read`).FindStringSubmatch(p.out.String())[1])
	if total == 0 || total > 30000 {
		t.Errorf("%d records are read for 10 minutes of 60,000 events:\n%s", total, p.out)
	}
	if got, _ := finals(t, client, "again."+llm.StatsTopic); !slices.Equal(begins(got), []int64{from.UnixMilli(), from.Add(5 * time.Minute).UnixMilli()}) {
		t.Errorf("windows begin at %v", begins(got))
	}
}

func TestABackfillThatIsStoppedGoesOn(t *testing.T) {
	cluster, brokers := newCluster(t)
	start(t, "replay", brokers, "--events=20000", "--partitions=2").wait(exitOK)
	from := time.Now().Add(-24 * time.Hour).Format(time.RFC3339)
	to := time.Now().Format(time.RFC3339)
	args := []string{"backfill", brokers, "--state", t.TempDir(), "--sources=performance", "--name=again", "--from", from, "--to", to}
	p := start(t, append(args, "--rate=2000")...)
	p.err.await(t, `(read [1-9]\d* of 20000)`)
	p.stop()
	p.wait(exitOK).wants("the same command goes on")
	p = start(t, args...).wait(exitOK)
	found := regexp.MustCompile(`(\d+) of 20000 records read`).FindStringSubmatch(p.out.String())
	if left, _ := strconv.Atoi(found[1]); left == 0 || left == 20000 {
		t.Errorf("%s", p.out)
	}
	client, err := kafka.Open(t.Context(), kafka.Config{Brokers: cluster.Addrs()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var count float64
	results, more := finals(t, client, "again."+llm.StatsTopic)
	for _, r := range results {
		count += r["count"].(float64)
	}
	if count != 20000 || more > 0 {
		t.Errorf("%v of 20000 events are in final results, of which %d came again", count, more)
	}
}

func TestABackfillLeavesTheTiersOfTheLiveApplicationAlone(t *testing.T) {
	_, brokers := newCluster(t)
	start(t, "replay", brokers, "--trace=code", "--events=2000", "--partitions=1").wait(exitOK)
	file := filepath.Join(t.TempDir(), "f.yaml")
	// Nobody listens there.
	text := `state: {cold: {backend: postgres, url: "postgres://127.0.0.1:1/x"}, hot: {redis: {url: "redis://127.0.0.1:1", stores: [session-stats]}}}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "backfill", brokers, "--config", file, "--state", t.TempDir(), "--sources=performance",
		"--from", time.Now().Add(-24*time.Hour).Format(time.RFC3339), "--to", time.Now().Format(time.RFC3339)).wait(exitOK).wants("2000 of 2000")
}

func TestABackfillRefusesWhatItCannotDo(t *testing.T) {
	_, brokers := newCluster(t)
	start(t, "backfill", brokers).wait(exitUsage).wants("--from", "--to")
	start(t, "backfill", brokers, "--from=2026-01-02T00:00:00Z", "--to=2026-01-01T00:00:00Z", "--rate=0").wait(exitUsage).
		wants("--from 2026-01-02T00:00:00Z is not before --to", "--rate 0")
	start(t, "backfill", brokers, "--from=1", "--to=2", "--name=llm-metrics").wait(exitUsage).wants("--name llm-metrics is the live application's")
	start(t, "backfill", brokers, "--from=1", "--to=2").wait(exitUsage).wants("none of the inputs exists", "llm.performance")
}
