//go:build integration

package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streams"
)

// TestStateIsNeverAheadOfTheChangelog kills a process at random points of its
// commits, fifty times unless the machine is slow, and after each kill compares
// what is on its disk with the changelog topics.
func TestStateIsNeverAheadOfTheChangelog(t *testing.T) { stateIsNeverAhead(t, 50, 2*time.Minute) }

// stateIsNeverAhead runs as many seeds as fit into the time.
func stateIsNeverAhead(t *testing.T, seeds uint64, limit time.Duration) {
	c := newCluster(t)
	l := c.startLedger("ahead", 2)
	l.spec.Durable = true
	began := time.Now()
	var ran, between int
	var sum comparison
	for seed := range seeds {
		if time.Since(began) > limit {
			break
		}
		ran++
		random := rand.New(rand.NewPCG(seed, 1))
		spec := l.spec
		if seed%2 == 0 {
			// Between the changelog's acknowledgement and the batch.
			spec.KillStep = []string{"offsets", "state"}[random.IntN(2)]
			spec.KillCommit = 1 + random.IntN(12)
		}
		w := startWorker(t, spec)
		if spec.KillStep != "" {
			<-w.ended
		} else {
			w.await("holding a task", func(events []event) bool { return len(tasksIn(events)) > 0 })
			pass(time.Duration(random.IntN(1500)) * time.Millisecond)
			w.kill()
		}
		c.evict(l.spec.Application)
		state := l.compare(t)
		sum.add(state)
		step := lastSteps(w.history())
		if (step["offsets"] > 0 || spec.KillStep == "state" && step["state"] > 0) && state.behind > 0 {
			between++
		}
		if t.Failed() {
			t.Fatalf("seed %d, killed in %v, ended by %v", seed, step, w.err)
		}
	}
	if between == 0 {
		t.Errorf("in %d runs no kill fell between the changelog's acknowledgement and the batch", ran)
	}
	t.Logf("%d seeds of %d in %v: %d entries of %d stores compared; %d kills between acknowledgement and batch; at most %d changelog records not yet on disk",
		ran, seeds, time.Since(began).Round(time.Second), sum.entries, sum.stores, between, sum.behind)
	l.finish(t)
}

// TestStateReaderSeesStateThatIsAhead breaks the order of commits, and expects
// the comparison of TestStateIsNeverAheadOfTheChangelog to find it.
func TestStateReaderSeesStateThatIsAhead(t *testing.T) {
	c := newCluster(t)
	l := c.startLedger("mutant", 2)
	l.spec.Durable, l.spec.StateFirst, l.spec.KillStep, l.spec.KillCommit = true, true, "changelog", 6
	w := startWorker(t, l.spec)
	<-w.ended
	diffs := l.differences(t)
	if len(diffs.found) == 0 {
		t.Fatalf("a process that writes its state before the changelog was killed in between (%v), and nothing was found in %d entries",
			lastSteps(w.history()), diffs.entries)
	}
	t.Logf("found %d, first: %s", len(diffs.found), diffs.found[0])
}

// lastSteps counts the workers by the step that they had begun last.
func lastSteps(events []event) map[string]int {
	of := map[string]string{}
	for _, e := range events {
		if e.Kind == "step" {
			of[e.Task] = e.What
		}
	}
	steps := map[string]int{}
	for _, step := range of {
		steps[step]++
	}
	return steps
}

// pass lets real time pass: a process is to be killed at no particular point.
func pass(d time.Duration) { <-time.After(d) }

// ledgerRun is the ledger under a steady load.
type ledgerRun struct {
	c          *cluster
	spec       workerSpec
	partitions int32
	stop       func() (sent int64)
}

// startLedger makes the ledger's topic and begins to write to it.
func (c *cluster) startLedger(name string, partitions int32) *ledgerRun {
	c.t.Helper()
	l := &ledgerRun{c: c, partitions: partitions, spec: workerSpec{
		Brokers: c.brokers, Application: c.name(name), Topology: "ledger", Topic: c.name(name + "-events"),
		StateDir: c.t.TempDir(), CommitInterval: 100 * time.Millisecond,
	}}
	c.create(l.spec.Topic, partitions)
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan int64)
	go func() { done <- l.load(ctx) }()
	var sent int64
	stopped := false
	l.stop = func() int64 {
		if cancel(); !stopped {
			sent, stopped = <-done, true
		}
		return sent
	}
	c.t.Cleanup(func() { l.stop() })
	return l
}

// load writes until ctx ends: 1,000 events a second whose time runs twenty times
// as fast as the clock.
func (l *ledgerRun) load(ctx context.Context) (sent int64) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	at := time.Now().Add(-10 * time.Hour).UnixMilli()
	for n := int64(0); ; {
		for range 20 {
			n++
			at += 20
			value, _ := codec.Int64.Append(nil, at)
			r := &kgo.Record{
				Topic: l.spec.Topic, Partition: int32(n) % l.partitions, Value: value, Timestamp: time.UnixMilli(at),
				Key: fmt.Appendf(nil, "f%d-%d", n%5, n%97),
			}
			l.c.client.Produce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) {
				if err != nil {
					l.c.t.Error(err)
				}
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err := l.c.client.Flush(context.WithoutCancel(ctx)); err != nil {
				l.c.t.Error(err)
			}
			return n
		}
	}
}

// finish stops the load, runs what is left to its end, and checks that the
// totals hold every event, and each window's count too.
func (l *ledgerRun) finish(t *testing.T) {
	t.Helper()
	sent := l.stop()
	spec := l.spec
	spec.UntilEnd = true
	startWorker(t, spec).wait()
	l.compare(t)
	totals := map[string]int64{}
	for _, r := range l.c.read(spec.Application+"-totals-changelog", nil) {
		n, err := codec.Int64.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		totals[string(r.Key)] = n
	}
	var counted int64
	for key, n := range totals {
		if n < sent/int64(len(totals)) {
			t.Errorf("%s was counted %d times, sent %d times", key, n, sent/int64(len(totals)))
		}
		counted += n
	}
	if len(totals) != 5 || counted < sent || spec.Guarantee == streams.ExactlyOnce && counted != sent {
		t.Errorf("%d events were counted in %d totals, %d sent in 5", counted, len(totals), sent)
	}
	t.Logf("%d events sent, %d counted", sent, counted)
}

// copyState copies a state folder, so that a reader changes nothing in it.
func copyState(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}
