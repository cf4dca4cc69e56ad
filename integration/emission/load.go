package emission

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

const (
	partitions = 4
	models     = 50
	sessions   = 1000
)

// Load says which events there are, and when.
type Load struct {
	// Rate is how many events there are a second, for WarmUp, which is not
	// measured, and then For.
	Rate        int64
	WarmUp, For time.Duration
	// Window is the length of the windows.
	Window time.Duration
	// Disorder is by how much events may be out of order and the watermark's delay,
	// Share which part of them is out of order.
	Disorder time.Duration
	Share    float64
	Seed     uint64
}

// DefaultLoad returns the load that the docs tell of.
func DefaultLoad() Load {
	return Load{
		Rate: 50_000, WarmUp: 5 * time.Second, For: 30 * time.Second, Window: 100 * time.Millisecond,
		Disorder: time.Second, Share: 0.05, Seed: 1,
	}
}

// generator makes the events of a load, one after the other.
type generator struct {
	load   Load
	random *rand.Rand
	// bySession keys events by session instead of by model.
	bySession bool
	began     time.Time
	next      int64
	key, buf  []byte
}

func newGenerator(l Load, bySession bool, began time.Time) *generator {
	return &generator{load: l, bySession: bySession, began: began, random: rand.New(rand.NewPCG(l.Seed, 0x656d6974))}
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
	if session, _ := e.SessionID.Get(); g.bySession {
		g.key = append(g.key[:0], session...)
	}
	g.buf, err = llm.StrictPerformanceCodec.Append(g.buf[:0], e)
	return g.key, g.buf, err
}

// pace sends the events of a load at their turns, and returns when all are
// acknowledged.
func (g *generator) pace(ctx context.Context, c *kafka.Client, topic string) error {
	p, err := c.NewProducer(ctx, kafka.ProducerConfig{Linger: time.Millisecond})
	if err != nil {
		return err
	}
	defer p.Close()
	end := g.load.Rate * int64((g.load.WarmUp + g.load.For).Seconds())
	for tick := time.NewTicker(time.Millisecond); g.next < end; {
		for now := time.Now(); g.next < end && !g.turn().After(now); {
			key, value, err := g.event()
			if err != nil {
				return err
			}
			if err := p.Send(topic, codec.Partition(key, partitions), key, value, now.UnixMilli(), nil); err != nil {
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
