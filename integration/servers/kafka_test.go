//go:build integration

package servers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// client returns a sarama configuration for these tests.
func client() *sarama.Config {
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V3_9_0_0
	cfg.Producer.RequiredAcks = sarama.WaitForAll
	cfg.Producer.Return.Successes = true
	cfg.Producer.Idempotent = true // a repeat after a lost answer is no second record
	cfg.Net.MaxOpenRequests = 1
	cfg.Metadata.Retry.Max = 60
	cfg.Metadata.Retry.Backoff = 250 * time.Millisecond
	cfg.Producer.Retry.Max = 60
	cfg.Producer.Retry.Backoff = 250 * time.Millisecond
	return cfg
}

// createTopic creates a topic of one partition.
func createTopic(t *testing.T, brokers []string, topic string, replicas int16) {
	t.Helper()
	admin, err := sarama.NewClusterAdmin(brokers, client())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: replicas}, false); err != nil {
		t.Fatal(err)
	}
}

// produce sends one record and returns its offset.
func produce(t *testing.T, brokers []string, topic, value string) int64 {
	t.Helper()
	p, err := sarama.NewSyncProducer(brokers, client())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, offset, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(value)})
	if err != nil {
		t.Fatal(err)
	}
	return offset
}

// consume returns the values of the first n records.
func consume(t *testing.T, brokers []string, topic string, n int) []string {
	t.Helper()
	c, err := sarama.NewConsumer(brokers, client())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pc, err := c.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	var values []string
	for len(values) < n {
		select {
		case m := <-pc.Messages():
			values = append(values, string(m.Value))
		case <-time.After(30 * time.Second):
			t.Fatalf("only %q after 30 s, want %d records", values, n)
		}
	}
	return values
}

func TestSharedKafkaTakesAndReturnsARecord(t *testing.T) {
	k := KafkaForTest(t)
	createTopic(t, k.Brokers(), "servers-shared", 1)
	produce(t, k.Brokers(), "servers-shared", "one")
	if got := consume(t, k.Brokers(), "servers-shared", 1); got[0] != "one" {
		t.Errorf("read %q, want [one]", got)
	}
	if again := KafkaForTest(t); again.Brokers()[0] != k.Brokers()[0] {
		t.Errorf("a second Kafka at %v beside %v", again.Brokers(), k.Brokers())
	}
}

func TestThreeNodesOutliveTheLossOfOne(t *testing.T) {
	const topic = "servers-three"
	k := NewKafka(t, KafkaConfig{Nodes: 3, JVM: []string{"-XX:TieredStopAtLevel=1"}})
	createTopic(t, k.Brokers(), topic, 3)
	produce(t, k.Brokers(), topic, "all")
	if err := k.Kill(1); err != nil {
		t.Fatal(err)
	}
	if err := k.Kill(1); err == nil {
		t.Error("no error for a second kill of a node")
	}
	produce(t, k.Brokers(), topic, "two left")
	restart := time.Now()
	if err := k.Restart(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	t.Logf("restart of a killed node: %v", time.Since(restart).Round(time.Millisecond))
	produce(t, k.Brokers(), topic, "all again")
	want := []string{"all", "two left", "all again"}
	if got := consume(t, k.Brokers(), topic, 3); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read %q, want %q", got, want)
	}
	if err := k.Kill(4); err == nil {
		t.Error("no error for a node that there is not")
	}
}

func TestDetachedKafkaIsFoundAgainAndStopped(t *testing.T) {
	dir := t.TempDir()
	brokers, err := StartDetached(t.Context(), dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n, err := StopDetached(dir); err != nil || n != 1 {
			t.Errorf("StopDetached = %d, %v; want 1 node", n, err)
		}
		if _, err := brokersKnownTo(t.Context(), brokers[0]); err == nil {
			t.Error("it still answers")
		}
	})
	again, err := StartDetached(t.Context(), dir, 1)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(brokers) {
		t.Errorf("the second start: %v, %v; want %v", again, err, brokers)
	}
	t.Setenv(EnvKafka, brokers[0])
	k := KafkaForTest(t)
	if fmt.Sprint(k.Brokers()) != fmt.Sprint(brokers) {
		t.Errorf("KafkaForTest uses %v, want %v", k.Brokers(), brokers)
	}
	if err := k.Kill(1); !errors.Is(err, ErrNotOurs) {
		t.Errorf("Kill of a named Kafka: %v, want %v", err, ErrNotOurs)
	}
}

func TestErrorQuotesTheLog(t *testing.T) {
	dir := t.TempDir()
	_, err := StartKafka(t.Context(), KafkaConfig{
		Dir:        dir,
		Properties: map[string]string{"authorizer.class.name": "no.such.Class"},
	})
	if err == nil {
		t.Fatal("it started with an authorizer that does not exist")
	}
	if text := err.Error(); !strings.Contains(text, "no.such.Class") || !strings.Contains(text, "node 1") {
		t.Errorf("the error names neither node nor cause: %v", err)
	}
	if pid, err := readPID(filepath.Join(dir, "node-1")); err != nil || pid != 0 {
		t.Errorf("process %d (%v) is left", pid, err)
	}
}

func TestConcurrentCallersBringTheJarsOnce(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("MILLRACE_CACHE", cache)
	var wait sync.WaitGroup
	dirs := make([]string, 3)
	for i := range dirs {
		wait.Go(func() {
			var err error
			if dirs[i], err = KafkaJars(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if dirs[0] != dirs[1] || dirs[1] != dirs[2] {
		t.Errorf("different folders: %q", dirs)
	}
	entries, err := os.ReadDir(cache)
	if err != nil || len(entries) != 2 {
		t.Errorf("the cache holds %v (%v), want the jars and their lock only", entries, err)
	}
	again := time.Now()
	if _, err := KafkaJars(t.Context()); err != nil || time.Since(again) > time.Second {
		t.Errorf("the second call took %v (%v)", time.Since(again), err)
	}
}
