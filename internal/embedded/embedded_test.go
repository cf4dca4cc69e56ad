package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/internal/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func Example() {
	cluster, err := embedded.Start(embedded.Config{Nodes: 3, Topics: map[string]int32{"events": 4}})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	fmt.Println(len(cluster.Addrs()), "nodes")
	// Output: 3 nodes
}

func client(t *testing.T, c *embedded.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	opts = append(opts, kgo.SeedBrokers(c.Addrs()...), kgo.Dialer(c.Dial), kgo.DisableClientMetrics())
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

func write(t *testing.T, c *embedded.Cluster, value string) {
	t.Helper()
	cl := client(t, c)
	defer cl.Close()
	if err := cl.ProduceSync(context.Background(), &kgo.Record{Topic: "in", Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c *embedded.Cluster) string {
	t.Helper()
	cl := client(t, c, kgo.ConsumeTopics("in"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	for {
		fetches := cl.PollFetches(context.Background())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			return string(r.Value)
		}
	}
}

func TestAFolderKeepsTheData(t *testing.T) {
	cfg := embedded.Config{Dir: t.TempDir(), Topics: map[string]int32{"in": 1}}
	for i := range 2 {
		c, err := embedded.Start(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			write(t, c, "kept")
		}
		if got := read(t, c); got != "kept" {
			t.Errorf("start %d: read %q", i, got)
		}
		c.Close()
	}
}

func TestAVirtualNetworkNeedsNoPorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := embedded.Start(embedded.Config{Nodes: 3, Topics: map[string]int32{"in": 3}, Network: &kfake.VirtualNetwork{}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		write(t, c, "virtual")
		if got := read(t, c); got != "virtual" {
			t.Errorf("read %q", got)
		}
	})
}

func TestMistakesAreRefused(t *testing.T) {
	for name, cfg := range map[string]embedded.Config{
		"negative nodes": {Nodes: -1}, "too few ports": {Nodes: 2, Ports: []int{9092}}, "no partitions": {Topics: map[string]int32{"in": 0}},
	} {
		if c, err := embedded.Start(cfg); !errors.Is(err, embedded.ErrInvalidConfig) {
			t.Errorf("%s: got %v", name, err)
			if err == nil {
				c.Close()
			}
		}
	}
	if c, err := embedded.Start(embedded.Config{Dir: "/dev/null/data"}); err == nil {
		c.Close()
		t.Error("a folder that cannot be was taken")
	}
}
