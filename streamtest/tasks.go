package streamtest

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

// running is a task with its database.
type running struct {
	id   processors.TaskID
	db   *stores.DB
	task *task.Task
}

// startTasks makes all tasks, from the changelogs and committed offsets.
func (d *Driver) startTasks() error {
	d.generation++
	for _, id := range d.plan.Tasks() {
		r := &running{id: id}
		d.tasks = append(d.tasks, r)
		if err := d.start(r); err != nil {
			return fmt.Errorf("streamtest: start task %v: %w", id, err)
		}
	}
	return nil
}

func (d *Driver) start(r *running) error {
	engine, err := d.storage.open(r.id)
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
		Generation: d.generation, State: state, Inputs: inputs, Outlet: &d.outlet, Policy: d.cfg.policy,
		Skips: &d.skips, Now: d.Now, Logger: d.cfg.logger,
		Observer: processors.Observer{Dropped: func(node string, reason processors.DropReason) {
			d.dropped[Drop{node, string(reason)}]++
		}},
	})
	return err
}

// dropTasks throws all tasks away with what they have not committed. Processors
// are closed if the tasks end by themselves, and not in a crash.
func (d *Driver) dropTasks(closeNodes bool) error {
	var errs []error
	for _, r := range d.tasks {
		if r.task != nil && closeNodes {
			errs = append(errs, r.task.Close())
		}
		if r.db != nil {
			errs = append(errs, r.db.Close())
		}
	}
	d.tasks = nil
	d.outlet.pending = d.outlet.pending[:0]
	d.processed = 0
	return errors.Join(errs...)
}

// rebuild makes all tasks anew, as after an error that only that can mend.
func (d *Driver) rebuild(crashed bool) {
	if crashed {
		d.storage.crash()
	}
	err := d.dropTasks(!crashed)
	if err == nil {
		err = d.startTasks()
	}
	d.stop(err)
}

// stop ends the topology with an error, if there is one.
func (d *Driver) stop(err error) {
	if err != nil && d.err == nil {
		d.err = err
	}
}
