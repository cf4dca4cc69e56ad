package live

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
)

// Partitions is how many the topics of a load have.
const Partitions = 4

const (
	models   = 50
	sessions = 1000
)

// Load says which events there are, and when.
type Load struct {
	// Rate is how many events there are a second, for WarmUp, which is not
	// measured, and then For; both in whole seconds.
	Rate        int64
	WarmUp, For time.Duration
	// Disorder is by how much events may be out of order, Share which part of them
	// is.
	Disorder time.Duration
	Share    float64
	Seed     uint64
	// BySession keys events by session instead of by model.
	BySession bool `json:",omitempty"`
}

// Events returns how many events the load has.
func (l Load) Events() int64 { return l.Rate * int64((l.WarmUp + l.For).Seconds()) }

// Send sends the events of a load at their turns, the first one when it begins, and
// returns when all are acknowledged. An event has the time of its turn, but for
// those that are out of order.
func (l Load) Send(ctx context.Context, c *kafka.Client, topic string, began time.Time) error {
	p, err := c.NewProducer(ctx, kafka.ProducerConfig{Linger: time.Millisecond})
	if err != nil {
		return err
	}
	defer p.Close()
	g := newGenerator(l, began)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for g.next < l.Events() {
		for now := time.Now(); g.next < l.Events() && !g.turn().After(now); {
			key, value, err := g.event()
			if err != nil {
				return err
			}
			if err := p.Send(topic, codec.Partition(key, Partitions), key, value, now.UnixMilli(), nil); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return p.Flush(ctx)
}

// generator makes the events of a load, one after the other.
type generator struct {
	load     Load
	random   *rand.Rand
	began    time.Time
	next     int64
	key, buf []byte
}

func newGenerator(l Load, began time.Time) *generator {
	return &generator{load: l, began: began, random: rand.New(rand.NewPCG(l.Seed, 0x656d6974))}
}

// turn is when the next event has its turn.
func (g *generator) turn() time.Time {
	return g.began.Add(time.Duration(g.next * int64(time.Second) / g.load.Rate))
}

// event returns the next event, encoded. The bytes are valid until the next call.
func (g *generator) event() (key, value []byte, err error) {
	at := g.turn().UnixMilli()
	g.next++
	if g.random.Float64() < g.load.Share {
		at -= g.random.Int64N(g.load.Disorder.Milliseconds() + 1)
	}
	e := llm.Performance{
		Event: llm.Event{
			Timestamp: at, Model: fmt.Sprintf("model-%02d", g.random.IntN(models)),
			SessionID: llm.Some(fmt.Sprintf("session-%06d", g.random.IntN(sessions))),
		},
		LatencyMS:    1800 * math.Exp(0.9*g.random.NormFloat64()),
		PromptTokens: 1 + g.random.Int64N(8000), CompletionTokens: 1 + g.random.Int64N(1000),
		CostUSD: llm.Some(0.0125),
	}
	g.key = append(g.key[:0], e.Model...)
	if session, _ := e.SessionID.Get(); g.load.BySession {
		g.key = append(g.key[:0], session...)
	}
	g.buf, err = llm.StrictPerformanceCodec.Append(g.buf[:0], e)
	return g.key, g.buf, err
}
