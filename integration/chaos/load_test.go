//go:build integration

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The load: at each tick, each partition gets readings of the sensors that are its
// own. The next tick waits until all of them are acknowledged: no partition runs
// ahead of another by more than a tick, whatever the brokers do.
const (
	partitions    = 4
	groups        = 6
	sensors       = 40
	tick          = 50 * time.Millisecond
	perTick       = 2 // readings of each partition
	disorder      = 1500 * time.Millisecond
	behindShare   = 0.01
	behind        = 40 * time.Second
	closingBeyond = time.Minute
)

// load sends readings until it is ended, and remembers them.
type load struct {
	client *kgo.Client
	topic  string
	rnd    *rand.Rand
	begin  time.Time
	stop   chan struct{}
	done   chan struct{}

	mu    sync.Mutex // guards what follows, of which the load alone changes sent and ticks
	sent  []sent
	err   error
	ticks int64
}

// startLoad starts a load from a seed.
func startLoad(ctx context.Context, client *kgo.Client, topic string, seed uint64) *load {
	l := &load{
		client: client, topic: topic, rnd: rand.New(rand.NewPCG(seed, 'l')), begin: time.Now(),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	go func() {
		defer close(l.done)
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-l.stop:
				return
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if err := l.tick(ctx); err != nil {
				l.mu.Lock()
				l.err = err
				l.mu.Unlock()
				return
			}
		}
	}()
	return l
}

func (l *load) tick(ctx context.Context) error {
	now := l.begin.Add(time.Duration(l.ticks) * tick).UnixMilli()
	var batch []sent
	var records []*kgo.Record
	for p := range int32(partitions) {
		for range perTick {
			n := l.rnd.IntN(sensors/partitions)*partitions + int(p)
			r := reading{ID: int64(len(l.sent) + len(batch)), At: now - l.rnd.Int64N(disorder.Milliseconds()), Value: l.rnd.Int64N(1000)}
			if l.rnd.Float64() < behindShare {
				r.At, r.Behind = r.At-behind.Milliseconds(), true
			}
			s := sent{fmt.Sprintf("g%d-s%02d", n%groups, n), r}
			batch = append(batch, s)
			records = append(records, s.record(l.topic, p))
		}
	}
	if err := l.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, batch...)
	l.ticks++
	return nil
}

func (s sent) record(topic string, partition int32) *kgo.Record {
	value, err := json.Marshal(s.reading)
	if err != nil {
		panic(err) // integers always encode
	}
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(s.sensor), Value: value, Timestamp: time.UnixMilli(s.At)}
}

// end ends the load, closes all windows by a reading far ahead on each partition,
// and returns what was sent before.
func (l *load) end(ctx context.Context) ([]sent, error) {
	close(l.stop)
	<-l.done
	if l.err != nil {
		return nil, l.err
	}
	at := l.begin.Add(time.Duration(l.ticks)*tick + closingBeyond).UnixMilli()
	var records []*kgo.Record
	for p := range int32(partitions) {
		s := sent{fmt.Sprintf("%s-%d", closingGroup, p), reading{ID: -1, At: at}}
		records = append(records, s.record(l.topic, p))
	}
	return l.sent, l.client.ProduceSync(ctx, records...).FirstErr()
}

// failed returns why the load has ended by itself.
func (l *load) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
