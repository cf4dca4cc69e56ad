package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// lastValues keeps the last value of each key and second, in tiers.
func lastValues(t *testing.T) *topology.Topology {
	t.Helper()
	b := topology.New("latest")
	topology.Source(b, "in", codec.String, codec.String).EventTime(nil, window.BoundedDelay(0)).
		GroupByKey(codec.String, codec.String).WindowedBy(window.Tumbling(time.Second)).
		Reduce(func(into *string, v string) error { *into = strings.Clone(v); return nil },
			topology.Store("values"), topology.Tiered(topology.Tiers{WarmTTL: time.Second, Cold: true}))
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// TestABacklogOfTheColdTierPausesAndLosesNothing: while the tier fails processing
// goes on until the bound is reached, then the tasks stand still, whatever the
// operator says; when it is back they go on by themselves.
func TestABacklogOfTheColdTierPausesAndLosesNothing(t *testing.T) {
	inWorld(t, 1, map[string]int32{"in": 1}, func(w *world) {
		cold := streamtest.NewCold()
		var down atomic.Bool
		cold.Fault(func(ctx context.Context, _ streamtest.ColdCall, _ bool) error {
			if down.Load() {
				return errors.New("down on purpose")
			}
			return ctx.Err()
		})
		registry := prometheus.NewRegistry()
		a := w.start("a", newDisk(), lastValues(t), func(c *Config) {
			c.Cold, c.ColdBacklog, c.Metrics = cold, 1<<20, registry
		})
		sent := 0
		send := func(n int) {
			for range n {
				w.write(event{topic: "in", key: "k", value: strings.Repeat("v", 64<<10), at: time.Now()})
				sent++
				w.pass(time.Second)
			}
		}
		metric := func(name string) float64 { return gauge(t, registry, "millrace_cold_"+name, "latest") }
		send(4)
		w.pass(2 * time.Second)
		if n := cold.Len("values"); n != 3 || metric("up") != 1 {
			t.Errorf("%d windows are cold, want 3", n)
		}

		down.Store(true)
		send(8)
		w.pass(20 * time.Second)
		if cold.Len("values") != 3 || metric("backlog_windows") != 8 || metric("up") != 0 || metric("paused") != 0 || a.in.State() != Running {
			t.Errorf("%d cold, %v wait, up %v, %v", cold.Len("values"), metric("backlog_windows"), metric("up"), a.in.State())
		}
		send(20)
		w.pass(20 * time.Second)
		if metric("paused") != 1 || a.in.State() != Paused {
			t.Errorf("paused %v, state %v, %v wait", metric("paused"), a.in.State(), metric("backlog_bytes"))
		}
		a.in.Resume()
		waiting := metric("backlog_windows")
		send(10)
		w.pass(20 * time.Second)
		if a.in.State() != Paused || metric("backlog_windows") != waiting {
			t.Errorf("a resume has ended it: %v, %v wait", a.in.State(), metric("backlog_windows"))
		}

		down.Store(false)
		w.pass(30 * time.Second)
		send(2)
		w.pass(5 * time.Second)
		if n := cold.Len("values"); n != sent-1 || metric("paused") != 0 || metric("backlog_windows") != 0 || a.in.State() != Running {
			t.Errorf("%d windows are cold, want %d; state %v", n, sent-1, a.in.State())
		}
		for text, want := range map[string]int{"the cold tier fails": 1, "the cold tier works again": 1, "more waits for the cold tier": 1, "caught up": 1} {
			if n := w.log.count(text); n != want {
				t.Errorf("the log says %q %d times, want %d", text, n, want)
			}
		}
		a.stop()
	})
}

// TestABoundedRunEndsInTheColdTier: what its end closes is there when Run returns,
// though the tier fails at first.
func TestABoundedRunEndsInTheColdTier(t *testing.T) {
	inWorld(t, 1, map[string]int32{"in": 2}, func(w *world) {
		cold := streamtest.NewCold()
		failures := atomic.Int64{}
		cold.Fault(func(ctx context.Context, call streamtest.ColdCall, done bool) error {
			if call == streamtest.ColdWrite && failures.Add(1) < 5 {
				return fmt.Errorf("failure when done: %t", done)
			}
			return ctx.Err()
		})
		var events []event
		for i := range 50 {
			events = append(events, event{topic: "in", partition: int32(i % 2), key: fmt.Sprint("k", i%2), value: "v", at: time.Now().Add(time.Duration(i) * time.Second)})
		}
		w.write(events...)
		a := w.start("a", newDisk(), lastValues(t), func(c *Config) { c.Cold, c.UntilEnd = cold, true })
		a.wait()
		if err := a.result(); err != nil {
			t.Fatal(err)
		}
		if n := cold.Len("values"); n != 50 {
			t.Errorf("%d windows are cold, want 50", n)
		}
	})
}

// TestAColdTierMustBeThere to run, and need not be to look at topics.
func TestAColdTierMustBeThere(t *testing.T) {
	inWorld(t, 1, map[string]int32{"in": 1}, func(w *world) {
		a, err := OpenAdmin(context.Background(), lastValues(t), Config{Brokers: w.cluster.Addrs(), Dial: newWire(w.cluster.Dial).Dial})
		if err != nil {
			t.Fatal(err)
		}
		a.Close()
	})
	if _, err := New(lastValues(t), Config{Brokers: []string{"localhost:1"}}); !errors.Is(err, ErrInvalidConfig) || !strings.Contains(err.Error(), "values") {
		t.Errorf("error %v", err)
	}
}

// refusing is a cold tier that takes no windows of some partitions.
type refusing struct {
	*streamtest.Cold
	partitions sync.Map
}

func (r *refusing) Write(ctx context.Context, b stores.ColdBatch) error {
	if _, ok := r.partitions.Load(b.Lane.Partition); ok {
		return errors.New("refused on purpose")
	}
	return r.Cold.Write(ctx, b)
}

// TestATaskThatTheColdTierRefusesHoldsUpNoOther: the others' windows are written
// between two tries, and the log does not say that all is well.
func TestATaskThatTheColdTierRefusesHoldsUpNoOther(t *testing.T) {
	inWorld(t, 1, map[string]int32{"in": 3}, func(w *world) {
		cold := &refusing{Cold: streamtest.NewCold()}
		cold.partitions.Store(int32(0), true)
		a := w.start("a", newDisk(), lastValues(t), func(c *Config) { c.Cold = cold })
		const seconds = 5
		for range seconds {
			for p := range int32(3) {
				w.write(event{topic: "in", partition: p, key: fmt.Sprint("k", p), value: "v", at: time.Now()})
			}
			w.pass(time.Second)
		}
		w.pass(time.Minute)
		if n := cold.Len("values"); n != 2*(seconds-1) {
			t.Errorf("%d windows are cold, want %d", n, 2*(seconds-1))
		}
		if n := w.log.count("the cold tier works again"); n != 0 {
			t.Errorf("the log says %d times that the tier works", n)
		}
		cold.partitions.Clear()
		w.pass(time.Minute)
		if n := cold.Len("values"); n != 3*(seconds-1) || w.log.count("the cold tier works again") != 1 {
			t.Errorf("%d windows are cold in the end", n)
		}
		a.stop()
	})
}

// TestATaskThatMovesAwayHasNotBeenWritten, and the log does not say so.
func TestATaskThatMovesAwayHasNotBeenWritten(t *testing.T) {
	inWorld(t, 1, map[string]int32{"in": 2}, func(w *world) {
		cold := &refusing{Cold: streamtest.NewCold()}
		cold.partitions.Store(int32(0), true)
		cold.partitions.Store(int32(1), true)
		a := w.start("a", newDisk(), lastValues(t), func(c *Config) { c.Cold = cold })
		for range 3 {
			for p := range int32(2) {
				w.write(event{topic: "in", partition: p, key: fmt.Sprint("k", p), value: "v", at: time.Now()})
			}
			w.pass(time.Second)
		}
		w.pass(20 * time.Second)
		b := w.start("b", newDisk(), lastValues(t), func(c *Config) { c.Cold = cold })
		w.pass(time.Minute)
		stays := a.in.Tasks()[0].Task.Partition
		cold.partitions.Delete(stays)
		w.pass(time.Minute)
		if moved, again := w.log.count("the cold tier fails no more"), w.log.count("the cold tier works again"); len(a.in.Tasks()) != 1 || moved != 1 || again != 0 {
			t.Errorf("%d tasks; the log says %d times that one has moved and %d that all is written", len(a.in.Tasks()), moved, again)
		}
		a.stop()
		b.stop()
	})
}

// TestATaskWhoseStateFailsIsNoFailureOfTheColdTier: it is told for the task, once.
func TestATaskWhoseStateFailsIsNoFailureOfTheColdTier(t *testing.T) {
	inWorld(t, 1, map[string]int32{"in": 1}, func(w *world) {
		cold := streamtest.NewCold()
		registry := prometheus.NewRegistry()
		a := w.start("a", newDisk(), lastValues(t), func(c *Config) {
			c.Cold, c.Metrics = cold, registry
			c.hooks.cold = func(task.ColdStep) error { return errors.New("unreadable on purpose") }
		})
		for range 3 {
			w.write(event{topic: "in", key: "k", value: "v", at: time.Now()})
			w.pass(time.Second)
		}
		w.pass(20 * time.Second)
		fails, own := w.log.count("the cold tier fails"), w.log.count("cannot be read for the cold tier")
		if up := gauge(t, registry, "millrace_cold_up", "latest"); up != 1 || fails != 0 || own != 1 || cold.Len("values") != 0 {
			t.Errorf("up %v; the log says %d times that the tier fails and %d that the task does", up, fails, own)
		}
		a.stop()
	})
}
