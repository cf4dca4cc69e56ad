package task_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
)

// once runs the only task of a topology exactly once: outputs, changelogs and
// offsets of a commit become visible together, or not at all.
type once struct {
	t    testing.TB
	plan *task.Plan
	now  time.Time
	log  *changelog.Memory
	in   []*task.Fetched

	// sent is what was committed, pending what has yet to be.
	sent, pending []string
	observer      processors.Observer
	offset        task.Offset
	db            *stores.DB
	task          *task.Task
}

// newOnce starts a task that reads the topic "in" and has topics named as outputs.
func newOnce(t testing.TB, top *topology.Topology) *once {
	t.Helper()
	plan, err := task.NewPlan(top, "app", map[string]int32{"in": 1, "out": 1})
	if err != nil {
		t.Fatal(err)
	}
	o := &once{t: t, plan: plan, now: time.UnixMilli(0), log: changelog.NewMemory()}
	for _, x := range plan.Internal {
		o.log.Create(x.Name, 1)
	}
	o.start()
	t.Cleanup(o.stop)
	return o
}

func (o *once) Send(_ string, _ int32, key, value []byte, _ int64, _ []processors.Header) error {
	o.pending = append(o.pending, string(key)+"="+string(value))
	return nil
}

func (o *once) Partitions(string) (int32, error) { return 1, nil }

func (o *once) check(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

// start makes the task from what is committed.
func (o *once) start() {
	o.t.Helper()
	var err error
	o.db, err = stores.Open(stores.Config{Engine: stores.NewMemory(), Deletes: stores.DeletesWithCommit})
	o.check(err)
	top := o.plan.Topology
	state, err := task.OpenState(top, 0, o.db)
	o.check(err)
	logger := slog.New(slog.DiscardHandler)
	for _, store := range o.plan.Subs[0].Changelogs() {
		o.check(changelog.Restore(context.Background(), changelog.Config{
			DB: o.db, Store: store, Log: o.log, Topic: changelog.TopicName("app", store), Clock: o.clock, Logger: logger,
		}))
	}
	inputs := o.plan.Inputs(processors.TaskID{})
	inputs[0].Offset, inputs[0].Metadata = o.offset.Next, o.offset.Metadata
	o.task, err = task.New(task.Config{
		Topology: top, Application: "app", Tasks: 1, State: state, Inputs: inputs, Outlet: o,
		Now: o.clock, Logger: logger, Observer: o.observer,
	})
	o.check(err)
}

func (o *once) clock() time.Time { return o.now }

func (o *once) stop() {
	o.t.Helper()
	o.check(errors.Join(o.task.Close(), o.db.Close()))
}

// crash throws away what is not committed.
func (o *once) crash() {
	o.t.Helper()
	o.stop()
	o.pending = nil
	o.start()
}

// run processes up to n records that are there, and lets time have its effect.
func (o *once) run(n int) {
	o.t.Helper()
	in := o.task.Inputs()[0]
	for ; n > 0 && int(in.Next()) < len(o.in); n-- {
		o.check(in.Process(o.in[in.Next()]))
	}
	o.tick()
}

func (o *once) tick() {
	o.t.Helper()
	for more := true; more; {
		var err error
		more, err = o.task.Tick(o.now)
		o.check(err)
	}
}

// commit commits; in the middle of it the process may die.
func (o *once) commit(dies bool) {
	o.t.Helper()
	c, err := o.task.Prepare()
	o.check(err)
	if dies {
		o.crash()
		return
	}
	next := map[string]int64{}
	for store, r := range c.Changes.All() {
		topic := changelog.TopicName("app", store)
		o.check(o.log.Append(topic, 0, r))
		next[store]++
	}
	o.check(o.log.Flush(context.Background()))
	for store := range next {
		next[store], _ = o.log.Next(changelog.TopicName("app", store), 0)
	}
	for _, x := range c.Offsets {
		o.offset = x
	}
	o.sent, o.pending = append(o.sent, o.pending...), nil
	o.check(o.task.Committed(c, next))
}

// end ends the input and commits until nothing is left.
func (o *once) end() {
	o.t.Helper()
	o.run(len(o.in))
	o.task.Inputs()[0].End()
	for range 10 {
		o.tick()
		ended := o.task.Ended()
		o.commit(false)
		if ended && o.task.Ended() {
			return
		}
	}
	o.t.Fatal("the bounded run does not end")
}

// sameWithCrashes runs a topology over the same records, once without a crash and
// once for each of some seeds with crashes, and compares what was committed.
func sameWithCrashes(t *testing.T, top func() *topology.Topology, records []*task.Fetched, seeds int) {
	t.Helper()
	run := func(crashes int) []string {
		o := newOnce(t, top())
		o.in = records
		for i := 0; int(o.task.Inputs()[0].Next()) < len(records); i++ {
			o.now = o.now.Add(time.Second)
			o.run(3)
			switch {
			case crashes == 0:
				o.commit(false)
			case (i+crashes)%5 == 0:
				o.crash()
			default:
				o.commit((i+crashes)%7 == 0)
			}
		}
		o.end()
		return o.sent
	}
	whole := run(0)
	if len(whole) == 0 {
		t.Fatal("nothing is sent: the test tests nothing")
	}
	for seed := range seeds {
		if got := run(seed + 1); !slices.Equal(got, whole) {
			t.Errorf("seed %d: committed\n%q\nwithout crashes\n%q", seed, got, whole)
		}
	}
}
