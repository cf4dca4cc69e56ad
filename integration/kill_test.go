//go:build integration

package integration_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
	"github.com/millrace/millrace/streams"
)

// TestKilledInstanceLosesNothing kills one of two processes in the middle of a
// replay, starts it again without its state, and compares the final windows
// with what is in the topic. A tap says how far the process had fetched.
func TestKilledInstanceLosesNothing(t *testing.T) {
	killedInstance(t, "killed", streams.AtLeastOnce, time.Second)
}

// TestKilledInstanceCountsEverythingOnce is the same exactly once: what the
// process has left open is aborted by the other one.
func TestKilledInstanceCountsEverythingOnce(t *testing.T) {
	killedInstance(t, "killed-once", streams.ExactlyOnce, 100*time.Millisecond)
}

func killedInstance(t *testing.T, name string, guarantee streams.Guarantee, commit time.Duration) {
	c := newCluster(t)
	s := c.newKilling(name, 200_000)
	s.once = guarantee == streams.ExactlyOnce
	spec := workerSpec{
		Brokers: c.brokers, Application: s.application, Topology: "llm", Topic: s.topic, CommitInterval: commit, Guarantee: guarantee,
	}
	tap := filepath.Join(t.TempDir(), "tap")
	s.start = func(name, state string) process {
		spec := spec
		if spec.StateDir = state; name == "a" {
			spec.Tap = tap
		}
		return startWorker(t, spec)
	}
	s.fetched = func() map[place]int64 { return readTap(t, tap) }
	s.replay = func() error {
		g := generate(t, trace.Options{Events: s.events, End: time.Now().Add(-2 * time.Hour), Disorder: time.Minute, DisorderShare: 0.05, Seed: 1})
		return c.replay(g, s.topic, s.partitions, 25_000)
	}
	s.run()
}

// TestFrozenInstanceOverwritesNothing stops one of two processes for longer than
// its session lasts, lets the other one take over, and wakes the first in the
// middle of the replay: it must not write its old state over its successor's.
func TestFrozenInstanceOverwritesNothing(t *testing.T) {
	frozenInstance(t, "frozen", streams.AtLeastOnce)
}

// TestFrozenInstanceIsFenced is the same exactly once: what it had in a
// transaction is never seen.
func TestFrozenInstanceIsFenced(t *testing.T) { frozenInstance(t, "frozen-once", streams.ExactlyOnce) }

func frozenInstance(t *testing.T, name string, guarantee streams.Guarantee) {
	c := newCluster(t)
	s := c.newKilling(name, 200_000)
	s.once = guarantee == streams.ExactlyOnce
	s.start = func(_, state string) process {
		return startWorker(t, workerSpec{
			Brokers: c.brokers, Application: s.application, Topology: "llm", Topic: s.topic, CommitInterval: 200 * time.Millisecond,
			StateDir: state, Guarantee: guarantee,
		})
	}
	s.replay = func() error {
		g := generate(t, trace.Options{Events: s.events, End: time.Now().Add(-2 * time.Hour), Seed: 1})
		return c.replay(g, s.topic, s.partitions, 12_500)
	}
	replayed := s.begin()
	a, b := s.start("a", t.TempDir()).(*worker), s.start("b", t.TempDir()).(*worker)
	a.awaitRunning()
	b.awaitRunning()
	eventually(t, "a fifth is committed", func() bool { return total(only(c.committed(s.application), s.topic)) > s.events/5 })
	a.signal(syscall.SIGSTOP)
	held := a.tasks()
	before := c.committed(s.application)
	b.await("running all tasks", func(events []event) bool { return len(tasksIn(events)) == 2*int(s.partitions) })
	eventually(t, "the successor has committed", func() bool {
		for at, n := range c.committed(s.application) {
			if at.topic == s.topic && n <= before[at] {
				return false
			}
		}
		return true
	})
	woken := len(a.history())
	a.signal(syscall.SIGCONT)
	a.await("having given up its tasks and taken some again", func(events []event) bool {
		closed := map[string]bool{}
		for _, e := range events[woken:] {
			if e.Kind == "task" && e.What == string(streams.TaskClosed) {
				closed[e.Task] = true
			}
		}
		return len(closed) == len(held) && len(tasksIn(events)) > 0
	})
	if err := <-replayed; err != nil {
		t.Fatal(err)
	}
	repeats, _ := s.account(func() { t.Logf("stopped within %v and %v", a.stop(), b.stop()) })
	t.Logf("%d tasks were held while frozen; %d repeats", len(held), repeats)
}

// process is a running instance that can be killed.
type process interface {
	awaitRunning()
	// tasks returns the tasks that it holds.
	tasks() map[string]bool
	kill()
	stop() time.Duration
}

// killing is a replay in the middle of which an instance is killed.
type killing struct {
	c                               *cluster
	application, topic, repartition string
	events                          int64
	partitions                      int32
	// start starts a process of a name; that named a is killed.
	start  func(name, state string) process
	replay func() error
	// from are the ends of the output topics before the replay.
	from map[place]int64
	// fetched returns how far the process that was killed had fetched at most.
	fetched func() map[place]int64
	// once says that nothing may be counted twice, and no result be final twice.
	once bool
}

// figures are what is compared of a model and window.
type figures struct{ count, errors, prompt, completion int64 }

type modelWindow struct {
	model string
	start int64
}

func (c *cluster) newKilling(name string, events int64) *killing {
	c.t.Helper()
	s := &killing{c: c, application: c.name(name), topic: c.name(name + "-events"), events: events, partitions: 4}
	s.repartition = s.application + "-by-model-repartition"
	c.create(s.topic, s.partitions)
	c.ensure(llm.StatsTopic, 4)
	c.ensure(llm.LateTopic, 4)
	s.from = c.offsets(llm.StatsTopic, logEnd)
	maps.Copy(s.from, c.offsets(llm.LateTopic, logEnd))
	return s
}

// begin begins the replay and returns when each partition has something: one
// that is empty when it is first read is idle, and holds no watermark back,
// which at this speed means late events.
func (s *killing) begin() (replayed chan error) {
	s.c.t.Helper()
	replayed = make(chan error, 1)
	go func() { replayed <- s.replay() }()
	eventually(s.c.t, "each partition has events", func() bool {
		for _, n := range s.c.offsets(s.topic, logEnd) {
			if n == 0 {
				return false
			}
		}
		return true
	})
	return replayed
}

// run kills a process when a third of the replay is committed.
func (s *killing) run() {
	c, t := s.c, s.c.t
	t.Helper()
	began := time.Now()
	replayed := s.begin()
	state := t.TempDir()
	a, b := s.start("a", state), s.start("b", t.TempDir())
	a.awaitRunning()
	b.awaitRunning()
	eventually(t, "a third is committed", func() bool { return total(only(c.committed(s.application), s.topic)) > s.events/3 })
	a.kill()
	committed, fetched := c.committed(s.application), s.fetched()
	killedAt := time.Since(began)
	held := a.tasks()
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	again := s.start("again", state)
	if err := <-replayed; err != nil {
		t.Fatal(err)
	}
	replayTook := time.Since(began)

	// What the process that was killed held and can have done without a commit.
	var bound int64
	for task := range held {
		at := place{s.topic, int32(task[2] - '0')}
		if task[0] != '0' {
			at.topic = s.repartition
		}
		n := max(0, fetched[at]-committed[at])
		bound += n
		t.Logf("task %s was killed: %v committed to %d, fetched to %d", task, at, committed[at], fetched[at])
	}
	if len(held) == 0 || bound == 0 {
		t.Errorf("the process that was killed held %d tasks and %d records that were not committed: the kill tested nothing", len(held), bound)
	}

	var took time.Duration
	repeats, truth := s.account(func() {
		took = time.Since(began)
		t.Logf("stopped within %v and %v", again.stop(), b.stop())
	})
	if repeats > bound {
		t.Errorf("%d repeats, more than the %d records that were fetched and not committed", repeats, bound)
	}
	t.Logf("%d events in %d windows: %d repeats; at the kill %d records were fetched beyond the committed offsets",
		s.events, len(truth), repeats, bound)
	t.Logf("replay %v, kill at %v, all final after %v (%.0f events a second)", replayTook.Round(time.Millisecond),
		killedAt.Round(time.Millisecond), took.Round(time.Millisecond), float64(s.events)/took.Seconds())
}

// account closes all windows of the replay, waits for their final results, stops
// the processes, and compares the last results with what is in the topic. None
// may be less; repeats is by how much they are more.
func (s *killing) account(stop func()) (repeats int64, truth map[modelWindow]figures) {
	c, t := s.c, s.c.t
	t.Helper()
	truth, latest := c.truth(s.topic, nil)
	// One event far ahead on each partition.
	for p := range s.partitions {
		closing := llm.Performance{Event: llm.Event{Timestamp: latest + 30*60*1000, Model: "closing"}}
		c.produce(record(t, place{s.topic, p}, closing))
	}
	var got map[modelWindow]figures
	eventually(t, "every window has a final result", func() bool {
		got = c.finals(s.from)
		for w := range truth {
			if _, ok := got[w]; !ok {
				return false
			}
		}
		return true
	})
	stop()
	got = c.finals(s.from)
	late, _ := c.truth(llm.LateTopic, s.from)
	var want int64
	for w, f := range truth {
		r := got[w]
		if r.count < f.count || r.errors < f.errors || r.prompt < f.prompt || r.completion < f.completion {
			t.Errorf("%s at %v: %+v, less than the truth %+v; late were %+v", w.model, time.UnixMilli(w.start).UTC(), r, f, late[w])
		}
		want += f.count
		repeats += r.count - f.count
		delete(got, w)
	}
	for w, f := range got {
		t.Errorf("%s at %v: %+v where nothing was sent", w.model, time.UnixMilli(w.start).UTC(), f)
	}
	if s.once && repeats > 0 {
		t.Errorf("%d events were counted twice", repeats)
	}
	if s.once {
		s.finalOnce()
	}
	if want != s.events {
		t.Errorf("the topic holds %d events, %d were sent", want, s.events)
	}
	return repeats, truth
}

// finalOnce expects one final result of each model and window.
func (s *killing) finalOnce() {
	s.c.t.Helper()
	times := map[modelWindow]int{}
	for _, r := range s.c.results(s.from) {
		if r.Final && !r.Retracted {
			times[modelWindow{r.Key, r.WindowStart}]++
		}
	}
	for w, n := range times {
		if n > 1 {
			s.c.t.Errorf("%s at %v: %d final results", w.model, time.UnixMilli(w.start).UTC(), n)
		}
	}
}

// replay writes the events of g, spread over the partitions of a topic.
func (c *cluster) replay(g *trace.Generator, topic string, partitions int32, perSecond int) error {
	const ticks = 50 // a second
	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()
	ctx := c.t.Context()
	failed := make(chan error, 1)
	n := int32(0)
	for d := range g.All() {
		if n++; n%int32(perSecond/ticks) == 0 {
			select {
			case <-tick.C:
			case err := <-failed:
				return err
			}
		}
		value, err := llm.PerformanceCodec.Append(nil, d.Event)
		if err != nil {
			return err
		}
		r := &kgo.Record{Topic: topic, Partition: n % partitions, Key: []byte(d.Event.Model), Value: value, Timestamp: time.UnixMilli(d.At)}
		c.client.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	err := c.client.Flush(ctx)
	select {
	case failed := <-failed:
		return errors.Join(err, failed)
	default:
		return err
	}
}

// truth reads a topic of events and adds up what it holds, by model and windows
// of five minutes. latest is the latest time in it.
func (c *cluster) truth(topic string, from map[place]int64) (by map[modelWindow]figures, latest int64) {
	c.t.Helper()
	const size = 5 * 60 * 1000
	by = map[modelWindow]figures{}
	for _, r := range c.read(topic, from) {
		v, err := llm.PerformanceCodec.Decode(r.Value)
		if err != nil {
			c.t.Fatal(err)
		}
		latest = max(latest, v.Timestamp)
		w := modelWindow{v.Model, v.Timestamp - v.Timestamp%size}
		f := by[w]
		f.count++
		f.prompt += v.PromptTokens
		f.completion += v.CompletionTokens
		if v.Error {
			f.errors++
		}
		by[w] = f
	}
	return by, latest
}

// finals returns the last final result of each model and window.
func (c *cluster) finals(from map[place]int64) map[modelWindow]figures {
	c.t.Helper()
	out := map[modelWindow]figures{}
	for _, r := range c.results(from) {
		if r.Final && !r.Retracted {
			out[modelWindow{r.Key, r.WindowStart}] = figures{r.Count, r.Errors, r.PromptTokens, r.CompletionTokens}
		}
	}
	return out
}

// only returns the offsets of one topic.
func only(of map[place]int64, topic string) map[place]int64 {
	out := map[place]int64{}
	for at, n := range of {
		if at.topic == topic {
			out[at] = n
		}
	}
	return out
}
