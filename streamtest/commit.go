package streamtest

import (
	"fmt"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/task"
)

// Step is a moment at which a crash leaves something behind that another one
// does not.
type Step int

// The steps, in the order in which they come on each instance. Before a commit's
// steps lie any number of records.
const (
	// AfterRecord: a record was processed, what it sent is written, and nothing
	// is committed of it.
	AfterRecord Step = iota
	// BeforeOutputs: the commit is prepared, and what that has sent is not
	// written.
	BeforeOutputs
	// BeforeChangelog: outputs are written, and the changelogs of one more task
	// are not. It comes once for each task in the commit.
	BeforeChangelog
	// BeforeOffsets: all changelogs are written, input offsets are not committed.
	BeforeOffsets
	// BeforeState: input offsets are committed, and the state of one more task
	// is not written to its database. It comes once for each task in the commit.
	BeforeState
	// AfterCommit: the commit is done.
	AfterCommit
	// BeforeCold: a batch of closed windows is read, and not written to the cold
	// tier. It comes once for each batch.
	BeforeCold
	// AfterCold: it is written, and the task does not know.
	AfterCold
)

// stepNames are the names of the steps.
var stepNames = [...]string{"after record", "before outputs", "before changelog", "before offsets", "before state", "after commit", "before cold", "after cold"}

// String returns the step's name, as in "before offsets".
func (s Step) String() string {
	if s >= 0 && int(s) < len(stepNames) {
		return stepNames[s]
	}
	return fmt.Sprintf("Step(%d)", int(s))
}

// crashPlan says when the next crash is to be.
type crashPlan struct {
	armed bool
	step  Step
	after int // steps of any kind, if greater than 0
	// crashes counts those that happened by plan.
	crashes int
}

// CrashAt crashes the instance that reaches a step next.
func (d *Driver) CrashAt(s Step) { d.crash = crashPlan{armed: true, step: s, crashes: d.crash.crashes} }

// CrashAfter crashes the instance that reaches the n-th step, of any kind, from
// now on; n is at least 1.
func (d *Driver) CrashAfter(n int) {
	d.crash = crashPlan{armed: true, after: max(n, 1), crashes: d.crash.crashes}
}

// Crashes returns how many crashes have come by CrashAt and CrashAfter.
func (d *Driver) Crashes() int { return d.crash.crashes }

// at announces a step of an instance, and reports whether it has crashed there.
func (d *Driver) at(in *instance, s Step) (crashed bool) {
	c := &d.crash
	if !c.armed {
		return false
	}
	if c.after > 0 {
		c.after--
		crashed = c.after == 0
	} else {
		crashed = s == c.step
	}
	if crashed {
		*c = crashPlan{crashes: c.crashes + 1}
		d.rebuild(in, true)
	}
	return crashed
}

// Crash throws all tasks away as if all processes had died, and starts them anew
// where they were, from the changelogs and the committed offsets. What was not committed is read
// again.
func (d *Driver) Crash() {
	if d.err == nil {
		d.rebuildAll(true)
		d.settle()
	}
}

// Restart commits, stops all tasks and starts them anew, as a clean stop of all
// processes does; what the commit has sent is read after it. It also ends what End
// began: inputs may go on.
func (d *Driver) Restart() {
	if d.err != nil {
		return
	}
	d.commit(true)
	if d.err != nil {
		return
	}
	d.ending = false
	d.rebuildAll(false)
	d.settle()
}

// Commit commits all tasks, and processes what that has sent.
func (d *Driver) Commit() {
	if d.err != nil {
		return
	}
	d.commit(true)
	d.settle()
}

// rebuildAll makes all tasks anew.
func (d *Driver) rebuildAll(crashed bool) {
	for _, in := range d.instances {
		d.rebuild(in, crashed)
	}
}

// commit has every instance commit its tasks, or those of them that have something
// to commit.
func (d *Driver) commit(all bool) {
	for _, in := range d.instances {
		d.commitInstance(in, all)
	}
}

// commitInstance commits the tasks of an instance, or those that have something to
// commit, in the order of at least once.
func (d *Driver) commitInstance(in *instance, all bool) {
	type prepared struct {
		*running
		*task.Commit
	}
	if d.err != nil {
		return
	}
	var commits []prepared
	for _, r := range d.of(in) {
		if !all && !r.task.Dirty() && !r.task.Upgrading() {
			continue
		}
		d.trace(r, TraceEvent{Kind: TracePrepare})
		c, err := r.task.Prepare()
		if err != nil {
			d.handle(r, err)
			return
		}
		commits = append(commits, prepared{r, c})
	}
	if len(commits) == 0 {
		in.processed = 0
		return
	}
	if d.at(in, BeforeOutputs) {
		return
	}
	d.flush()
	for _, c := range commits {
		if d.at(in, BeforeChangelog) {
			return
		}
		if err := d.logChanges(c.running, c.Commit); err != nil {
			d.stop(err)
			return
		}
		d.trace(c.running, TraceEvent{Kind: TraceChangelog})
	}
	if d.at(in, BeforeOffsets) {
		return
	}
	for _, c := range commits {
		for _, o := range c.Offsets {
			d.offsets[place{o.Topic, o.Partition}] = o
		}
		d.trace(c.running, TraceEvent{Kind: TraceOffsets})
	}
	for _, c := range commits {
		if d.at(in, BeforeState) {
			return
		}
		if err := c.task.Committed(c.Commit, d.next(c.running)); err != nil {
			d.stop(err)
			return
		}
		d.trace(c.running, TraceEvent{Kind: TraceCommit})
	}
	in.processed = 0
	if !d.at(in, AfterCommit) {
		d.writeCold(in)
	}
}

// logChanges writes the changelogs of one task.
func (d *Driver) logChanges(r *running, c *task.Commit) error {
	for store, rec := range c.Changes.All() {
		rec.Time = task.Clamp(rec.Time, d.now)
		if err := d.log.Append(changelog.TopicName(d.cfg.application, store), r.id.Partition, rec); err != nil {
			return fmt.Errorf("streamtest: changelog of %q: %w", store, err)
		}
	}
	if err := d.log.Flush(background()); err != nil {
		return fmt.Errorf("streamtest: changelogs of task %v: %w", r.id, err)
	}
	return nil
}

// next returns where the changelogs of a task stand, by store.
func (d *Driver) next(r *running) map[string]int64 {
	next := map[string]int64{}
	for _, store := range d.plan.Subs[r.id.Sub].Changelogs() {
		if n, ok := d.log.Next(changelog.TopicName(d.cfg.application, store), r.id.Partition); ok {
			next[store] = n
		}
	}
	return next
}
