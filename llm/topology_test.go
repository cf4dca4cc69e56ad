package llm_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/llm"
)

func TestTopologyBuilds(t *testing.T) {
	for name, change := range map[string]func(*llm.Config){
		"default":        func(*llm.Config) {},
		"no early panes": func(c *llm.Config) { c.Early = 0 },
		"packed results": func(c *llm.Config) { c.PackedResults = true },
	} {
		c := llm.DefaultConfig()
		change(&c)
		built, err := llm.NewTopology(c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sinks := built.SinkTopics()
		slices.Sort(sinks)
		if len(built.SubTopologies()) != 2 || !slices.Equal(sinks, []string{llm.LateTopic, llm.StatsTopic}) {
			t.Errorf("%s: %d sub-topologies, sinks %v", name, len(built.SubTopologies()), sinks)
		}
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
}
