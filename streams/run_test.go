package streams

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
)

// spread returns n events of some keys over partitions, ten a second.
func spread(n int, partitions int32, begin time.Time) []event {
	events := make([]event, 0, n)
	for i := range n {
		events = append(events, count(int32(i)%partitions, fmt.Sprint("k", i%7), begin.Add(time.Duration(i)*100*time.Millisecond)))
	}
	return events
}

func TestABoundedRunCountsEverythingAndEnds(t *testing.T) {
	for _, instances := range []int{1, 3} {
		t.Run(fmt.Sprint(instances, " instances"), func(t *testing.T) {
			inWorld(t, 1, map[string]int32{"events": 3, "results": 2}, func(w *world) {
				want := truth{}
				events := spread(3000, 3, time.Now().Add(-10*time.Minute))
				want.add(events...)
				w.write(events...)
				top := counts(t)
				var ps []*process
				for i := range instances {
					ps = append(ps, w.start(fmt.Sprint("i", i), newDisk(), top, func(c *Config) { c.UntilEnd = true }))
				}
				for _, p := range ps {
					p.wait()
				}
				w.expectExactly(want)
				changelogs := logs{}
				for _, p := range ps {
					if _, err := w.checkDisk(p.disk, top, changelogs); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

func TestABoundedRunOfEmptyTopicsEnds(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 3, "results": 2}, func(w *world) {
		w.start("a", newDisk(), counts(t), func(c *Config) { c.UntilEnd = true }).wait()
		if got := w.read("results"); len(got) > 0 {
			t.Errorf("%d results of nothing", len(got))
		}
	})
}

func TestABoundedRunCanBeRepeated(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 3, "results": 2}, func(w *world) {
		disk, top, want := newDisk(), counts(t), truth{}
		begin := time.Now().Add(-time.Hour)
		for i := range 3 { // each run brings windows of its own
			events := spread(300, 3, begin.Add(time.Duration(i)*10*time.Minute))
			want.add(events...)
			w.write(events...)
			w.start(fmt.Sprint("run", i), disk, top, func(c *Config) { c.UntilEnd = true }).wait()
		}
		w.expectExactly(want)
		if found, err := w.checkDisk(disk, top, logs{}); err != nil || found == 0 {
			t.Errorf("state of %d stores: %v", found, err)
		}
	})
}

func TestTopicsThatAreNotCopartitionedAreRefusedBeforeAnythingIsMade(t *testing.T) {
	inWorld(t, 1, map[string]int32{"clicks": 4, "views": 2}, func(w *world) {
		b := topology.New("both")
		clicks := topology.Source(b, "clicks", codec.String, codec.String)
		clicks.Merge(topology.Source(b, "views", codec.String, codec.String)).GroupByKey(codec.String, codec.String).Count(topology.Store("counts"))
		top, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		err = w.start("a", newDisk(), top, nil).result()
		if !errors.Is(err, ErrNotCopartitioned) || !strings.Contains(err.Error(), `"clicks" with 4, "views" with 2`) {
			t.Errorf("error %v", err)
		}
		if made := w.cluster.Fake().PartitionInfos("both-counts-changelog"); len(made) > 0 {
			t.Error("the changelog was made")
		}
	})
}

// rows returns events with a window each, and so large that a partition of them
// is fetched in several answers: windows close on the way, and are deleted.
func rows(n int, partitions int32, begin time.Time) []event {
	events := make([]event, 0, n)
	for i := range n {
		e := count(int32(i)%partitions, fmt.Sprint("k", i), begin.Add(time.Duration(i)*windowSize))
		e.value += strings.Repeat(" ", 8<<10)
		events = append(events, e)
	}
	return events
}

// slowly makes a topology take its time, so that its watermark moves in steps.
func slowly(s topology.Stream[string, string]) topology.Stream[string, string] {
	return s.Peek(func(topology.Record[string, string]) { time.Sleep(2 * time.Millisecond) })
}

// deletes counts the windows of the counts topology that were deleted, and fails
// the test if one was not that is older than another which was.
func (w *world) deletes() (n int) {
	w.t.Helper()
	startOf := func(key string) int64 {
		return int64(binary.BigEndian.Uint64([]byte(key[len(key)-12:])))
	}
	deleted := map[int32]int64{} // by partition: the start of the newest window deleted
	last := lastOf(w.read("counts-counts-changelog"))
	for key, r := range last {
		if r.Value == nil {
			n++
			deleted[r.Partition] = max(deleted[r.Partition], startOf(key))
		}
	}
	for key, r := range last {
		if r.Value != nil && startOf(key) < deleted[r.Partition] {
			w.t.Errorf("partition %d: the delete of %q was not written", r.Partition, key)
		}
	}
	return n
}

func TestABoundedRunThroughARebalanceWritesEverything(t *testing.T) {
	inWorld(t, 3, topics(), func(w *world) {
		want := truth{}
		events := rows(1000, partitions, time.Now().Add(-10*time.Hour))
		want.add(events...)
		w.write(events...)
		top := counts(t, slowly)
		// With little memory, little is fetched at a time.
		bounded := func(c *Config) { c.UntilEnd, c.Memory = true, 16<<20 }
		a := w.start("a", newDisk(), top, bounded)
		w.settled(tasks, a)
		b := w.start("b", newDisk(), top, bounded)
		w.until("b runs some", func() bool { return b.running() > 0 })
		a.wait()
		b.wait()
		w.expectExactly(want)
		if w.deletes() == 0 {
			t.Error("no window was deleted")
		}
	})
}

func TestABoundedRunEndsWhenNothingIsLeftToCommit(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		w.write(rows(1200, partitions, time.Now().Add(-10*time.Hour))...)
		var p *process
		var late atomic.Int32
		p = w.start("a", newDisk(), counts(t, slowly), func(c *Config) {
			c.UntilEnd, c.Memory = true, 16<<20
			c.hooks.step = func(int, string) error {
				if w.log.count("state=stopping") > 0 {
					late.Add(1)
				}
				return nil
			}
		})
		p.wait()
		if w.deletes() == 0 {
			t.Error("no window was deleted")
		}
		if n := late.Load(); n > 0 {
			t.Errorf("%d steps of commits came after the end", n)
		}
	})
}

func TestAWorkerThatFailsWhileTheInstanceStopsCommitsNothing(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		var p *process
		broken := counts(t, func(s topology.Stream[string, string]) topology.Stream[string, string] {
			return topology.MapValues(s, func(r topology.Record[string, string]) (string, error) {
				if r.Key == "bad" {
					p.cancel()
					time.Sleep(time.Millisecond) // the instance stops before the record fails
					return "", errors.New("cannot be mapped")
				}
				return r.Value, nil
			})
		})
		p = w.start("a", newDisk(), broken, nil)
		w.settled(tasks, p)
		now, want := time.Now(), truth{}
		events := []event{count(0, "good", now), count(0, "bad", now), count(0, "good", now)}
		want.add(events...)
		w.write(events...)
		if err := p.result(); err == nil || !strings.Contains(err.Error(), "cannot be mapped") {
			t.Errorf("error %v", err)
		}
		w.drain()
		w.expectExactly(want)
	})
}
