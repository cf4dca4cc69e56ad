package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/processors"
)

// heardStates notes the states that an instance tells its listener.
type heardStates struct {
	mu  sync.Mutex
	all []State
}

func (s *heardStates) listen(c *Config) {
	c.Listener.State = func(_, to State) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all = append(s.all, to)
	}
}

func (s *heardStates) has(want State) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, state := range s.all {
		if state == want {
			return true
		}
	}
	return false
}

// gauge returns the value of a metric with one label.
func gauge(t *testing.T, g prometheus.Gatherer, name, label string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetValue() == label {
					return m.GetGauge().GetValue() + m.GetCounter().GetValue()
				}
			}
		}
	}
	return -1
}

// next sums up how far an instance has read.
func (p *process) next() (sum int64) {
	for _, st := range p.in.Watermarks() {
		for _, in := range st.Inputs {
			sum += in.Next
		}
	}
	return sum
}

func TestAPausedInstanceStandsStillAndKeepsItsTasks(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 1, topics(), func(w *world) {
				w.guarantee = guarantee
				l := w.startLoad(partitions, 20*time.Millisecond)
				var told heardStates
				registry := prometheus.NewRegistry()
				a := w.start("a", newDisk(), counts(t), func(c *Config) {
					told.listen(c)
					c.Metrics = registry
				})
				w.settled(tasks, a)
				w.pass(2 * time.Second)
				a.in.Pause()
				w.until("a is paused", func() bool { return a.in.State() == Paused })
				w.pass(time.Second)
				at, results := a.next(), len(w.read("results"))
				begun := w.log.count("msg=rebalanced")
				w.pass(40 * time.Second) // longer than the session, and than a partition may be silent
				if now := a.next(); now != at {
					t.Errorf("read on from %d to %d", at, now)
				}
				if n := len(w.read("results")); n != results {
					t.Errorf("%d results were sent", n-results)
				}
				for _, st := range a.in.Watermarks() {
					for _, in := range st.Inputs {
						if in.Idle {
							t.Errorf("task %v: input %s/%d is idle", st.Task, in.Topic, in.Partition)
						}
					}
				}
				if a.running() != tasks || w.log.count("msg=rebalanced") != begun {
					t.Errorf("%d tasks, %d rebalances", a.running(), w.log.count("msg=rebalanced")-begun)
				}
				if v := gauge(t, registry, "millrace_instance_state", "paused"); v != 1 {
					t.Errorf("the metric says %v", v)
				}
				a.in.Resume()
				w.settled(tasks, a)
				if v := gauge(t, registry, "millrace_instance_state", "paused"); v != 0 {
					t.Errorf("after the pause the metric says %v", v)
				}
				want := l.end()
				w.pass(time.Second)
				a.stop()
				w.drain()
				w.expectOnce(want)
				if !told.has(Paused) || w.log.count("state=paused") != 1 {
					t.Error("the listener or the log did not hear of it")
				}
			})
		})
	}
}

// TestAPauseHoldsWindowsBack pauses one of two instances: the windows that wait for
// its partitions stay open, and nothing is late when it goes on.
func TestAPauseHoldsWindowsBack(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		a, b := w.start("a", newDisk(), counts(t), nil), w.start("b", newDisk(), counts(t), nil)
		w.settled(tasks, a, b)
		w.pass(2 * time.Second)
		a.in.Pause()
		a.in.Pause() // says nothing new
		w.pass(time.Minute)
		a.in.Resume()
		w.settled(tasks, a, b)
		w.pass(2 * time.Second)
		want := l.end()
		a.stop()
		b.stop()
		w.drain()
		w.expectExactly(want)
	})
}

// TestAPauseIsNoFailure: a partition that could not be read when the pause began has
// its whole time after it.
func TestAPauseIsNoFailure(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		a := w.start("a", newDisk(), counts(t), func(c *Config) { c.TaskTimeout = 20 * time.Second })
		w.settled(tasks, a)
		w.pass(time.Second)
		h := w.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed, Count: 1 << 20})
		w.pass(time.Second)
		if w.log.count("input cannot be read for now") == 0 {
			t.Error("everything can be read")
		}
		a.in.Pause()
		w.until("a is paused", func() bool { return a.in.State() == Paused })
		w.pass(time.Minute)
		a.in.Resume()
		w.pass(time.Second)
		h.Remove()
		w.settled(tasks, a)
		w.pass(time.Minute)
		a.stop()
	})
}

func TestTasksThatComeToAPausedInstanceWait(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		want := truth{}
		events := spread(100, partitions, time.Now().Add(-time.Minute))
		want.add(events...)
		a := w.start("a", newDisk(), counts(t), nil)
		a.in.Pause() // before it has begun
		w.until("a is paused", func() bool { return a.in.State() == Paused && a.running() == tasks })
		w.write(events...)
		w.pass(5 * time.Second)
		if n := len(w.read("counts-by-key-repartition")); n > 0 {
			t.Errorf("%d records were sent", n)
		}
		a.in.Resume()
		w.settled(tasks, a)
		w.pass(time.Second)
		a.stop()
		w.drain()
		w.expectExactly(want)
	})
}

func TestADrainedInstanceGivesEverythingAwayAndComesBack(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 3, topics(), func(w *world) {
				w.guarantee = guarantee
				l := w.startLoad(partitions, 20*time.Millisecond)
				var told heardStates
				a := w.start("a", newDisk(), counts(t), told.listen)
				b := w.start("b", newDisk(), counts(t), nil)
				w.until("each has half", func() bool { return a.running() == tasks/2 && b.running() == tasks/2 })
				w.pass(time.Second)
				if err := a.in.Drain(w.t.Context()); err != nil {
					t.Fatal(err)
				}
				if n := len(a.in.Tasks()); n > 0 || a.in.State() != Drained {
					t.Errorf("%d tasks are left, state %s", n, a.in.State())
				}
				w.settled(tasks, b)
				w.pass(10 * time.Second)
				if n := len(a.in.Tasks()); n > 0 {
					t.Errorf("%d tasks came back", n)
				}
				a.in.Resume()
				w.until("a has half again", func() bool { return a.running() == tasks/2 && b.running() == tasks/2 })
				want := l.end()
				a.stop()
				b.stop()
				w.drain()
				w.expectOnce(want)
				if !told.has(Draining) || !told.has(Drained) {
					t.Errorf("states %v", told.all)
				}
			})
		})
	}
}

func TestAnInstanceThatDoesNotRunIsNotDrained(t *testing.T) {
	in, err := New(counts(t), Config{Brokers: []string{"none:9092"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.StartDrain(true); !errors.Is(err, ErrNotRunning) {
		t.Errorf("started: %v", err)
	}
	if err := in.Drain(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("waited for: %v", err)
	}
}

func TestTheLastInstanceKeepsItsTasksUntilAnotherComes(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		a := w.start("a", newDisk(), counts(t), nil)
		w.settled(tasks, a)
		if err := a.in.StartDrain(true); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
		defer cancel()
		if err := a.in.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), fmt.Sprint(tasks, " tasks are still here")) {
			t.Errorf("drain: %v", err)
		}
		if a.in.State() != Draining || a.running() != tasks {
			t.Errorf("state %s, %d tasks", a.in.State(), a.running())
		}
		b := w.start("b", newDisk(), counts(t), nil)
		a.wait() // it stops by itself
		w.settled(tasks, b)
		if err := a.in.Drain(w.t.Context()); !errors.Is(err, ErrNotRunning) {
			t.Errorf("after the end: %v", err)
		}
		want := l.end()
		b.stop()
		w.drain()
		w.expectExactly(want)
	})
}

// TestStopLeavesOrStays looks at how soon another instance takes over.
func TestStopLeavesOrStays(t *testing.T) {
	for departure, atLeast := range map[OnStop]time.Duration{Leave: 0, Stay: 4 * time.Second} {
		t.Run(fmt.Sprint(departure), func(t *testing.T) {
			inWorld(t, 1, topics(), func(w *world) {
				l := w.startLoad(partitions, 20*time.Millisecond)
				a, b := w.start("a", newDisk(), counts(t), nil), w.start("b", newDisk(), counts(t), nil)
				w.until("each has half", func() bool { return a.running() == tasks/2 && b.running() == tasks/2 })
				w.pass(time.Second)
				began := time.Now()
				a.in.Stop(departure)
				a.wait()
				w.settled(tasks, b)
				if took := time.Since(began); took < atLeast || atLeast == 0 && took > 3*time.Second {
					t.Errorf("b had everything after %v", took)
				}
				want := l.end()
				b.stop()
				w.drain()
				w.expectExactly(want)
			})
		})
	}
}

func TestEachStateOfATaskReachesTheListenerTheLogAndTheMetric(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		registry := prometheus.NewRegistry()
		var mu sync.Mutex
		told := map[TaskState]int{}
		a := w.start("a", newDisk(), counts(t), func(c *Config) {
			c.Metrics = registry
			c.Listener.Task = func(_ processors.TaskID, s TaskState) {
				mu.Lock()
				defer mu.Unlock()
				told[s]++
			}
		})
		w.until("the metrics say that all tasks run", func() bool {
			return gauge(t, registry, "millrace_task_state", "running") == tasks && gauge(t, registry, "millrace_instance_state", "running") == 1
		})
		a.stop()
		for _, s := range []TaskState{TaskRestoring, TaskRunning, TaskClosed} {
			if told[s] != tasks || w.log.count(fmt.Sprint(" state=", s, "\n")) < tasks {
				t.Errorf("%s: told %d times, logged %d times", s, told[s], w.log.count(fmt.Sprint(" state=", s, "\n")))
			}
		}
	})
}
