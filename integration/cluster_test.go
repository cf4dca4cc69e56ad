//go:build integration

package integration_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/integration/servers"
)

// cluster is the real Kafka as the tests see it: by a client that shares no code
// with the engine's.
type cluster struct {
	t       testing.TB
	brokers []string
	client  *kgo.Client
	// run tells the topics and groups of this run from those of an earlier one
	// on a broker that stays.
	run string
}

// place is a partition.
type place struct {
	topic     string
	partition int32
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t, brokers: servers.KafkaForTest(t).Brokers(), run: strings.ToLower(rand.Text()[:6])}
	c.client = c.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.ProducerLinger(2*time.Millisecond), kgo.MaxBufferedRecords(1<<16))
	return c
}

// connect returns one more client, which is closed when the test ends.
func (c *cluster) connect(opts ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.brokers...), kgo.MetadataMinAge(50 * time.Millisecond)}, opts...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	return client
}

// name makes a name of a topic or an application the test's own.
func (c *cluster) name(s string) string { return s + "-" + c.run }

// create makes a topic. Settings are pairs of name and value. It keeps its records
// for ever unless they say otherwise: events of the tests are years old, which
// brokers otherwise take for a reason to delete them within minutes.
func (c *cluster) create(topic string, partitions int32, settings ...string) {
	c.t.Helper()
	if err := c.tryCreate(topic, partitions, settings...); err != nil {
		c.t.Fatalf("create topic %s: %v", topic, err)
	}
}

// ensure makes a topic that the tests share, unless it is there.
func (c *cluster) ensure(topic string, partitions int32) {
	c.t.Helper()
	if err := c.tryCreate(topic, partitions); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		c.t.Fatalf("create topic %s: %v", topic, err)
	}
}

func (c *cluster) tryCreate(topic string, partitions int32, settings ...string) error {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, partitions, -1
	for pair := range slices.Chunk(append([]string{"retention.ms", "-1"}, settings...), 2) {
		s := kmsg.NewCreateTopicsRequestTopicConfig()
		s.Name, s.Value = pair[0], &pair[1]
		t.Configs = append(t.Configs, s)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 30_000
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(c.t.Context(), c.client)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err == nil {
		// The controller has it; the brokers learn of it a moment later.
		eventually(c.t, "the brokers know topic "+topic, func() bool { return c.exists(topic) })
	}
	return err
}

// remove deletes a topic and waits until no broker knows it.
func (c *cluster) remove(topic string) {
	c.t.Helper()
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic = &topic
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis, req.Topics, req.TopicNames = 30_000, append(req.Topics, t), []string{topic}
	resp, err := req.RequestWith(c.t.Context(), c.client)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		c.t.Fatalf("delete topic %s: %v", topic, err)
	}
	eventually(c.t, "topic "+topic+" is gone", func() bool { return !c.exists(topic) })
	c.client.PurgeTopicsFromClient(topic) // it remembers the topic's id
}

func (c *cluster) exists(topic string) bool {
	c.t.Helper()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(c.t.Context(), c.client)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.Topics[0].ErrorCode == 0
}

// produce writes records and waits until they are acknowledged.
func (c *cluster) produce(records ...*kgo.Record) {
	c.t.Helper()
	if err := c.client.ProduceSync(c.t.Context(), records...).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
}

// The ends of a partition that offsets asks for.
const (
	logStart = -2
	logEnd   = -1
)

// offsets returns the first or the next offset of each partition of a topic.
func (c *cluster) offsets(topic string, which int64) map[place]int64 {
	c.t.Helper()
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for p := range c.partitions(topic) {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = p, which
		t.Partitions = append(t.Partitions, part)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(c.t.Context(), c.client)
	if err != nil {
		c.t.Fatal(err)
	}
	out := map[place]int64{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				c.t.Fatalf("offsets of %s/%d: %v", topic, p.Partition, err)
			}
			out[place{t.Topic, p.Partition}] = p.Offset
		}
	}
	return out
}

func (c *cluster) partitions(topic string) int32 {
	c.t.Helper()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(c.t.Context(), c.client)
	if err != nil {
		c.t.Fatal(err)
	}
	return int32(len(resp.Topics[0].Partitions))
}

// committed returns the offsets that a group has committed. A cluster that has no
// coordinator yet makes one.
func (c *cluster) committed(group string) map[place]int64 {
	c.t.Helper()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.Topics, req.Groups = group, nil, append(req.Groups, g)
	var resp *kmsg.OffsetFetchResponse
	eventually(c.t, "group "+group+" has a coordinator", func() (ok bool) {
		var err error
		if resp, err = req.RequestWith(c.t.Context(), c.client); err == nil {
			err = kerr.ErrorForCode(resp.Groups[0].ErrorCode)
		}
		if err != nil && !kerr.IsRetriable(err) {
			c.t.Fatalf("offsets of group %s: %v", group, err)
		}
		return err == nil
	})
	out := map[place]int64{}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				out[place{t.Topic, p.Partition}] = p.Offset
			}
		}
	}
	return out
}

// members returns the ids of a group's members and the group's state. A cluster
// that has no coordinator yet makes one.
func (c *cluster) members(group string) (ids []string, state string) {
	c.t.Helper()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{group}
	var resp *kmsg.DescribeGroupsResponse
	eventually(c.t, "group "+group+" has a coordinator", func() (ok bool) {
		var err error
		if resp, err = req.RequestWith(c.t.Context(), c.client); err == nil {
			err = kerr.ErrorForCode(resp.Groups[0].ErrorCode)
		}
		if err != nil && !kerr.IsRetriable(err) && !errors.Is(err, kerr.GroupIDNotFound) {
			c.t.Fatalf("members of group %s: %v", group, err)
		}
		return err == nil || errors.Is(err, kerr.GroupIDNotFound)
	})
	for _, m := range resp.Groups[0].Members {
		ids = append(ids, m.MemberID)
	}
	return ids, resp.Groups[0].State
}

// evict takes the members of a group out of it, as an operator does who does not
// want to wait for the session of a process that was killed.
func (c *cluster) evict(group string) {
	c.t.Helper()
	ids, _ := c.members(group)
	if len(ids) == 0 {
		return
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group = group
	for _, id := range ids {
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = id
		req.Members = append(req.Members, m)
	}
	resp, err := req.RequestWith(c.t.Context(), c.client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		c.t.Fatalf("evict the members of %s: %v", group, err)
	}
}

// deleteRecords moves the start of a partition's log. A broker may take a moment
// to learn that the topic's policy allows it.
func (c *cluster) deleteRecords(at place, before int64) {
	c.t.Helper()
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = at.partition, before
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic, t.Partitions = at.topic, append(t.Partitions, p)
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis, req.Topics = 30_000, append(req.Topics, t)
	eventually(c.t, fmt.Sprintf("the broker deletes records of %v", at), func() bool {
		resp, err := req.RequestWith(c.t.Context(), c.client)
		if err == nil {
			err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
		}
		if err != nil && !errors.Is(err, kerr.PolicyViolation) {
			c.t.Fatalf("delete records of %v: %v", at, err)
		}
		return err == nil
	})
}

// read returns the records of a topic from given offsets, or the start of the
// log, to the end that it has now: those of transactions that were committed,
// and those of none.
func (c *cluster) read(topic string, from map[place]int64) []*kgo.Record {
	c.t.Helper()
	starts, ends := c.offsets(topic, logStart), c.offsets(topic, logEnd)
	left := map[place]int64{}
	assign := map[int32]kgo.Offset{}
	for at, end := range ends {
		begin := max(starts[at], from[at])
		if begin < end {
			left[at] = end
			assign[at.partition] = kgo.NewOffset().At(begin)
		}
	}
	if len(left) == 0 {
		return nil
	}
	client := c.connect(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: assign}), kgo.KeepControlRecords(),
		kgo.FetchIsolationLevel(kgo.ReadUncommitted()), kgo.FetchMaxWait(100*time.Millisecond))
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			c.t.Fatalf("read %s: %v; to go: %v", topic, err, left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at := place{r.Topic, r.Partition}
			if end, ok := ends[at]; ok && r.Offset < end {
				records = append(records, r)
			}
			if r.Offset+1 >= ends[at] {
				delete(left, at)
			}
		})
	}
	return committedOnly(records)
}

// committedOnly drops the markers that end transactions, and the records of
// those that were aborted.
func committedOnly(records []*kgo.Record) []*kgo.Record {
	type owner struct {
		place
		producer int64
	}
	open := map[owner][]int{}
	dropped := map[int]bool{}
	for i, r := range records {
		o := owner{place{r.Topic, r.Partition}, r.ProducerID}
		switch {
		case r.Attrs.IsControl():
			dropped[i] = true
			// A marker's key is its version and its type, two bytes each; 0 is abort.
			if r.Key[3] == 0 {
				for _, j := range open[o] {
					dropped[j] = true
				}
			}
			delete(open, o)
		case r.Attrs.IsTransactional():
			open[o] = append(open[o], i)
		}
	}
	kept := records[:0:0]
	for i, r := range records {
		if !dropped[i] {
			kept = append(kept, r)
		}
	}
	return kept
}

// patience is how long tests wait for what is to happen. It is reached only when
// it does not.
const patience = 5 * time.Minute

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("after %v it is not so that %s", patience, what)
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// logger writes to the test's log.
func logger(t testing.TB, name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})).With("i", name)
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// total sums over partitions.
func total(of map[place]int64) (sum int64) {
	for _, n := range of {
		sum += n
	}
	return sum
}

func (p place) String() string { return fmt.Sprintf("%s/%d", p.topic, p.partition) }
