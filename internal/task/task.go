package task

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// Config is what a task is made of. Everything in it belongs to the task's
// goroutine from New on.
type Config struct {
	Topology    *topology.Topology
	Application string
	ID          processors.TaskID
	// Tasks is how many tasks the sub-topology has.
	Tasks int32
	// Generation is the group's when the task was taken. Markers carry it.
	Generation int32
	// State is open and restored. The task does not close its database.
	State  *State
	Inputs []InputConfig
	Outlet processors.Outlet
	// Policy is the application's for records that cannot be handled.
	Policy processors.ErrorPolicy
	// Skips are the records that a replay leaves out; nil for none.
	Skips    *Skips
	Now      func() time.Time
	Logger   *slog.Logger
	Observer processors.Observer
	// Replicates reports whether the results of a store go to a replica; nil for
	// none at all.
	Replicates func(store string) bool
}

// InputConfig is one partition that a task reads.
type InputConfig struct {
	// Node is the source's id in the topology.
	Node      int
	Topic     string
	Partition int32
	// Offset is the next one to read, and Metadata what was committed with it.
	Offset   int64
	Metadata string
	// Upstream are the tasks that write to a repartition topic. For any other
	// topic it is nil, and Strategy says how the watermark follows.
	Upstream []window.Upstream
	Strategy window.Strategy
	// Reset is the source's own, where its position is lost.
	Reset topology.OffsetReset
	// Group is that of the planned input.
	Group int
	// Fresh: Offset was just chosen where the partition ends, and is to be
	// committed before it means anything else.
	Fresh bool
}

// Task is one sub-topology on one partition. One goroutine owns it.
type Task struct {
	cfg      Config
	db       *stores.DB
	rt       *processors.Runtime
	instance *topology.Instance
	inputs   []*Input
	tracker  *window.Tracker
	progress *progress
	upgrades upgrades
	expiries expiries
	markers  markers
	now      time.Time

	// told is the input watermark that each stateful node was last told, the end
	// of a bounded run left out; at is the one that it has been advanced to in
	// full. due is set while some node has more to do.
	told, at []int64
	due      bool
	// durable is the watermark to keep: never that of a bounded run's end. kept is
	// the one that is committed.
	durable, kept int64
	// rose is when the watermark last rose, or the task was made.
	rose time.Time
	// results are those since the last commit that go to a replica.
	results results
	// suspects are the aggregates that could not be encoded before a replay.
	suspects []Suspect
}

// State is a task's open database with its stores, before the task is made:
// open it, restore each store of Changelogs, then hand it to New.
type State struct {
	DB       *stores.DB
	opened   topology.Stores
	progress *progress
}

// OpenState opens the stores of sub-topology sub in db.
func OpenState(t *topology.Topology, sub int, db *stores.DB) (*State, error) {
	opened, err := t.OpenStores(sub, db)
	if err != nil {
		return nil, err
	}
	p, err := openProgress(db, t.SubTopologies()[sub])
	if err != nil {
		return nil, err
	}
	return &State{DB: db, opened: opened, progress: p}, nil
}

// watermarkName is the name under which the task's watermark rides in the
// metadata of committed offsets.
const watermarkName = "millrace.watermark"

// New composes the task and brings back where its committed offsets left it.
func New(cfg Config) (*Task, error) {
	cfg.Observer.EnsureDefaults()
	t := &Task{cfg: cfg, db: cfg.State.DB, progress: cfg.State.progress, now: cfg.Now(), durable: window.MinTime}
	t.rose = t.now
	t.rt = &processors.Runtime{
		Task: cfg.ID, Now: cfg.Now, Logger: cfg.Logger, Observer: cfg.Observer,
		Outlet: &clamped{Outlet: cfg.Outlet, task: t},
		Topic:  func(name string) string { return topology.RepartitionTopic(cfg.Application, name) },
		Node:   &processors.Node{Name: "task", Where: cfg.ID.String()},
		State:  t.db,
	}
	if cfg.Replicates != nil {
		t.rt.Replicate = func(r stores.Result) {
			if cfg.Replicates(r.Store) {
				t.results.add(r)
			}
		}
	}
	m, err := t.recall()
	if err != nil {
		return nil, fmt.Errorf("task %v: %w", cfg.ID, err)
	}
	t.expiries.begin(t, m)
	if m.watermark != window.MinTime {
		t.db.SetTime(m.watermark) // for what processors put in Init
	}
	if t.instance, err = t.compose(); err != nil {
		return nil, fmt.Errorf("task %v: %w", cfg.ID, err)
	}
	t.expiries.composed()
	if err := t.restore(m); err != nil {
		return nil, errors.Join(fmt.Errorf("task %v: %w", cfg.ID, err), t.Close())
	}
	t.markers = markers{task: t, sent: make([]int64, len(t.instance.Repartitions))}
	return t, nil
}

// compose makes the nodes; user code runs in it.
func (t *Task) compose() (in *topology.Instance, err error) {
	defer t.recovered(&err)
	return t.cfg.Topology.Instantiate(t.cfg.ID.Sub, t.rt, t.cfg.State.opened)
}

// memory is what a task finds of the one before it.
type memory struct {
	// watermark is the task's, and metas are the metadata of the inputs' offsets.
	watermark int64
	metas     []codec.OffsetMetadata
	saved
}

// toldOf returns the input watermark of a stateful node; window.MinTime if it is not
// known. The task's own would not do: a node behind windows has an earlier one.
func (m *memory) toldOf(node string) int64 {
	if at, known := m.told[node]; known {
		return at
	}
	return window.MinTime
}

// recall reads what the committed offsets and the task's own store say.
func (t *Task) recall() (*memory, error) {
	m := &memory{watermark: window.MinTime, metas: make([]codec.OffsetMetadata, len(t.cfg.Inputs))}
	number := int64(0)
	for i, c := range t.cfg.Inputs {
		var err error
		if m.metas[i], err = codec.DecodeOffsetMetadata(c.Metadata); err != nil {
			t.cfg.Logger.Warn("committed offset has metadata of another program; its time is taken as unknown",
				"task", t.cfg.ID, "topic", c.Topic, "partition", c.Partition, "error", err)
		}
		if kept, ok := m.metas[i].Processors[watermarkName]; ok {
			m.watermark = max(m.watermark, kept)
		}
		number = max(number, m.metas[i].Processors[numberName])
	}
	if err := t.progress.checkShape(t.cfg.Topology.SubTopologies()[t.cfg.ID.Sub]); err != nil {
		return nil, err
	}
	var found bool
	var err error
	if m.saved, found, err = t.progress.load(number, t.cfg.Inputs); err != nil {
		return nil, err
	}
	if !found {
		t.cfg.Logger.Warn("the task's own store does not fit the committed offsets: results of windows may come again, and keys whose delete was on its way may be back",
			"task", t.cfg.ID, "number", number)
	}
	return m, nil
}

// restore sets watermarks to those of the committed offsets.
func (t *Task) restore(m *memory) error {
	if err := t.upgrades.begin(t); err != nil {
		return err
	}
	clocks := make([]window.Input, 0, len(t.cfg.Inputs))
	for i, c := range t.cfg.Inputs {
		in := newInput(t, i, c)
		if err := t.guarded(func() error { return in.restore(m.metas[i], m.vectors[i]) }); err != nil {
			return err
		}
		t.inputs = append(t.inputs, in)
		clocks = append(clocks, in.clock())
	}
	t.tracker = window.NewTracker(clocks...)
	t.tracker.Restore(m.watermark)
	w := t.tracker.Watermark()
	t.setWatermark(w)
	t.kept = t.durable
	t.db.SetTime(w)
	if err := t.db.Redelete(m.deletes); err != nil {
		return err
	}
	t.told, t.at = make([]int64, len(t.instance.Stateful)), make([]int64, len(t.instance.Stateful))
	for i, n := range t.instance.Stateful {
		at, known := m.told[n.Name]
		if !known {
			at = w
		}
		t.told[i], t.at[i] = at, window.MinTime
		if ticking, ok := n.Stateful.(processors.Ticking); ok {
			ticking.RestoreTicks(func(name string) (int64, bool) {
				last, ok := m.told[tickName(n.Name, name)]
				return last, ok
			})
		}
		if err := n.Restore(at); err != nil {
			return fmt.Errorf("node %q: %w", n.Name, err)
		}
	}
	t.due = true
	if t.cfg.Skips != nil {
		t.rt.SkipDue = t.cfg.Skips.results(t.cfg.ID)
		if t.suspects = t.cfg.Skips.suspects[t.cfg.ID]; len(t.suspects) > 0 {
			t.rt.Verify = t.verify
		}
	}
	return nil
}

// ID returns the task's id.
func (t *Task) ID() processors.TaskID { return t.cfg.ID }

// Inputs returns the partitions that the task reads, in the order of Config.
func (t *Task) Inputs() []*Input { return t.inputs }

// SetGeneration tells the task the group's new generation, when the task
// stayed through a rebalance.
func (t *Task) SetGeneration(g int32) { t.cfg.Generation = max(t.cfg.Generation, g) }

// Watermark returns the task's watermark.
func (t *Task) Watermark() int64 { return t.tracker.Watermark() }

// Rose returns when the watermark last rose, or the task was made.
func (t *Task) Rose() time.Time { return t.rose }

// Holder returns the input that the watermark waits for, by its index in Inputs;
// -1 if all are idle or have ended.
func (t *Task) Holder() int { return t.tracker.Holder() }

// Idle reports whether all inputs are idle, and clocked whether the watermark then
// follows the wall clock.
func (t *Task) Idle() (idle, clocked bool) {
	_, clocked = t.tracker.Clocked()
	return t.tracker.Idle(), clocked
}

func (t *Task) setWatermark(w int64) {
	t.rt.Watermark = w
	if w != window.MaxTime {
		t.durable = max(t.durable, w)
	}
}

// moved notes that input i's watermark or idleness changed.
func (t *Task) moved(i int) {
	if t.tracker.Moved(i) {
		t.rose = t.now
		t.setWatermark(t.tracker.Watermark())
		t.due = true
	}
}

// Tick does what is due by the watermark or by the clock: a slice of firing,
// early results, a slice of what has expired, markers. Call it between batches,
// and every few milliseconds while there are none. It reports whether it has more to
// do at once.
func (t *Task) Tick(now time.Time) (more bool, err error) {
	t.now = now
	for _, in := range t.inputs {
		if err := in.tick(now); err != nil {
			return false, err
		}
	}
	if err := t.fire(); err != nil {
		return false, err
	}
	for _, n := range t.instance.Stateful {
		if err := t.firing(func() error { return n.Tick(now) }); err != nil {
			return false, err
		}
	}
	sweeping, err := t.expiries.sweep()
	if err != nil {
		return false, err
	}
	return t.due || sweeping, t.markers.send(now, false)
}

// Firing reports whether more is due by the watermark than was done at once: Tick and
// each record go on with a slice of it in each stateful node.
func (t *Task) Firing() bool { return t.due }

// fire advances the stateful nodes by at most a slice each.
func (t *Task) fire() error {
	if !t.due {
		return nil
	}
	for i := range t.instance.Stateful {
		if done, err := t.advance(i); !done || err != nil {
			return err
		}
	}
	t.due = false
	return nil
}

// advance tells a stateful node how far its input has come, and reports whether
// it has done all that is due by that.
func (t *Task) advance(i int) (done bool, err error) {
	n := &t.instance.Stateful[i]
	w := t.input(n)
	// The end of a bounded run is not kept, but what the task kept before it is: when
	// one of several inputs has ended the watermark is that of the others for a moment.
	// A node that was not told of it would not know of it after a restart either.
	if w == window.MaxTime && n.FromSource && len(n.Nodes) == 0 && t.at[i] < t.durable {
		if done, err := t.advanceTo(i, t.durable); !done || err != nil {
			return false, err
		}
	}
	return t.advanceTo(i, w)
}

// advanceTo tells a stateful node that its input has come as far as w.
func (t *Task) advanceTo(i int, w int64) (done bool, err error) {
	n := &t.instance.Stateful[i]
	if w <= t.at[i] {
		return true, nil
	}
	if w != window.MaxTime {
		t.told[i] = max(t.told[i], w)
	}
	err = t.firing(func() (err error) {
		done, err = n.Advance(w)
		return err
	})
	if done && err == nil {
		t.at[i] = w
	}
	return done, err
}

// input is the watermark to advance a node to.
func (t *Task) input(n *topology.StatefulNode) int64 {
	if !n.Follows {
		return t.reached(n.Upstream)
	}
	w := window.MaxTime
	for _, i := range n.Nodes {
		w = min(w, t.at[i])
	}
	return w
}

// reached is the watermark of what comes from up.
func (t *Task) reached(up topology.Upstream) int64 {
	w := window.MaxTime
	if up.FromSource {
		w = t.tracker.Watermark()
	}
	for _, i := range up.Nodes {
		w = min(w, t.instance.Stateful[i].Output())
	}
	return w
}

// firing runs f, which sends results that time has made due. A result that the
// policy skips is counted, and f called again: it goes on behind that result.
// If the result has changed state behind the aggregate, the task is to be
// replayed without it.
func (t *Task) firing(f func() error) error {
	for {
		err := t.guarded(f)
		if err == nil {
			return nil
		}
		policy, err := t.policy(err)
		if policy == processors.Fail {
			return fmt.Errorf("task %v, result at watermark %s: %w", t.cfg.ID, window.FormatTime(t.rt.Watermark), err)
		}
		if t.rt.Due.Node == "" || t.rt.Touched {
			return t.replayResult(policy, err)
		}
		t.rt.Due = processors.DueResult{}
		t.cfg.Observer.Dropped(nodeName(err), processors.DroppedError)
		t.cfg.Logger.Warn("result dropped", "task", t.cfg.ID, "error", err)
	}
}

// Ended reports whether a bounded run is over for the task: the inputs have
// ended, and everything has fired. Where an aggregate without windows stands
// before another node that time moves, that takes a commit. What the task has
// done since the last commit is still to be committed.
func (t *Task) Ended() bool {
	ended := t.tracker.Watermark() == window.MaxTime && !t.due
	for _, at := range t.at {
		ended = ended && at == window.MaxTime
	}
	return ended
}

// Close closes all nodes, also if one of them fails. The database is the owner's.
func (t *Task) Close() error {
	t.upgrades.close()
	var errs []error
	for _, n := range t.instance.Stateful {
		errs = append(errs, t.guarded(n.Close))
	}
	return errors.Join(errs...)
}

// guarded runs f and turns a panic of user code into an error.
func (t *Task) guarded(f func() error) (err error) {
	defer t.recovered(&err)
	return f()
}

// nodeName returns the name of the node that err is blamed on.
func nodeName(err error) string {
	if ne, ok := errors.AsType[*processors.NodeError](err); ok {
		return ne.Node.Name
	}
	return ""
}
