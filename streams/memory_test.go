package streams

import (
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

func TestMemoryIsToldByPartAndGivenBack(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": partitions, "results": partitions}, func(w *world) {
		for p := range int32(partitions) {
			w.write(count(p, partitionKey(p), time.Now()))
		}
		registry := prometheus.NewRegistry()
		p := w.start("one", newDisk(), counts(t), func(c *Config) { c.Metrics = registry })
		w.settled(2*partitions, p)
		w.until("live objects are held", func() bool { return p.in.memory.parts()["objects"] > 0 })
		parts := p.in.memory.parts()
		if parts["engines"] <= 0 {
			t.Errorf("open databases hold %d bytes", parts["engines"])
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		told := map[string]bool{}
		for _, f := range families {
			if f.GetName() == "millrace_memory_bytes" {
				for _, m := range f.GetMetric() {
					for _, label := range m.GetLabel() {
						told[label.GetName()+"="+label.GetValue()] = true
					}
				}
			}
		}
		for _, want := range []string{"part=objects", "part=fetched", "part=sent", "part=engines", "part=cache", "application=" + p.in.cfg.Application} {
			if !told[want] {
				t.Errorf("the metric has no %s: %v", want, told)
			}
		}
		p.stop()
		for part, bytes := range p.in.memory.parts() {
			if bytes != 0 {
				t.Errorf("%s holds %d bytes after the end", part, bytes)
			}
		}
	})
}

// TestChangedStateStaysWithinItsShare gives many new keys between two commits of
// a long interval. What has changed cannot be evicted, so it must be committed
// before it outgrows its share of the memory.
func TestChangedStateStaysWithinItsShare(t *testing.T) {
	stayWithinShare(t, counts(t), manyKeys)
}

// TestFiringStaysWithinItsShare has all windows of many keys complete at once, with
// more records behind: each window that fires is read, and changes.
func TestFiringStaysWithinItsShare(t *testing.T) {
	b := topology.New("counts")
	windows := topology.Source(b, "events", codec.String, codec.String).EventTime(eventTime, window.BoundedDelay(0)).
		GroupByKey(codec.String, codec.String).
		WindowedBy(window.Tumbling(windowSize).AllowedLateness(time.Hour)).Count(topology.Store("counts"))
	topology.MapValues(windows.Stream(), func(r topology.Record[string, int64]) (string, error) {
		return fmt.Sprint(r.Value), nil
	}).To("results", codec.String, codec.String)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	stayWithinShare(t, top, func(now time.Time) []event {
		events := manyKeys(now)
		for i := range 5000 {
			events = append(events, count(0, fmt.Sprintf("key-%06d", i), now.Add(windowSize+time.Duration(i)*time.Millisecond)))
		}
		return events
	})
}

// manyKeys returns an event of each of many keys.
func manyKeys(now time.Time) (events []event) {
	for i := range 60_000 {
		events = append(events, count(0, fmt.Sprintf("key-%06d", i), now))
	}
	return events
}

// stayWithinShare runs a topology over events to their end with little memory, and looks
// at what live objects take.
func stayWithinShare(t *testing.T, top *topology.Topology, events func(now time.Time) []event) {
	inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
		w.write(events(time.Now())...)
		var started atomic.Pointer[process]
		var most, commits int64
		p := w.start("one", newDisk(), top, func(c *Config) {
			c.Memory, c.Workers, c.CommitInterval, c.UntilEnd = 16<<20, 1, time.Hour, true
			c.hooks.step = func(_ int, step string) error {
				if p := started.Load(); p != nil && step == stepFlush {
					most = max(most, p.in.memory.objects.Used())
					commits++
				}
				return nil
			}
		})
		started.Store(p)
		p.wait()
		// What is clean fills the objects' half when a commit ends; then come changes,
		// and what was read while the worker did not look.
		share := int64(16<<20)/2 + (16<<20)/8 + 1<<20
		t.Logf("live objects took %d bytes at most, in %d commits", most, commits)
		if commits == 0 || most > share {
			t.Errorf("live objects took %d bytes at most with a share of %d", most, share)
		}
	})
}

// TestGoMemoryLeavesRoom: what Go may take and Pebble takes outside of its heap stay
// well within the budget.
func TestGoMemoryLeavesRoom(t *testing.T) {
	const budget = 1000 << 20
	outside := func(cache int64) int64 {
		if pebbleOutside {
			return cache
		}
		return 0
	}
	for name, c := range map[string]struct {
		cfg   Config
		cache int64
	}{
		"defaults":        {Config{ProcessMemory: budget}, budget / 8},
		"a ceiling":       {Config{ProcessMemory: budget, CacheMemory: 10 << 20}, 10 << 20},
		"more than fits":  {Config{ProcessMemory: budget, Memory: 4 * budget}, budget / 5 * 2},
		"state in memory": {Config{ProcessMemory: budget, Storage: NewMemoryStorage()}, 0},
	} {
		if got, want := c.cfg.GoMemory(), budget/5*4-outside(c.cache); got != want {
			t.Errorf("%s: %d MiB, want %d", name, got>>20, want>>20)
		}
	}
	if got := (Config{Memory: budget}).GoMemory(); got != math.MaxInt64 {
		t.Errorf("a process that is not watched has a limit of %d", got)
	}
}
