package shuffle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/internal/kafka"
)

const (
	// partitions is how many a load has; the first is ahead of the second.
	partitions = 2
	models     = 50
	// size is the length of the windows.
	size = 5 * time.Minute
)

// Load says which events a topic gets.
type Load struct {
	// Events is how many, half of them in each partition.
	Events int64
	// Apart is how far the second partition is behind the first, Span how long
	// each lasts.
	Apart, Span time.Duration
	// Disorder is by how much an event may be behind its turn, and Share which
	// part of all events is.
	Disorder time.Duration
	Share    float64
	// Start is when the second partition begins.
	Start time.Time
	Seed  uint64
}

// DefaultLoad returns the load that the docs tell of, in the hours before now.
func DefaultLoad(now time.Time) Load {
	return Load{
		Events: 400_000, Apart: 30 * time.Minute, Span: 20 * time.Minute, Disorder: time.Minute, Share: 1,
		Start: now.Add(-2 * time.Hour).Truncate(size), Seed: 1,
	}
}

// event is one event of a load.
type event struct {
	partition      int32
	session, model string
	at             int64 // Unix milliseconds
}

// all yields the events in the order in which they are written: the partitions
// take turns.
func (l Load) all(yield func(event) bool) {
	random := rand.New(rand.NewPCG(l.Seed, 0x73687566666c65))
	each := l.Events / partitions
	for i := range l.Events {
		e := event{partition: int32(i % partitions)}
		turn := l.Start.UnixMilli() + i/partitions*l.Span.Milliseconds()/each
		if e.partition == 0 {
			turn += l.Apart.Milliseconds()
		}
		e.at = turn
		if random.Float64() < l.Share {
			e.at -= random.Int64N(l.Disorder.Milliseconds() + 1)
		}
		e.session = fmt.Sprintf("session-%05d", random.IntN(20_000))
		e.model = fmt.Sprintf("model-%02d", random.IntN(models))
		if !yield(e) {
			return
		}
	}
}

// windowID names a window of a model.
type windowID struct {
	model string
	start int64
}

// Counts are the events in each window of each model.
type Counts map[windowID]int64

// Total returns the events of all windows.
func (c Counts) Total() (n int64) {
	for _, count := range c {
		n += count
	}
	return n
}

// Differing returns how many windows have another count than in o, or are in one
// of both only.
func (c Counts) Differing(o Counts) (n int) {
	for id, count := range c {
		if other, ok := o[id]; !ok || other != count {
			n++
		}
	}
	for id := range o {
		if _, ok := c[id]; !ok {
			n++
		}
	}
	return n
}

// Truth counts the events by plain arithmetic.
func (l Load) Truth() Counts {
	c := Counts{}
	for e := range l.all {
		c[windowID{e.model, e.at - e.at%size.Milliseconds()}]++
	}
	return c
}

// write makes a topic of a load, and returns when all of it is acknowledged.
func (l Load) write(ctx context.Context, c *kafka.Client, topic string) error {
	if err := create(ctx, c, topic, partitions); err != nil {
		return err
	}
	p, err := c.NewProducer(ctx, kafka.ProducerConfig{Linger: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	defer p.Close()
	for e := range l.all {
		if err := p.Send(topic, e.partition, []byte(e.session), []byte(e.model), e.at, nil); err != nil {
			return err
		}
	}
	return p.Flush(ctx)
}

// create makes a topic that keeps records of any age.
func create(ctx context.Context, c *kafka.Client, topic string, partitions int32) error {
	made, err := c.CreateTopic(ctx, kafka.TopicSpec{
		Name: topic, Partitions: partitions, Replication: -1, Configs: map[string]string{"retention.ms": "-1"},
	})
	if err == nil && !made {
		err = fmt.Errorf("shuffle: topic %q exists", topic)
	}
	return err
}
