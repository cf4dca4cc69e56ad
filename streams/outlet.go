package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/processors"
)

// outlet hands what a worker's tasks send to the worker's producer.
type outlet struct {
	worker  *worker
	headers []kafka.Header
}

func (o *outlet) Send(topic string, partition int32, key, value []byte, t int64, headers []processors.Header) error {
	if err := o.worker.tooLarge(topic, key, value, headers); err != nil {
		return err
	}
	o.headers = o.headers[:0]
	for _, h := range headers {
		o.headers = append(o.headers, kafka.Header{Key: []byte(h.Key), Value: h.Value})
	}
	err := o.worker.producer.Send(topic, partition, key, value, t, o.headers)
	if errors.Is(err, kafka.ErrRecordTooLarge) && !errors.Is(err, kafka.ErrProducerFailed) {
		return fmt.Errorf("%w: %w", processors.ErrTooLarge, err)
	}
	return err
}

func (o *outlet) Partitions(topic string) (int32, error) { return o.worker.in.partitionsOf(topic) }

// partitionsOf returns the number of partitions of a topic that is written,
// asking the cluster about those whose names the topology computes.
func (in *Instance) partitionsOf(topic string) (int32, error) {
	if n, ok := in.currentPlan().Partitions[topic]; ok {
		return n, nil
	}
	in.mu.Lock()
	n, ok := in.computed[topic]
	in.mu.Unlock()
	if ok {
		return n, nil
	}
	ctx, cancel := context.WithTimeout(in.limit, 30*time.Second)
	defer cancel()
	n, err := in.client.Partitions(ctx, topic)
	if errors.Is(err, kafka.ErrUnknownTopic) {
		return 0, fmt.Errorf("%w: %w", processors.ErrNoTopic, err)
	}
	if err != nil {
		return 0, err
	}
	in.mu.Lock()
	in.computed[topic] = n
	in.mu.Unlock()
	return n, nil
}
