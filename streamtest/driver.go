package streamtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// Driver is a running topology. One goroutine uses it and its handles.
type Driver struct {
	t    testing.TB // nil for Open
	cfg  config
	plan *task.Plan
	now  time.Time
	rng  *rand.Rand // nil if records are read in the order of writing

	// What outlives a crash: topics, changelogs, committed offsets, disks.
	topics  map[string]*topic
	written int
	log     *changelog.Memory
	offsets map[place]task.Offset
	// instances are the processes, with their disks.
	instances []*instance

	// What does not, but for the skips of a replay.
	tasks      []*running
	pending    []pending
	skips      task.Skips
	generation int32
	// aligned are the partitions of sources with AlignWithin, by group.
	aligned map[int]*window.Alignment[place]

	batches int // calls of Batch that have not returned
	ending  bool
	crash   crashPlan
	replays int
	dropped map[Drop]int

	err     error
	claimed bool // Err was asked for
	closed  bool
}

// New runs a topology for a test. It stops when the test ends, and fails the
// test if an error has stopped the topology that nobody asked [Driver.Err] for.
func New(t testing.TB, top *topology.Topology, opts ...Option) *Driver {
	t.Helper()
	d, err := Open(top, opts...)
	if err != nil {
		t.Fatalf("streamtest: %v", err)
	}
	d.t = t
	t.Cleanup(func() {
		if err := d.Close(); err != nil && !d.claimed {
			t.Errorf("streamtest: %v", err)
		}
	})
	return d
}

// Open runs a topology without a test. Mistakes in the use of its handles are
// then found in [Driver.Err]. The caller closes it.
func Open(top *topology.Topology, opts ...Option) (*Driver, error) {
	d := &Driver{
		cfg: defaults(top.Application()), topics: map[string]*topic{}, log: changelog.NewMemory(),
		offsets: map[place]task.Offset{}, dropped: map[Drop]int{}, aligned: map[int]*window.Alignment[place]{},
	}
	for _, opt := range opts {
		opt(&d.cfg)
	}
	d.now = d.cfg.start
	if d.cfg.seed != 0 {
		d.rng = rand.New(rand.NewPCG(uint64(d.cfg.seed), 0))
	}
	if names := top.HasColdTier(); len(names) > 0 && d.cfg.cold == nil {
		return nil, fmt.Errorf("streamtest: the windows of the stores %q go to a cold tier: use streamtest.ColdTier", names)
	}
	if err := d.makeTopics(top); err != nil {
		return nil, err
	}
	if err := d.openInstances(d.cfg.instances); err != nil {
		return nil, err
	}
	if d.cfg.from != "" {
		if err := d.load(); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	if d.err = d.startTasks(); d.err != nil {
		return nil, errors.Join(d.err, d.Close())
	}
	return d, nil
}

// makeTopics plans the tasks and makes all topics.
func (d *Driver) makeTopics(top *topology.Topology) error {
	if d.cfg.step < time.Millisecond || d.cfg.partitions < 1 || d.cfg.instances < 1 {
		return fmt.Errorf("streamtest: ticks every %v, %d partitions, %d instances: want at least 1ms, 1 and 1",
			d.cfg.step, d.cfg.partitions, d.cfg.instances)
	}
	topics := map[string]int32{}
	name := func(names []string) {
		for _, n := range names {
			topics[n] = d.cfg.partitions
		}
	}
	for _, sub := range top.SubTopologies() {
		for _, src := range sub.Sources {
			name(src.Topics)
		}
	}
	name(top.SinkTopics())
	for n, partitions := range d.cfg.topics {
		topics[n] = partitions
	}
	var err error
	if d.plan, err = task.NewPlan(top, d.cfg.application, topics); err != nil {
		return fmt.Errorf("streamtest: %w", err)
	}
	for _, internal := range d.plan.Internal {
		if internal.Store != "" {
			d.log.Create(internal.Name, int(internal.Partitions))
			continue
		}
		topics[internal.Name] = internal.Partitions
	}
	for n, partitions := range topics {
		if partitions < 1 {
			return fmt.Errorf("streamtest: topic %q has %d partitions: want at least 1", n, partitions)
		}
		d.topics[n] = newTopic(n, partitions)
	}
	return nil
}

// Now returns the clock's time.
func (d *Driver) Now() time.Time { return d.now }

// Advance moves the clock, a tick at a time, and does what is due meanwhile.
func (d *Driver) Advance(by time.Duration) {
	for by > 0 && d.err == nil {
		step := min(by, d.cfg.step)
		d.now = d.now.Add(step)
		by -= step
		d.settle()
	}
}

// Batch calls f, and processes what it has sent when it returns: partitions are
// then read side by side, none of them known to be at its end before all are.
func (d *Driver) Batch(f func()) {
	d.batches++
	func() {
		defer func() { d.batches-- }()
		f()
	}()
	d.settle()
}

// Err returns the error that has stopped the topology, or that a handle met; nil
// while it runs.
func (d *Driver) Err() error {
	d.claimed = true
	return d.err
}

// fail notes a mistake of the caller, at once if there is a test.
func (d *Driver) fail(format string, args ...any) {
	err := fmt.Errorf("streamtest: "+format, args...)
	if d.t != nil {
		d.t.Helper()
		d.t.Fatal(err)
	}
	if d.err == nil {
		d.err = err
	}
}

// Close stops the topology without a commit, and returns what Err would.
func (d *Driver) Close() error {
	if d.closed {
		return d.err
	}
	d.closed = true
	err := d.closeInstances()
	if d.err == nil {
		d.err = err
	}
	return d.err
}

// Drop tells that a node did not take records, and why: "late", "null_key",
// "error" and so on, as the metric millrace_dropped_records_total does.
type Drop struct {
	Node, Reason string
}

// Dropped returns how many records were dropped so far, by node and reason.
// What a replay drops again counts again.
func (d *Driver) Dropped() map[Drop]int {
	counts := map[Drop]int{}
	for drop, n := range d.dropped {
		counts[drop] = n
	}
	return counts
}

// Replays returns how often the tasks were thrown away to go on without a record
// that had failed after it had changed state.
func (d *Driver) Replays() int { return d.replays }

// Watermark returns the watermark of a task in Unix milliseconds: window.MinTime
// if nothing is known yet, window.MaxTime at the end of a bounded run.
func (d *Driver) Watermark(subTopology int, partition int32) int64 {
	i := d.indexOf(subTopology, partition)
	if i < 0 {
		d.fail("no task %d_%d runs", subTopology, partition)
		return window.MinTime
	}
	return d.tasks[i].task.Watermark()
}

// Paused reports whether records of a partition wait because it has run too far
// ahead of others; see window.Strategy.AlignWithin.
func (d *Driver) Paused(topic string, partition int32) bool {
	for _, r := range d.tasks {
		for _, in := range r.task.Inputs() {
			if in.Topic() == topic && in.Partition() == partition {
				return in.Ahead()
			}
		}
	}
	d.fail("no task reads %s/%d", topic, partition)
	return false
}

// ChangelogRecords returns how many records were written to a store's changelog,
// over all partitions.
func (d *Driver) ChangelogRecords(store string) int {
	topic := changelog.TopicName(d.cfg.application, store)
	n := 0
	for p := range d.plan.Partitions[topic] {
		n += len(d.log.Records(topic, p))
	}
	return n
}

// background is the context of calls that wait for nothing.
func background() context.Context { return context.Background() }

// place names a partition.
type place struct {
	topic     string
	partition int32
}
