package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
)

// Key chooses what the events of a topic are keyed by.
type Key string

// The keys: 50 models, and sessions of 20 events each.
const (
	ByModel   Key = "model"
	BySession Key = "session"
)

// The rest of the load. Two milliseconds apart, ten million events are five and
// a half hours.
const (
	models          = 50
	spacing         = 2 // milliseconds
	disorder        = 60_000
	disorderShare   = 0.05
	sessionEvents   = 20
	unpricedShare   = 0.02
	judgedShare     = 0.2
	failedShare     = 0.005
	medianLatencyMS = 1800
	latencySigma    = 0.9
)

// Load says which events a topic gets.
type Load struct {
	Events int64
	Key    Key
	// Keys, if it is not 0, is how many keys there are in place of those of Key; each
	// event has any of them. They are UUIDs in text, as the names of users and sessions
	// often are: 36 bytes, of which compression takes away little more than half.
	Keys int64 `json:",omitempty"`
	Seed uint64
	// Span is the time from the first event to the last. Default: two milliseconds
	// an event.
	Span time.Duration `json:",omitempty"`
	// End is the time of the last event. With it equal loads are equal bytes.
	End time.Time
}

// generator makes the events of a Load, one after the other.
type generator struct {
	load   Load
	random *rand.Rand
	next   int64
	names  [models]string
	// active are the sessions that have events to come.
	active []session
	opened int
}

type session struct {
	name string
	left int
}

func newGenerator(l Load) *generator {
	g := &generator{load: l, random: rand.New(rand.NewPCG(l.Seed, 0x62656e6368))}
	for i := range g.names {
		g.names[i] = fmt.Sprintf("model-%02d", i)
	}
	return g
}

// event returns the next event and its key. An event that is out of order has
// a time up to a minute before its turn.
func (g *generator) event() (key string, e llm.Performance) {
	left := g.load.Events - 1 - g.next
	at := g.load.End.UnixMilli() - left*spacing
	if g.load.Span > 0 {
		at = g.load.End.UnixMilli() - int64(float64(g.load.Span.Milliseconds())*float64(left)/float64(g.load.Events))
	}
	g.next++
	if g.random.Float64() < disorderShare {
		at -= g.random.Int64N(disorder)
	}
	e = llm.Performance{
		Event:            llm.Event{Timestamp: at, Model: g.names[g.random.IntN(models)]},
		LatencyMS:        math.Round(medianLatencyMS*math.Exp(latencySigma*g.random.NormFloat64())*1000) / 1000,
		PromptTokens:     1 + g.random.Int64N(8000),
		CompletionTokens: 1 + g.random.Int64N(1000),
		Error:            g.random.Float64() < failedShare,
	}
	binary.BigEndian.PutUint64(e.RequestID[:8], g.random.Uint64())
	binary.BigEndian.PutUint64(e.RequestID[8:], g.random.Uint64())
	s := g.session()
	e.SessionID = llm.Some(s)
	if g.random.Float64() >= unpricedShare {
		e.CostUSD = llm.Some(float64(e.PromptTokens)*2e-6 + float64(e.CompletionTokens)*8e-6)
	}
	if g.random.Float64() < judgedShare {
		e.Quality = llm.Some(math.Round(g.random.Float64()*1000) / 1000)
	}
	switch {
	case g.load.Keys > 0:
		return uuidOf(g.random.Int64N(g.load.Keys)), e
	case g.load.Key == BySession:
		return s, e
	}
	return e.Model, e
}

// uuidOf returns the n-th of the keys.
func uuidOf(n int64) string {
	high, low := mix(2*uint64(n)), mix(2*uint64(n)+1)
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", high>>32, high>>16&0xffff, high&0xfff, low>>50|0x8000, low&(1<<48-1))
}

// mix is the finalizer of SplitMix64: other numbers give other ones.
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// session returns the session of an event: one of a thousand that are open.
func (g *generator) session() string {
	const open = 1000
	if len(g.active) < open {
		g.active = append(g.active, session{})
	}
	s := &g.active[g.random.IntN(len(g.active))]
	if s.left == 0 {
		*s = session{name: fmt.Sprintf("session-%07d", g.opened), left: sessionEvents}
		g.opened++
	}
	s.left--
	return s.name
}

// Generate makes a topic and writes a load to it, to the partitions that Kafka's
// own clients would choose. It waits until all of it is acknowledged.
func Generate(ctx context.Context, c *kafka.Client, topic string, partitions int32, l Load) error {
	made, err := c.CreateTopic(ctx, kafka.TopicSpec{Name: topic, Partitions: partitions, Replication: -1, Configs: keepForever()})
	if err != nil {
		return err
	}
	if !made {
		return fmt.Errorf("bench: topic %q exists; a load wants one of its own", topic)
	}
	producer, err := c.NewProducer(ctx, kafka.ProducerConfig{BatchBytes: 900 << 10, Linger: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	defer producer.Close()
	g := newGenerator(l)
	var key, value []byte
	for range l.Events {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name, e := g.event()
		key = append(key[:0], name...)
		if value, err = llm.StrictPerformanceCodec.Append(value[:0], e); err != nil {
			return err
		}
		if err := producer.Send(topic, codec.Partition(key, partitions), key, value, e.Timestamp, nil); err != nil {
			return err
		}
	}
	return producer.Flush(ctx)
}
