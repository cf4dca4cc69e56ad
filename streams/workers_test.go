package streams

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/assign"
	"github.com/millrace/millrace/topology"
)

// one gives an instance one worker.
func one(c *Config) { c.Workers = 1 }

// spreadEvenly returns a condition: so many workers run all tasks of the instance,
// and none has two more than another.
func (p *process) spreadEvenly(workers int) func() bool {
	return func() bool {
		in := p.in
		in.mu.Lock()
		defer in.mu.Unlock()
		count := map[*worker]int{}
		for _, h := range in.tasks {
			count[h.worker]++
		}
		for _, w := range in.workers {
			if n := count[w]; n < len(in.tasks)/workers || n > (len(in.tasks)+workers-1)/workers {
				return false
			}
		}
		return len(in.workers) == workers && len(in.retiring) == 0
	}
}

// producers returns how many producers the only member has told its group of.
func (w *world) producers(top *topology.Topology) int32 {
	w.t.Helper()
	c := w.kafka()
	defer c.Close()
	group, err := c.DescribeGroup(w.t.Context(), top.Application())
	if err != nil || len(group.Assigned) != 1 {
		w.t.Fatal(err, group)
	}
	sub, err := assign.DecodeSubscription(group.Assigned[0].Subscription)
	if err != nil {
		w.t.Fatal(err)
	}
	return sub.Producers
}

func TestWorkersComeAndGoUnderLoad(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 3, topics(), func(w *world) {
				w.guarantee = guarantee
				commits := w.watchCommits()
				l := w.startLoad(partitions, 20*time.Millisecond)
				top := counts(t)
				a := w.start("a", newDisk(), top, one)
				w.settled(tasks, a)
				for _, n := range []int{4, 2, 8, 1, 3} {
					w.pass(3 * time.Second)
					if err := a.in.SetWorkers(n); err != nil {
						t.Fatal(err)
					}
					w.until(fmt.Sprint(n, " workers share the tasks"), func() bool {
						return a.spreadEvenly(n)() && a.in.State() == Running && a.running() == tasks
					})
					if told := w.producers(top); guarantee == ExactlyOnce && told < int32(n) {
						t.Errorf("the group was told of %d producers, and there are %d workers", told, n)
					}
					if a.in.Workers() != n {
						t.Errorf("there are %d workers, want %d", a.in.Workers(), n)
					}
				}
				// One order meets another that is not carried out yet.
				for _, n := range []int{6, 2, 5, 1, 4} {
					if err := a.in.SetWorkers(n); err != nil {
						t.Fatal(err)
					}
					w.pass(7 * time.Millisecond)
				}
				w.until("4 workers share the tasks", a.spreadEvenly(4))
				w.settled(tasks, a)
				w.pass(3 * time.Second)
				want := l.end()
				w.pass(time.Second)
				a.stop()
				w.drain()
				w.expectOnce(want)
				if _, err := w.checkDisk(a.disk, top, logs{}); err != nil {
					t.Error(err)
				}
				if err := commits.err(); err != nil {
					t.Error(err)
				}
				if n := w.log.count("throwing tasks away"); n > 0 {
					t.Errorf("tasks were thrown away %d times", n)
				}
			})
		})
	}
}

// TestWorkersAreAWeight: the instance that has more of them is given more tasks.
func TestWorkersAreAWeight(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		top := counts(t)
		a, b := w.start("a", newDisk(), top, one), w.start("b", newDisk(), top, one)
		w.until("each has half", func() bool { return a.running() == tasks/2 && b.running() == tasks/2 })
		if err := a.in.SetWorkers(3); err != nil {
			t.Fatal(err)
		}
		w.until("a has three quarters", func() bool { return a.running() == tasks*3/4 && b.running() == tasks/4 && a.spreadEvenly(3)() })
		if err := a.in.SetWorkers(1); err != nil {
			t.Fatal(err)
		}
		w.until("each has half again", func() bool { return a.running() == tasks/2 && b.running() == tasks/2 && a.spreadEvenly(1)() })
		want := l.end()
		a.stop()
		b.stop()
		w.drain()
		w.expectExactly(want)
	})
}

// TestTheGroupKnowsOfAddedProducers: what a new worker has open when its process
// dies is aborted by another member, and not by its time-out.
func TestTheGroupKnowsOfAddedProducers(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		w.guarantee = ExactlyOnce
		// The first commit of the new worker ends the process.
		var a *process
		l := w.startLoad(partitions, 20*time.Millisecond)
		top := counts(t)
		dead := make(chan struct{})
		a = w.start("a", newDisk(), top, func(c *Config) {
			c.Workers = 1
			c.hooks.step = func(worker int, step string) error {
				if worker != 3 || step != stepOffsets {
					return nil
				}
				select {
				case <-dead:
				default:
					a.kill()
					close(dead)
				}
				return errDead
			}
		})
		b := w.start("b", newDisk(), top, one)
		w.settled(tasks, a, b)
		w.pass(time.Second)
		if err := a.in.SetWorkers(4); err != nil {
			t.Fatal(err)
		}
		<-dead
		died := time.Now()
		w.settled(tasks, b)
		want := l.end() // else there is always a transaction
		w.stable("counts-by-key-repartition")
		w.stable("results")
		// The session, and not the transaction's time-out on top of it.
		if took := time.Since(died); took > 12*time.Second {
			t.Errorf("readers waited %v for what a new worker had left open", took)
		}
		b.stop()
		w.drain()
		w.expectOnce(want)
	})
}

// TestAWorkerThatClosesCountsUntilItHas: its producer may be in use until then, so that
// the group keeps hearing of it, and no other worker gets its number.
func TestAWorkerThatClosesCountsUntilItHas(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		w.guarantee = ExactlyOnce
		const more = 2 * tasks
		a := w.start("a", newDisk(), counts(t), func(c *Config) { c.Workers = more })
		w.settled(tasks, a)
		last := a.in.crew()[more-1]
		if a.in.heldBy(last) != nil {
			t.Fatal("the last of the workers has a task")
		}
		busy := make(chan struct{})
		last.post(func(context.Context) error { <-busy; return nil })
		set := func(n int) {
			t.Helper()
			if err := a.in.SetWorkers(n); err != nil {
				t.Fatal(err)
			}
			w.pass(10 * time.Second)
		}
		set(more - 1)
		if workers, producers := a.in.wish(); workers != more-1 || producers != more {
			t.Errorf("%d workers and %d producers while one closes, want %d and %d", workers, producers, more-1, more)
		}
		set(more)
		if n := len(a.in.crew()); n != more-1 {
			t.Errorf("%d workers while one with the number of the last closes, want %d", n, more-1)
		}
		close(busy)
		w.until("another worker has the number", func() bool { return len(a.in.crew()) == more })
		if workers, producers := a.in.wish(); workers != more || producers != more || a.in.crew()[more-1] == last {
			t.Errorf("%d workers and %d producers, want %d of each", workers, producers, more)
		}
	})
}

func TestWorkersChangeWhileTheInstanceIsPausedOrStops(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		l := w.startLoad(partitions, 20*time.Millisecond)
		a := w.start("a", newDisk(), counts(t), one)
		w.settled(tasks, a)
		w.pass(time.Second)
		a.in.Pause()
		w.until("a is paused", func() bool { return a.in.State() == Paused })
		w.pass(time.Second)
		before := len(w.read("counts-by-key-repartition"))
		if err := a.in.SetWorkers(3); err != nil {
			t.Fatal(err)
		}
		w.until("3 workers share the tasks", func() bool { return a.spreadEvenly(3)() && a.in.State() == Paused })
		w.pass(5 * time.Second)
		if n := len(w.read("counts-by-key-repartition")) - before; n > 0 {
			t.Errorf("%d records were sent", n)
		}
		a.in.Resume()
		w.settled(tasks, a)
		w.pass(time.Second)
		if err := a.in.SetWorkers(8); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Millisecond)
		want := l.end()
		a.stop()
		w.drain()
		w.expectExactly(want)
	})
}

func TestWhatWorkersCannotBeSetTo(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		a := w.start("a", newDisk(), counts(t), nil)
		w.settled(tasks, a)
		for _, n := range []int{-1, 0, mostWorkers + 1} {
			if err := a.in.SetWorkers(n); !errors.Is(err, ErrInvalidConfig) {
				t.Errorf("%d workers: %v", n, err)
			}
		}
		a.stop()
		if err := a.in.SetWorkers(2); !errors.Is(err, ErrNotRunning) {
			t.Errorf("after the end: %v", err)
		}
	})
}
