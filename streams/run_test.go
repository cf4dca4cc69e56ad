package streams

import (
	"errors"
	"fmt"
	"strings"
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
