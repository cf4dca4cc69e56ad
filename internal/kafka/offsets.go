package kafka

import (
	"context"
	"fmt"

	"github.com/IBM/sarama"
)

// Committed is a group's position in one partition.
type Committed struct {
	Offset   int64  // the next record to process
	Metadata string // what the member stored beside it; at most 4 KB on a default broker
}

// Commit is a member's commit. Generation and MemberID fence it: a coordinator
// takes it only from a member of the current generation.
type Commit struct {
	Group      string
	MemberID   string
	Generation int32
	InstanceID string // empty for a dynamic member
	Offsets    map[TopicPartition]Committed
}

// CommitOffsets stores a member's positions. Besides ErrUnavailable it returns
// ErrRebalanceInProgress, ErrIllegalGeneration, ErrUnknownMember and
// ErrFencedInstance: nothing, or not all, was stored then. It refuses a commit
// without member or generation, which no coordinator could fence.
func (c *Client) CommitOffsets(ctx context.Context, commit Commit) error {
	if commit.MemberID == "" || commit.Generation < 0 {
		return fmt.Errorf("%w: commit for group %q without a member id and generation", ErrInvalidConfig, commit.Group)
	}
	return c.commit(ctx, commit)
}

// AlterGroupOffsets sets a group's positions from outside. A group with members
// answers ErrUnknownMember: stop them first.
func (c *Client) AlterGroupOffsets(ctx context.Context, group string, offsets map[TopicPartition]Committed) error {
	return c.commit(ctx, Commit{Group: group, Generation: sarama.GroupGenerationUndefined, Offsets: offsets})
}

func (c *Client) commit(ctx context.Context, commit Commit) error {
	if len(commit.Offsets) == 0 {
		return nil
	}
	req := &sarama.OffsetCommitRequest{
		Version:                 versionOffsetCommit,
		ConsumerGroup:           commit.Group,
		ConsumerID:              commit.MemberID,
		ConsumerGroupGeneration: commit.Generation,
		GroupInstanceId:         optional(commit.InstanceID),
	}
	for tp, position := range commit.Offsets {
		req.AddBlock(tp.Topic, tp.Partition, position.Offset, 0, position.Metadata)
	}
	return c.onCoordinator(ctx, fmt.Sprintf("commit offsets of group %q", commit.Group), commit.Group, func(b *sarama.Broker) error {
		r, err := b.CommitOffset(req)
		if err != nil {
			return err
		}
		for tp := range commit.Offsets {
			code, ok := r.Errors[tp.Topic][tp.Partition]
			if !ok {
				return fmt.Errorf("%v: %w", tp, sarama.ErrIncompleteResponse)
			}
			if code == sarama.ErrUnknownTopicOrPartition {
				return fmt.Errorf("%v: %w: %w", tp, ErrUnknownTopic, code)
			}
			if err := answer(code, nil); err != nil {
				return fmt.Errorf("%v: %w", tp, err)
			}
		}
		return nil
	})
}

// CommittedOffsets returns a group's positions in some partitions, or in all it
// has without arguments. Partitions without a position are absent. Positions
// inside an open transaction are waited for, so what is returned is settled.
func (c *Client) CommittedOffsets(ctx context.Context, group string, tps ...TopicPartition) (map[TopicPartition]Committed, error) {
	offsets := map[TopicPartition]Committed{}
	err := c.onCoordinator(ctx, fmt.Sprintf("fetch offsets of group %q", group), group, func(b *sarama.Broker) error {
		clear(offsets)
		req := &sarama.OffsetFetchRequest{Version: versionOffsetFetch, ConsumerGroup: group, RequireStable: true}
		for _, tp := range tps {
			req.AddPartition(tp.Topic, tp.Partition)
		}
		r, err := b.FetchOffset(req)
		if err != nil {
			return err
		}
		if r.Err == sarama.ErrGroupIDNotFound { // what some brokers say of a group that never committed
			return nil
		}
		if err := answer(r.Err, nil); err != nil {
			return err
		}
		for topic, partitions := range r.Blocks {
			for p, block := range partitions {
				tp := TopicPartition{topic, p}
				if err := answer(block.Err, nil); err != nil {
					return fmt.Errorf("%v: %w", tp, err)
				}
				if block.Offset >= 0 {
					offsets[tp] = Committed{Offset: block.Offset, Metadata: block.Metadata}
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return offsets, nil
}

// DeleteGroupOffsets forgets a group's positions in some partitions; those it
// does not have are no error. A group that still reads the topic answers
// ErrGroupNotEmpty.
func (c *Client) DeleteGroupOffsets(ctx context.Context, group string, tps ...TopicPartition) error {
	return c.onCoordinator(ctx, fmt.Sprintf("delete offsets of group %q", group), group, func(b *sarama.Broker) error {
		req := &sarama.DeleteOffsetsRequest{Group: group}
		for _, tp := range tps {
			req.AddPartition(tp.Topic, tp.Partition)
		}
		r, err := b.DeleteOffsets(req)
		if err != nil {
			return err
		}
		if r.ErrorCode == sarama.ErrGroupIDNotFound {
			return nil
		}
		if err := answer(r.ErrorCode, nil); err != nil {
			return err
		}
		for topic, partitions := range r.Errors {
			for p, code := range partitions {
				if code == sarama.ErrUnknownTopicOrPartition {
					continue
				}
				if err := answer(code, nil); err != nil {
					return fmt.Errorf("%v: %w", TopicPartition{topic, p}, err)
				}
			}
		}
		return nil
	})
}

// coordinator returns the address of a group's coordinator, asking if it is not
// known.
func (c *Client) coordinator(ctx context.Context, group string) (string, error) {
	c.mu.Lock()
	addr, ok := c.coordinators[group]
	c.mu.Unlock()
	if ok {
		return addr, nil
	}
	addr, err := c.findCoordinator(ctx, group, sarama.CoordinatorGroup)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.coordinators[group] = addr
	return addr, nil
}

// findCoordinator asks a broker for the address of a group's or a transactional
// id's coordinator.
func (c *Client) findCoordinator(ctx context.Context, key string, kind sarama.CoordinatorType) (addr string, err error) {
	err = c.anyBroker(ctx, func(b *sarama.Broker) error {
		r, err := b.FindCoordinator(&sarama.FindCoordinatorRequest{Version: versionFindCoordinator, CoordinatorKey: key, CoordinatorType: kind})
		if err != nil {
			return err
		}
		if err := answer(r.Err, r.ErrMsg); err != nil {
			return err
		}
		addr = r.Coordinator.Addr()
		return nil
	})
	return addr, err
}

// forgetCoordinator makes the next use ask again.
func (c *Client) forgetCoordinator(group string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.coordinators, group)
}

// onCoordinator sends request to a group's coordinator over the commit
// connection, looking the coordinator up again after each failure.
func (c *Client) onCoordinator(ctx context.Context, what, group string, request func(*sarama.Broker) error) error {
	return c.Retry(ctx, what, func(ctx context.Context) error {
		addr, err := c.coordinator(ctx, group)
		if err != nil {
			return err
		}
		err = c.call(ctx, roleCommit, addr, request)
		if err != nil && retriable(err) {
			c.forgetCoordinator(group)
		}
		return err
	})
}

// optional is the protocol's nullable string.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
