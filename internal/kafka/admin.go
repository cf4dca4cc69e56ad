package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/IBM/sarama"
)

// TopicSpec is a topic to create.
type TopicSpec struct {
	Name        string
	Partitions  int32 // -1: the broker's default
	Replication int16 // -1: the broker's default
	Configs     map[string]string
}

// TopicDescription is a topic as the cluster has it.
type TopicDescription struct {
	Name        string
	Partitions  int32
	Replication int
	Configs     map[string]string // every setting in force, the broker's defaults included
}

// CreateTopic creates a topic and waits until each partition has a leader.
// created is false if the topic was there already, however it is configured:
// compare with DescribeTopic.
func (c *Client) CreateTopic(ctx context.Context, spec TopicSpec) (created bool, err error) {
	detail := &sarama.TopicDetail{NumPartitions: spec.Partitions, ReplicationFactor: spec.Replication, ConfigEntries: map[string]*string{}}
	for name, value := range spec.Configs {
		detail.ConfigEntries[name] = &value
	}
	what := fmt.Sprintf("create topic %q", spec.Name)
	err = c.Retry(ctx, what, func(ctx context.Context) error {
		return c.onController(ctx, func(b *sarama.Broker) error {
			r, err := b.CreateTopics(&sarama.CreateTopicsRequest{
				Version:      versionCreateTopics,
				TopicDetails: map[string]*sarama.TopicDetail{spec.Name: detail},
				Timeout:      c.cfg.RequestTimeout / 2,
			})
			if err != nil {
				return err
			}
			e, ok := r.TopicErrors[spec.Name]
			if !ok {
				return sarama.ErrIncompleteResponse
			}
			created = e.Err == sarama.ErrNoError
			if e.Err == sarama.ErrTopicAlreadyExists {
				return nil
			}
			return answer(e.Err, e.ErrMsg)
		})
	})
	if err != nil {
		return false, err
	}
	return created, c.Retry(ctx, what+": wait for leaders", func(ctx context.Context) error {
		if err := c.refresh(ctx, spec.Name); err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if t, ok := c.meta.topics[spec.Name]; !ok || slices.Contains(t.leaders, noLeader) {
			return answer(sarama.ErrLeaderNotAvailable, nil)
		}
		return nil
	})
}

// DescribeTopic returns a topic's shape and settings. A topic that does not exist
// is ErrUnknownTopic.
func (c *Client) DescribeTopic(ctx context.Context, topic string) (TopicDescription, error) {
	t, err := c.describe(ctx, topic)
	if err != nil {
		return TopicDescription{}, err
	}
	d := TopicDescription{Name: topic, Partitions: int32(len(t.leaders)), Replication: t.replication}
	err = c.Retry(ctx, fmt.Sprintf("read settings of topic %q", topic), func(ctx context.Context) error {
		return c.anyBroker(ctx, func(b *sarama.Broker) error {
			r, err := b.DescribeConfigs(&sarama.DescribeConfigsRequest{
				Version:   versionDescribeConfigs,
				Resources: []*sarama.ConfigResource{{Type: sarama.TopicResource, Name: topic}},
			})
			if err != nil {
				return err
			}
			d.Configs = map[string]string{}
			for _, resource := range r.Resources {
				if err := answer(sarama.KError(resource.ErrorCode), &resource.ErrorMsg); err != nil {
					return err
				}
				for _, entry := range resource.Configs {
					d.Configs[entry.Name] = entry.Value
				}
			}
			return nil
		})
	})
	return d, err
}

// DeleteTopic deletes a topic and waits until a broker no longer lists it. One
// that does not exist is ErrUnknownTopic.
func (c *Client) DeleteTopic(ctx context.Context, topic string) error {
	what := fmt.Sprintf("delete topic %q", topic)
	err := c.Retry(ctx, what, func(ctx context.Context) error {
		return c.onController(ctx, func(b *sarama.Broker) error {
			r, err := b.DeleteTopics(&sarama.DeleteTopicsRequest{
				Version: versionDeleteTopics,
				Topics:  []string{topic},
				Timeout: c.cfg.RequestTimeout / 2,
			})
			if err != nil {
				return err
			}
			return answer(r.TopicErrorCodes[topic], r.TopicErrorMessages[topic])
		})
	})
	if err != nil {
		return err
	}
	return c.Retry(ctx, what+": wait until it is gone", func(ctx context.Context) error {
		if err := c.refresh(ctx, topic); err != nil {
			return err
		}
		if _, exists := c.leader(TopicPartition{topic, 0}); exists {
			return answer(sarama.ErrRequestTimedOut, nil)
		}
		return nil
	})
}

// DeleteRecords deletes what lies before an offset in each of some partitions.
// An offset of -1 stands for the high watermark.
func (c *Client) DeleteRecords(ctx context.Context, before map[TopicPartition]int64) error {
	send := func(b *sarama.Broker, tps []TopicPartition) ([]TopicPartition, error) {
		req := &sarama.DeleteRecordsRequest{
			Version: versionDeleteRecords,
			Topics:  map[string]*sarama.DeleteRecordsRequestTopic{},
			Timeout: c.cfg.RequestTimeout / 2,
		}
		for _, tp := range tps {
			if req.Topics[tp.Topic] == nil {
				req.Topics[tp.Topic] = &sarama.DeleteRecordsRequestTopic{PartitionOffsets: map[int32]int64{}}
			}
			req.Topics[tp.Topic].PartitionOffsets[tp.Partition] = before[tp]
		}
		r, err := b.DeleteRecords(req)
		if err != nil {
			return nil, err
		}
		return each(tps, func(tp TopicPartition) (sarama.KError, bool) {
			topic := r.Topics[tp.Topic]
			if topic == nil || topic.Partitions[tp.Partition] == nil {
				return 0, false
			}
			return topic.Partitions[tp.Partition].Err, true
		})
	}
	return c.byLeader(ctx, "delete records", slices.Collect(maps.Keys(before)), send)
}

// What ListOffsets can be asked for beside a time.
const (
	// Earliest is the first offset that the log still has.
	Earliest int64 = -2
	// Latest is the high watermark: the offset after the last replicated record.
	Latest int64 = -1
)

// ListOffsets returns an offset of each partition: Earliest, Latest, or for any
// other value of at the first record whose timestamp is at or after it (Unix
// milliseconds), the high watermark if there is none.
func (c *Client) ListOffsets(ctx context.Context, at int64, tps ...TopicPartition) (map[TopicPartition]int64, error) {
	if at < Earliest {
		return nil, fmt.Errorf("%w: list offsets at time %d: it must not be negative", ErrInvalidConfig, at)
	}
	offsets := make(map[TopicPartition]int64, len(tps))
	send := func(b *sarama.Broker, tps []TopicPartition) ([]TopicPartition, error) {
		req := &sarama.OffsetRequest{Version: versionListOffsets}
		for _, tp := range tps {
			req.AddBlock(tp.Topic, tp.Partition, at, 1)
		}
		r, err := b.GetAvailableOffsets(req)
		if err != nil {
			return nil, err
		}
		return each(tps, func(tp TopicPartition) (sarama.KError, bool) {
			block := r.GetBlock(tp.Topic, tp.Partition)
			if block == nil {
				return 0, false
			}
			if block.Err == sarama.ErrNoError {
				offsets[tp] = block.Offset
			}
			return block.Err, true
		})
	}
	if err := c.byLeader(ctx, "list offsets", tps, send); err != nil {
		return nil, err
	}
	var none []TopicPartition
	for tp, offset := range offsets {
		if offset < 0 {
			none = append(none, tp)
		}
	}
	if len(none) > 0 && at != Latest {
		ends, err := c.ListOffsets(ctx, Latest, none...)
		if err != nil {
			return nil, err
		}
		maps.Copy(offsets, ends)
	}
	return offsets, nil
}

// each sorts the answers of some partitions: those to ask again because their
// leader moved or is not ready, and the first that failed for good.
func each(tps []TopicPartition, code func(TopicPartition) (sarama.KError, bool)) (again []TopicPartition, err error) {
	for _, tp := range tps {
		k, ok := code(tp)
		switch {
		case !ok:
			return nil, fmt.Errorf("%v: %w", tp, sarama.ErrIncompleteResponse)
		case moved(k) || loading(k):
			again = append(again, tp)
		case k != sarama.ErrNoError:
			err = errors.Join(err, fmt.Errorf("%v: %w", tp, answer(k, nil)))
		}
	}
	return again, err
}

// GroupDescription is a consumer group as its coordinator sees it.
type GroupDescription struct {
	State   string // Empty, PreparingRebalance, CompletingRebalance, Stable, Dead
	Members int
	// Assigned are the members, by id.
	Assigned []AssignedMember
}

// AssignedMember is a member of a group with what it was given, in the bytes of
// Subscription.UserData and Assignment.UserData. They are empty for members of
// other programs, and while the group rebalances.
type AssignedMember struct {
	ID                       string
	Subscription, Assignment []byte
}

func describeMember(id string, member *sarama.GroupMemberDescription) AssignedMember {
	m := AssignedMember{ID: id}
	if meta, err := member.GetMemberMetadata(); err == nil && meta != nil {
		m.Subscription = meta.UserData
	}
	if given, err := member.GetMemberAssignment(); err == nil && given != nil {
		m.Assignment = given.UserData
	}
	return m
}

// DescribeGroup returns the state of a consumer group. One that does not exist is
// Dead.
func (c *Client) DescribeGroup(ctx context.Context, group string) (GroupDescription, error) {
	var d GroupDescription
	err := c.onCoordinator(ctx, fmt.Sprintf("describe group %q", group), group, func(b *sarama.Broker) error {
		r, err := b.DescribeGroups(&sarama.DescribeGroupsRequest{Version: versionDescribeGroups, Groups: []string{group}})
		if err != nil {
			return err
		}
		for _, g := range r.Groups {
			if g.Err == sarama.ErrGroupIDNotFound {
				d = GroupDescription{State: "Dead"}
				return nil
			}
			if err := answer(g.Err, nil); err != nil {
				return err
			}
			d = GroupDescription{State: g.State, Members: len(g.Members)}
			for id, member := range g.Members {
				d.Assigned = append(d.Assigned, describeMember(id, member))
			}
			slices.SortFunc(d.Assigned, func(a, b AssignedMember) int { return cmp.Compare(a.ID, b.ID) })
		}
		return nil
	})
	return d, err
}
