//go:build integration

package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// place is a partition.
type place struct {
	topic     string
	partition int32
}

// metadata returns the leaders of all partitions, and how many lack a replica that
// is in sync.
func metadata(ctx context.Context, client *kgo.Client) (leaders map[place]int32, short int, err error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = nil // all, internal ones too
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, 0, err
	}
	leaders = map[place]int32{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			leaders[place{*t.Topic, p.Partition}] = p.Leader
			if len(p.ISR) < len(p.Replicas) || p.Leader < 0 {
				short++
			}
		}
	}
	return leaders, short, nil
}

// knownToAll reports whether each of three brokers knows a run's topics and their
// leaders: the controller has them sooner, and the load of a first start may keep
// a broker from hearing of them for seconds.
func knownToAll(ctx context.Context, client *kgo.Client, names topics) bool {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range []string{names.Input, names.Results, names.Late} {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	for _, node := range nodes() {
		resp, err := client.Broker(node).RetriableRequest(ctx, req)
		if err != nil {
			return false
		}
		for _, t := range resp.(*kmsg.MetadataResponse).Topics {
			if t.ErrorCode != 0 || len(t.Partitions) != partitions {
				return false
			}
			for _, p := range t.Partitions {
				if p.Leader < 0 {
					return false
				}
			}
		}
	}
	return true
}

func createTopic(ctx context.Context, client *kgo.Client, name string, partitions int32) error {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, -1
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 30_000
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return nil
}

// ends returns the next offset of each partition of a topic.
func ends(ctx context.Context, client *kgo.Client, topic string, partitions int32) (map[int32]int64, error) {
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for p := range partitions {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = p, -1
		t.Partitions = append(t.Partitions, part)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	out := map[int32]int64{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("end of %s/%d: %w", topic, p.Partition, err)
			}
			out[p.Partition] = p.Offset
		}
	}
	return out, nil
}

// readCommitted returns the committed records of a topic, each partition in order,
// up to the ends that it has now. Transactions that are open are waited for.
func readCommitted(ctx context.Context, brokers []string, topic string, partitions int32) ([]*kgo.Record, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	left, err := ends(ctx, client, topic, partitions)
	if err != nil {
		return nil, err
	}
	bounds := map[int32]int64{}
	for p, end := range left {
		if bounds[p] = end; end == 0 {
			delete(left, p)
		}
	}
	bounded, cancel := context.WithTimeoutCause(ctx, patience, errors.New("a transaction stays open"))
	defer cancel()
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(bounded)
		if bounded.Err() != nil {
			return nil, fmt.Errorf("read %s: partitions %v are not read to their ends: %w", topic, left, context.Cause(bounded))
		}
		// The last record before the end is the marker of a transaction, or one that
		// was in none.
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= bounds[r.Partition] {
				delete(left, r.Partition)
			}
			if r.Offset < bounds[r.Partition] && !r.Attrs.IsControl() {
				records = append(records, r)
			}
		})
	}
	return records, nil
}
