package streams

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// apartAtMost is how far ahead of the slow partition the fast one is read in these
// tests, and what an event more may come to.
const apartAtMost, step = time.Minute, 3 * time.Second

// lead watches how far the events of keys that begin with "f" are read ahead of
// those that begin with "s".
type lead struct {
	mu     sync.Mutex
	slow   int64 // the latest event time of a slow key
	read   int   // events
	beyond int   // fast ones that are further ahead than they should be
}

func (l *lead) watch(s topology.Stream[string, string]) topology.Stream[string, string] {
	return s.Peek(func(r topology.Record[string, string]) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.read++
		at := eventTime(r.Value)
		if r.Key[0] == 's' {
			l.slow = max(l.slow, at)
		} else if at-l.slow > (apartAtMost + step).Milliseconds() {
			l.beyond++
		}
	})
}

func (l *lead) all(n int) func() bool {
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.read >= n
	}
}

// apart returns events of two partitions that begin 30 minutes apart in event time
// and end together, half an hour later.
func apart(begin time.Time) (events []event) {
	for i := range 1200 {
		at := begin.Add(time.Duration(i) * step)
		if i >= 600 {
			events = append(events, count(0, fmt.Sprint("fast-", i%3), at))
		}
		events = append(events, count(1, fmt.Sprint("slow-", i%3), at))
	}
	return events
}

// TestABackfillIsAligned in one instance, over two, and when the one dies that
// reads the slow partition.
func TestABackfillIsAligned(t *testing.T) {
	plain := window.BoundedDelay(5 * time.Second).IdleAfter(10 * time.Second)
	for name, c := range map[string]struct {
		strategy  window.Strategy
		instances int
		dies      bool
	}{
		"not aligned":              {plain, 1, false},
		"one instance":             {plain.AlignWithin(apartAtMost), 1, false},
		"two instances":            {plain.AlignWithin(apartAtMost), 2, false},
		"two, and the slow's dies": {plain.AlignWithin(apartAtMost), 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, map[string]int32{"events": 2, "results": 1}, func(w *world) {
				events := apart(time.Now().Add(-2 * time.Hour))
				want := truth{}
				want.add(events...)
				// Of the slow partition there is one event, and the rest comes later.
				first := slices.DeleteFunc(slices.Clone(events), func(e event) bool { return e.partition == 1 })
				rest := slices.DeleteFunc(events, func(e event) bool { return e.partition == 0 })
				w.write(append(first, rest[0])...)
				l := &lead{}
				top := countsBy(t, c.strategy, l.watch)
				var ps []*process
				for i := range c.instances {
					ps = append(ps, w.start(fmt.Sprint("p", i), newDisk(), top, nil))
				}
				w.settled(4, ps...)
				w.pass(2 * time.Second)
				w.write(rest[1:]...)
				if c.dies {
					for i, p := range ps {
						for _, held := range p.in.Tasks() {
							if held.Task == (TaskID{Sub: 0, Partition: 1}) {
								w.until("some of the slow partition is read", l.all(100))
								p.kill()
								ps = append(ps[:i:i], ps[i+1:]...)
							}
						}
					}
				}
				w.until("everything is read", l.all(len(first)+len(rest)))
				w.settled(4, ps...)
				w.pass(15 * time.Second)
				for _, p := range ps {
					p.stop()
				}
				w.drain()
				if c.dies {
					w.expectAtLeast(want)
				} else {
					w.expectExactly(want)
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				// The first event of all is read before anything is known of its partition.
				if c.strategy != plain && l.beyond > 1 {
					t.Errorf("%d events were read too early, want at most the first", l.beyond)
				}
				if c.strategy == plain && l.beyond < 400 {
					t.Errorf("without alignment %d events are read early: the test proves nothing", l.beyond)
				}
			})
		})
	}
}

// TestABoundedRunOfAlignedPartitionsEnds: the slow partition ends where the fast
// one is yet to be read.
func TestABoundedRunOfAlignedPartitionsEnds(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 3, "results": 1}, func(w *world) {
		events := apart(time.Now().Add(-2 * time.Hour))
		want := truth{}
		want.add(events...)
		w.write(events...)
		l := &lead{}
		top := countsBy(t, window.BoundedDelay(5*time.Second).IdleAfter(time.Hour).AlignWithin(apartAtMost), l.watch)
		w.start("a", newDisk(), top, func(c *Config) { c.UntilEnd = true }).wait()
		w.expectExactly(want)
		if l.beyond > 1 {
			t.Errorf("%d events were read too early, want at most the first", l.beyond)
		}
	})
}

// aside returns an instance that does not run, for looking at its alignment, and
// the partitions that it aligns.
func (w *world) aside(top *topology.Topology, adjust func(*Config)) (*Instance, []aligned) {
	w.t.Helper()
	cfg := Config{Application: "aside", Brokers: w.cluster.Addrs(), Dial: w.cluster.Dial, Logger: w.log.logger("aside", slog.LevelInfo)}
	if adjust != nil {
		adjust(&cfg)
	}
	in, err := New(top, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	in.client = w.kafka()
	p, err := in.replan(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return in, in.alignment.partitions(p)
}

// TestNobodyWaitsForWhatIsNotRead: an input that begins at its end has nothing to
// bring of what is there before it is opened.
func TestNobodyWaitsForWhatIsNotRead(t *testing.T) {
	for _, reset := range []topology.OffsetReset{topology.Earliest, topology.Latest} {
		inWorld(t, 1, map[string]int32{"events": 1, "results": 1}, func(w *world) {
			w.write(count(0, "k", time.Now()))
			in, parts := w.aside(countsBy(t, window.BoundedDelay(0).IdleAfter(time.Minute).AlignWithin(time.Minute)), func(c *Config) { c.OffsetReset = reset })
			defer in.client.Close()
			in.alignment.expect(in.currentPlan())
			if err := in.alignment.look(w.t.Context(), parts); err != nil {
				t.Fatal(err)
			}
			if _, waits := in.alignment.slowest(0); waits != (reset == topology.Earliest) {
				t.Errorf("%v: others wait for it: %v", reset, waits)
			}
		})
	}
}

// TestNobodyWaitsForADeletedTopic that a pattern had found.
func TestNobodyWaitsForADeletedTopic(t *testing.T) {
	inWorld(t, 1, map[string]int32{"in.a": 1, "in.b": 1, "results": 1}, func(w *world) {
		b := topology.New("patterned")
		topology.SourcePattern(b, "in", `in\..*`, codec.String, codec.String).
			EventTime(eventTime, window.BoundedDelay(0).IdleAfter(time.Minute).AlignWithin(time.Minute)).To("results", codec.String, codec.String)
		top, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		w.write(event{"in.b", 0, "k", "0", time.Now()})
		in, parts := w.aside(top, nil)
		defer in.client.Close()
		if err := in.alignment.look(w.t.Context(), parts); err != nil {
			t.Fatal(err)
		}
		if tp, ok := in.alignment.slowest(0); !ok || tp.Topic != "in.b" {
			t.Fatalf("they wait for %v, %v", tp, ok)
		}
		if err := in.client.DeleteTopic(w.t.Context(), "in.b"); err != nil {
			t.Fatal(err)
		}
		p, err := in.replan(w.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := in.alignment.look(w.t.Context(), in.alignment.partitions(p)); err != nil {
			t.Fatal(err)
		}
		if tp, ok := in.alignment.slowest(0); ok {
			t.Errorf("they wait for %v, which is deleted", tp)
		}
	})
}

// TestAPausedPartitionIsTold in the status of its task and by the metrics, with
// the partition that it waits for.
func TestAPausedPartitionIsTold(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 2, "results": 1}, func(w *world) {
		begin := time.Now().Add(-2 * time.Hour)
		events := []event{count(1, "slow", begin)}
		for i := range 100 {
			events = append(events, count(0, "fast", begin.Add(time.Duration(i)*time.Minute)))
		}
		w.write(events...)
		l := &lead{}
		top := countsBy(t, window.BoundedDelay(0).IdleAfter(time.Minute).AlignWithin(5*time.Minute), l.watch)
		a := w.start("a", newDisk(), top, nil)
		w.settled(4, a)
		w.pass(2 * time.Second)
		var paused, holding *InputStatus
		for _, st := range a.in.Watermarks() {
			for i, in := range st.Inputs {
				if in.Paused {
					paused = &st.Inputs[i]
				}
				if st.Task == (TaskID{Sub: 1}) {
					holding = &st.Inputs[st.Holder]
				}
			}
		}
		if paused == nil || paused.Topic != "events" || paused.Partition != 0 || paused.PausedFor != "events/1" || paused.Idle || !paused.Heard {
			t.Errorf("paused: %+v", paused)
		}
		if holding == nil || len(holding.Waiting) != 1 || holding.Waiting[0].Task != 1 || len(holding.Unheard) > 0 {
			t.Errorf("the reader waits for %+v", holding)
		}
		if since := time.Since(holding.Since); since < time.Second || since > 10*time.Second {
			t.Errorf("the reader's watermark has not moved for %v", since)
		}
		w.pass(time.Minute) // the slow one is idle now
		if !l.all(len(events))() {
			t.Errorf("%d of %d read in the end", l.read, len(events))
		}
		a.stop()
	})
}
