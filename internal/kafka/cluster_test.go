package kafka_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/internal/embedded"
	"github.com/millrace/millrace/internal/kafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience     = 30 * time.Second // bounds every wait of a test
	retryTimeout = 15 * time.Second // of the clients
)

// bubble runs a test with virtual time against a cluster on a virtual network.
// When it returns, every goroutine of the test has ended.
func bubble(t *testing.T, nodes int, topics map[string]int32, test func(t *testing.T, env *env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cluster, err := embedded.Start(embedded.Config{Nodes: nodes, Topics: topics, Network: &kfake.VirtualNetwork{}})
		if err != nil {
			t.Fatal(err)
		}
		defer cluster.Close()
		test(t, &env{t: t, cluster: cluster})
	})
}

// overTCP runs a test in real time, for what cannot be in more than one bubble of
// a process.
func overTCP(t *testing.T, topics map[string]int32, test func(t *testing.T, env *env)) {
	t.Helper()
	cluster, err := embedded.Start(embedded.Config{Topics: topics})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	test(t, &env{t: t, cluster: cluster})
}

// env is a cluster and the clients made for a test.
type env struct {
	t       testing.TB
	cluster *embedded.Cluster
}

func (e *env) context() context.Context { return e.t.Context() }

func (e *env) config() kafka.Config {
	return kafka.Config{Brokers: e.cluster.Addrs(), Dial: e.cluster.Dial, RetryTimeout: retryTimeout}
}

// client opens a client that is closed with the test, after what is made from it.
func (e *env) client(change ...func(*kafka.Config)) *kafka.Client {
	e.t.Helper()
	cfg := e.config()
	for _, f := range change {
		f(&cfg)
	}
	c, err := kafka.Open(e.context(), cfg)
	e.check(err)
	e.t.Cleanup(c.Close)
	return c
}

func (e *env) check(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) producer(c *kafka.Client, cfg kafka.ProducerConfig) *kafka.Producer {
	e.t.Helper()
	p, err := c.NewProducer(e.context(), cfg)
	e.check(err)
	e.t.Cleanup(p.Close)
	return p
}

func (e *env) fetcher(c *kafka.Client, cfg kafka.FetchConfig) *kafka.Fetcher {
	e.t.Helper()
	f, err := c.NewFetcher(cfg)
	e.check(err)
	e.t.Cleanup(f.Close)
	return f
}

// flush waits until everything sent is acknowledged.
func (e *env) flush(p *kafka.Producer) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.context(), patience)
	defer cancel()
	e.check(p.Flush(ctx))
}

func tp(topic string, partition int32) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: topic, Partition: partition}
}

// collector is a Sink that keeps a copy of everything.
type collector struct {
	mu         sync.Mutex
	changed    chan struct{}
	deliveries int
	records    []kafka.Record
	last       kafka.Delivery
	errs       []error
}

func newCollector() *collector { return &collector{changed: make(chan struct{})} }

func (c *collector) Deliver(d *kafka.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deliveries++
	for i := range d.Batches {
		for r := range d.Batches[i].All() {
			c.records = append(c.records, r)
		}
	}
	c.last = *d
	if d.Err != nil {
		c.errs = append(c.errs, d.Err)
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// wait waits until done holds.
func (c *collector) wait(t testing.TB, what string, done func(c *collector) bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		c.mu.Lock()
		ok, changed := done(c), c.changed
		state := fmt.Sprintf("%d deliveries, %d records, next %d, errors %v", c.deliveries, len(c.records), c.last.Next, c.errs)
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s: not within %v: %s", what, patience, state)
		}
	}
}

// values waits for n records and returns their values.
func (c *collector) values(t testing.TB, n int) []string {
	t.Helper()
	c.wait(t, fmt.Sprintf("%d records", n), func(c *collector) bool { return len(c.records) >= n })
	c.mu.Lock()
	defer c.mu.Unlock()
	var values []string
	for _, r := range c.records {
		values = append(values, string(r.Value))
	}
	return values
}

// sequence returns the values 0 to n-1 in text.
func sequence(n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprint(i)
	}
	return values
}

func expectEqual(t testing.TB, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: %d records, want %d; first difference at %d: %q, want %q", what, len(got), len(want), i, got[i], want[i])
		}
	}
	t.Fatalf("%s: %d records, want %d", what, len(got), len(want))
}

func equalBytes(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
