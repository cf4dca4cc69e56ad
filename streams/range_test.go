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
