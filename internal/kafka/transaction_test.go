package kafka_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/internal/kafka"
)

func (e *env) transactional(c *kafka.Client, id string) *kafka.TransactionalProducer {
	e.t.Helper()
	p, err := c.NewTransactionalProducer(e.context(), kafka.TransactionConfig{ID: id, Timeout: time.Minute})
	e.check(err)
	e.t.Cleanup(p.Close)
	return p
}

// committed reads a partition to its last stable offset.
func (e *env) committed(c *kafka.Client, from kafka.TopicPartition) []string {
	e.t.Helper()
	f, err := c.NewFetcher(kafka.FetchConfig{Isolation: kafka.ReadCommitted})
	e.check(err)
	defer f.Close()
	got := newCollector()
	f.Add(from, 0, got)
	got.wait(e.t, "the last stable offset", func(c *collector) bool { return c.deliveries > 0 && c.last.AtEnd(kafka.ReadCommitted) })
	return got.values(e.t, 0)
}

// offsets is a commit of offset n by a member.
func offsets(joined kafka.Joined, n int) kafka.Commit {
	return kafka.Commit{
		Group: "g", MemberID: joined.MemberID, Generation: joined.Generation,
		Offsets: map[kafka.TopicPartition]kafka.Committed{tp("in", 0): {Offset: int64(n), Metadata: fmt.Sprint("at ", n)}},
	}
}

// expectOffset checks the group's settled position.
func (e *env) expectOffset(c *kafka.Client, n int) {
	e.t.Helper()
	got, err := c.CommittedOffsets(e.context(), "g", tp("in", 0))
	e.check(err)
	want := kafka.Committed{Offset: int64(n), Metadata: fmt.Sprint("at ", n)}
	if n == 0 {
		want = kafka.Committed{}
	}
	if got[tp("in", 0)] != want {
		e.t.Errorf("the group is at %+v, want %+v", got[tp("in", 0)], want)
	}
}

func TestATransactionIsSeenAsAWholeOrNotAtAll(t *testing.T) {
	bubble(t, 3, map[string]int32{"in": 1, "out": 2}, func(t *testing.T, e *env) {
		c := e.client()
		joined := e.rejoin(map[string]*kafka.Member{"m": e.member(c, "")})["m"]
		p := e.transactional(c, "tx")
		e.check(p.Commit(e.context())) // nothing to commit
		if p.Open() {
			t.Error("a transaction is open before anything was sent")
		}
		var want []string
		for round := range 3 {
			for partition := range int32(2) {
				e.check(p.Send("out", partition, nil, fmt.Append(nil, round), 1, nil))
			}
			if !p.Open() {
				t.Error("no transaction is open after a record")
			}
			e.flush(p.Producer)
			e.check(p.SendOffsets(e.context(), offsets(joined, round+1)))
			for partition := range int32(2) {
				expectEqual(t, "before the commit", e.committed(c, tp("out", partition)), want)
			}
			e.check(p.Commit(e.context()))
			want = append(want, fmt.Sprint(round))
			for partition := range int32(2) {
				expectEqual(t, "after the commit", e.committed(c, tp("out", partition)), want)
			}
			e.expectOffset(c, round+1)
		}
		if ack, ok := p.TakeAck(tp("out", 0)); !ok || ack != (kafka.Ack{Base: 0, Next: 5, Records: 3}) {
			t.Errorf("acknowledged %+v, want three records with two markers between", ack)
		}
		e.check(p.SendOffsets(e.context(), offsets(joined, 9))) // offsets alone are a transaction too
		e.check(p.Commit(e.context()))
		e.expectOffset(c, 9)
	})
}

// TestTransactionsSurviveFaults commits through every fault that passes, at every
// request of a transaction.
func TestTransactionsSurviveFaults(t *testing.T) {
	type fault = func(e *env, key kmsg.Key)
	answers := func(err *kerr.Error) fault {
		return func(e *env, key kmsg.Key) {
			e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: err, Count: 3})
		}
	}
	everywhere := map[string]fault{
		"loading":                   answers(kerr.CoordinatorLoadInProgress),
		"no coordinator":            answers(kerr.CoordinatorNotAvailable),
		"another coordinator":       answers(kerr.NotCoordinator),
		"concurrent transactions":   answers(kerr.ConcurrentTransactions),
		"done and timed out":        answers(kerr.RequestTimedOut),
		"cut before it was done":    func(e *env, key kmsg.Key) { e.cut(key, 3) },
		"the coordinator moves":     func(e *env, _ kmsg.Key) { e.cluster.Fake().RehashCoordinators() },
		"asking for it fails first": func(e *env, key kmsg.Key) { e.cut(key, 1); e.cut(kmsg.FindCoordinator, 2) },
	}
	requests := map[string]kmsg.Key{
		"init": kmsg.InitProducerID, "partitions": kmsg.AddPartitionsToTxn, "group": kmsg.AddOffsetsToTxn,
		"offsets": kmsg.TxnOffsetCommit, "end": kmsg.EndTxn,
	}
	run := func(name string, key kmsg.Key, f fault) {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, map[string]int32{"in": 1, "out": 2}, func(t *testing.T, e *env) {
				const n = 12
				c := e.client()
				joined := e.rejoin(map[string]*kafka.Member{"m": e.member(c, "")})["m"]
				f(e, key)
				p := e.transactional(c, "tx")
				for i := range n {
					if i%4 == 2 {
						f(e, key)
					}
					for partition := range int32(2) {
						e.check(p.Send("out", partition, nil, fmt.Append(nil, i), 1, nil))
					}
					e.check(p.SendOffsets(e.context(), offsets(joined, i+1)))
					e.check(p.Commit(e.context()))
				}
				for partition := range int32(2) {
					expectEqual(t, tp("out", partition).String(), e.committed(c, tp("out", partition)), sequence(n))
				}
				e.expectOffset(c, n)
			})
		})
	}
	for request, key := range requests {
		for name, f := range everywhere {
			run(request+"/"+name, key, f)
		}
	}
	run("partitions/topic not yet known", kmsg.AddPartitionsToTxn, answers(kerr.UnknownTopicOrPartition))
	run("partitions/not looked at", kmsg.AddPartitionsToTxn, answers(kerr.OperationNotAttempted))
	run("offsets/topic not yet known", kmsg.TxnOffsetCommit, answers(kerr.UnknownTopicOrPartition))
	run("produce/not leader", kmsg.Produce, answers(kerr.NotLeaderForPartition))
	run("produce/cut", kmsg.Produce, everywhere["cut before it was done"])
}

// lossy is a connection that is cut when the answer to a request of some kind
// comes: the broker has done what nobody hears of.
type lossy struct {
	net.Conn
	key   *atomic.Int32 // the kind whose next answer is lost; -1 for none
	armed atomic.Bool
}

func (l *lossy) Write(b []byte) (int, error) {
	if len(b) > 6 {
		if key := int32(binary.BigEndian.Uint16(b[4:])); l.key.CompareAndSwap(key, -1) {
			l.armed.Store(true)
		}
	}
	return l.Conn.Write(b)
}

func (l *lossy) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if l.armed.Load() {
		l.Close()
		return 0, io.EOF
	}
	return n, err
}

// TestAnAnswerThatIsLostChangesNothing has the broker do what is asked while the
// answer gets lost, at every request.
func TestAnAnswerThatIsLostChangesNothing(t *testing.T) {
	for name, key := range map[string]kmsg.Key{
		"init": kmsg.InitProducerID, "partitions": kmsg.AddPartitionsToTxn, "produce": kmsg.Produce, "group": kmsg.AddOffsetsToTxn,
		"offsets": kmsg.TxnOffsetCommit, "end": kmsg.EndTxn,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, map[string]int32{"in": 1, "out": 1}, func(t *testing.T, e *env) {
				const n = 6
				var lose atomic.Int32
				lose.Store(-1)
				c := e.client(func(cfg *kafka.Config) {
					cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
						conn, err := e.cluster.Dial(ctx, network, addr)
						return &lossy{Conn: conn, key: &lose}, err
					}
				})
				joined := e.rejoin(map[string]*kafka.Member{"m": e.member(c, "")})["m"]
				lose.Store(int32(key))
				p := e.transactional(c, "tx")
				for i := range n {
					if i%2 == 1 {
						lose.Store(int32(key))
					}
					e.check(p.Send("out", 0, nil, fmt.Append(nil, i), 1, nil))
					e.flush(p.Producer)
					e.check(p.SendOffsets(e.context(), offsets(joined, i+1)))
					e.check(p.Commit(e.context()))
					if name != "init" && lose.Load() != -1 {
						t.Fatal("no answer was lost")
					}
				}
				expectEqual(t, "out", e.committed(c, tp("out", 0)), sequence(n))
				e.expectOffset(c, n)
			})
		})
	}
}

// TestAnOlderProducerIsFencedAtEveryStep has a newer producer take the id over
// between two steps of the older one.
func TestAnOlderProducerIsFencedAtEveryStep(t *testing.T) {
	steps := []string{"before it begins", "with a record sent", "with offsets sent"}
	for i, name := range steps {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, map[string]int32{"in": 1, "out": 1}, func(t *testing.T, e *env) {
				c := e.client()
				joined := e.rejoin(map[string]*kafka.Member{"m": e.member(c, "")})["m"]
				old := e.transactional(c, "tx")
				var young *kafka.TransactionalProducer
				var err error
				for step, do := range []func() error{
					func() error { return nil },
					func() error {
						return errors.Join(old.Send("out", 0, nil, []byte("old"), 1, nil), old.Flush(e.context()))
					},
					func() error { return old.SendOffsets(e.context(), offsets(joined, 5)) },
					func() error { return old.Commit(e.context()) },
				} {
					if err = do(); err != nil {
						break
					}
					if step == i {
						young = e.transactional(c, "tx")
					}
				}
				if !errors.Is(err, kafka.ErrProducerFenced) || !errors.Is(err, kafka.ErrProducerState) {
					t.Fatalf("the older producer: %v, want ErrProducerFenced", err)
				}
				if err := old.Send("out", 0, nil, []byte("old"), 1, nil); !errors.Is(err, kafka.ErrProducerFenced) {
					t.Errorf("the older producer sends again: %v", err)
				}
				e.check(young.Send("out", 0, nil, []byte("young"), 1, nil))
				e.check(young.Commit(e.context()))
				expectEqual(t, "out", e.committed(c, tp("out", 0)), []string{"young"})
				e.expectOffset(c, 0)
			})
		})
	}
}

func TestFencingLetsReadersGoOn(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1, "out": 1}, func(t *testing.T, e *env) {
		c := e.client()
		joined := e.rejoin(map[string]*kafka.Member{"m": e.member(c, "")})["m"]
		gone := e.transactional(c, "gone")
		e.check(gone.Send("out", 0, nil, []byte("never"), 1, nil))
		e.check(gone.SendOffsets(e.context(), offsets(joined, 5)))
		e.flush(gone.Producer)
		gone.Close()
		e.fill(c, tp("out", 0), 3)

		expectEqual(t, "behind the open transaction", e.committed(c, tp("out", 0)), nil)
		stable := make(chan error, 1)
		go func() {
			_, err := c.CommittedOffsets(e.context(), "g", tp("in", 0))
			stable <- err
		}()
		select {
		case err := <-stable:
			t.Fatalf("offsets in an open transaction were taken for settled: %v", err)
		case <-time.After(5 * time.Second):
		}
		e.check(c.FenceProducer(e.context(), "gone"))
		e.check(<-stable)
		e.expectOffset(c, 0)
		expectEqual(t, "out", e.committed(c, tp("out", 0)), sequence(3))
		e.check(c.FenceProducer(e.context(), "never was"))
	})
}

// TestFencingWorksWhereTransactionsAreShort has brokers with a small
// transaction.max.timeout.ms.
func TestFencingWorksWhereTransactionsAreShort(t *testing.T) {
	bubble(t, 1, map[string]int32{"out": 1}, func(t *testing.T, e *env) {
		c := e.client()
		e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.InvalidTransactionTimeout, Count: -1, When: func(r kmsg.Request) bool {
			return r.(*kmsg.InitProducerIDRequest).TransactionTimeoutMillis > 5000
		}})
		gone, err := c.NewTransactionalProducer(e.context(), kafka.TransactionConfig{ID: "gone", Timeout: 5 * time.Second})
		e.check(err)
		e.check(gone.Send("out", 0, nil, []byte("never"), 1, nil))
		e.flush(gone.Producer)
		gone.Close()
		e.check(c.FenceProducer(e.context(), "gone"))
		e.fill(c, tp("out", 0), 3)
		expectEqual(t, "out", e.committed(c, tp("out", 0)), sequence(3))
	})
}

func TestATransactionIsFencedByItsTimeout(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1, "out": 1}, func(t *testing.T, e *env) {
		c := e.client()
		p, err := c.NewTransactionalProducer(e.context(), kafka.TransactionConfig{ID: "tx", Timeout: 5 * time.Second})
		e.check(err)
		defer p.Close()
		e.check(p.Send("out", 0, nil, []byte("too late"), 1, nil))
		e.flush(p.Producer)
		time.Sleep(time.Minute)
		if err := p.Commit(e.context()); !errors.Is(err, kafka.ErrProducerState) {
			t.Errorf("committed after the timeout: %v", err)
		}
		expectEqual(t, "out", e.committed(c, tp("out", 0)), nil)
	})
}

// TestOffsetsOfAZombieAreRefused sends offsets as a member that the group has left
// behind, and then, in the same transaction, as the one that it knows.
func TestOffsetsOfAZombieAreRefused(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 1, "out": 1}, func(t *testing.T, e *env) {
		c := e.client()
		m := e.member(c, "")
		before := e.rejoin(map[string]*kafka.Member{"m": m})["m"]
		now := e.rejoin(map[string]*kafka.Member{"m": m})["m"]
		if now.Generation == before.Generation {
			t.Fatal("the generation did not change")
		}
		p := e.transactional(c, "tx")
		e.check(p.Send("out", 0, nil, []byte("v"), 1, nil))
		if err := p.SendOffsets(e.context(), offsets(before, 1)); !errors.Is(err, kafka.ErrIllegalGeneration) {
			t.Errorf("an old generation: %v", err)
		}
		stranger := now
		stranger.MemberID = "stranger"
		if err := p.SendOffsets(e.context(), offsets(stranger, 1)); !errors.Is(err, kafka.ErrUnknownMember) {
			t.Errorf("an unknown member: %v", err)
		}
		for _, nobody := range []kafka.Joined{{Generation: 1}, {MemberID: "m", Generation: -1}} {
			if err := p.SendOffsets(e.context(), offsets(nobody, 1)); !errors.Is(err, kafka.ErrInvalidConfig) {
				t.Errorf("%+v: %v", nobody, err)
			}
		}
		e.check(p.SendOffsets(e.context(), offsets(now, 2)))
		e.check(p.Commit(e.context()))
		e.expectOffset(c, 2)
		expectEqual(t, "out", e.committed(c, tp("out", 0)), []string{"v"})
	})
}

// TestErrorsOfTransactionsAreTyped covers the answers after which a transaction
// cannot be committed.
func TestErrorsOfTransactionsAreTyped(t *testing.T) {
	steps := map[string]kmsg.Key{
		"partitions": kmsg.AddPartitionsToTxn, "produce": kmsg.Produce, "group": kmsg.AddOffsetsToTxn, "offsets": kmsg.TxnOffsetCommit, "end": kmsg.EndTxn,
	}
	for name, c := range map[string]struct {
		code *kerr.Error
		want error
	}{
		"old epoch": {kerr.InvalidProducerEpoch, kafka.ErrProducerFenced}, "invalid state": {kerr.InvalidTxnState, kafka.ErrProducerState},
		"abortable": {kerr.TransactionAbortable, kafka.ErrProducerState}, "no such id": {kerr.InvalidProducerIDMapping, kafka.ErrProducerState},
		"unauthorized": {kerr.TransactionalIDAuthorizationFailed, kafka.ErrUnauthorized},
	} {
		for step, key := range steps {
			t.Run(name+"/"+step, func(t *testing.T) {
				bubble(t, 1, map[string]int32{"in": 1, "out": 1}, func(t *testing.T, e *env) {
					client := e.client()
					joined := e.rejoin(map[string]*kafka.Member{"m": e.member(client, "")})["m"]
					p := e.transactional(client, "tx")
					e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: c.code, Count: -1})
					e.check(p.Send("out", 0, nil, []byte("v"), 1, nil))
					err := p.Flush(e.context())
					if err == nil {
						err = p.SendOffsets(e.context(), offsets(joined, 1))
					}
					if err == nil {
						err = p.Commit(e.context())
					}
					if !errors.Is(err, c.want) {
						t.Fatalf("got %v, want %v", err, c.want)
					}
					if p.Err() == nil {
						t.Error("the producer goes on")
					}
				})
			})
		}
	}
}

// TestAnOutcomeThatStaysUnknownIsSettledByTheNextProducer cuts every answer to a
// commit until the producer gives up.
func TestAnOutcomeThatStaysUnknownIsSettledByTheNextProducer(t *testing.T) {
	for name, key := range map[string]kmsg.Key{"never done": kmsg.EndTxn, "not even begun": kmsg.AddPartitionsToTxn} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, map[string]int32{"in": 1, "out": 1}, func(t *testing.T, e *env) {
				c := e.client()
				p := e.transactional(c, "tx")
				e.cluster.Fake().ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
					e.cluster.Fake().KeepControl()
					return nil, errors.New("cut"), true
				})
				e.check(p.Send("out", 0, nil, []byte("first"), 1, nil))
				began := time.Now()
				err := p.Commit(e.context())
				if !errors.Is(err, kafka.ErrUnavailable) || !errors.Is(p.Err(), kafka.ErrUnavailable) {
					t.Errorf("got %v and %v, want ErrUnavailable", err, p.Err())
				}
				if took := time.Since(began); took < retryTimeout/2 || took > retryTimeout+5*time.Second {
					t.Errorf("gave up after %v, want about %v", took, retryTimeout)
				}
				e.check(c.FenceProducer(e.context(), "tx"))
				expectEqual(t, "out", e.committed(c, tp("out", 0)), nil)
			})
		})
	}
}

func TestCloseEndsACommitUnderWay(t *testing.T) {
	for name, key := range map[string]kmsg.Key{"partitions": kmsg.AddPartitionsToTxn, "offsets": kmsg.TxnOffsetCommit, "end": kmsg.EndTxn} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, map[string]int32{"in": 1, "out": 1}, func(t *testing.T, e *env) {
				c := e.client()
				joined := e.rejoin(map[string]*kafka.Member{"m": e.member(c, "")})["m"]
				p := e.transactional(c, "tx")
				e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: kerr.CoordinatorLoadInProgress, Count: -1})
				ended := make(chan error, 1)
				go func() {
					err := p.Send("out", 0, nil, []byte("v"), 1, nil)
					if err == nil {
						err = p.SendOffsets(e.context(), offsets(joined, 1))
					}
					if err == nil {
						err = p.Commit(e.context())
					}
					ended <- err
				}()
				time.Sleep(2 * time.Second)
				p.Close()
				if err := <-ended; !errors.Is(err, kafka.ErrClosed) {
					t.Errorf("got %v, want ErrClosed", err)
				}
			})
		})
	}
}

func TestInvalidTransactions(t *testing.T) {
	bubble(t, 1, map[string]int32{"out": 1}, func(t *testing.T, e *env) {
		c := e.client()
		for _, cfg := range []kafka.TransactionConfig{
			{}, {ID: "tx", Timeout: -1}, {ID: "tx", ProducerConfig: kafka.ProducerConfig{Linger: -1}}, {ID: "tx", Timeout: 1000 * time.Hour},
		} {
			if _, err := c.NewTransactionalProducer(e.context(), cfg); !errors.Is(err, kafka.ErrInvalidConfig) {
				t.Errorf("%+v: got %v, want ErrInvalidConfig", cfg, err)
			}
		}
		if err := c.FenceProducer(e.context(), ""); !errors.Is(err, kafka.ErrInvalidConfig) {
			t.Errorf("fencing without an id: %v", err)
		}
	})
}

// TestManyPartitionsTakePart begins transactions on more partitions than one
// request names, over several brokers.
func TestManyPartitionsTakePart(t *testing.T) {
	bubble(t, 3, map[string]int32{"out": 64}, func(t *testing.T, e *env) {
		c := e.client()
		p := e.transactional(c, "tx")
		requests := e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, Observe: true, Count: -1})
		for round := range 3 {
			for partition := range int32(64) {
				e.check(p.Send("out", partition, nil, fmt.Append(nil, round), 1, nil))
			}
			e.check(p.Commit(e.context()))
		}
		for partition := range int32(64) {
			if got := e.committed(c, tp("out", partition)); !slices.Equal(got, sequence(3)) {
				t.Errorf("partition %d: %v", partition, got)
			}
		}
		if n := requests.Hits(); n > 3*4 {
			t.Errorf("%d requests for three transactions: partitions are not added together", n)
		}
	})
}
