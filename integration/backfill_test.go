//go:build integration

package integration_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
)

// TestBackfillBesideTheLiveApplication computes a third of the past once more,
// by the commands that users run, while the live application goes on.
func TestBackfillBesideTheLiveApplication(t *testing.T) {
	c := newCluster(t)
	application, topic, again := c.name("live"), c.name("live-events"), c.name("again")
	dir := t.TempDir()
	binary, config := buildCommand(t), filepath.Join(dir, "millrace.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "sources: {performance: {topic: %s}}\n", topic), 0o644); err != nil {
		t.Fatal(err)
	}
	brokers := "--brokers=" + strings.Join(c.brokers, ",")
	run := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), binary, append(args, brokers, "--config="+config)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
		return string(out)
	}
	c.ensure(llm.StatsTopic, 4)
	stats := c.offsets(llm.StatsTopic, logEnd)
	const events = 300_000
	run("replay", fmt.Sprint("--events=", events))
	live := startCommand(t, binary, "run", brokers, "--config="+config, "--application="+application, "--http=127.0.0.1:0",
		"--state="+filepath.Join(dir, "live"), "--memory=128MiB", "--sources=performance", "--guarantee=exactly-once")
	live.awaitRunning()
	eventually(t, "the live application has read everything", func() bool {
		n := int64(0)
		for at, offset := range c.committed(application) {
			if at.topic == topic {
				n += offset
			}
		}
		return n >= events
	})

	ctx, stop := context.WithCancel(t.Context())
	var traffic sync.WaitGroup
	traffic.Go(func() { c.eventsOfNow(ctx, topic) })
	to := time.Now().Add(-3 * time.Hour).Truncate(5 * time.Minute)
	from := to.Add(-2 * time.Hour)
	before := total(c.committed(application))
	began := time.Now()
	said := run("backfill", "--application="+application, "--name="+again, "--state="+filepath.Join(dir, "again"), "--memory=128MiB",
		"--sources=performance", "--from="+from.UTC().Format(time.RFC3339), "--to="+to.UTC().Format(time.RFC3339))
	took := time.Since(began)
	eventually(t, "the live application goes on", func() bool { return total(c.committed(application)) > before })
	stop()
	traffic.Wait()
	live.stop()

	type slot struct {
		key   string
		start int64
	}
	in := func(r llm.Result) bool {
		return r.Final && r.WindowStart >= from.UnixMilli() && r.WindowStart < to.UnixMilli()
	}
	want := map[slot]llm.Result{}
	for _, r := range c.results(stats) {
		if in(r) {
			want[slot{r.Key, r.WindowStart}] = r
		}
	}
	got := map[slot]llm.Result{}
	for _, r := range c.resultsOf(again+"."+llm.StatsTopic, nil) {
		at := slot{r.Key, r.WindowStart}
		if _, ok := got[at]; ok || !in(r) {
			t.Errorf("a result that is not wanted: %+v", r)
		}
		got[at] = r
	}
	for at, w := range want {
		if g := got[at]; g.Count != w.Count || g.Errors != w.Errors || g.PromptTokens != w.PromptTokens || g.LatencyMS.P95 != w.LatencyMS.P95 ||
			math.Abs(g.CostUSD-w.CostUSD) > 1e-9*w.CostUSD {
			t.Errorf("%v: backfilled %+v, live %+v", at, g, w)
		}
	}
	if len(want) == 0 || len(got) != len(want) {
		t.Errorf("%d results, and %d live", len(got), len(want))
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	t.Logf("%d windows in %v: %s", len(want), took.Round(time.Millisecond), lines[len(lines)-1])
}

// eventsOfNow writes events of now until ctx ends.
func (c *cluster) eventsOfNow(ctx context.Context, topic string) {
	writer := c.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	g := generate(c.t, trace.Options{Events: 100_000, Seed: 9, End: time.Now().Add(time.Hour)})
	n := int32(0)
	for d := range g.All() {
		d.Event.Timestamp = time.Now().UnixMilli()
		r := record(c.t, place{topic, n % 4}, d.Event)
		r.Timestamp = time.Now()
		if err := writer.ProduceSync(context.WithoutCancel(ctx), r).FirstErr(); err != nil {
			c.t.Error(err)
			return
		}
		n++
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
