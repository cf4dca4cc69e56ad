package streamtest

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

// running is a task with its database and the instance that has it.
type running struct {
	id    processors.TaskID
	owner *instance
	db    *stores.DB
	task  *task.Task
}

// startTasks makes all tasks, from the changelogs and committed offsets.
func (d *Driver) startTasks() error {
	for i, id := range d.plan.Tasks() {
		d.tasks = append(d.tasks, &running{id: id, owner: d.instances[i%len(d.instances)]})
	}
	return d.start(d.tasks...)
}

// start makes tasks under a new generation, through which all others go on.
func (d *Driver) start(tasks ...*running) error {
	d.generation++
	for _, r := range tasks {
		d.trace(r, TraceEvent{Kind: TraceStart, Generation: d.generation})
		if err := d.startTask(r); err != nil {
			return fmt.Errorf("streamtest: start task %v: %w", r.id, err)
		}
	}
	for _, r := range d.tasks {
		if r.task != nil {
			r.task.SetGeneration(d.generation)
		}
	}
	return nil
}

func (d *Driver) startTask(r *running) error {
	engine, err := r.owner.storage.open(r.id)
	if err != nil {
		return err
	}
	if r.db, err = stores.Open(stores.Config{Engine: engine, Deletes: stores.DeletesDeferred}); err != nil {
		return err
	}
	state, err := task.OpenState(d.plan.Topology, r.id.Sub, r.db)
	if err != nil {
		return err
	}
	inputs := d.plan.Inputs(r.id)
	for i := range inputs {
		in := &inputs[i]
		if o, ok := d.offsets[place{in.Topic, in.Partition}]; ok {
			in.Offset, in.Metadata = o.Next, o.Metadata
		}
	}
	for _, store := range d.plan.Subs[r.id.Sub].Changelogs() {
		err := changelog.Restore(background(), changelog.Config{
			DB: r.db, Store: store, Log: d.log, Topic: changelog.TopicName(d.cfg.application, store),
			Partition: r.id.Partition, Clock: d.Now, Logger: d.cfg.logger,
		})
		if err != nil {
			return err
		}
	}
	r.task, err = task.New(task.Config{
		Topology: d.plan.Topology, Application: d.cfg.application, ID: r.id, Tasks: d.plan.Subs[r.id.Sub].Tasks,
		Generation: d.generation, State: state, Inputs: inputs, Outlet: &outlet{driver: d, from: r}, Policy: d.cfg.policy,
		Skips: &d.skips, Now: d.Now, Logger: d.cfg.logger,
		Observer: processors.Observer{Dropped: func(node string, reason processors.DropReason) {
			d.dropped[Drop{node, string(reason)}]++
		}},
	})
	return err
}

// drop throws tasks away with what they have not committed. Processors are
// closed if the tasks end by themselves, and not in a crash.
func (d *Driver) drop(closeNodes bool, tasks ...*running) error {
	var errs []error
	for _, r := range tasks {
		if r.task != nil && closeNodes {
			errs = append(errs, r.task.Close())
		}
		if r.db != nil {
			errs = append(errs, r.db.Close())
		}
		r.task, r.db = nil, nil
	}
	d.pending = d.pending[:0]
	return errors.Join(errs...)
}

// stop ends the topology with an error, if there is one.
func (d *Driver) stop(err error) {
	if err != nil && d.err == nil {
		d.err = err
	}
}
