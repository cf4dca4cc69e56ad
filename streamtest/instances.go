package streamtest

import (
	"slices"

	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
)

// instance is one process of the application: a worker that commits all its
// tasks together, and a disk.
type instance struct {
	number    int
	storage   storage
	dead      bool
	processed int // records since the last commit
	// cold writes to the cold tier; nil before it is needed.
	cold *task.ColdWriter
}

// openInstances makes instances until there are n.
func (d *Driver) openInstances(n int) error {
	for i := len(d.instances); i < n; i++ {
		st, err := newStorage(&d.cfg, i)
		if err != nil {
			return err
		}
		d.instances = append(d.instances, &instance{number: i, storage: st})
	}
	return nil
}

// of returns the tasks of an instance.
func (d *Driver) of(in *instance) (tasks []*running) {
	for _, r := range d.tasks {
		if r.owner == in {
			tasks = append(tasks, r)
		}
	}
	return tasks
}

// rebuild makes the tasks of an instance anew, as after a crash or an error that
// only that can mend.
func (d *Driver) rebuild(in *instance, crashed bool) {
	tasks := d.of(in)
	for _, r := range tasks {
		d.trace(r, TraceEvent{Kind: TraceStop, Crashed: crashed})
	}
	if crashed {
		in.storage.crash()
		in.cold = nil
	}
	in.processed = 0
	if len(tasks) == 0 {
		return
	}
	err := d.drop(!crashed, tasks...)
	if err == nil {
		err = d.start(tasks...)
	}
	d.stop(err)
}

// Rebalance lets the group rebalance over n instances, numbered from 0: task i,
// in the order of sub-topology and partition, goes to instance i modulo n. New
// ones join with empty disks, those that were killed come back with what they
// had, and those that are too many leave. As in production, tasks that stay go on
// running; an instance commits before it gives a task away.
func (d *Driver) Rebalance(n int) {
	d.helper()
	if n < 1 {
		d.fail("a rebalance over %d instances: want at least 1", n)
		return
	}
	if d.err != nil {
		return
	}
	if err := d.openInstances(n); err != nil {
		d.stop(err)
		return
	}
	to := map[*running]*instance{}
	for i, r := range d.tasks {
		to[r] = d.instances[i%n]
	}
	for _, in := range d.instances {
		in.dead = in.number >= n
	}
	d.reassign(to)
}

// Move gives one task to another instance, in a rebalance that all others stay
// through.
func (d *Driver) Move(subTopology int, partition int32, to int) {
	d.helper()
	i := d.indexOf(subTopology, partition)
	if i < 0 || to < 0 || to >= len(d.instances) || d.instances[to].dead {
		d.fail("no task %d_%d, or no instance %d", subTopology, partition, to)
		return
	}
	if d.err == nil {
		d.reassign(map[*running]*instance{d.tasks[i]: d.instances[to]})
	}
}

// Kill crashes an instance, which does not come back before the next Rebalance:
// its tasks go on elsewhere, from changelogs and committed offsets. It fails if no
// other instance is left.
func (d *Driver) Kill(number int) {
	d.helper()
	if number < 0 || number >= len(d.instances) || d.instances[number].dead {
		d.fail("no instance %d runs", number)
		return
	}
	if d.err != nil {
		return
	}
	in := d.instances[number]
	var alive []*instance
	for _, other := range d.instances {
		if other != in && !other.dead {
			alive = append(alive, other)
		}
	}
	if len(alive) == 0 {
		d.fail("instance %d is the last one that runs: use Crash", number)
		return
	}
	tasks := d.of(in)
	for _, r := range tasks {
		d.trace(r, TraceEvent{Kind: TraceStop, Crashed: true})
	}
	in.storage.crash()
	in.dead, in.processed, in.cold = true, 0, nil
	err := d.drop(false, tasks...)
	for i, r := range tasks {
		r.owner = alive[i%len(alive)]
	}
	if err == nil {
		err = d.start(tasks...)
	}
	d.stop(err)
	d.settle()
}

// reassign moves tasks between instances. Those that give one away commit first,
// which may crash them; that changes nothing about where tasks go.
func (d *Driver) reassign(to map[*running]*instance) {
	var moved []*running
	givers := map[*instance]bool{}
	for _, r := range d.tasks {
		if in := to[r]; in != nil && in != r.owner {
			moved = append(moved, r)
			givers[r.owner] = true
		}
	}
	for _, in := range d.instances {
		if givers[in] {
			d.commitInstance(in, true)
		}
	}
	if d.err != nil {
		return
	}
	for _, r := range moved {
		d.trace(r, TraceEvent{Kind: TraceStop})
	}
	err := d.drop(true, moved...)
	for _, r := range moved {
		r.owner = to[r]
	}
	if err == nil {
		err = d.start(moved...)
	}
	d.stop(err)
	d.settle()
}

// Owner returns the number of the instance that has a task.
func (d *Driver) Owner(subTopology int, partition int32) int {
	d.helper()
	i := d.indexOf(subTopology, partition)
	if i < 0 {
		d.fail("no task %d_%d", subTopology, partition)
		return -1
	}
	return d.tasks[i].owner.number
}

// indexOf returns the index of a task, or -1.
func (d *Driver) indexOf(subTopology int, partition int32) int {
	return slices.IndexFunc(d.tasks, func(r *running) bool {
		return r.id == processors.TaskID{Sub: subTopology, Partition: partition}
	})
}

// closeInstances gives the disks back.
func (d *Driver) closeInstances() error {
	err := d.drop(true, d.tasks...)
	for _, in := range d.instances {
		in.storage.close()
	}
	d.tasks, d.instances = nil, nil
	return err
}
