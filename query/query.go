package query

import (
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// This file is the contract of the package: what the server needs of the
// instance that it stands beside.

var _ Instance = (*streams.Instance)(nil)

// Instance is what a Server needs of a running instance; [streams.Instance] is
// one. Several goroutines call its methods at once, and none of them waits.
type Instance interface {
	// Application returns the name under which the instance runs.
	Application() string

	// State returns where the instance is in its life.
	State() streams.State

	// Topology returns what the instance runs.
	Topology() *topology.Topology

	// Tasks returns the tasks that are held here, restoring ones too, in order.
	Tasks() []streams.TaskInfo

	// Watermarks returns how far the running tasks held here have come, in
	// order.
	Watermarks() []streams.TaskStatus

	// Stores returns the stores of the whole topology, by name. Before the
	// instance has reached the cluster they have no tasks.
	Stores() []streams.StoreInfo

	// Task returns the task that owns an encoded key of a store.
	Task(store string, key []byte) (streams.TaskID, error)

	// DB returns the open state of a task that is held here, also while it is
	// restored: then remaining changelog offsets are to come. The database may
	// be closed at any moment; its views say so.
	DB(id streams.TaskID) (db *stores.DB, remaining int64, ok bool)

	// Standbys returns the tasks of which a copy of the state is kept here, in
	// order.
	Standbys() []streams.StandbyInfo

	// StandbyDB returns the open copy of the state of a task that others run, and
	// how many changelog offsets it is behind, -1 if that is not known yet. It may
	// be closed at any moment.
	StandbyDB(id streams.TaskID) (db *stores.DB, lag int64, ok bool)

	// Cold returns the cold tier, or nil if there is none.
	Cold() stores.Cold

	// Directory returns who runs which tasks, if this instance leads the group,
	// and else nil and the endpoint at which the leader answers, which is empty
	// if it answers nowhere. Both hold for the generation.
	Directory() (d *streams.Directory, leader string, generation int32)
}
