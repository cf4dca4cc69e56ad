package llm_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/llm"
)

func TestTopologyBuilds(t *testing.T) {
	performance := []string{llm.LateTopic, llm.StatsTopic}
	for name, c := range map[string]struct {
		config llm.Config
		change func(*llm.Config)
		subs   int
		sinks  []string
	}{
		"default":        {llm.DefaultConfig(), func(*llm.Config) {}, 2, performance},
		"no early panes": {llm.DefaultConfig(), func(c *llm.Config) { c.Early = 0 }, 2, performance},
		"packed results": {llm.DefaultConfig(), func(c *llm.Config) { c.PackedResults = true }, 2, performance},
		"everything": {llm.FullConfig(), func(*llm.Config) {}, 10, []string{
			llm.AnomaliesTopic, llm.ExperimentStatsTopic, llm.FeedbackStatsTopic, llm.LateTopic,
			llm.ResponseStatsTopic, llm.StatsTopic, llm.HealthStatsTopic}},
		"no performance": {llm.FullConfig(), func(c *llm.Config) { c.Topic, c.AnomalySize = "", 0 }, 8, []string{
			llm.ExperimentStatsTopic, llm.FeedbackStatsTopic, llm.LateTopic, llm.ResponseStatsTopic, llm.HealthStatsTopic}},
	} {
		c.change(&c.config)
		built, err := llm.NewTopology(c.config)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if sinks := built.SinkTopics(); len(built.SubTopologies()) != c.subs || !slices.Equal(sinks, c.sinks) {
			t.Errorf("%s: %d sub-topologies, sinks %v", name, len(built.SubTopologies()), sinks)
		}
	}
}

func TestOnlySomeSources(t *testing.T) {
	c, err := llm.FullConfig().Only(llm.SystemSource, llm.PerformanceSource)
	if want := map[string]string{"performance": "llm.performance", "system": "llm.system"}; err != nil || !maps.Equal(c.Topics(), want) {
		t.Errorf("%v, %v", c.Topics(), err)
	}
	if _, err := llm.FullConfig().Only("all", "system"); !errors.Is(err, llm.ErrUnknownSource) || !strings.Contains(err.Error(), `"all"`) {
		t.Errorf("%v", err)
	}
}

func TestTopologyTellsEveryMistake(t *testing.T) {
	c := llm.DefaultConfig()
	c.Size, c.Delay = 0, -time.Second
	_, err := llm.NewTopology(c)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"size", "delay", "topology.go:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	for want, every := range map[string]time.Duration{"at most 240 times": time.Second, "want a multiple": 7 * time.Minute} {
		c = llm.FullConfig()
		c.AnomalyEvery, c.SessionGap = every, 0
		if _, err = llm.NewTopology(c); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "session gap") {
			t.Errorf("every %v: %v", every, err)
		}
	}
}

func TestConfigFromFile(t *testing.T) {
	parse := func(text string) *config.Config {
		file, err := config.Parse("f.yaml", []byte(text), config.Options{Sources: llm.SourceNames()})
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	if got := llm.DefaultConfig().With(parse("workers: 2")); got != llm.DefaultConfig() {
		t.Errorf("%+v", got)
	}
	want := llm.DefaultConfig()
	want.Application, want.Topic = "app", "events"
	want.Size, want.Lateness, want.Delay, want.Idle = time.Minute, 10*time.Second, 3*time.Second, time.Hour
	want.Ahead, want.Align, want.Advance = 2*time.Hour, 10*time.Minute, 7*time.Second
	got := llm.DefaultConfig().With(parse(`
application: app
windowing: {size: 60s, allowed_lateness: 10s, watermark_delay: 5s, idle_timeout: 1h, max_ahead: 2h, align_within: 1m, advance_when_idle: 7s}
sources: {performance: {topic: events, max_delay: 3s, align_within: 10m}}
`))
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	top, err := llm.NewTopology(got)
	if err != nil {
		t.Fatal(err)
	}
	const strategy = "delay 3s, idle after 1h0m0s, at most 2h0m0s ahead, 7s behind the clock when all is idle, aligned within 10m0s"
	if s := top.SubTopologies()[0].Sources[0].Strategy.String(); s != strategy {
		t.Errorf("watermark %q, want %q", s, strategy)
	}

	want = llm.FullConfig()
	want.Early, want.SessionGap, want.SessionAtMost, want.ExperimentSize = 0, time.Minute, time.Hour, 2*time.Hour
	want.AnomalySize, want.AnomalyEvery = 30*time.Minute, 2*time.Minute
	want.Delay, want.Responses.Delay, want.Experiments.Delay = 7*time.Second, 7*time.Second, 7*time.Second
	want.Health.Delay, want.Health.Align, want.Feedback.Topic = time.Second, time.Minute, ""
	got = llm.FullConfig().With(parse(`
windowing:
  {watermark_delay: 7s, early_interval: 0s, session_gap: 1m, session_at_most: 1h, experiment_size: 2h, anomaly_size: 30m, anomaly_advance: 2m}
sources: {feedback: {enabled: false, topic: mine}, system: {max_delay: 1s, align_within: 1m}, response: {enabled: true}}
`))
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
