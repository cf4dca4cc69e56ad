//go:build integration

package integration_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// TestRestoreOfACompactedChangelog restores counts from a changelog that the
// broker has compacted: keys are gone, their tombstones too, and batches are
// empty.
func TestRestoreOfACompactedChangelog(t *testing.T) {
	const keys, partitions = 100_000, 2
	s := newTally(t, "compacted", partitions)
	c := s.c
	c.create(s.changelog, partitions, "cleanup.policy", "compact", "segment.ms", "500", "segment.bytes", "1048576",
		"min.cleanable.dirty.ratio", "0.0", "delete.retention.ms", "0", "min.compaction.lag.ms", "0")
	// Each round has a producer of its own, of which the broker keeps the last
	// batch even when none of its records is left.
	want := map[string]int64{}
	round := func(value func(k int) (n int64, ok bool)) {
		writer := c.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(1<<18))
		defer writer.Close()
		var records []*kgo.Record
		for k := range keys {
			n, ok := value(k)
			records = append(records, s.logged(k, n, ok))
			if want[tallyKey(k)] = n; !ok {
				delete(want, tallyKey(k))
			}
		}
		if err := writer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	round(func(k int) (int64, bool) { return int64(k), true })
	round(func(k int) (int64, bool) { return int64(3 * k), k%2 == 0 })
	written := total(c.offsets(s.changelog, logEnd))
	var left, empty int
	eventually(t, "the broker has compacted the changelog", func() bool {
		// Only a segment that is not written any more is compacted, and one ends
		// when a record comes after its time.
		for p := range int32(partitions) {
			c.produce(&kgo.Record{Topic: s.changelog, Partition: p, Key: []byte("filler"), Value: make([]byte, 8)})
		}
		left, empty = c.scan(s.changelog)
		return empty > 0 && left < keys*3/4
	})
	// Tombstones that the broker has not compacted yet, at the end.
	for k := range 100 {
		delete(want, tallyKey(4*k))
		c.produce(s.logged(4*k, 0, false))
	}

	var inputs []*kgo.Record
	for k := range keys {
		inputs = append(inputs, s.input(k))
	}
	c.produce(inputs...)
	got := s.run()
	for k := range keys {
		if key := tallyKey(k); got[key] != want[key]+1 {
			t.Fatalf("%s was counted to %d, want %d", key, got[key], want[key]+1)
		}
	}
	t.Logf("%d records were written to the changelog; compacted to %d, with %d empty batches; %d keys restored", written, left, empty, len(want))
}

// TestChangelogMadeAnewOrTruncated gives a process whose state is on its disk
// another changelog: what the log holds counts, and nothing fails.
func TestChangelogMadeAnewOrTruncated(t *testing.T) {
	s := newTally(t, "anew", 1)
	c := s.c
	expect := func(when string, want map[int]int64) {
		t.Helper()
		for k := range want {
			c.produce(s.input(k))
		}
		got := s.run()
		for k, n := range want {
			if got[tallyKey(k)] != n {
				t.Errorf("%s: key %d was counted to %d, want %d", when, k, got[tallyKey(k)], n)
			}
		}
	}
	settings := []string{"cleanup.policy", "compact"}
	c.create(s.changelog, 1, settings...)
	for k := range 50 {
		c.produce(s.logged(k, 10, true))
	}
	expect("restored", map[int]int64{1: 11, 2: 11, 60: 1})
	expect("from its own disk", map[int]int64{1: 12, 2: 12, 60: 2})

	// Shorter than before, then longer: the position on disk is within the new
	// log's bounds, and means something else.
	for _, length := range []int{5, 200} {
		c.remove(s.changelog)
		c.create(s.changelog, 1, settings...)
		for k := range length {
			c.produce(s.logged(k, 100, true))
		}
		expect(fmt.Sprintf("made anew with %d records", length), map[int]int64{1: 101, 300: 1})
	}

	// Somebody else goes on with the log, which then loses its first part. What was
	// written behind the application's last commit by another producer is none of
	// its state.
	at := place{s.changelog, 0}
	for k := range 20 {
		c.produce(s.logged(k, 1000, true))
	}
	end := c.offsets(s.changelog, logEnd)[at]
	c.truncate(at, end-5)
	expect("truncated", map[int]int64{1: 1, 16: 1, 300: 1})
	c.truncate(at, c.offsets(s.changelog, logEnd)[at])
	expect("truncated to where the disk is", map[int]int64{16: 2})
	c.produce(s.logged(16, 5000, true))
	c.truncate(at, c.offsets(s.changelog, logEnd)[at])
	expect("truncated whole", map[int]int64{16: 1})
}

// tally is an application that counts records by key, and its topics.
type tally struct {
	c                                   *cluster
	application, in, out, changelog, at string
	partitions                          int32
	topology                            *topology.Topology
}

func newTally(t *testing.T, name string, partitions int32) *tally {
	t.Helper()
	c := newCluster(t)
	s := &tally{c: c, application: c.name(name), in: c.name(name + "-in"), out: c.name(name + "-out"), at: t.TempDir(), partitions: partitions}
	s.changelog = s.application + "-counts-changelog"
	c.create(s.in, partitions)
	c.create(s.out, partitions)
	var err error
	if s.topology, err = counts(s.application, s.in, s.out); err != nil {
		t.Fatal(err)
	}
	return s
}

// counts counts records by key.
func counts(application, in, out string) (*topology.Topology, error) {
	b := topology.New(application)
	records := topology.Source(b, in, codec.String, codec.Int64)
	records.GroupByKey(codec.String, codec.Int64).Count(topology.Store("counts")).Stream().To(out, codec.String, codec.Int64)
	return b.Build()
}

func tallyKey(k int) string { return fmt.Sprintf("key-%06d", k) }

// logged is a changelog record.
func (s *tally) logged(k int, n int64, ok bool) *kgo.Record {
	r := &kgo.Record{Topic: s.changelog, Partition: int32(k) % s.partitions, Key: []byte(tallyKey(k))}
	if ok {
		r.Value = binary.BigEndian.AppendUint64(nil, uint64(n))
	}
	return r
}

// input is a record to count.
func (s *tally) input(k int) *kgo.Record {
	return &kgo.Record{Topic: s.in, Partition: int32(k) % s.partitions, Key: []byte(tallyKey(k)), Value: make([]byte, 8)}
}

// run runs the application to the end of its input and returns the last count of
// each key in what it has written by then.
func (s *tally) run() map[string]int64 {
	s.c.t.Helper()
	from := s.c.offsets(s.out, logEnd)
	s.c.runToEnd(s.topology, streams.Config{Application: s.application, StateDir: s.at})
	got := map[string]int64{}
	for _, r := range s.c.read(s.out, from) {
		got[string(r.Key)] = int64(binary.BigEndian.Uint64(r.Value))
	}
	return got
}

// truncate moves the start of a compacted partition's log, which brokers do only
// for logs that are deleted from.
func (c *cluster) truncate(at place, before int64) {
	c.t.Helper()
	c.alter(at.topic, "cleanup.policy", "delete")
	c.deleteRecords(at, before)
	c.alter(at.topic, "cleanup.policy", "compact")
}

// alter changes a setting of a topic.
func (c *cluster) alter(topic, setting, value string) {
	c.t.Helper()
	s := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	s.Name, s.Op, s.Value = setting, kmsg.IncrementalAlterConfigOpSet, &value
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.Configs = kmsg.ConfigResourceTypeTopic, topic, append(r.Configs, s)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, r)
	resp, err := req.RequestWith(c.t.Context(), c.client)
	if err == nil {
		err = kerr.ErrorForCode(resp.Resources[0].ErrorCode)
	}
	if err != nil {
		c.t.Fatalf("set %s of topic %s to %s: %v", setting, topic, value, err)
	}
}

// scan counts the records of a topic, markers too, and the batches without any.
func (c *cluster) scan(topic string) (records, empty int) {
	c.t.Helper()
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(fetchKey, 12) // the last one with names of topics
	client := c.connect(kgo.MaxVersions(versions))
	defer client.Close()
	ends := c.offsets(topic, logEnd)
	for at, next := range c.offsets(topic, logStart) {
		for next < ends[at] {
			p := kmsg.NewFetchRequestTopicPartition()
			p.Partition, p.FetchOffset, p.PartitionMaxBytes = at.partition, next, 16<<20
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.Partitions = topic, append(t.Partitions, p)
			req := kmsg.NewPtrFetchRequest()
			req.MaxBytes, req.Topics = 64<<20, append(req.Topics, t)
			resp, err := req.RequestWith(c.t.Context(), client)
			if err != nil {
				c.t.Fatal(err)
			}
			got := resp.Topics[0].Partitions[0]
			if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
				c.t.Fatalf("fetch %v: %v", at, err)
			}
			some := slices.Collect(batches(got.RecordBatches))
			if len(some) == 0 {
				c.t.Fatalf("fetch %v at %d of %d: nothing", at, next, ends[at])
			}
			for _, b := range some {
				next = b.next
				if records += int(b.records); b.records == 0 {
					empty++
				}
			}
		}
	}
	return records, empty
}
