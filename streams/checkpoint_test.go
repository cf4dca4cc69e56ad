package streams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/kafka"
)

// checkpointed has an instance store checkpoints each second; without a store
// nothing is changed.
func checkpointed(store changelog.BlobStore) func(*Config) {
	return func(c *Config) {
		if store != nil {
			c.Checkpoints = Checkpoints{Store: store, Interval: time.Second}
		}
	}
}

// blobs is a blob store that a test can cut off.
type blobs struct {
	*changelog.MemoryBlobs
	mu sync.Mutex
	// before is called before each request, and can fail it.
	before func(request, key string) error
	// hangs has requests wait until whoever asks gives up; hanging counts them.
	hangs   atomic.Bool
	hanging atomic.Int64
}

func newBlobs() *blobs {
	return &blobs{MemoryBlobs: changelog.NewMemoryBlobs(nil), before: func(string, string) error { return nil }}
}

func (b *blobs) set(before func(request, key string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before = before
}

func (b *blobs) ask(ctx context.Context, request, key string) error {
	if b.hangs.Load() {
		b.hanging.Add(1)
		<-ctx.Done()
		return ctx.Err()
	}
	b.mu.Lock()
	before := b.before
	b.mu.Unlock()
	return before(request, key)
}

func (b *blobs) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	if err := b.ask(ctx, "put", key); err != nil {
		return err
	}
	return b.MemoryBlobs.Put(ctx, key, r, size)
}

func (b *blobs) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := b.ask(ctx, "get", key); err != nil {
		return nil, err
	}
	return b.MemoryBlobs.Get(ctx, key)
}

func (b *blobs) List(ctx context.Context, prefix string) ([]changelog.Blob, error) {
	if err := b.ask(ctx, "list", prefix); err != nil {
		return nil, err
	}
	return b.MemoryBlobs.List(ctx, prefix)
}

// checkpoints returns those of an application, and what reads them, past what cuts the
// store off.
func (b *blobs) checkpoints(t testing.TB, application string) (*changelog.Checkpoints, []changelog.Checkpoint) {
	t.Helper()
	set := changelog.NewCheckpoints(changelog.CheckpointConfig{Store: b.MemoryBlobs, Application: application})
	all, err := set.List(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	return set, all
}

// manifests returns how many checkpoints there are of each task.
func (b *blobs) manifests(t testing.TB, application string) map[string]int {
	t.Helper()
	_, all := b.checkpoints(t, application)
	n := map[string]int{}
	for _, made := range all {
		n[made.Task]++
	}
	return n
}

// valueOf returns the sum of a metric over its labels.
func valueOf(t testing.TB, registry *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// logged is how many records the changelogs of the counts topology hold.
func (w *world) logged() (n int) {
	for _, topic := range []string{"counts-counts-changelog", "counts-by-key-meta-changelog"} {
		n += len(w.read(topic))
	}
	return n
}

// TestAnEmptyDiskBeginsFromACheckpoint kills an instance, disk and all. Another
// one restores the last checkpoint and what the changelogs have behind it.
func TestAnEmptyDiskBeginsFromACheckpoint(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 3, topics(), func(w *world) {
				w.guarantee = guarantee
				l := w.startLoad(partitions, 20*time.Millisecond)
				top, store := counts(t), newBlobs()
				registry := prometheus.NewRegistry()
				a := w.start("a", newDisk(), top, checkpointed(store))
				w.settled(tasks, a)
				w.pass(20 * time.Second)
				for task, n := range store.manifests(t, "counts") {
					if n > changelog.DefaultKeep {
						t.Errorf("%d checkpoints of task %s are kept", n, task)
					}
				}
				a.kill()
				b := w.start("b", newDisk(), top, func(c *Config) {
					checkpointed(store)(c)
					c.Metrics = registry
				})
				w.settled(tasks, b)
				restored := valueOf(t, registry, "millrace_restored_records_total")
				if n := valueOf(t, registry, "millrace_checkpoint_restores_total"); n != stateful {
					t.Errorf("%v tasks began from a checkpoint, want %d", n, stateful)
				}
				all := w.logged()
				if all < 100 || restored > float64(all)/2 {
					t.Errorf("%v of %d changelog records were restored beside checkpoints", restored, all)
				}
				w.pass(3 * time.Second)
				if at := valueOf(t, registry, "millrace_checkpoint_timestamp_seconds"); time.Since(time.UnixMilli(int64(at*1000))) > 3*time.Second {
					t.Errorf("the oldest checkpoint is of %v, and it is %v", at, time.Now().Unix())
				}
				if valueOf(t, registry, "millrace_checkpoint_uploaded_bytes_total") == 0 {
					t.Error("no bytes were uploaded")
				}
				want := l.end()
				b.stop()
				w.drain()
				if guarantee == ExactlyOnce {
					w.expectOnce(want)
				} else {
					w.expectAtLeast(want)
				}
				if found, err := w.checkDisk(b.disk, top, logs{}); err != nil || found == 0 {
					t.Errorf("state of %d stores: %v", found, err)
				}
				t.Logf("%v records were restored beside checkpoints, of %d", restored, all)
			})
		})
	}
}

// TestAnUploadThatIsKilledAnywhereLeavesNoTornState kills the instance at some
// request of an upload, and begins anew on an empty disk.
func TestAnUploadThatIsKilledAnywhereLeavesNoTornState(t *testing.T) {
	for seed := range uint64(12) {
		inWorld(t, 1, topics(), func(w *world) {
			rnd := rand.New(rand.NewPCG(seed, 3))
			l := w.startLoad(partitions, 20*time.Millisecond)
			top, store := counts(t), newBlobs()
			a := w.start("a", newDisk(), top, checkpointed(store))
			w.settled(tasks, a)
			killed := make(chan struct{})
			var left atomic.Int64
			left.Store(1 + rnd.Int64N(120))
			store.set(func(string, string) error {
				n := left.Add(-1)
				if n == 0 {
					close(killed)
				}
				if n <= 0 {
					return errors.New("killed")
				}
				return nil
			})
			<-killed
			a.kill()
			store.set(func(string, string) error { return nil })
			b := w.start("b", newDisk(), top, checkpointed(store))
			w.settled(tasks, b)
			w.pass(time.Second)
			want := l.end()
			b.stop()
			w.drain()
			w.expectAtLeast(want)
			if found, err := w.checkDisk(b.disk, top, logs{}); err != nil || found == 0 {
				t.Errorf("seed %d: state of %d stores: %v", seed, found, err)
			}
			if n := w.log.count("reason=damaged"); n > 0 {
				t.Errorf("seed %d: %d checkpoints were damaged", seed, n)
			}
		})
	}
}

// TestLocalStateGoesBeforeCheckpoints unless it is far behind one.
func TestLocalStateGoesBeforeCheckpoints(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top, store := counts(t), newBlobs()
		a := w.start("a", newDisk(), top, checkpointed(store))
		w.settled(tasks, a)
		w.pass(3 * time.Second)
		a.stop()
		a = w.start("again", a.disk, top, checkpointed(store))
		w.settled(tasks, a)
		if n := w.log.count("state begins from a checkpoint"); n != 0 {
			t.Errorf("%d tasks began from a checkpoint, and were on the disk", n)
		}
		a.stop()
		early := a.disk
		kept := newDisk()
		copyTree(t, early, kept, "state")
		a = w.start("longer", early, top, checkpointed(store))
		w.settled(tasks, a)
		w.pass(40 * time.Second)
		a.kill()
		b := w.start("late", kept, top, checkpointed(store))
		w.settled(tasks, b)
		if n := w.log.count("state begins from a checkpoint"); n != stateful {
			t.Errorf("%d tasks began from a checkpoint, and all were far behind on the disk", n)
		}
		want := l.end()
		w.pass(time.Second)
		b.stop()
		w.drain()
		w.expectAtLeast(want)
		if found, err := w.checkDisk(b.disk, top, logs{}); err != nil || found == 0 {
			t.Errorf("state of %d stores: %v", found, err)
		}
	})
}

// TestAChangelogMadeAnewIsNotRestoredFromACheckpoint deletes changelogs and makes
// them again: what they hold counts.
func TestAChangelogMadeAnewIsNotRestoredFromACheckpoint(t *testing.T) {
	for name, anew := range map[string][]string{
		"one": {"occurrences-seen-changelog"}, "all": {"occurrences-seen-changelog", "occurrences-events-meta-changelog"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
				top, store := occurrences(t), newBlobs()
				const keys = 20
				a := w.start("a", newDisk(), top, checkpointed(store))
				w.settled(1, a)
				w.occur(keys)
				w.occur(keys)
				w.pass(3 * time.Second)
				a.stop()
				if len(store.manifests(t, "occurrences")) == 0 {
					t.Fatal("there is no checkpoint")
				}
				client, err := kafka.Open(context.Background(), kafka.Config{Brokers: w.cluster.Addrs(), Dial: w.cluster.Dial})
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				for _, topic := range anew {
					if err := client.DeleteTopic(context.Background(), topic); err != nil {
						t.Fatal(err)
					}
					if _, err := client.CreateTopic(context.Background(), kafka.TopicSpec{Name: topic, Partitions: 1, Replication: 1, Configs: changelog.TopicConfig()}); err != nil {
						t.Fatal(err)
					}
				}
				for want, adjust := range []func(*Config){checkpointed(nil), checkpointed(store)} {
					b := w.start(fmt.Sprint("b", want), newDisk(), top, adjust)
					w.settled(1, b)
					w.occur(keys)
					b.stop()
					results := w.read("results")
					for _, r := range results[len(results)-keys:] {
						if string(r.Value) != fmt.Sprint(want+1) {
							t.Errorf("%s is counted to %s, and the changelog counts it to %d", r.Key, r.Value, want)
						}
					}
				}
				outdated := w.log.count("reason=outdated") > 0
				if outdated != (name == "all") {
					t.Errorf("a checkpoint was outdated: %v", outdated)
				}
			})
		})
	}
}

// TestProcessingGoesOnWithoutTheStore cuts the store off for a minute, then has an
// instance begin without it.
func TestProcessingGoesOnWithoutTheStore(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top, store, registry := counts(t), newBlobs(), prometheus.NewRegistry()
		a := w.start("a", newDisk(), top, func(c *Config) {
			checkpointed(store)(c)
			c.Metrics = registry
		})
		w.settled(tasks, a)
		w.pass(5 * time.Second)
		store.set(func(string, string) error { return errors.New("the store is down") })
		before := len(w.read("results"))
		w.pass(time.Minute)
		if len(w.read("results")) == before {
			t.Error("nothing was processed while the store was down")
		}
		if valueOf(t, registry, "millrace_checkpoint_failures_total") < 10 {
			t.Error("failures were not counted")
		}
		if n := w.log.count("a checkpoint could not be stored"); n != 1 {
			t.Errorf("it was said %d times that the store is down", n)
		}
		age := time.Since(time.UnixMilli(int64(1000 * valueOf(t, registry, "millrace_checkpoint_timestamp_seconds"))))
		if age < time.Minute {
			t.Errorf("the last checkpoint is said to be %v old", age)
		}
		store.set(func(string, string) error { return nil })
		w.until("checkpoints are stored again", func() bool { return w.log.count("checkpoints can be stored again") == 1 })
		a.kill()
		store.set(func(string, string) error { return errors.New("the store is down") })
		b := w.start("b", newDisk(), top, checkpointed(store))
		w.settled(tasks, b)
		if n := w.log.count("reason=unreachable"); n != stateful {
			t.Errorf("%d tasks found no store, want %d", n, stateful)
		}
		want := l.end()
		w.pass(time.Second)
		b.stop()
		w.drain()
		w.expectAtLeast(want)
		if found, err := w.checkDisk(b.disk, top, logs{}); err != nil || found == 0 {
			t.Errorf("state of %d stores: %v", found, err)
		}
	})
}

// TestQuietStateDoesNotGrowOld while its owner runs: neither what is on the disk nor
// its checkpoints are restored whole when nothing has changed for longer than the
// changelog keeps deletes.
func TestQuietStateDoesNotGrowOld(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
				w.guarantee = guarantee
				client, err := kafka.Open(context.Background(), kafka.Config{Brokers: w.cluster.Addrs(), Dial: w.cluster.Dial})
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				for _, topic := range []string{"occurrences-seen-changelog", "occurrences-events-meta-changelog"} {
					configs := changelog.TopicConfig()
					configs["delete.retention.ms"] = "60000"
					if _, err := client.CreateTopic(context.Background(), kafka.TopicSpec{Name: topic, Partitions: 1, Replication: 1, Configs: configs}); err != nil {
						t.Fatal(err)
					}
				}
				top, store := occurrences(t), newBlobs()
				a := w.start("a", newDisk(), top, checkpointed(store))
				w.settled(1, a)
				w.occur(50)
				w.pass(3 * time.Minute)
				if n := len(w.read("results")); n != 50 {
					t.Fatalf("%d results of 50 events", n)
				}
				a.stop()
				whole := "restoring a store from its changelog's start"
				before := w.log.count(whole)
				a = w.start("again", a.disk, top, checkpointed(nil))
				w.settled(1, a)
				a.stop()
				b := w.start("b", newDisk(), top, checkpointed(store))
				w.settled(1, b)
				b.stop()
				if n := w.log.count(whole) - before; n != 0 {
					t.Errorf("%d stores were restored whole", n)
				}
				if n := w.log.count("state begins from a checkpoint"); n != 1 {
					t.Errorf("state began from a checkpoint %d times, want once", n)
				}
			})
		})
	}
}

// TestOnlyAStoredCheckpointEndsTheFailing: that the task is gone which could not be
// stored says nothing about the store.
func TestOnlyAStoredCheckpointEndsTheFailing(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		store := newBlobs()
		a := w.start("a", newDisk(), counts(t), func(c *Config) { c.Checkpoints = Checkpoints{Store: store, Interval: time.Hour} })
		w.settled(tasks, a)
		w.write(spread(100, partitions, time.Now())...)
		w.pass(5 * time.Second)
		c := newCheckpoints(a.in)
		c.round(w.t.Context()) // stores all
		if n := len(store.manifests(t, "counts")); n != stateful {
			t.Errorf("%d tasks have checkpoints, want %d", n, stateful)
		}
		c.failed(TaskID{Sub: 1}, "store", errors.New("the store is down"))
		c.round(w.t.Context())
		if n := w.log.count("checkpoints can be stored again"); n != 0 {
			t.Error("nothing was stored, and it was said that it could be")
		}
		w.write(spread(100, partitions, time.Now())...)
		w.pass(5 * time.Second)
		c.round(w.t.Context())
		if n := w.log.count("checkpoints can be stored again"); n != 1 {
			t.Errorf("it was said %d times that checkpoints can be stored again", n)
		}
		a.stop()
	})
}

// TestAFetchThatFailsLeavesNothing on the disk, while the instance runs: neither
// one that fails at last nor one that is given up.
func TestAFetchThatFailsLeavesNothing(t *testing.T) {
	for _, gone := range []string{"the store fails", "the instance ends", "the instance ends in a pause"} {
		t.Run(gone, func(t *testing.T) {
			inWorld(t, 1, topics(), func(w *world) {
				l := w.startLoad(partitions, 20*time.Millisecond)
				top, store := counts(t), newBlobs()
				a := w.start("a", newDisk(), top, checkpointed(store))
				w.settled(tasks, a)
				w.pass(5 * time.Second)
				l.end()
				a.kill()
				var tried atomic.Int64
				store.set(func(request, key string) error {
					if request == "get" && strings.Contains(key, "/files/") && tried.Add(1) > 2 {
						if gone == "the instance ends" {
							store.hangs.Store(true)
							return nil
						}
						return errors.New("the store is down")
					}
					return nil
				})
				b := w.start("b", newDisk(), top, checkpointed(store))
				if gone == "the store fails" {
					w.settled(tasks, b)
				} else {
					for tried.Load() <= 2 {
						w.pass(100 * time.Millisecond)
					}
					w.pass(100 * time.Millisecond)
				}
				if gone != "the store fails" {
					b.stop()
				}
				names, err := b.disk.List("state")
				if err != nil || slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, arrivingEnding) }) {
					t.Errorf("on the disk are %v, %v", names, err)
				}
			})
		})
	}
}

// TestWhatIsWorthAskingFor: no store is asked for what is read from the changelog as
// soon.
func TestWhatIsWorthAskingFor(t *testing.T) {
	at := func(local, end int64) restoring {
		return restoring{local: local, bounds: changelog.Bounds{Start: 10, End: end}}
	}
	for _, c := range []struct {
		name     string
		restores []restoring
		bytes    int64
		want     bool
	}{
		{"nothing in the log", []restoring{at(10, 10), at(10, 10)}, 0, false},
		{"all is here", []restoring{at(500, 500), at(70, 70)}, 1 << 30, false},
		{"control records are behind", []restoring{at(500, 501), at(70, 71)}, 0, false},
		{"little is behind, of much state", []restoring{at(500, 900), at(70, 80)}, 1 << 20, false},
		{"much is behind", []restoring{at(500, 9000), at(70, 80)}, 1 << 20, true},
		{"an empty disk", []restoring{at(10, 900), at(10, 80)}, 1 << 20, true},
	} {
		if got := worthAsking(c.restores, c.bytes); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestAStoreThatHangsStallsNothing: who has its state does not ask for another one,
// and of those that have none only the first few wait.
func TestAStoreThatHangsStallsNothing(t *testing.T) {
	const partitions = 3 * openAtOnce // each of which has one task, with state
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 1, map[string]int32{"events": partitions, "results": 1}, func(w *world) {
				w.guarantee = guarantee
				top, store := occurrences(t), newBlobs()
				l := w.load(50*time.Millisecond, partitions, func(_ int, p int32) string { return partitionKey(p) })
				a := w.start("a", newDisk(), top, checkpointed(store))
				w.settled(partitions, a)
				w.pass(5 * time.Second)
				l.end()
				w.pass(time.Second)
				a.stop()
				store.hangs.Store(true)
				took := func(disk *vfs.MemFS) time.Duration {
					began := time.Now()
					p := w.start("again", disk, top, func(c *Config) {
						checkpointed(store)(c)
						c.Checkpoints.Interval = time.Minute
					})
					w.settled(partitions, p)
					defer p.stop()
					return time.Since(began)
				}
				if d := took(a.disk); d > lookPatience/2 {
					t.Errorf("tasks that had their state ran after %v", d)
				}
				if n := store.hanging.Load(); n != 0 {
					t.Errorf("the store was asked %d times, and there was nothing to gain", n)
				}
				if d := took(newDisk()); d < lookPatience || d > 2*lookPatience {
					t.Errorf("tasks that had no state ran after %v, want once the patience of %v", d, lookPatience)
				}
				if n := w.log.count("reason=unreachable"); n != partitions {
					t.Errorf("%d tasks found no store, want %d", n, partitions)
				}
			})
		})
	}
}

// TestADamagedCheckpointGivesWayToTheOneBefore damages the newest of each task, and
// then all.
func TestADamagedCheckpointGivesWayToTheOneBefore(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top, store := counts(t), newBlobs()
		a := w.start("a", newDisk(), top, checkpointed(store))
		w.settled(tasks, a)
		w.pass(10 * time.Second)
		a.kill()
		synctest.Wait() // a store is no part of the process: it still takes what was under way
		damage := func(hits func(i int) bool) (n int) {
			_, all := store.checkpoints(t, "counts")
			last, i := "", 0
			for _, made := range all {
				if i++; made.Task != last {
					last, i = made.Task, 0
				}
				if hits(i) {
					n++
					if err := store.MemoryBlobs.Put(context.Background(), made.Key, strings.NewReader("torn"), 4); err != nil {
						t.Fatal(err)
					}
				}
			}
			return n
		}
		damaged := damage(func(i int) bool { return i == 0 })
		b := w.start("b", newDisk(), top, func(c *Config) {
			checkpointed(store)(c)
			c.Checkpoints.Interval = time.Hour
		})
		w.settled(tasks, b)
		if n := w.log.count("reason=damaged"); n != damaged || n != stateful {
			t.Errorf("%d checkpoints were damaged, and %d found so", damaged, n)
		}
		if n := w.log.count("state begins from a checkpoint"); n != stateful {
			t.Errorf("%d tasks began from the checkpoint before, want %d", n, stateful)
		}
		b.kill()
		damage(func(int) bool { return true })
		b = w.start("c", newDisk(), top, checkpointed(store))
		w.settled(tasks, b)
		if n := w.log.count("state begins from a checkpoint"); n != stateful {
			t.Errorf("%d tasks began from a checkpoint, want the %d of before", n, stateful)
		}
		want := l.end()
		w.pass(time.Second)
		b.stop()
		w.drain()
		w.expectAtLeast(want)
		if found, err := w.checkDisk(b.disk, top, logs{}); err != nil || found == 0 {
			t.Errorf("state of %d stores: %v", found, err)
		}
	})
}

// TestAStandbyBeginsFromACheckpoint when its disk is empty.
func TestAStandbyBeginsFromACheckpoint(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top, store := counts(t), newBlobs()
		both := func(c *Config) {
			with(1)(c)
			checkpointed(store)(c)
		}
		a := w.start("a", newDisk(), top, both)
		w.settled(tasks, a)
		w.pass(5 * time.Second)
		b := w.start("b", newDisk(), top, both)
		w.until("every task has a copy that has caught up", func() bool { return caughtUp(a, b) == stateful })
		if n := w.log.count("state begins from a checkpoint"); n == 0 {
			t.Error("no copy began from a checkpoint")
		}
		a.kill()
		w.settled(tasks, b)
		want := l.end()
		w.pass(time.Second)
		b.stop()
		w.drain()
		w.expectAtLeast(want)
		if found, err := w.checkDisk(b.disk, top, logs{}); err != nil || found == 0 {
			t.Errorf("state of %d stores: %v", found, err)
		}
	})
}

// TestAStandbyIsPromotedWhileItFetches its checkpoint: the task does not restore its
// whole changelogs for that.
func TestAStandbyIsPromotedWhileItFetches(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top, store, registry := counts(t), newBlobs(), prometheus.NewRegistry()
		a := w.start("a", newDisk(), top, func(c *Config) {
			with(1)(c)
			checkpointed(store)(c)
		})
		w.settled(tasks, a)
		w.pass(20 * time.Second)
		slow := newBlobs()
		slow.MemoryBlobs = store.MemoryBlobs
		slow.hangs.Store(true)
		b := w.start("b", newDisk(), top, func(c *Config) {
			with(1)(c)
			checkpointed(slow)(c)
			c.Metrics = registry
		})
		for slow.hanging.Load() < stateful {
			w.pass(100 * time.Millisecond)
		}
		slow.hangs.Store(false) // for those that ask from now on
		a.kill()
		w.settled(tasks, b)
		restored := valueOf(t, registry, "millrace_restored_records_total")
		if n := w.log.count("state begins from a checkpoint"); n != stateful {
			t.Errorf("%d tasks began from a checkpoint, want %d", n, stateful)
		}
		if all := w.logged(); all < 100 || restored > float64(all)/2 {
			t.Errorf("%v of %d changelog records were restored beside checkpoints", restored, all)
		}
		want := l.end()
		w.pass(time.Second)
		b.stop()
		w.drain()
		w.expectAtLeast(want)
		if found, err := w.checkDisk(b.disk, top, logs{}); err != nil || found == 0 {
			t.Errorf("state of %d stores: %v", found, err)
		}
	})
}

// TestStateInMemoryHasNoCheckpoints says so once, and runs.
func TestStateInMemoryHasNoCheckpoints(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		store := newBlobs()
		a := w.start("a", newDisk(), counts(t), func(c *Config) {
			if err := c.Storage.Close(); err != nil {
				t.Fatal(err)
			}
			c.Storage = NewMemoryStorage()
			checkpointed(store)(c)
		})
		w.settled(tasks, a)
		w.write(spread(20, partitions, time.Now())...)
		w.pass(5 * time.Second)
		a.stop()
		if n := w.log.count("no checkpoints are made"); n != 1 || len(store.manifests(t, "counts")) > 0 {
			t.Errorf("it was said %d times, and there are checkpoints of %v", n, store.manifests(t, "counts"))
		}
	})
}

// TestLeftoversOfCheckpointsAreRemoved at the next start.
func TestLeftoversOfCheckpointsAreRemoved(t *testing.T) {
	disk := newDisk()
	for _, dir := range []string{"state/0_0" + leavingEnding, "state/0_1" + arrivingEnding, "state/0_2"} {
		if err := disk.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s, err := NewPebbleStorage("state", disk, 1<<20, 1, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	names, err := disk.List("state")
	slices.Sort(names)
	if want := []string{"0_2", "LOCK", processFile}; err != nil || !slices.Equal(names, want) {
		t.Errorf("left are %v, %v; want %v", names, err, want)
	}
}

// copyTree copies a folder to another disk.
func copyTree(t *testing.T, from, to vfs.FS, dir string) {
	t.Helper()
	if ok, err := vfs.Clone(from, to, dir, dir); err != nil || !ok {
		t.Fatalf("copying %s: %v, %v", dir, ok, err)
	}
}
