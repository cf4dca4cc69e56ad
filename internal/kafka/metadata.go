package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// metadata is what is known of the cluster. Client.mu guards it.
type metadata struct {
	brokers    map[int32]string // id to address
	controller int32
	topics     map[string]topicMetadata
}

type topicMetadata struct {
	leaders     []int32 // by partition; -1 while a partition has none
	replication int
	internal    bool
}

// noLeader stands for a partition whose leader is not known.
const noLeader = int32(-1)

// addresses returns the brokers to ask: the known ones, then the first ones.
func (c *Client) addresses() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, id := range slices.Sorted(maps.Keys(c.meta.brokers)) {
		all = append(all, c.meta.brokers[id])
	}
	for _, addr := range c.cfg.Brokers {
		if !slices.Contains(all, addr) {
			all = append(all, addr)
		}
	}
	return all
}

// refresh asks a broker about some topics, or all without names, and keeps the
// answer. A topic that does not exist is forgotten and is no error here.
func (c *Client) refresh(ctx context.Context, topics ...string) error {
	return c.anyBroker(ctx, func(b *sarama.Broker) error {
		r, err := b.GetMetadata(&sarama.MetadataRequest{Version: versionMetadata, Topics: topics})
		if err != nil {
			return err
		}
		return c.learn(r, len(topics) == 0)
	})
}

// learn keeps a metadata answer, and reports the topics that it had no leave or
// means to describe. all says that it covers every topic.
func (c *Client) learn(r *sarama.MetadataResponse, all bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &c.meta
	m.brokers = make(map[int32]string, len(r.Brokers))
	for _, b := range r.Brokers {
		m.brokers[b.ID()] = b.Addr()
	}
	m.controller = r.ControllerID
	if m.topics == nil || all {
		m.topics = make(map[string]topicMetadata, len(r.Topics))
	}
	var failures []error
	for _, t := range r.Topics {
		switch t.Err {
		case sarama.ErrNoError, sarama.ErrLeaderNotAvailable:
		case sarama.ErrUnknownTopicOrPartition, sarama.ErrInvalidTopic:
			delete(m.topics, t.Name)
			continue
		default:
			delete(m.topics, t.Name)
			failures = append(failures, fmt.Errorf("topic %q: %w", t.Name, answer(t.Err, nil)))
			continue
		}
		known := topicMetadata{leaders: make([]int32, len(t.Partitions)), internal: t.IsInternal}
		for _, p := range t.Partitions {
			if int(p.ID) >= len(known.leaders) {
				continue // ids are dense in every broker; a gap is not worth a crash
			}
			known.leaders[p.ID] = p.Leader
			known.replication = max(known.replication, len(p.Replicas))
			if p.Err == sarama.ErrLeaderNotAvailable {
				known.leaders[p.ID] = noLeader
			}
		}
		if len(known.leaders) > 0 {
			m.topics[t.Name] = known
		}
	}
	return errors.Join(failures...)
}

// leader returns the broker that leads a partition, as last learnt: its id, or
// noLeader; and whether the partition is known to exist.
func (c *Client) leader(tp TopicPartition) (id int32, exists bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.meta.topics[tp.Topic]
	if !ok || tp.Partition < 0 || int(tp.Partition) >= len(t.leaders) {
		return noLeader, false
	}
	id = t.leaders[tp.Partition]
	if _, ok := c.meta.brokers[id]; !ok {
		return noLeader, true
	}
	return id, true
}

// address returns where a broker listens.
func (c *Client) address(id int32) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	addr, ok := c.meta.brokers[id]
	return addr, ok
}

// Partitions returns how many partitions a topic has, asking a broker. A topic
// that does not exist is ErrUnknownTopic.
func (c *Client) Partitions(ctx context.Context, topic string) (int32, error) {
	t, err := c.describe(ctx, topic)
	return int32(len(t.leaders)), err
}

func (c *Client) describe(ctx context.Context, topic string) (topicMetadata, error) {
	var t topicMetadata
	err := c.Retry(ctx, fmt.Sprintf("describe topic %q", topic), func(ctx context.Context) error {
		if err := c.refresh(ctx, topic); err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		var ok bool
		if t, ok = c.meta.topics[topic]; !ok {
			return ErrUnknownTopic
		}
		return nil
	})
	return t, err
}

// Topics returns every topic with its number of partitions, Kafka's internal
// topics left out.
func (c *Client) Topics(ctx context.Context) (map[string]int32, error) {
	topics := map[string]int32{}
	err := c.Retry(ctx, "list topics", func(ctx context.Context) error {
		if err := c.refresh(ctx); err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for name, t := range c.meta.topics {
			if !t.internal {
				topics[name] = int32(len(t.leaders))
			}
		}
		return nil
	})
	return topics, err
}

// Brokers returns the addresses of the cluster's brokers, as last learnt.
func (c *Client) Brokers() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Values(c.meta.brokers))
}

// onController sends request to the controller, or to any broker while none is
// known.
func (c *Client) onController(ctx context.Context, request func(*sarama.Broker) error) error {
	c.mu.Lock()
	addr, ok := c.meta.brokers[c.meta.controller]
	c.mu.Unlock()
	if !ok {
		return c.anyBroker(ctx, request)
	}
	err := c.call(ctx, roleAdmin, addr, request)
	if err != nil && retriable(err) {
		return errors.Join(err, c.refresh(ctx))
	}
	return err
}

// newTopicPatience is how long partitions that nobody knows are looked for: a
// broker hears of a new topic a moment after the one that made it.
const newTopicPatience = 2 * time.Second

// byLeader sends one request to each broker that leads some of the partitions.
// Those whose leader is not known, or whose request asks for it by returning
// them, are looked up again with back-off.
func (c *Client) byLeader(ctx context.Context, what string, tps []TopicPartition,
	send func(b *sarama.Broker, tps []TopicPartition) (again []TopicPartition, err error),
) error {
	began := time.Now()
	return c.Retry(ctx, what, func(ctx context.Context) error {
		isNew := time.Since(began) < newTopicPatience // what is unknown may be
		groups := map[int32][]TopicPartition{}
		for _, tp := range tps {
			id, _ := c.leader(tp)
			groups[id] = append(groups[id], tp)
		}
		if missing := groups[noLeader]; len(missing) > 0 {
			if err := c.refresh(ctx, topicsOf(missing)...); err != nil {
				return err
			}
			delete(groups, noLeader)
			for _, tp := range missing {
				id, exists := c.leader(tp)
				if !exists && isNew {
					return fmt.Errorf("%v is not known: %w", tp, sarama.ErrLeaderNotAvailable)
				}
				if !exists {
					return fmt.Errorf("%w: %v", ErrUnknownTopic, tp)
				}
				groups[id] = append(groups[id], tp)
			}
		}
		var again []TopicPartition
		var cause error
		for id, group := range groups {
			addr, ok := c.address(id)
			if !ok {
				again, cause = append(again, group...), answer(sarama.ErrLeaderNotAvailable, nil)
				continue
			}
			rest := group
			err := c.call(ctx, roleAdmin, addr, func(b *sarama.Broker) (err error) {
				rest, err = send(b, group)
				return err
			})
			if isNew && errors.Is(err, ErrUnknownTopic) {
				err = fmt.Errorf("%v: %w", err, sarama.ErrLeaderNotAvailable)
			}
			if err != nil && !retriable(err) {
				return err
			}
			if err != nil {
				cause, rest = err, group // without an answer nothing is settled
			}
			again = append(again, rest...)
		}
		tps = again
		if len(again) == 0 {
			return nil
		}
		if cause == nil {
			cause = answer(sarama.ErrNotLeaderForPartition, nil)
		}
		if err := c.refresh(ctx, topicsOf(again)...); err != nil {
			return err
		}
		return fmt.Errorf("%v: %w", again, cause)
	})
}

func topicsOf(tps []TopicPartition) []string {
	var topics []string
	for _, tp := range tps {
		if !slices.Contains(topics, tp.Topic) {
			topics = append(topics, tp.Topic)
		}
	}
	return topics
}
