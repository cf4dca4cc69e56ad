package streams

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
)

// TestSlowCommitsLeaveTimeToProcess gives commits that take longer than their
// interval. What arrives in many small answers meanwhile must not be processed
// one answer a commit.
func TestSlowCommitsLeaveTimeToProcess(t *testing.T) {
	const events, slow = 200, 2 * time.Second
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
				w.guarantee = guarantee
				var processed, commits atomic.Int64
				b := topology.New("slow")
				topology.Source(b, "events", codec.String, codec.String).
					Peek(func(topology.Record[string, string]) { processed.Add(1) }).
					To("results", codec.String, codec.String)
				top, err := b.Build()
				if err != nil {
					t.Fatal(err)
				}
				w.start("a", newDisk(), top, func(c *Config) {
					c.CommitInterval = 100 * time.Millisecond
					c.hooks.step = func(_ int, step string) error {
						if step == stepOffsets {
							commits.Add(1)
							w.pass(slow)
						}
						return nil
					}
				})
				for i := range events {
					w.write(event{topic: "events", key: fmt.Sprint("k", i), value: "v", at: time.Now()})
					w.pass(slow / 100)
				}
				w.until("every event is processed", func() bool { return processed.Load() == events })
				if n := commits.Load(); n > events/10 {
					t.Errorf("%d events took %d commits", events, n)
				}
			})
		})
	}
}

// TestCommitsComeAtTheirInterval: what a commit takes is part of the interval, unless
// it is most of it.
func TestCommitsComeAtTheirInterval(t *testing.T) {
	const interval = 100 * time.Millisecond
	began := time.Now()
	for took, want := range map[time.Duration]time.Duration{
		0: interval, interval / 4: interval, interval / 2: interval, 3 * interval / 4: 3 * interval / 2, interval: 2 * interval, 20 * interval: 21 * interval,
	} {
		if next := nextCommit(began, began.Add(took), interval).Sub(began); next != want {
			t.Errorf("a commit of %v: the next is due %v after its beginning, want %v", took, next, want)
		}
	}
}
