package streams

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/task"
)

// zombie writes an old record of each key again, behind what the owner has
// written, and returns how many: what a process does that was frozen in the
// middle of a commit.
func (w *world) zombie(topic string) int {
	w.t.Helper()
	var old []*kgo.Record
	seen := map[string]bool{}
	for _, r := range w.read(topic) {
		if !seen[string(r.Key)] {
			seen[string(r.Key)] = true
			old = append(old, &kgo.Record{Topic: topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp})
		}
	}
	if err := w.writer.ProduceSync(context.Background(), old...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
	return len(old)
}

// lastOf returns the last record of each key.
func lastOf(records []*kgo.Record) map[string]*kgo.Record {
	last := map[string]*kgo.Record{}
	for _, r := range records {
		last[string(r.Key)] = r
	}
	return last
}

func TestAChangelogThatAZombieWroteToIsMended(t *testing.T) {
	const topic = "counts-counts-changelog"
	for name, after := range map[string]func(w *world, p *process){
		"when it is written to next": func(w *world, _ *process) {
			for p := range int32(partitions) {
				for i := range 40 { // other keys than the zombie's
					w.write(count(p, fmt.Sprint("other", i), time.Now()))
				}
			}
			w.pass(time.Second)
		},
		"after a while":         func(w *world, _ *process) { w.pass(2 * guardInterval) },
		"when the task is left": func(_ *world, p *process) { p.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, topics(), func(w *world) {
				top := counts(t)
				a := w.start("a", newDisk(), top, nil)
				w.settled(tasks, a)
				begin := time.Now()
				for i := range 20 { // in several commits, so that values have a history
					w.write(spread(20, partitions, begin.Add(time.Duration(i)*200*time.Millisecond))...)
					w.pass(300 * time.Millisecond)
				}
				want := lastOf(w.read(topic))
				if n := w.zombie(topic); n == 0 {
					t.Fatal("the changelog is empty")
				}
				after(w, a)
				got := lastOf(w.read(topic))
				for key, r := range want {
					if !bytes.Equal(got[key].Value, r.Value) {
						t.Errorf("key %q: the changelog says %x, and the owner's value was %x", key, got[key].Value, r.Value)
					}
				}
				if w.log.count("overwriting it") == 0 {
					t.Error("the owner noticed nothing")
				}
				a.stop()
				if found, err := w.checkDisk(a.disk, top, logs{}); err != nil || found == 0 {
					t.Errorf("state of %d stores: %v", found, err)
				}
			})
		})
	}
}

// TestAZombieThatWritesBehindADeadOwnerIsNotRestored has nobody who looks when the
// zombie's records arrive. The successor begins from the owner's disk, or from a
// checkpoint that is as good.
func TestAZombieThatWritesBehindADeadOwnerIsNotRestored(t *testing.T) {
	t.Run("local state", func(t *testing.T) { zombieBehindADeadOwner(t, nil) })
	t.Run("checkpoint", func(t *testing.T) { zombieBehindADeadOwner(t, changelog.NewMemoryBlobs(nil)) })
}

func zombieBehindADeadOwner(t *testing.T, store changelog.BlobStore) {
	const topic = "counts-counts-changelog"
	inWorld(t, 1, topics(), func(w *world) {
		top := counts(t)
		a := w.start("a", newDisk(), top, checkpointed(store))
		w.settled(tasks, a)
		begin := time.Now()
		for i := range 20 { // in several commits, so that values have a history
			w.write(spread(20, partitions, begin.Add(time.Duration(i)*200*time.Millisecond))...)
			w.pass(300 * time.Millisecond)
		}
		w.pass(3 * time.Second)
		want := lastOf(w.read(topic))
		disk := a.kill()
		if n := w.zombie(topic); n == 0 {
			t.Fatal("the changelog is empty")
		}
		if store != nil {
			disk = newDisk()
		}
		b := w.start("b", disk, top, checkpointed(store))
		w.settled(tasks, b)
		got := lastOf(w.read(topic))
		for key, r := range want {
			if !bytes.Equal(got[key].Value, r.Value) {
				t.Errorf("key %q: the changelog says %x, and the owner's value was %x", key, got[key].Value, r.Value)
			}
		}
		b.stop()
		if found, err := w.checkDisk(b.disk, top, logs{}); err != nil || found == 0 {
			t.Errorf("state of %d stores: %v", found, err)
		}
		if n := w.log.count("state begins from a checkpoint"); store != nil && n != stateful {
			t.Errorf("%d tasks began from a checkpoint, want %d", n, stateful)
		}
	})
}

func TestAChangelogOfARestoredStoreIsNotMended(t *testing.T) {
	inWorld(t, 3, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top := counts(t)
		a := w.start("a", newDisk(), top, nil)
		w.settled(tasks, a)
		w.pass(time.Second)
		b := w.start("b", newDisk(), top, nil)
		w.settled(tasks, a, b)
		w.cluster.Fake().ShufflePartitionLeaders()
		w.pass(2 * guardInterval)
		l.end()
		a.stop()
		b.stop()
		if n := w.log.count("overwriting it"); n > 0 {
			t.Errorf("%d changelogs were mended that nobody else had written to", n)
		}
	})
}

func TestAProcessThatSleptWritesNothingBeforeItIsKnownAgain(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		var asleep atomic.Int64 // by how much the wall clock is ahead
		l := w.startLoad(partitions, 20*time.Millisecond)
		a := w.start("a", newDisk(), counts(t), func(c *Config) {
			c.Clock = func() time.Time { return time.Now().Add(time.Duration(asleep.Load())) }
		})
		w.settled(tasks, a)
		w.pass(2 * time.Second)
		silent := w.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.CoordinatorLoadInProgress, Count: -1})
		w.pass(time.Second)
		asleep.Store(int64(time.Minute)) // the monotonic clock has not noticed
		w.pass(time.Second)              // a commit that was under way is over
		before := len(w.read("counts-counts-changelog"))
		w.pass(3 * time.Second)
		if n := len(w.read("counts-counts-changelog")) - before; n > 0 {
			t.Errorf("%d records went to a changelog while nobody had said that the task was still its own", n)
		}
		silent.Remove()
		w.pass(2 * time.Second)
		if len(w.read("counts-counts-changelog")) == before {
			t.Error("nothing is written when the member is known again")
		}
		l.end()
		a.stop()
	})
}

func TestQueuesShareTheMemory(t *testing.T) {
	for partitions, want := range map[int32]int{1: 4 << 20, 100: 1 << 29 / 8 / 201, 100_000: 64 << 10} {
		p, err := task.NewPlan(counts(t), "counts", map[string]int32{"events": partitions, "results": 1})
		if err != nil {
			t.Fatal(err)
		}
		if got := queueLimit(1<<29, p); got != want {
			t.Errorf("%d partitions: %d bytes each, want %d", partitions, got, want)
		}
	}
}

// TestAThrottledZombieLearnsThatItIsOne is about the harness: what it changes of
// an answer is how long the client is to keep silent, not what became of it.
func TestAThrottledZombieLearnsThatItIsOne(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top := counts(t)
		a := w.start("a", newDisk(), top, nil)
		b := w.start("b", newDisk(), top, nil)
		w.settled(tasks, a, b)
		a.wire.throttle(2, time.Second)
		w.pass(5 * time.Second)
		if n := a.wire.throttledSoFar(); n != 2 {
			t.Errorf("%d heartbeats were throttled, want 2", n)
		}
		if w.log.count(logged[lost]) > 0 {
			t.Error("a member that was told to keep silent for a second was expelled")
		}
		a.wire.freeze()
		w.settled(tasks, b)
		a.wire.throttle(4, time.Second)
		a.wire.unfreeze()
		w.until("the zombie knows that it was expelled", func() bool { return w.log.count(logged[lost]) > 0 })
		w.settled(tasks, a, b)
		l.end()
		a.stop()
		b.stop()
	})
}
