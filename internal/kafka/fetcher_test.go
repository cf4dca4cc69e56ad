package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/internal/kafka"
)

// fill writes the values 0 to n-1, several batches of them, to a partition.
func (e *env) fill(c *kafka.Client, to kafka.TopicPartition, n int) {
	e.t.Helper()
	p, err := c.NewProducer(e.context(), kafka.ProducerConfig{BatchBytes: 400})
	e.check(err)
	defer p.Close()
	for i := range n {
		e.check(p.Send(to.Topic, to.Partition, nil, fmt.Append(nil, i), int64(i), nil))
	}
	e.flush(p)
}

func TestFetchBeginsInsideABatch(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		c := e.client()
		e.fill(c, tp("in", 0), 100)
		f := e.fetcher(c, kafka.FetchConfig{})
		for _, from := range []int{0, 1, 37, 99} {
			got := newCollector()
			f.Add(tp("in", 0), int64(from), got)
			expectEqual(t, fmt.Sprint("from ", from), got.values(t, 100-from), sequence(100)[from:])
			if r := got.records[0]; r.Offset != int64(from) || r.Time != int64(from) {
				t.Errorf("from %d: the first record is at offset %d, time %d", from, r.Offset, r.Time)
			}
		}
	})
}

func TestAnIdlePartitionIsAnsweredAtItsEnd(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		c := e.client()
		e.fill(c, tp("in", 0), 10)
		got := newCollector()
		e.fetcher(c, kafka.FetchConfig{MaxWait: 100 * time.Millisecond}).Add(tp("in", 0), 10, got)
		began := time.Now()
		got.wait(t, "ten empty answers", func(c *collector) bool { return c.deliveries == 10 })
		if took := time.Since(began); took < 900*time.Millisecond || took > 1100*time.Millisecond {
			t.Errorf("ten empty answers took %v, with a wait of 100 ms each", took)
		}
		d := got.last
		if d.Next != 10 || d.HighWatermark != 10 || d.LastStable != 10 || d.LogStart != 0 || !d.AtEnd(kafka.ReadUncommitted) || len(d.Batches) != 0 || !d.Time.Equal(time.Now()) {
			t.Errorf("got %+v", d)
		}
	})
}

func TestReadingGoesOnThroughFaults(t *testing.T) {
	fetch := []kmsg.Key{kmsg.Fetch}
	faults := map[string]func(e *env, c *kafka.Client){
		"leader moved": func(e *env, _ *kafka.Client) { e.check(e.cluster.Fake().MoveTopicPartition("in", 0, otherNode(e))) },
		"not leader": func(e *env, _ *kafka.Client) {
			e.cluster.Fake().Fault(kfake.Fault{Keys: fetch, Err: kerr.NotLeaderForPartition, Count: 3})
		},
		"fenced epoch": func(e *env, _ *kafka.Client) {
			e.cluster.Fake().Fault(kfake.Fault{Keys: fetch, Err: kerr.FencedLeaderEpoch, Count: 1})
		},
		"connection cut": func(e *env, _ *kafka.Client) { e.cut(kmsg.Fetch, 3) },
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, map[string]int32{"in": 2}, func(t *testing.T, e *env) {
				c := e.client()
				f := e.fetcher(c, kafka.FetchConfig{})
				got := [2]*collector{newCollector(), newCollector()}
				for i := range got {
					f.Add(tp("in", int32(i)), 0, got[i])
					got[i].wait(t, "the first answer", func(c *collector) bool { return c.deliveries > 0 })
				}
				fault(e, c)
				e.fill(c, tp("in", 0), 200)
				e.fill(c, tp("in", 1), 200)
				for i := range got {
					expectEqual(t, fmt.Sprint("partition ", i), got[i].values(t, 200), sequence(200))
					if len(got[i].errs) > 0 {
						t.Errorf("partition %d: a passing fault was reported: %v", i, got[i].errs)
					}
				}
			})
		})
	}
}

func TestOutOfRangeIsReportedAndNotReset(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		c := e.client()
		e.fill(c, tp("in", 0), 100)
		e.check(c.DeleteRecords(e.context(), map[kafka.TopicPartition]int64{tp("in", 0): 40}))
		f := e.fetcher(c, kafka.FetchConfig{})
		got := newCollector()
		f.Add(tp("in", 0), 10, got)
		got.wait(t, "the error", func(c *collector) bool { return len(c.errs) > 0 })
		if !errors.Is(got.errs[0], kafka.ErrOffsetOutOfRange) || got.last.Next != 10 {
			t.Errorf("got %v, next %d", got.errs[0], got.last.Next)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got.deliveries != 1 {
			t.Fatalf("%d deliveries while nobody decided", got.deliveries)
		}
		f.Seek(tp("in", 0), 40)
		expectEqual(t, "after seek", got.values(t, 60), sequence(100)[40:])
	})
}

func TestPauseHoldsOnePartitionOnly(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 2}, func(t *testing.T, e *env) {
		c := e.client()
		f := e.fetcher(c, kafka.FetchConfig{})
		paused, other := newCollector(), newCollector()
		f.Add(tp("in", 0), 0, paused)
		f.Add(tp("in", 1), 0, other)
		paused.wait(t, "the first answer", func(c *collector) bool { return c.deliveries > 0 })
		f.Pause(tp("in", 0))
		time.Sleep(time.Second) // what was asked for before the pause has come
		e.fill(c, tp("in", 0), 50)
		e.fill(c, tp("in", 1), 50)
		other.values(t, 50)
		time.Sleep(time.Minute + 11*time.Millisecond) // inside a wait for the idle partition
		if len(paused.records) != 0 {
			t.Fatalf("%d records of a paused partition", len(paused.records))
		}
		f.Resume(tp("in", 0))
		began := time.Now()
		expectEqual(t, "after resume", paused.values(t, 50), sequence(50))
		if took := time.Since(began); took > 25*time.Millisecond {
			t.Errorf("resuming took %v beside an idle partition", took)
		}
		f.Remove(tp("in", 0))
		was := paused.deliveries
		e.fill(c, tp("in", 0), 50)
		time.Sleep(time.Minute)
		if paused.deliveries != was {
			t.Error("a delivery after Remove")
		}
	})
}

func TestASilentBrokerIsReportedOnceAndReadAgainWhenItReturns(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		c := e.client()
		e.fill(c, tp("in", 0), 10)
		f := e.fetcher(c, kafka.FetchConfig{})
		got := newCollector()
		fault := e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.KafkaStorageError, Count: -1})
		f.Add(tp("in", 0), 0, got)
		began := time.Now()
		got.wait(t, "the error", func(c *collector) bool { return len(c.errs) > 0 })
		if took := time.Since(began); took < retryTimeout || took > retryTimeout+5*time.Second || !errors.Is(got.errs[0], kafka.ErrUnavailable) {
			t.Errorf("after %v: %v", took, got.errs[0])
		}
		time.Sleep(time.Minute)
		fault.Remove()
		expectEqual(t, "after the fault", got.values(t, 10), sequence(10))
		if len(got.errs) != 1 {
			t.Errorf("reported %d times: %v", len(got.errs), got.errs)
		}
	})
}

func TestAMissingTopicIsReportedAndReadOnceItIsThere(t *testing.T) {
	bubble(t, 1, nil, func(t *testing.T, e *env) {
		c := e.client()
		f := e.fetcher(c, kafka.FetchConfig{})
		got := newCollector()
		f.Add(tp("later", 0), 0, got)
		got.wait(t, "the error", func(c *collector) bool { return len(c.errs) > 0 })
		if !errors.Is(got.errs[0], kafka.ErrUnknownTopic) {
			t.Errorf("got %v", got.errs[0])
		}
		_, err := c.CreateTopic(e.context(), kafka.TopicSpec{Name: "later", Partitions: 1, Replication: -1})
		e.check(err)
		e.fill(c, tp("later", 0), 5)
		expectEqual(t, "later", got.values(t, 5), sequence(5))
		if len(got.errs) != 1 {
			t.Errorf("reported %d times", len(got.errs))
		}
	})
}

// TestReadCommitted interleaves aborted, committed and plain records of several
// producers, and one transaction that stays open.
func TestReadCommitted(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		ctx := e.context()
		writer := func(id string) *kgo.Client {
			opts := []kgo.Opt{
				kgo.SeedBrokers(e.cluster.Addrs()...), kgo.Dialer(e.cluster.Dial), kgo.RecordPartitioner(kgo.ManualPartitioner()),
				kgo.DisableClientMetrics(),
			}
			if id != "" {
				opts = append(opts, kgo.TransactionalID(id))
			}
			w, err := kgo.NewClient(opts...)
			e.check(err)
			t.Cleanup(w.Close)
			return w
		}
		write := func(w *kgo.Client, values ...string) {
			for _, v := range values {
				e.check(w.ProduceSync(ctx, &kgo.Record{Topic: "in", Value: []byte(v)}).FirstErr())
			}
		}
		end := func(w *kgo.Client, commit kgo.TransactionEndTry) { e.check(w.EndTransaction(ctx, commit)) }
		a, b, plain := writer("a"), writer("b"), writer("")

		e.check(a.BeginTransaction())
		e.check(b.BeginTransaction())
		write(a, "a aborts")
		write(b, "b commits 1")
		write(plain, "plain 1")
		write(a, "a aborts too")
		end(a, kgo.TryAbort)
		write(b, "b commits 2")
		e.check(a.BeginTransaction())
		write(a, "a commits")
		end(b, kgo.TryCommit)
		end(a, kgo.TryCommit)
		e.check(b.BeginTransaction())
		write(b, "b aborts at the end")
		end(b, kgo.TryAbort)

		c := e.client()
		f := e.fetcher(c, kafka.FetchConfig{Isolation: kafka.ReadCommitted})
		want := []string{"b commits 1", "plain 1", "b commits 2", "a commits"}
		for from := range int64(4) { // a fetch may begin inside an aborted transaction
			got := newCollector()
			f.Add(tp("in", 0), from, got)
			got.wait(t, "the end", func(c *collector) bool { return c.deliveries > 0 && c.last.AtEnd(kafka.ReadCommitted) })
			visible := want
			if from > 1 {
				visible = want[from-1:]
			}
			expectEqual(t, fmt.Sprint("read committed from ", from), got.values(t, len(visible)), visible)
			if got.last.Next != 11 || got.last.HighWatermark != 11 {
				t.Errorf("next %d of %d, want 11: seven records and four markers", got.last.Next, got.last.HighWatermark)
			}
		}
		all := newCollector()
		e.fetcher(c, kafka.FetchConfig{}).Add(tp("in", 0), 0, all)
		all.wait(t, "the end", func(c *collector) bool { return c.last.Next == 11 })
		if len(all.records) != 7 {
			t.Errorf("read uncommitted: %d records, want 7 without the markers", len(all.records))
		}

		e.check(b.BeginTransaction())
		write(b, "open")
		write(plain, "held back")
		held := newCollector()
		f.Add(tp("in", 0), 11, held)
		held.wait(t, "two answers", func(c *collector) bool { return c.deliveries >= 2 })
		if d := held.last; len(held.records) != 0 || d.Next != 11 || d.LastStable != 11 || d.HighWatermark != 13 || !d.AtEnd(kafka.ReadCommitted) {
			t.Errorf("before an open transaction: %d records, %+v", len(held.records), d)
		}
		end(b, kgo.TryCommit)
		expectEqual(t, "after the commit", held.values(t, 2), []string{"open", "held back"})
	})
}

// TestEmptyBatchesAreSteppedOver fetches what compaction leaves of an idempotent
// producer's last batch. It fails if a new sarama no longer keeps the offset where
// afterEmptyBatch looks.
func TestEmptyBatchesAreSteppedOver(t *testing.T) {
	const first, span, batches = 1000, 5, 2
	empty := func(offset int64) []byte {
		b := kmsg.RecordBatch{
			FirstOffset: offset, PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: span - 1, ProducerID: 1, FirstTimestamp: 1, MaxTimestamp: 1,
		}
		b.Length = int32(len(b.AppendTo(nil)) - 12) // what follows the offset and the length itself
		b.CRC = int32(castagnoli(b.AppendTo(nil)[21:]))
		return b.AppendTo(nil)
	}
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		for range batches {
			e.cluster.Fake().ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
				asked := request.(*kmsg.FetchRequest).Topics[0].Partitions[0].FetchOffset
				partition := kmsg.NewFetchResponseTopicPartition()
				partition.HighWatermark, partition.LastStableOffset = first+span*batches, first+span*batches
				partition.RecordBatches = empty(asked)
				topic := kmsg.NewFetchResponseTopic()
				topic.Topic, topic.Partitions = "in", append(topic.Partitions, partition)
				answer := request.ResponseKind().(*kmsg.FetchResponse)
				answer.Topics = append(answer.Topics, topic)
				return answer, nil, true
			})
		}
		got := newCollector()
		e.fetcher(e.client(), kafka.FetchConfig{}).Add(tp("in", 0), first, got)
		// The third answer is the cluster's own: its log is empty.
		got.wait(t, "the end of the empty batches", func(c *collector) bool { return c.deliveries > batches })
		if len(got.records) != 0 || got.last.Next != first+span*batches || !errors.Is(got.last.Err, kafka.ErrOffsetOutOfRange) {
			t.Errorf("after %d batches: %d records, next %d, %v", batches, len(got.records), got.last.Next, got.last.Err)
		}
	})
}

func TestCloseEndsAFetchUnderWay(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1}, func(t *testing.T, e *env) {
		c := e.client()
		f, err := c.NewFetcher(kafka.FetchConfig{MaxWait: 10 * time.Second})
		e.check(err)
		f.Add(tp("in", 0), 0, newCollector())
		time.Sleep(time.Second)
		began := time.Now()
		f.Close()
		if took := time.Since(began); took > 0 {
			t.Errorf("closing took %v", took)
		}
		f.Add(tp("in", 0), 0, newCollector()) // a late Add starts nothing; the leak check would tell
		ctx, cancel := context.WithCancel(e.context())
		cancel()
		if _, err := c.Partitions(ctx, "in"); !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
	})
}
