package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/millrace/millrace/stores"
)

// remote is what several replicas write to.
type remote struct {
	mu   sync.Mutex
	held map[string]stores.Result
}

func newRemote() *remote { return &remote{held: map[string]stores.Result{}} }

func (r *remote) write(results []stores.Result) (out stores.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, result := range results {
		id := fmt.Sprint(string(result.Key), "@", result.Start)
		if before, ok := r.held[id]; ok && result.Version.Before(before.Version) {
			out.Stale++
			continue
		}
		r.held[id] = result
	}
	return out
}

// values returns the values by key and window.
func (r *remote) values() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	values := map[string]string{}
	for id, result := range r.held {
		values[id] = string(result.Value)
	}
	return values
}

// fakeReplica is one process's way to a remote.
type fakeReplica struct {
	to *remote
	// before is called before each write, which fails with what it returns.
	before func(ctx context.Context) error

	mu     sync.Mutex
	stale  int
	writes [][]stores.Result
	closed bool
}

func (f *fakeReplica) Write(ctx context.Context, results []stores.Result) (stores.Outcome, error) {
	if f.before != nil {
		if err := f.before(ctx); err != nil {
			return stores.Outcome{}, err
		}
	}
	out := f.to.write(results)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stale += out.Stale
	f.writes = append(f.writes, results)
	return out, nil
}

func (f *fakeReplica) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// lastResults are the last values of the results topic by key and window, in the
// form of remote.values.
func (w *world) lastResults() map[string]string {
	w.t.Helper()
	last := map[string]string{}
	for _, r := range w.read("results") {
		start, _, _ := strings.Cut(string(r.Value), " ")
		last[string(r.Key)+"@"+start] = string(r.Value)
	}
	return last
}

func TestTheReplicaHasTheLastResults(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 1, topics(), func(w *world) {
				w.guarantee = guarantee
				w.write(rows(300, partitions, time.Now().Add(-10*time.Hour))...)
				replica := &fakeReplica{to: newRemote()}
				w.start("a", newDisk(), counts(t), func(c *Config) { c.UntilEnd, c.Replica = true, replica }).wait()
				if got, want := replica.to.values(), w.lastResults(); len(want) == 0 || !maps.Equal(got, want) {
					t.Errorf("the replica has %d results, the topic %d: %v, want %v", len(got), len(want), got, want)
				}
				if !replica.closed {
					t.Error("the replica was not closed")
				}
			})
		})
	}
}

// TestAnOwnerThatWakesDoesNotOverwrite: what a commit has made stands before the
// replica while the group gives the tasks to another instance, which goes on.
func TestAnOwnerThatWakesDoesNotOverwrite(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 1, topics(), func(w *world) {
				w.guarantee = guarantee
				to, asleep := newRemote(), make(chan struct{})
				sleepy := &fakeReplica{to: to, before: func(context.Context) error {
					<-asleep
					return nil
				}}
				// The windows take late events for 2 s, which change what was sent.
				base := time.Now().Truncate(windowSize)
				old := func(n int, at time.Duration) []event {
					var events []event
					for p := range int32(partitions) {
						for range n {
							events = append(events, count(p, partitionKey(p), base.Add(at)))
						}
					}
					return events
				}
				a := w.start("a", newDisk(), counts(t), func(c *Config) { c.Replica = sleepy })
				w.settled(tasks, a)
				w.write(old(1, 0)...)
				w.write(old(1, windowSize+6*time.Second)...) // the delay is 5 s
				waiting := func() bool { return a.in.replication.bytes() > 0 }
				w.until("a has committed results", waiting)
				b := w.start("b", newDisk(), counts(t), func(c *Config) { c.Replica = &fakeReplica{to: to} })
				a.wire.freeze()
				w.settled(tasks, b)
				w.write(old(3, time.Second)...) // late
				w.write(old(1, 2*windowSize+20*time.Second)...)
				w.until("b's results are there", func() bool { return len(to.values()) >= partitions })
				close(asleep)
				a.wire.unfreeze()
				b.stop()
				a.stop()
				if got, want := to.values(), w.lastResults(); !maps.Equal(got, want) {
					t.Errorf("the replica has %v, the topic %v", got, want)
				}
				if sleepy.stale == 0 {
					t.Error("the old owner had nothing stale to write: the test shows nothing")
				}
			})
		})
	}
}

// newTestReplication makes one on its own.
func newTestReplication(replica stores.Replica, log *slog.Logger) *replication {
	return newReplication(Config{Application: "app", Memory: 32 << 20, Replica: replica}, log)
}

func result(key string, position int64, size int) stores.Result {
	return stores.Result{Store: "s", Key: []byte(key), Value: make([]byte, size), Version: stores.Version{Position: position}}
}

func TestOnlyTheLatestResultWaits(t *testing.T) {
	r := newTestReplication(&fakeReplica{to: newRemote()}, slog.New(slog.DiscardHandler))
	r.offer([]stores.Result{result("a", 1, 10), result("b", 1, 10)})
	r.offer([]stores.Result{result("a", 3, 20)})
	r.offer([]stores.Result{result("a", 2, 500)}) // of a task that was here before
	batch := r.take()
	if len(batch) != 2 || string(batch[0].Key) != "a" || batch[0].Version.Position != 3 {
		t.Fatalf("waiting: %+v", batch)
	}
	// While they are under way a newer one comes.
	r.offer([]stores.Result{result("b", 4, 30)})
	r.release(batch, true)
	again := r.take()
	if len(again) != 2 || string(again[0].Key) != "a" || again[1].Version.Position != 4 {
		t.Errorf("after a failure: %+v", again)
	}
	r.release(again, false)
	if held := r.bytes(); held != 0 {
		t.Errorf("%d bytes are held by nothing", held)
	}
}

// TestWhatWaitsForTheReplicaIsBounded: the oldest results are dropped, and told.
func TestWhatWaitsForTheReplicaIsBounded(t *testing.T) {
	r := newTestReplication(&fakeReplica{to: newRemote()}, slog.New(slog.DiscardHandler))
	const n = 100
	for i := range n {
		r.offer([]stores.Result{result(fmt.Sprint("k", i), int64(i), 64<<10)})
		if held := r.bytes(); held > r.limit {
			t.Fatalf("%d bytes wait, the limit is %d", held, r.limit)
		}
	}
	dropped := testutil.ToFloat64(r.metrics.results.WithLabelValues("dropped"))
	batch := r.take()
	if dropped == 0 || int(dropped)+len(batch) != n {
		t.Errorf("of %d results %d wait and %v are said to be dropped", n, len(batch), dropped)
	}
	if last := batch[len(batch)-1]; string(last.Key) != fmt.Sprint("k", n-1) {
		t.Errorf("the newest was dropped: the last is %s", last.Key)
	}
}

// TestAReplicaThatIsAwayIsToldOnceAndCatchesUp also shows that nobody waits.
func TestAReplicaThatIsAwayIsToldOnceAndCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &eventLog{began: time.Now()}
		began := time.Now()
		replica := &fakeReplica{to: newRemote()}
		replica.before = func(context.Context) error {
			if time.Since(began) < 10*time.Second {
				return errors.New("connection refused")
			}
			return nil
		}
		r := newTestReplication(replica, log.logger("a", slog.LevelInfo))
		stop := r.start()
		for i := range 10 {
			r.offer([]stores.Result{result("a", int64(i), 10), result(fmt.Sprint("k", i), int64(i), 10)})
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("who offers waited %v", waited)
		}
		synctest.Wait()
		if up := testutil.ToFloat64(r.metrics.up); up != 0 {
			t.Error("the metric says that the replica is up")
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := len(replica.to.values()); n != 11 {
			t.Errorf("%d results are there, want 11", n)
		}
		stop()
		if down, back := log.count("takes no results"), log.count("takes results again"); down != 1 || back != 1 {
			t.Errorf("told %d times that it went and %d times that it came back:\n%s", down, back, log)
		}
	})
}

// TestAStopDoesNotWaitForAReplicaThatIsAway, and waits a little for one that hangs.
func TestAStopDoesNotWaitForAReplicaThatIsAway(t *testing.T) {
	for name, c := range map[string]struct {
		before func(context.Context) error
		within time.Duration
	}{
		"refused": {func(context.Context) error { return errors.New("connection refused") }, 0},
		"silent": {func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}, replicaDrain},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTestReplication(&fakeReplica{to: newRemote(), before: c.before}, slog.New(slog.DiscardHandler))
				stop := r.start()
				r.offer([]stores.Result{result("a", 1, 10)})
				synctest.Wait()
				began := time.Now()
				stop()
				if took := time.Since(began); took > c.within {
					t.Errorf("the stop took %v", took)
				}
			})
		})
	}
}

// TestABoundedRunWaitsForAReplicaThatIsAway for a time: what it has made is written
// when the replica is back, and given up if it is not.
func TestABoundedRunWaitsForAReplicaThatIsAway(t *testing.T) {
	for back, left := range map[time.Duration]int{replicaDrainAll / 2: 0, 2 * replicaDrainAll: 1} {
		t.Run(back.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				replica := &fakeReplica{to: newRemote(), before: func(context.Context) error {
					if time.Since(began) < back {
						return errors.New("connection refused")
					}
					return nil
				}}
				r := newReplication(Config{Application: "app", Memory: 32 << 20, Replica: replica, UntilEnd: true}, slog.New(slog.DiscardHandler))
				stop := r.start()
				r.offer([]stores.Result{result("a", 1, 10)})
				stop()
				if took := time.Since(began); r.left() != left || took > min(back+replicaMostPause, replicaDrainAll) {
					t.Errorf("%d results are left, want %d; the stop took %v", r.left(), left, took)
				}
			})
		})
	}
}
