//go:build integration

package checkpoint_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/integration/servers"
)

// patience bounds what a test waits for.
const patience = 90 * time.Second

// cluster is the real Kafka by a client that shares no code with the engine's.
type cluster struct {
	t       testing.TB
	brokers []string
	client  *kgo.Client
	run     string // tells this run's names from those of others
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t, brokers: servers.KafkaForTest(t).Brokers(), run: rand.Text()[:6]}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(2*time.Millisecond), kgo.MaxBufferedRecords(1<<16), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	c.client = client
	return c
}

// name makes a name the test's own.
func (c *cluster) name(s string) string { return s + "-" + c.run }

func (c *cluster) create(topic string, partitions int32, settings map[string]string) {
	c.t.Helper()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, partitions, -1
	for name, value := range settings {
		s := kmsg.NewCreateTopicsRequestTopicConfig()
		s.Name, s.Value = name, &value
		t.Configs = append(t.Configs, s)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis, req.Topics = 30_000, append(req.Topics, t)
	resp, err := req.RequestWith(c.t.Context(), c.client)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		c.t.Fatalf("create topic %s: %v", topic, err)
	}
	// The controller has it; the brokers learn of it a moment later.
	until(c.t, "the brokers know topic "+topic, func() bool {
		_, err := c.ends(topic, partitions)
		return err == nil
	})
}

// ends returns the end of each partition of a topic.
func (c *cluster) ends(topic string, partitions int32) (map[int32]int64, error) {
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for p := range partitions {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = p, -1
		t.Partitions = append(t.Partitions, part)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(c.t.Context(), c.client)
	if err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			ends[p.Partition] = p.Offset
		}
	}
	return ends, nil
}

// counts returns the last value of each key in a topic of counts.
func (c *cluster) counts(topic string) map[string]int64 {
	c.t.Helper()
	got := map[string]int64{}
	for _, r := range c.read(topic) {
		got[string(r.Key)] = int64(binary.BigEndian.Uint64(r.Value))
	}
	return got
}

// read reads a topic as it is now.
func (c *cluster) read(topic string) []*kgo.Record {
	c.t.Helper()
	left, err := c.ends(topic, partitions)
	if err != nil {
		c.t.Fatal(err)
	}
	maps.DeleteFunc(left, func(_ int32, end int64) bool { return end == 0 })
	reader, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		c.t.Fatal(err)
	}
	defer reader.Close()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := reader.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			c.t.Fatalf("reading %s: %v", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			records = append(records, r)
			if r.Offset >= left[r.Partition]-1 {
				delete(left, r.Partition)
			}
		})
	}
	return records
}

// load writes records of keys, over all partitions of a topic, until it is ended.
type load struct {
	stop, done chan struct{}
	mu         sync.Mutex
	sent       map[string]int64
}

func key(partition int32, k int) string { return fmt.Sprintf("key-%d-%04d", partition, k) }

// keys is how many there are of each partition.
const keys = 400

func (c *cluster) load(topic string, partitions int32, perSecond int) *load {
	l := &load{stop: make(chan struct{}), done: make(chan struct{}), sent: map[string]int64{}}
	go func() {
		defer close(l.done)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; {
			var records []*kgo.Record
			for range perSecond / 50 {
				p := int32(n) % partitions
				records = append(records, &kgo.Record{Topic: topic, Partition: p, Key: []byte(key(p, n/int(partitions)%keys)), Value: make([]byte, 8)})
				n++
			}
			if err := c.client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
				c.t.Errorf("load: %v", err)
				return
			}
			l.mu.Lock()
			for _, r := range records {
				l.sent[string(r.Key)]++
			}
			l.mu.Unlock()
			select {
			case <-l.stop:
				return
			case <-tick.C:
			}
		}
	}()
	return l
}

// end ends the load and returns how many records each key got.
func (l *load) end() map[string]int64 {
	close(l.stop)
	<-l.done
	return l.sent
}

// until waits for a condition.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v for: %s", patience, what)
		}
	}
}
