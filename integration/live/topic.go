package live

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
)

// appendTime is what the attributes of a record say whose time is the broker's.
const appendTime = 1

// CreateInput makes a topic whose records the broker stamps with its own time.
func CreateInput(ctx context.Context, c *kafka.Client, topic string) error {
	_, err := c.CreateTopic(ctx, kafka.TopicSpec{
		Name: topic, Partitions: Partitions, Replication: -1, Configs: map[string]string{"message.timestamp.type": "LogAppendTime"},
	})
	return err
}

// Arrival is an event that was read back. The key and the event's strings are valid
// until take returns.
type Arrival struct {
	Partition int32
	Key       []byte
	Event     llm.Performance
	// Appended is when the broker has appended it, in Unix milliseconds.
	Appended int64
}

// ReadBack reads a topic that CreateInput has made, from its start to the end that
// it has now, each partition in order.
func ReadBack(ctx context.Context, c *kafka.Client, broker, topic string, take func(Arrival) error) error {
	var tps []kafka.TopicPartition
	for p := range int32(Partitions) {
		tps = append(tps, kafka.TopicPartition{Topic: topic, Partition: p})
	}
	ends, err := c.ListOffsets(ctx, kafka.Latest, tps...)
	if err != nil {
		return err
	}
	left := int64(0)
	for _, end := range ends {
		left += end
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer reader.Close()
	for left > 0 {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for record := range fetches.RecordsAll() {
			left--
			a, err := arrival(record)
			if err != nil {
				return err
			}
			if err := take(a); err != nil {
				return err
			}
		}
	}
	return nil
}

func arrival(r *kgo.Record) (Arrival, error) {
	if r.Attrs.TimestampType() != appendTime {
		return Arrival{}, fmt.Errorf("live: %s, partition %d, offset %d: the broker has not stamped the record with its own time; make the topic with CreateInput",
			r.Topic, r.Partition, r.Offset)
	}
	e, err := llm.PerformanceCodec.Decode(r.Value)
	if err != nil {
		return Arrival{}, fmt.Errorf("live: %s, partition %d, offset %d: %w", r.Topic, r.Partition, r.Offset, err)
	}
	return Arrival{Partition: r.Partition, Key: r.Key, Event: e, Appended: r.Timestamp.UnixMilli()}, nil
}

// Follow reads the results of a topic as they become readable, those that are
// committed only, and hands each one on with the time at which it was there, until
// ctx ends. The result's strings are valid until take returns.
func Follow(ctx context.Context, broker, topic string, take func(r llm.Result, at time.Time)) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMinBytes(1))
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		now := time.Now()
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		for record := range fetches.RecordsAll() {
			v, err := llm.ResultCodec.Decode(record.Value)
			if err != nil {
				return fmt.Errorf("live: %s, partition %d, offset %d: %w", topic, record.Partition, record.Offset, err)
			}
			take(v, now)
		}
	}
}

// Pace counts what arrives by the second. The zero value has counted nothing.
type Pace struct {
	// First and Last are when the first and the last event arrived, in Unix
	// milliseconds.
	First, Last int64
	// Events is how many arrived.
	Events  int64
	seconds map[int64]int64
}

// Add notes an event that arrived at a time, in Unix milliseconds.
func (p *Pace) Add(appended int64) {
	if p.Events == 0 {
		p.First, p.seconds = appended, map[int64]int64{}
	}
	p.Events++
	p.First, p.Last = min(p.First, appended), max(p.Last, appended)
	p.seconds[appended/1000]++
}

// Rate returns the least and the greatest number of events that arrived in a whole
// second, and the mean.
func (p *Pace) Rate() (least, greatest int64, mean float64) {
	for second := p.First/1000 + 1; second < p.Last/1000; second++ {
		n := p.seconds[second]
		if greatest == 0 {
			least = n
		}
		least, greatest = min(least, n), max(greatest, n)
	}
	if p.Last > p.First {
		mean = float64(p.Events) * 1000 / float64(p.Last-p.First)
	}
	return least, greatest, mean
}
