//go:build integration

package integration_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// TestWhatCannotWorkSaysWhy runs instances that cannot work, and reads their
// errors: each says what is wrong, where, and what to do.
func TestWhatCannotWorkSaysWhy(t *testing.T) {
	for name, test := range map[string]struct {
		// prepare makes what is there; n are the topics of the tally.
		prepare func(c *cluster, n *tally, cfg *streams.Config)
		is      error
		says    []string
	}{
		"missing input": {
			func(c *cluster, n *tally, _ *streams.Config) { c.remove(n.in) },
			streams.ErrMissingTopic, []string{"reads", "$in", "create the topic", "number of partitions"},
		},
		"missing output": {
			func(c *cluster, n *tally, _ *streams.Config) { c.remove(n.out) },
			streams.ErrMissingTopic, []string{"writes", "$out", "create it"},
		},
		"missing changelog that may not be made": {
			func(_ *cluster, _ *tally, cfg *streams.Config) { cfg.NoCreate = true },
			streams.ErrMissingTopic, []string{"$changelog", "with 2 partitions", "topics --create"},
		},
		"changelog with other partitions": {
			func(c *cluster, n *tally, _ *streams.Config) { c.create(n.changelog, 3, "cleanup.policy", "compact") },
			changelog.ErrPartitions, []string{"$changelog", "has 2 partitions", "was made for 3", "millrace reset"},
		},
		"changelog that is deleted": {
			func(c *cluster, n *tally, _ *streams.Config) {
				c.create(n.changelog, 2, "cleanup.policy", "compact,delete")
			},
			changelog.ErrPolicy, []string{"$changelog", "compact,delete", "kafka-configs.sh", "cleanup.policy=compact"},
		},
		"changelog with the broker's times": {
			func(c *cluster, n *tally, _ *streams.Config) {
				c.create(n.changelog, 2, "cleanup.policy", "compact", "message.timestamp.type", "LogAppendTime")
			},
			changelog.ErrTimestamps, []string{"$changelog", "LogAppendTime", "CreateTime"},
		},
		"group of another program": {
			func(c *cluster, n *tally, _ *streams.Config) {
				other := c.connect(kgo.ConsumerGroup(n.application), kgo.ConsumeTopics(n.in))
				eventually(c.t, "another program is in the group", func() bool {
					ctx, cancel := context.WithTimeout(c.t.Context(), 100*time.Millisecond)
					defer cancel()
					other.PollFetches(ctx)
					_, state := c.members(n.application)
					return state == "Stable"
				})
			},
			kafka.ErrInconsistentProtocol, []string{"$application"},
		},
		"state folder of another instance": {
			func(c *cluster, n *tally, cfg *streams.Config) {
				first := c.startInstance(n.topology, *cfg)
				first.awaitRunning()
			},
			stores.ErrInUse, []string{"$state", "another instance", "--state"},
		},
		"bytes that do not decode": {
			func(c *cluster, n *tally, _ *streams.Config) {
				c.produce(n.input(0), &kgo.Record{Topic: n.in, Partition: 0, Key: []byte("k"), Value: []byte("12345")})
			},
			nil, []string{"$in/0@1", "value", "int64 from 5 bytes"},
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			n := newTally(t, "bad", 2)
			cfg := streams.Config{Application: n.application, StateDir: n.at}
			test.prepare(n.c, n, &cfg)
			err := n.c.runFailing(n.topology, cfg)
			if err == nil || test.is != nil && !errors.Is(err, test.is) {
				t.Fatalf("%v, want %v", err, test.is)
			}
			names := strings.NewReplacer("$in", n.in, "$out", n.out, "$changelog", n.changelog, "$application", n.application, "$state", n.at)
			for _, what := range test.says {
				if want := names.Replace(what); !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			t.Log(err)
		})
	}
}

// TestRepartitionTopicThatDoesNotFit has one that somebody else made.
func TestRepartitionTopicThatDoesNotFit(t *testing.T) {
	for name, test := range map[string]struct {
		partitions int32
		settings   []string
		says       []string
	}{
		"partitions": {3, nil, []string{"has 2 partitions", "was made for 3", "millrace reset"}},
		"policy":     {2, []string{"cleanup.policy", "compact"}, []string{"cleanup.policy=compact", "must be delete", "kafka-configs.sh"}},
		"times":      {2, []string{"message.timestamp.type", "LogAppendTime"}, []string{"message.timestamp.type=LogAppendTime", "must be CreateTime"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			application, in := c.name("badrep"), c.name("badrep-in")
			top, err := ledger(application, in)
			if err != nil {
				t.Fatal(err)
			}
			c.create(in, 2)
			repartition := application + "-by-family-repartition"
			c.create(repartition, test.partitions, test.settings...)
			err = c.runFailing(top, streams.Config{Application: application})
			if !errors.Is(err, streams.ErrTopic) {
				t.Fatalf("%v, want %v", err, streams.ErrTopic)
			}
			for _, want := range append(test.says, repartition) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
			t.Log(err)
		})
	}
}

// TestUnreachableBroker runs against a port where nobody listens.
func TestUnreachableBroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	top, err := counts("unreachable", "in", "out")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = streams.Run(t.Context(), top, streams.Config{Brokers: []string{addr}, StateDir: t.TempDir(), Logger: logger(t, "unreachable")})
	if !errors.Is(err, kafka.ErrUnavailable) || !strings.Contains(err.Error(), addr) {
		t.Errorf("%v, want %v with the address %s", err, kafka.ErrUnavailable, addr)
	}
	t.Logf("after %v: %v", time.Since(began).Round(time.Millisecond), err)
}

// runFailing runs an instance that is to fail.
func (c *cluster) runFailing(t *topology.Topology, cfg streams.Config) error {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	return streams.Run(ctx, t, c.config(cfg))
}
