//go:build integration

package integration_test

import (
	"context"
	"testing"
	"time"

	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"

	"github.com/twmb/franz-go/pkg/kgo"
)

// instance is an instance that runs in this process.
type instance struct {
	t      testing.TB
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // read after ended
	*streams.Instance
}

// startInstance starts an instance. It is stopped when the test ends.
func (c *cluster) startInstance(t *topology.Topology, cfg streams.Config) *instance {
	c.t.Helper()
	cfg = c.config(cfg)
	in, err := streams.New(t, cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	i := &instance{t: c.t, cancel: cancel, ended: make(chan struct{}), Instance: in}
	go func() {
		defer close(i.ended)
		i.err = in.Run(ctx)
	}()
	c.t.Cleanup(func() {
		cancel()
		<-i.ended
	})
	return i
}

// config fills in what the tests of this package have in common.
func (c *cluster) config(cfg streams.Config) streams.Config {
	cfg.Brokers = c.brokers
	if cfg.StateDir == "" {
		cfg.StateDir = c.t.TempDir()
	}
	if cfg.Logger == nil {
		cfg.Logger = logger(c.t, cfg.Application)
	}
	if cfg.CommitInterval == 0 {
		cfg.CommitInterval = 200 * time.Millisecond
	}
	cfg.Memory, cfg.Workers = 64<<20, 2
	cfg.SessionTimeout, cfg.Heartbeat = 6*time.Second, 500*time.Millisecond
	return cfg
}

// runToEnd runs a bounded run.
func (c *cluster) runToEnd(t *topology.Topology, cfg streams.Config) {
	c.t.Helper()
	cfg = c.config(cfg)
	cfg.UntilEnd = true
	if err := streams.Run(c.t.Context(), t, cfg); err != nil {
		c.t.Fatalf("bounded run of %s: %v", t.Application(), err)
	}
}

// awaitRunning waits until the instance holds tasks and all of them run.
func (i *instance) awaitRunning() {
	i.t.Helper()
	eventually(i.t, "the instance runs its tasks", func() bool {
		select {
		case <-i.ended:
			i.t.Fatalf("the instance has ended: %v", i.err)
		default:
		}
		return i.State() == streams.Running && len(i.Tasks()) > 0
	})
}

// stop stops the instance gracefully and returns how long that took.
func (i *instance) stop() time.Duration {
	i.t.Helper()
	began := time.Now()
	i.cancel()
	<-i.ended
	if i.err != nil {
		i.t.Errorf("stop: %v", i.err)
	}
	return time.Since(began)
}

// llmTopology is the application of package llm under a name of its own.
func llmTopology(t testing.TB, application, topic string) *topology.Topology {
	t.Helper()
	c := llm.DefaultConfig()
	c.Application, c.Topic = application, topic
	top, err := llm.NewTopology(c)
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// generate makes events of the whole trace.
func generate(t testing.TB, o trace.Options) *trace.Generator {
	t.Helper()
	rows, err := trace.Load(trace.Both)
	if err != nil {
		t.Fatal(err)
	}
	g, err := trace.NewGenerator(rows, o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// record encodes an event.
func record(t testing.TB, at place, v llm.Performance) *kgo.Record {
	t.Helper()
	value, err := llm.PerformanceCodec.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return &kgo.Record{
		Topic: at.topic, Partition: at.partition, Key: []byte(v.Model), Value: value, Timestamp: time.UnixMilli(v.Timestamp),
	}
}

// results decodes the results of package llm that were written behind some
// offsets, in the order of each partition.
func (c *cluster) results(from map[place]int64) []llm.Result {
	c.t.Helper()
	return c.resultsOf(llm.StatsTopic, from)
}

// resultsOf does so for a topic of another name.
func (c *cluster) resultsOf(topic string, from map[place]int64) []llm.Result {
	c.t.Helper()
	var out []llm.Result
	for _, r := range c.read(topic, from) {
		v, err := llm.ResultJSON.Decode(r.Value)
		if err != nil {
			c.t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}
