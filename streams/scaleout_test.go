package streams

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// readable notes when the results of each key can be read committed.
type readable struct {
	mu sync.Mutex
	at map[string][]time.Time
}

// watchResults reads results as they become readable, until end is called.
func (w *world) watchResults() (r *readable, end func()) {
	w.t.Helper()
	r = &readable{at: map[string][]time.Time{}}
	c := w.client(kgo.ConsumeTopics("results"), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(10*time.Millisecond))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			fetches := c.PollFetches(ctx)
			now := time.Now()
			r.mu.Lock()
			fetches.EachRecord(func(rec *kgo.Record) { r.at[string(rec.Key)] = append(r.at[string(rec.Key)], now) })
			r.mu.Unlock()
		}
	}()
	return r, func() { cancel(); <-done; c.Close() }
}

// gap returns the longest time between two results of a key between two moments.
func (r *readable) gap(key string, from, to time.Time) (longest time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := from
	for _, at := range r.at[key] {
		if at.After(from) && at.Before(to) {
			longest, last = max(longest, at.Sub(last)), at
		}
	}
	return max(longest, to.Sub(last))
}

// TestScalingOutHoldsNobodyUpForLong: one instance becomes four under load, on a
// network that takes its time. What the protocols cost is all that there is in
// virtual time.
func TestScalingOutHoldsNobodyUpForLong(t *testing.T) {
	const partitions = 8
	inWorld(t, 3, map[string]int32{"events": partitions, "results": partitions}, func(w *world) {
		w.guarantee = ExactlyOnce
		w.latency = func() time.Duration { return 2 * time.Millisecond }
		top := occurrences(t)
		adjust := func(c *Config) { c.CommitInterval, c.Heartbeat = 100*time.Millisecond, 300*time.Millisecond }
		a := w.start("a", newDisk(), top, adjust)
		l := w.load(10*time.Millisecond, partitions, func(_ int, p int32) string { return partitionKey(p) })
		w.settled(partitions, a)
		r, end := w.watchResults()
		w.pass(5 * time.Second)
		began := time.Now()
		all := []*process{a}
		for _, name := range []string{"b", "c", "d"} {
			all = append(all, w.start(name, newDisk(), top, adjust))
		}
		w.until("four instances share the tasks", func() bool {
			for _, p := range all {
				if p.running() != partitions/4 {
					return false
				}
			}
			return true
		})
		settled := time.Now()
		w.pass(2 * time.Second)
		stays, moves := time.Duration(0), time.Duration(0)
		stayed := map[string]bool{}
		for _, task := range a.in.Tasks() {
			stayed[partitionKey(task.Task.Partition)] = true
		}
		for p := range int32(partitions) {
			key := partitionKey(p)
			if gap := r.gap(key, began, time.Now()); stayed[key] {
				stays = max(stays, gap)
			} else {
				moves = max(moves, gap)
			}
		}
		t.Logf("settled after %v; without results for at most %v where nothing moves, %v else", settled.Sub(began), stays, moves)
		if stays >= 200*time.Millisecond {
			t.Errorf("a partition that stays was without results for %v", stays)
		}
		if moves >= time.Second {
			t.Errorf("a partition that moved was without results for %v", moves)
		}
		l.end()
		end()
		for _, p := range all {
			p.stop()
		}
	})
}
