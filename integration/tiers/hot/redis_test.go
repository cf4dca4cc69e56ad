//go:build integration

package hot_test

import (
	"maps"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// differences compares what Redis holds with the last results, and returns how many
// windows differ and one of them.
func (w *world) differences(want map[place]map[string]string) (n int, one place) {
	w.t.Helper()
	for at, fields := range want {
		if !maps.Equal(w.hash(w.key(at.key)+":"+at.start), fields) {
			n++
			one = at
		}
	}
	return n, one
}

// expect fails the test unless Redis holds the last results, and of each key that
// of the latest window where the latest is.
func (w *world) expect(want map[place]map[string]string) {
	w.t.Helper()
	if len(want) == 0 {
		w.t.Fatal("there are no results to compare")
	}
	if n, one := w.differences(want); n > 0 {
		w.t.Errorf("%d of %d windows differ, among them %v:\nRedis %v\ntopic %v", n, len(want), one, w.hash(w.key(one.key)+":"+one.start), want[one])
	}
	latest := map[string]int64{}
	for at := range want {
		start, err := strconv.ParseInt(at.start, 10, 64)
		if err != nil {
			w.t.Fatal(err)
		}
		latest[at.key] = max(latest[at.key], start)
	}
	for key, start := range latest {
		at := place{key, strconv.FormatInt(start, 10)}
		if got := w.hash(w.key(key)); !maps.Equal(got, want[at]) {
			w.t.Errorf("the latest of %s is %v, want %v", key, got, want[at])
		}
	}
}

func TestRedisHoldsTheResultsTopic(t *testing.T) {
	w := newWorld(t)
	w.replay(200_000, "--speed", "max", "--disorder", "5s")
	// The command's account counts the results of other tests that share the topic:
	// what it ends with is not this test's subject.
	c := w.start(w.redis.URL(), "--until-end")
	<-c.ended
	if c.said("everything up to the end is processed") != 1 {
		t.Fatalf("the bounded run has not come to the end: %v", c.err)
	}
	want := w.results(nil)
	w.expect(want)
	keys := map[string]int64{}
	for at := range want {
		keys[at.key]++
	}
	for key, windows := range keys {
		n, err := w.client.Do(t.Context(), w.client.B().Zcard().Key(w.key(key)+":windows").Build()).AsInt64()
		if err != nil || n != windows {
			t.Errorf("the index of %s has %d windows, %v; want %d", key, n, err, windows)
		}
	}
	t.Logf("%d windows of %d keys are equal", len(want), len(keys))

	// One read after the other, as a gateway does it for a request.
	names := slices.Collect(maps.Keys(keys))
	const reads = 20_000
	took := make([]time.Duration, reads)
	for i := range took {
		read := w.client.B().Hgetall().Key(w.key(names[i%len(names)])).Build()
		began := time.Now()
		if err := w.client.Do(t.Context(), read).Error(); err != nil {
			t.Fatal(err)
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	t.Logf("HGETALL of the latest result over the loopback, %d reads: p50 %v, p99 %v, max %v", reads, took[reads/2], took[reads*99/100], took[reads-1])
}

// TestAnOwnerThatWakesDoesNotOverwrite: results of an instance wait before Redis
// when it is frozen. Another one takes its tasks over and writes newer results of
// the same windows. Then the first wakes.
func TestAnOwnerThatWakesDoesNotOverwrite(t *testing.T) {
	w := newWorld(t)
	gate := newGate(t, w.redis.Addr())
	// At least once, what the first instance sends when it wakes stands last in the
	// topic, though its commit fails.
	const once = "--guarantee=exactly-once"
	a := w.start("redis://"+gate.addr, once)
	eventually(t, "the first instance runs all tasks", func() bool { return a.running() == tasks })
	end := w.load(60)
	eventually(t, "results are in Redis", func() bool { return a.metric("millrace_replica_results_total", `"written"`) > 0 })
	gate.set(false)
	eventually(t, "results wait before Redis", func() bool {
		return a.metric("millrace_replica_waiting_results") > 0 && a.metric("millrace_replica_up") == 0
	})
	waiting := a.metric("millrace_replica_waiting_results")
	a.signal(syscall.SIGSTOP)
	frozen := time.Now()
	b := w.start(w.redis.URL(), once)
	eventually(t, "the second instance has taken over", func() bool { return b.running() == tasks })
	t.Logf("took over %v after the freeze, with %v results before Redis", time.Since(frozen).Round(time.Millisecond), waiting)
	written := b.metric("millrace_replica_results_total", `"written"`)
	eventually(t, "the second instance writes", func() bool { return b.metric("millrace_replica_results_total", `"written"`) > written+50 })
	gate.set(true)
	a.signal(syscall.SIGCONT)
	eventually(t, "the first instance has nothing left to write", func() bool {
		return a.metric("millrace_replica_up") == 1 && a.metric("millrace_replica_waiting_results") == 0
	})
	end()
	stale := a.metric("millrace_replica_results_total", `"stale"`)
	if stale == 0 {
		t.Error("the first instance had nothing stale to write: the test shows nothing")
	}
	a.stop()
	b.stop()
	want := w.results(nil)
	w.expect(want)
	t.Logf("%d windows are equal; %v writes of the instance that woke were stale", len(want), stale)
}

// TestRedisMayGoAndComeBack: the server is gone for 10 s under load, and comes back
// empty.
func TestRedisMayGoAndComeBack(t *testing.T) { redisGoes(t, 10*time.Second) }

func redisGoes(t *testing.T, away time.Duration) {
	w := newWorld(t)
	a := w.start(w.redis.URL())
	eventually(t, "the instance runs all tasks", func() bool { return a.running() == tasks })
	end := w.load(300)
	eventually(t, "results are in Redis", func() bool { return a.metric("millrace_replica_results_total", `"written"`) > 0 })
	rate := func(over time.Duration) float64 {
		before, began := a.metric("millrace_records_total"), time.Now()
		<-time.After(over) // of the measurement
		return (a.metric("millrace_records_total") - before) / time.Since(began).Seconds()
	}
	with := rate(5 * time.Second)
	w.redis.Kill()
	gone := w.ends()
	commits := a.metric("millrace_commit_seconds_count", `"state"`)
	without := rate(away)
	if a.metric("millrace_replica_up") != 0 {
		t.Error("the metric says that Redis is up")
	}
	if without == 0 || a.metric("millrace_commit_seconds_count", `"state"`) == commits {
		t.Error("nothing was processed while Redis was gone")
	}
	waiting := a.metric("millrace_replica_waiting_results")
	began := time.Now()
	if err := w.redis.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Redis takes results again", func() bool { return a.metric("millrace_replica_up") == 1 })
	up := time.Since(began)
	eventually(t, "nothing waits", func() bool { return a.metric("millrace_replica_waiting_results") == 0 })
	t.Logf("records a second: %.0f with Redis, %.0f without; %v results waited; back after %v, caught up after %v",
		with, without, waiting, up.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	end()
	a.stop()
	if n, m := a.said("the replica takes no results"), a.said("the replica takes results again"); n != 1 || m != 1 {
		t.Errorf("the log says %d times that Redis went and %d times that it came back", n, m)
	}
	// What was written before it went is gone with it: it is a cache.
	w.expect(w.results(gone))
}
