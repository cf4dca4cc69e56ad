package streams

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// inTransactions runs a test in a bubble with instances that work exactly once.
func inTransactions(t *testing.T, nodes int, test func(w *world)) {
	t.Helper()
	inWorld(t, nodes, topics(), func(w *world) {
		w.guarantee = ExactlyOnce
		test(w)
	})
}

// audit stops the processes, runs one to the end, and expects each window to be
// counted once, and databases that hold what their changelogs do.
func (w *world) audit(l *load, processes ...*process) {
	w.t.Helper()
	want := l.end()
	for _, p := range processes {
		p.stop()
	}
	w.drain()
	w.expectOnce(want)
	changelogs, top := logs{}, counts(w.t)
	for _, p := range processes {
		if _, err := w.checkDisk(p.disk, top, changelogs); err != nil {
			w.t.Errorf("disk of %s: %v", p.name, err)
		}
	}
}

var exactlyOnceSteps = []string{stepChangelog, stepFlush, stepOffsets, stepEnd, stepState, stepDone}

// TestACrashBetweenTwoStepsCountsNothingTwice kills a process between each pair of
// steps of a commit, the leader of the group or the other one, and starts it again
// with or without its disk. What it has left open is aborted by the survivor, long
// before the transaction's timeout.
func TestACrashBetweenTwoStepsCountsNothingTwice(t *testing.T) {
	for i, step := range exactlyOnceSteps {
		t.Run(step, func(t *testing.T) {
			inTransactions(t, 3, func(w *world) {
				l := w.startLoad(partitions, 20*time.Millisecond)
				top := counts(t)
				var victim atomic.Pointer[process]
				disk, crashed := newDisk(), make(chan struct{})
				var a *process
				start := func() { a = w.start("a", newDisk(), top, nil) }
				if i%3 > 0 {
					start()
					w.settled(tasks, a)
				}
				b := w.start("b", newDisk(), top, func(c *Config) {
					c.TransactionTimeout = 10 * time.Minute
					var commits atomic.Int32
					c.hooks.step = func(_ int, at string) error {
						if p := victim.Load(); p != nil && at == step && commits.Add(1) == 3 {
							if left := p.kill(); i%2 == 0 {
								disk = left
							}
							close(crashed)
							return errDead
						}
						return nil
					}
				})
				if i%3 == 0 { // it leads
					w.settled(tasks, b)
					start()
				}
				w.settled(tasks, a, b)
				w.pass(2 * time.Second)
				victim.Store(b)
				<-crashed
				began := time.Now()
				w.settled(tasks, a)
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("the survivor took over after %v, with a session timeout of 6 s", took)
				}
				w.pass(time.Second)
				b = w.start("b", disk, top, nil)
				w.settled(tasks, a, b)
				w.pass(time.Second)
				w.audit(l, a, b)
			})
		})
	}
}

// brokerFault is how a broker fails requests of a transaction.
type brokerFault struct {
	name  string
	err   *kerr.Error // nil for a connection that is cut
	times int
	// thrown says that the worker's tasks are thrown away.
	thrown bool
}

var brokerFaults = []brokerFault{
	{"fenced", kerr.InvalidProducerEpoch, 1, true},
	{"invalid state", kerr.InvalidTxnState, 1, true},
	{"abortable", kerr.TransactionAbortable, 1, true},
	{"markers are being written", kerr.ConcurrentTransactions, 5, false},
	{"another coordinator", kerr.NotCoordinator, 3, false},
	{"done and timed out", kerr.RequestTimedOut, 2, false},
	{"cut", nil, 3, false},
}

// refuse has brokers refuse requests of transactions, and waits until they have.
func (w *world) refuse(key kmsg.Key, r brokerFault) {
	w.t.Helper()
	var done atomic.Int32
	ours := func(req kmsg.Request) bool {
		if produce, ok := req.(*kmsg.ProduceRequest); ok && produce.TransactionID == nil {
			return false // the test's own
		}
		done.Add(1)
		return true
	}
	if r.err != nil {
		w.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: r.err, Count: r.times, When: ours})
	} else {
		for range r.times {
			w.cluster.Fake().ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
				return nil, errors.New("cut"), ours(req)
			})
		}
	}
	if key == kmsg.InitProducerID { // which follows on a commit that failed
		w.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.InvalidTxnState})
	}
	w.until(r.name, func() bool { return done.Load() >= int32(r.times) })
}

// TestEveryFaultOfACommitCountsNothingTwice has brokers refuse, delay and cut
// each request of a transaction.
func TestEveryFaultOfACommitCountsNothingTwice(t *testing.T) {
	for name, key := range map[string]kmsg.Key{
		"init": kmsg.InitProducerID, "partitions": kmsg.AddPartitionsToTxn, "produce": kmsg.Produce, "group": kmsg.AddOffsetsToTxn,
		"offsets": kmsg.TxnOffsetCommit, "end": kmsg.EndTxn,
	} {
		t.Run(name, func(t *testing.T) {
			inTransactions(t, 3, func(w *world) {
				l := w.startLoad(partitions, 20*time.Millisecond)
				a := w.start("a", newDisk(), counts(t), nil)
				w.settled(tasks, a)
				w.pass(time.Second)
				for _, r := range brokerFaults {
					if key == kmsg.InitProducerID && r.thrown {
						continue // not an answer to it
					}
					before := w.log.count("throwing tasks away")
					w.refuse(key, r)
					w.pass(time.Second)
					w.settled(tasks, a)
					thrown := w.log.count("throwing tasks away") > before
					if thrown != (r.thrown || key == kmsg.InitProducerID) {
						t.Errorf("%s: tasks were thrown away: %v", r.name, thrown)
					}
				}
				w.audit(l, a)
			})
		})
	}
}

// TestAMemberThatJoinsOrLeavesCountsNothingTwice moves tasks to and fro while
// transactions are open.
func TestAMemberThatJoinsOrLeavesCountsNothingTwice(t *testing.T) {
	inTransactions(t, 3, func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top := counts(t)
		a := w.start("a", newDisk(), top, nil)
		w.settled(tasks, a)
		for range 3 {
			b := w.start("b", newDisk(), top, nil)
			w.settled(tasks, a, b)
			w.pass(time.Second)
			b.stop()
			w.settled(tasks, a)
			w.pass(time.Second)
		}
		if n := w.log.count("throwing tasks away"); n > 0 {
			t.Errorf("tasks were thrown away %d times, though no commit failed", n)
		}
		w.audit(l, a)
	})
}

// TestAZombieCommitsNothing freezes a member at each step of a commit until
// others have its tasks, and wakes it.
func TestAZombieCommitsNothing(t *testing.T) {
	for _, step := range exactlyOnceSteps[:4] {
		t.Run(step, func(t *testing.T) {
			inTransactions(t, 3, func(w *world) {
				l := w.startLoad(partitions, 20*time.Millisecond)
				top := counts(t)
				var victim atomic.Pointer[process]
				frozen := make(chan struct{})
				a := w.start("a", newDisk(), top, nil)
				b := w.start("b", newDisk(), top, func(c *Config) {
					c.hooks.step = func(_ int, at string) error {
						if p := victim.Load(); p != nil && at == step && victim.CompareAndSwap(p, nil) {
							p.wire.freeze()
							close(frozen)
						}
						return nil
					}
				})
				w.settled(tasks, a, b)
				w.pass(2 * time.Second)
				victim.Store(b)
				<-frozen
				w.until("a runs everything", func() bool { return a.running() == tasks })
				w.pass(2 * time.Second)
				b.wire.unfreeze()
				w.until("b is told that it was expelled", func() bool { return w.log.count("expelled from the group") > 0 })
				w.settled(tasks, a, b)
				w.pass(time.Second)
				w.audit(l, a, b)
			})
		})
	}
}

// TestOffsetsThatARebalanceRefusesAreSentAgain refuses the offsets of a
// transaction as a coordinator does while the member's own join is under way.
func TestOffsetsThatARebalanceRefusesAreSentAgain(t *testing.T) {
	inTransactions(t, 1, func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		a := w.start("a", newDisk(), counts(t), nil)
		w.settled(tasks, a)
		w.pass(time.Second)
		for _, err := range []*kerr.Error{kerr.RebalanceInProgress, kerr.IllegalGeneration} {
			refused := w.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: err})
			w.until("offsets are refused", func() bool { return refused.Hits() == 1 })
			w.pass(2 * time.Second)
		}
		if n := w.log.count("throwing tasks away"); n > 0 {
			t.Errorf("tasks that stayed were thrown away %d times", n)
		}
		refused := w.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.UnknownMemberID})
		w.until("the member is unknown", func() bool { return refused.Hits() == 1 })
		w.pass(2 * time.Second)
		w.settled(tasks, a)
		w.audit(l, a)
	})
}

// TestNoTransactionStaysOpenWhileNothingComes looks at all partitions when there
// is nothing to read: markers and results that time makes due are committed.
func TestNoTransactionStaysOpenWhileNothingComes(t *testing.T) {
	inTransactions(t, 1, func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		a := w.start("a", newDisk(), counts(t), nil)
		w.settled(tasks, a)
		w.pass(3 * time.Second)
		want := l.end()
		open := func() (n int) {
			for _, topic := range []string{"results", "counts-by-key-repartition", "counts-counts-changelog"} {
				for _, p := range w.cluster.Fake().PartitionInfos(topic) {
					if p.LastStableOffset < p.HighWatermark {
						n++
					}
				}
			}
			return n
		}
		// Markers are repeated, so that a transaction may be open at any moment, but
		// none for longer than a commit takes to come.
		for range 100 {
			began := time.Now()
			for open() > 0 {
				w.pass(10 * time.Millisecond)
				if time.Since(began) > time.Second {
					t.Fatal("a transaction stays open")
				}
			}
			w.pass(333 * time.Millisecond)
		}
		a.stop()
		w.drain()
		w.expectOnce(want)
	})
}

// TestAnInstanceThatFailsLeavesNoTransactionOpen ends an instance by an error
// while transactions are open.
func TestAnInstanceThatFailsLeavesNoTransactionOpen(t *testing.T) {
	inTransactions(t, 1, func(w *world) {
		failed := errors.New("failed by the test")
		var fail atomic.Bool
		l := w.startLoad(partitions, 20*time.Millisecond)
		a := w.start("a", newDisk(), counts(t), func(c *Config) {
			c.TransactionTimeout = 10 * time.Minute
			c.hooks.step = func(_ int, at string) error {
				if fail.Load() && at == stepOffsets {
					return failed
				}
				return nil
			}
		})
		w.settled(tasks, a)
		w.pass(time.Second)
		fail.Store(true)
		if err := a.result(); !errors.Is(err, failed) {
			t.Fatalf("ended with %v", err)
		}
		want := l.end()
		w.drain()
		w.expectOnce(want)
	})
}

func TestInvalidGuarantees(t *testing.T) {
	base := Config{Brokers: []string{"127.0.0.1:1"}}
	for name, change := range map[string]func(*Config){
		"unknown": func(c *Config) { c.Guarantee = "sometimes" },
		"timeout too short": func(c *Config) {
			c.Guarantee, c.CommitInterval, c.TransactionTimeout = ExactlyOnce, time.Second, time.Second
		},
	} {
		cfg := base
		change(&cfg)
		if _, err := New(counts(t), cfg); !errors.Is(err, ErrInvalidConfig) {
			t.Errorf("%s: got %v, want ErrInvalidConfig", name, err)
		}
	}
	once := base
	once.Guarantee = ExactlyOnce
	cfg, err := once.resolve(counts(t))
	if err != nil || cfg.CommitInterval != 100*time.Millisecond {
		t.Errorf("exactly once commits every %v, %v", cfg.CommitInterval, err)
	}
}
