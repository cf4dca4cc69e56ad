package streams

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/topology"
)

// latest has inputs begin, and go on, at their ends, and the instance commit
// seldom.
func latest(c *Config) {
	c.OffsetReset, c.CommitInterval, c.TransactionTimeout = topology.Latest, time.Minute, 3*time.Minute
}

// TestWhereAnInputBeganIsKept: what comes behind the end that an instance has begun
// at is read, though it died before it had anything else to commit.
func TestWhereAnInputBeganIsKept(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
				w.guarantee = guarantee
				w.write(numbered(0, 5)...)
				a := w.start("a", newDisk(), copied(t), latest)
				w.settled(1, a)
				w.pass(time.Second)
				disk := a.kill()
				w.write(numbered(5, 3)...)
				b := w.start("b", disk, copied(t), latest)
				w.settled(1, b)
				w.write(numbered(8, 1)...)
				w.pass(time.Second)
				b.stop() // and commits
				if got, want := w.values("results"), numbers(5, 4); !slices.Equal(got, want) {
					t.Errorf("results %v, want %v", got, want)
				}
			})
		})
	}
}

// TestWhereAnInputWentOnIsKept: its records had expired.
func TestWhereAnInputWentOnIsKept(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
		w.write(numbered(0, 20)...)
		a := w.start("a", newDisk(), copied(t), nil)
		w.until("all is copied", func() bool { return len(w.read("results")) == 20 })
		a.stop()
		w.write(numbered(20, 20)...)
		w.truncate("events", 0, 30)
		var lost atomic.Int64
		b := w.start("b", a.disk, copied(t), func(c *Config) {
			latest(c)
			c.Listener.Lost = func(_ string, _ int32, from, to int64) { lost.Add(to - from) }
		})
		w.until("it has gone on", func() bool { return lost.Load() > 0 })
		w.pass(time.Second)
		disk := b.kill()
		w.write(numbered(40, 1)...)
		c := w.start("c", disk, copied(t), latest)
		w.settled(1, c)
		w.pass(time.Second)
		c.stop()
		if got, want := w.values("results"), append(numbers(0, 20), "40"); !slices.Equal(got, want) {
			t.Errorf("results %v, want %v", got, want)
		}
	})
}
