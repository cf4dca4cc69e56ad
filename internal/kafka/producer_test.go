package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/millrace/millrace/internal/embedded"
	"github.com/millrace/millrace/internal/kafka"
)

func TestRecordsComeBackAsTheyWereSent(t *testing.T) {
	for name, compression := range map[string]kafka.Compression{
		"lz4": kafka.LZ4, "none": kafka.Uncompressed, "snappy": kafka.Snappy, "zstd": kafka.Zstd, "gzip": kafka.Gzip,
	} {
		t.Run(name, func(t *testing.T) {
			overTCP(t, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
				c := e.client()
				p := e.producer(c, kafka.ProducerConfig{Compression: compression})
				sent := []struct {
					key, value []byte
					at         int64
					headers    []kafka.Header
				}{
					{[]byte("k"), []byte("v"), 1_700_000_000_000, nil},
					{nil, []byte("no key"), 0, nil},
					{[]byte("tombstone"), nil, 1_600_000_000_000, nil},
					{nil, nil, 5, []kafka.Header{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("null")}, {Key: []byte("empty"), Value: []byte{}}}},
					{[]byte{}, []byte{}, 1_700_000_000_001, nil},
				}
				for _, r := range sent {
					e.check(p.Send("in", 0, r.key, r.value, r.at, r.headers))
				}
				e.flush(p)
				got := newCollector()
				e.fetcher(c, kafka.FetchConfig{}).Add(tp("in", 0), 0, got)
				got.values(t, len(sent))
				for i, r := range got.records {
					want := sent[i]
					if r.Offset != int64(i) || r.Time != want.at || !equalBytes(r.Key, want.key) || !equalBytes(r.Value, want.value) {
						t.Errorf("record %d: got offset %d time %d key %q value %q, want time %d key %q value %q",
							i, r.Offset, r.Time, r.Key, r.Value, want.at, want.key, want.value)
					}
					if len(r.Headers) != len(want.headers) {
						t.Fatalf("record %d: %d headers, want %d", i, len(r.Headers), len(want.headers))
					}
					for j, h := range r.Headers {
						if !equalBytes(h.Key, want.headers[j].Key) || !equalBytes(h.Value, want.headers[j].Value) {
							t.Errorf("record %d header %d: got %q=%q, want %q=%q", i, j, h.Key, h.Value, want.headers[j].Key, want.headers[j].Value)
						}
					}
				}
			})
		})
	}
}

func TestALingeringBatchLeavesByItself(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		c := e.client()
		p := e.producer(c, kafka.ProducerConfig{Linger: 5 * time.Millisecond})
		got := newCollector()
		e.fetcher(c, kafka.FetchConfig{}).Add(tp("in", 0), 0, got)
		for i := range 3 { // the linger goroutine rests in between
			e.check(p.Send("in", 0, nil, []byte("v"), 1, nil))
			sent := time.Now()
			got.values(t, i+1)
			if took := time.Since(sent); took > 6*time.Millisecond {
				t.Errorf("record %d took %v, with a linger of 5 ms", i, took)
			}
		}
	})
}

func TestAckTellsWhatOthersWroteBetween(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 2}, func(t *testing.T, e *env) {
		c := e.client()
		mine, other := e.producer(c, kafka.ProducerConfig{}), e.producer(c, kafka.ProducerConfig{})
		send := func(p *kafka.Producer, n int) {
			for range n {
				e.check(p.Send("in", 1, nil, []byte("v"), 1, nil))
			}
			e.flush(p)
		}
		if _, ok := mine.TakeAck(tp("in", 1)); ok {
			t.Error("an ack before anything was sent")
		}
		send(mine, 3)
		send(mine, 2)
		if ack, ok := mine.TakeAck(tp("in", 1)); !ok || ack != (kafka.Ack{Base: 0, Next: 5, Records: 5}) || !ack.Contiguous() {
			t.Errorf("got %+v %v, want 5 records from 0", ack, ok)
		}
		send(mine, 1)
		send(other, 4)
		send(mine, 1)
		if ack, ok := mine.TakeAck(tp("in", 1)); !ok || ack != (kafka.Ack{Base: 5, Next: 11, Records: 2}) || ack.Contiguous() {
			t.Errorf("got %+v %v, want 2 records between 5 and 11, not contiguous", ack, ok)
		}
		if _, ok := mine.TakeAck(tp("in", 1)); ok {
			t.Error("an ack was given twice")
		}
	})
}

// TestRetriesKeepOrderAndRepeatNothing sends through every fault that a producer
// has to survive, one at a time, with several batches in flight.
func TestRetriesKeepOrderAndRepeatNothing(t *testing.T) {
	produce := []kmsg.Key{kmsg.Produce}
	faults := map[string]func(e *env){
		"leader moved": func(e *env) { e.check(e.cluster.Fake().MoveTopicPartition("in", 0, otherNode(e))) },
		"not leader": func(e *env) {
			e.cluster.Fake().Fault(kfake.Fault{Keys: produce, Err: kerr.NotLeaderForPartition, Count: 3})
		},
		"not enough replicas": func(e *env) {
			e.cluster.Fake().Fault(kfake.Fault{Keys: produce, Err: kerr.NotEnoughReplicas, Count: 2})
		},
		"stored and timed out": func(e *env) { e.cluster.Fake().Fault(kfake.Fault{Keys: produce, Err: kerr.RequestTimedOut, Count: 2}) },
		"stored, few replicas": func(e *env) {
			e.cluster.Fake().Fault(kfake.Fault{Keys: produce, Err: kerr.NotEnoughReplicasAfterAppend, Count: 1})
		},
		"topic not yet known": func(e *env) {
			e.cluster.Fake().Fault(kfake.Fault{Keys: produce, Err: kerr.UnknownTopicOrPartition, Count: 2})
		},
		"connection cut":         func(e *env) { e.cut(kmsg.Produce, 3) },
		"metadata not available": func(e *env) { e.cut(kmsg.Produce, 1); e.cut(kmsg.Metadata, 4) },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, map[string]int32{"in": 2}, func(t *testing.T, e *env) {
				const n = 2000
				c := e.client()
				p := e.producer(c, kafka.ProducerConfig{BatchBytes: 1000, Linger: time.Millisecond})
				for i := range n {
					if i%500 == 250 {
						fault(e)
					}
					e.check(p.Send("in", 0, nil, fmt.Append(nil, i), 1, nil))
					e.check(p.Send("in", 1, nil, fmt.Append(nil, i), 1, nil))
				}
				e.flush(p)
				f := e.fetcher(c, kafka.FetchConfig{})
				for partition := range int32(2) {
					got := newCollector()
					f.Add(tp("in", partition), 0, got)
					got.wait(t, "the end", func(c *collector) bool { return c.deliveries > 0 && c.last.AtEnd(kafka.ReadUncommitted) })
					expectEqual(t, tp("in", partition).String(), got.values(t, n), sequence(n))
					if ack, ok := p.TakeAck(tp("in", partition)); !ok || ack != (kafka.Ack{Base: 0, Next: n, Records: n}) {
						t.Errorf("partition %d: acknowledged %+v, want all %d", partition, ack, n)
					}
				}
			})
		})
	}
}

// TestTheFirstBatchKeepsItsTurn has a broker refuse the first batch of a partition
// while others wait behind it. Brokers up to Kafka 4.4 take any sequence number of
// a producer they have nothing of, so none may overtake it.
func TestTheFirstBatchKeepsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, err := embedded.Start(embedded.Config{
			Topics: map[string]int32{"in": 1}, Network: &kfake.VirtualNetwork{}, Options: []kfake.Opt{kfake.MaxVersions(kversion.V4_0_0())},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer cluster.Close()
		e := &env{t: t, cluster: cluster}
		c := e.client()
		p := e.producer(c, kafka.ProducerConfig{BatchBytes: 100})
		for round := range 2 { // the second time the broker knows the producer
			e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: 1})
			for i := range 100 {
				e.check(p.Send("in", 0, nil, fmt.Append(nil, round*100+i), 1, nil))
			}
			e.flush(p)
		}
		got := newCollector()
		e.fetcher(c, kafka.FetchConfig{}).Add(tp("in", 0), 0, got)
		expectEqual(t, "all", got.values(t, 200), sequence(200))
	})
}

// cut drops the connection of the next requests of a kind, unanswered.
func (e *env) cut(key kmsg.Key, times int) {
	for range times {
		e.cluster.Fake().ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			return nil, errors.New("cut"), true
		})
	}
}

// otherNode returns a node that does not lead partition 0.
func otherNode(e *env) int32 { return (e.cluster.Fake().LeaderFor("in", 0) + 1) % 3 }

func TestLostProducerStateIsFatalAndTyped(t *testing.T) {
	for name, code := range map[string]*kerr.Error{
		"out of order": kerr.OutOfOrderSequenceNumber, "unknown producer": kerr.UnknownProducerID, "old epoch": kerr.InvalidProducerEpoch,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
				p := e.producer(e.client(), kafka.ProducerConfig{})
				e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: code})
				e.check(p.Send("in", 0, nil, []byte("v"), 1, nil))
				if err := p.Flush(e.context()); !errors.Is(err, kafka.ErrProducerState) {
					t.Errorf("flush: got %v, want ErrProducerState", err)
				}
				if err := p.Send("in", 0, nil, []byte("v"), 1, nil); !errors.Is(err, kafka.ErrProducerState) {
					t.Errorf("send: got %v, want ErrProducerState", err)
				}
			})
		})
	}
}

func TestRefusedRecords(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		p := e.producer(e.client(), kafka.ProducerConfig{MaxRecordBytes: 2 << 20, Compression: kafka.Uncompressed})
		var tooLarge *kafka.RecordTooLargeError
		err := p.Send("in", 0, nil, make([]byte, 3<<20), 1, nil)
		if !errors.As(err, &tooLarge) || tooLarge.Topic != "in" || tooLarge.Size < 3<<20 || tooLarge.Limit != 2<<20 || !errors.Is(err, kafka.ErrRecordTooLarge) {
			t.Errorf("a record above the limit: got %v", err)
		}
		for _, at := range []int64{-1, 1 << 62} {
			if err := p.Send("in", 0, nil, nil, at, nil); !errors.Is(err, kafka.ErrInvalidTimestamp) {
				t.Errorf("time %d: got %v, want ErrInvalidTimestamp", at, err)
			}
		}
		e.check(p.Send("in", 0, nil, []byte("taken"), 1, nil))
		e.flush(p)

		e.check(p.Send("in", 0, nil, make([]byte, 3<<19), 1, nil)) // above the broker's limit
		if err := p.Flush(e.context()); !errors.As(err, &tooLarge) || tooLarge.Topic != "in" || tooLarge.Limit != 0 {
			t.Errorf("a batch that the broker refuses: got %v", err)
		}
	})
}

func TestAProducerGivesUpAfterTheRetryTimeout(t *testing.T) {
	bubble(t, 1, nil, func(t *testing.T, e *env) {
		p := e.producer(e.client(), kafka.ProducerConfig{})
		e.check(p.Send("missing", 0, nil, []byte("v"), 1, nil))
		began := time.Now()
		err := p.Flush(e.context())
		if !errors.Is(err, kafka.ErrUnavailable) || !errors.Is(err, kafka.ErrUnknownTopic) {
			t.Errorf("got %v, want ErrUnavailable and ErrUnknownTopic", err)
		}
		if took := time.Since(began); took < retryTimeout || took > retryTimeout+5*time.Second {
			t.Errorf("gave up after %v, want about %v", took, retryTimeout)
		}
	})
}

// TestWhatWaitsIsCountedAsItLiesInMemory: of small records what holds them is more
// than their bytes.
func TestWhatWaitsIsCountedAsItLiesInMemory(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		const n = 20_000
		p := e.producer(e.client(), kafka.ProducerConfig{Linger: time.Hour, BatchBytes: 64 << 20, BufferBytes: 64 << 20})
		before := heap()
		for range n {
			e.check(p.Send("in", 0, []byte("key"), []byte("value"), 1, []kafka.Header{{Key: []byte("h"), Value: []byte("v")}}))
		}
		grown, said := heap()-before, int64(p.Buffered())
		t.Logf("%d records: the heap grew by %d bytes each, %d are said to wait", n, grown/n, said/n)
		// Half of what a growing batch takes is what it has outgrown.
		if said < grown/3 || said > grown*3/2 {
			t.Errorf("the heap grew by %d bytes, and %d are said to wait", grown, said)
		}
	})
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestSendBlocksAtTheBoundAndCloseReleasesIt(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		c := e.client()
		p := e.producer(c, kafka.ProducerConfig{BufferBytes: 10_000, BatchBytes: 1000})
		fault := e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
		value := make([]byte, 500)
		result := make(chan error, 1)
		go func() {
			for range 100 {
				if err := p.Send("in", 0, nil, value, 1, nil); err != nil {
					result <- err
					return
				}
			}
			result <- nil
		}()
		select {
		case err := <-result:
			t.Fatalf("50 kB were taken into 10 kB: %v", err)
		case <-time.After(time.Second):
		}
		if n := p.Buffered(); n > 10_000 {
			t.Errorf("%d bytes are buffered, above the bound", n)
		}
		fault.Remove()
		e.check(<-result)
		e.flush(p)
		if n := p.Buffered(); n != 0 {
			t.Errorf("%d bytes are buffered after a flush", n)
		}

		e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
		go func() {
			for {
				if err := p.Send("in", 0, nil, value, 1, nil); err != nil {
					result <- err
					return
				}
			}
		}()
		select {
		case err := <-result:
			t.Fatalf("not blocked: %v", err)
		case <-time.After(time.Second):
		}
		p.Close()
		if err := <-result; !errors.Is(err, kafka.ErrClosed) {
			t.Errorf("a blocked Send got %v, want ErrClosed", err)
		}
	})
}

// swallowing is a connection that can be made to lose what is written to it.
type swallowing struct {
	net.Conn
	on atomic.Bool
}

func (s *swallowing) Write(b []byte) (int, error) {
	if s.on.Load() {
		return len(b), nil
	}
	return s.Conn.Write(b)
}

func TestADeadConnectionIsReplaced(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		var mu sync.Mutex
		var conns []*swallowing
		c := e.client(func(cfg *kafka.Config) {
			cfg.RequestTimeout = time.Second
			cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				inner, err := e.cluster.Dial(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				mu.Lock()
				defer mu.Unlock()
				conns = append(conns, &swallowing{Conn: inner})
				return conns[len(conns)-1], nil
			}
		})
		p := e.producer(c, kafka.ProducerConfig{BatchBytes: 100})
		send := func(from, to int) {
			for i := from; i < to; i++ {
				e.check(p.Send("in", 0, nil, fmt.Append(nil, i), 1, nil))
			}
			e.flush(p)
		}
		send(0, 50)
		mu.Lock()
		for _, s := range conns {
			s.on.Store(true)
		}
		mu.Unlock()
		began := time.Now()
		send(50, 100)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("recovery took %v, with a request timeout of 1 s", took)
		}
		got := newCollector()
		e.fetcher(c, kafka.FetchConfig{}).Add(tp("in", 0), 0, got)
		expectEqual(t, "all", got.values(t, 100), sequence(100))
	})
}
