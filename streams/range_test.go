package streams

import (
	"errors"
	"testing"
	"time"
)

func TestABoundedRunOfARangeReadsWhatLiesInIt(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 3, "results": 2}, func(w *world) {
		begin := time.Now().Add(-10 * time.Minute)
		from, until := begin.Add(time.Minute), begin.Add(3*time.Minute)
		want := truth{}
		events := spread(3000, 3, begin)
		for _, e := range events {
			if at := e.at; !at.Before(from) && at.Before(until) {
				want.add(e)
			}
		}
		w.write(events...)
		top := counts(t)
		ranged := func(c *Config) { c.From, c.Until, c.UntilEnd = from, until, true }
		disk := newDisk()
		w.start("a", disk, top, ranged).wait()
		w.expectExactly(want)
		// Again it goes on where it ended: at its end.
		before := len(w.read("results"))
		w.start("b", disk, top, ranged).wait()
		if after := len(w.read("results")); after != before {
			t.Errorf("%d results, and %d when the range was read once more", before, after)
		}
	})
}

func TestARangeBehindAllRecordsIsEmpty(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 3, "results": 2}, func(w *world) {
		w.write(spread(300, 3, time.Now().Add(-10*time.Minute))...)
		w.start("a", newDisk(), counts(t), func(c *Config) {
			c.From, c.Until, c.UntilEnd = time.Now(), time.Now().Add(time.Hour), true
		}).wait()
		if got := w.read("results"); len(got) > 0 {
			t.Errorf("%d results of nothing", len(got))
		}
	})
}

func TestReadingKeepsToItsRate(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 3, "results": 2}, func(w *world) {
		want := truth{}
		events := spread(3000, 3, time.Now().Add(-10*time.Minute))
		want.add(events...)
		w.write(events...)
		began := time.Now()
		w.start("a", newDisk(), counts(t), func(c *Config) { c.UntilEnd, c.MaxRate = true, 100 }).wait()
		w.expectExactly(want)
		if took := time.Since(began); took < 29*time.Second || took > 45*time.Second {
			t.Errorf("3,000 records at 100 a second took %v", took)
		}
	})
}

// TestAHighRateIsReached reads answers of one record each: they must not each cost
// the time for which an idle worker sleeps.
func TestAHighRateIsReached(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
		want := truth{}
		begin := time.Now().Add(-10 * time.Minute)
		for i := range 600 {
			e := count(0, "k", begin.Add(time.Duration(i)*time.Second))
			want.add(e)
			w.write(e)
		}
		began := time.Now()
		w.start("a", newDisk(), counts(t), func(c *Config) { c.UntilEnd, c.MaxRate = true, 1000 }).wait()
		w.expectExactly(want)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("600 records at 1,000 a second took %v", took)
		}
	})
}

// TestTasksShareARate has one worker read two partitions with nothing that keeps
// them together: what the rate allows must not all go to one of them.
func TestTasksShareARate(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 2, "results": 2}, func(w *world) {
		events := spread(4000, 2, time.Now().Add(-10*time.Minute))
		w.write(events...)
		p := w.start("a", newDisk(), counts(t), func(c *Config) { c.Workers, c.MaxRate = 1, 200 })
		w.pass(10 * time.Second)
		next := map[int32]int64{}
		for _, st := range p.in.status.all() {
			for _, in := range st.Inputs {
				if in.Topic == "events" {
					next[in.Partition] = in.Next
				}
			}
		}
		if next[0] < 500 || next[1] < 500 {
			t.Errorf("after ten seconds at 200 a second the partitions are at %v", next)
		}
	})
}

func TestRangesThatCannotBeAreRefused(t *testing.T) {
	now := time.Now()
	for name, wrong := range map[string]Config{
		"an end of a run without end": {Until: now},
		"an end before the beginning": {From: now, Until: now.Add(-time.Second), UntilEnd: true},
		"a rate below none":           {MaxRate: -1},
	} {
		wrong.Brokers = []string{"localhost:9092"}
		if _, err := New(counts(t), wrong); !errors.Is(err, ErrInvalidConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
