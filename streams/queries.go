package streams

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
)

// ErrUnknownStore: the topology has no store of that name.
var ErrUnknownStore = errors.New("streams: unknown store")

// TaskInfo is a task that this instance holds.
type TaskInfo struct {
	Task  processors.TaskID
	State TaskState
	// Remaining is how many changelog offsets its restore has to go.
	Remaining int64
}

// StoreInfo is a store of the topology.
type StoreInfo struct {
	Name           string
	SubTopology    int
	Tasks          int32
	ChangelogTopic string
}

// Application returns the name under which the instance runs.
func (in *Instance) Application() string { return in.cfg.Application }

// Topology returns what the instance runs.
func (in *Instance) Topology() *topology.Topology { return in.topology }

// State returns where the instance is in its life.
func (in *Instance) State() State { return in.life.get() }

// Tasks returns the tasks that this instance holds, in order.
func (in *Instance) Tasks() []TaskInfo {
	states := in.life.taskStates()
	in.mu.Lock()
	defer in.mu.Unlock()
	infos := make([]TaskInfo, 0, len(in.tasks))
	for id, h := range in.tasks {
		infos = append(infos, TaskInfo{Task: id, State: cmp.Or(states[id], TaskRestoring), Remaining: h.remaining.Load()})
	}
	slices.SortFunc(infos, func(a, b TaskInfo) int { return a.Task.Compare(b.Task) })
	return infos
}

// Watermarks returns how far the running tasks of this instance have come, in
// order, as of a moment ago.
func (in *Instance) Watermarks() []TaskStatus {
	var out []TaskStatus
	for _, st := range in.status.all() {
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b TaskStatus) int { return a.Task.Compare(b.Task) })
	return out
}

// Stores returns the stores of the topology, by name. Before the instance has
// reached the cluster they have no tasks.
func (in *Instance) Stores() []StoreInfo {
	p := in.currentPlan()
	var infos []StoreInfo
	for i, sub := range in.topology.SubTopologies() {
		for _, name := range sub.Stores {
			info := StoreInfo{Name: name, SubTopology: sub.ID, ChangelogTopic: changelog.TopicName(in.cfg.Application, name)}
			if p != nil {
				info.Tasks = p.Subs[i].Tasks
			}
			infos = append(infos, info)
		}
	}
	slices.SortFunc(infos, func(a, b StoreInfo) int { return cmp.Compare(a.Name, b.Name) })
	return infos
}

// Task returns the task that owns an encoded key of a store. It assumes that
// the topics which lead to the store are partitioned as Kafka's own clients
// do, by murmur2 of the key.
func (in *Instance) Task(store string, key []byte) (processors.TaskID, error) {
	for _, info := range in.Stores() {
		if info.Name != store {
			continue
		}
		if info.Tasks == 0 {
			return processors.TaskID{}, fmt.Errorf("store %q: the instance has not reached the cluster yet", store)
		}
		return processors.TaskID{Sub: info.SubTopology, Partition: codec.Partition(key, info.Tasks)}, nil
	}
	return processors.TaskID{}, fmt.Errorf("%w: %q", ErrUnknownStore, store)
}

// DB returns the open state of a task that this instance holds, also while it
// is restored: then remaining offsets of its changelogs are to come. The
// database may be closed at any time; its views say so.
func (in *Instance) DB(id processors.TaskID) (db *stores.DB, remaining int64, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	h := in.tasks[id]
	if h == nil || h.db == nil {
		return nil, 0, false
	}
	return h.db, h.remaining.Load(), true
}

// Standbys returns the tasks of which this instance keeps a copy of the state,
// in order.
func (in *Instance) Standbys() []StandbyInfo {
	if s := in.copies.Load(); s != nil {
		return s.all()
	}
	return nil
}

// StandbyDB returns the open copy of the state of a task that others run, and by
// how many changelog offsets it is behind, or -1 if that is not known yet. Like
// that of DB it may be closed at any time.
func (in *Instance) StandbyDB(id processors.TaskID) (db *stores.DB, lag int64, ok bool) {
	if s := in.copies.Load(); s != nil {
		return s.open(id)
	}
	return nil, 0, false
}

// databases returns the open databases of all tasks and standbys.
func (in *Instance) databases() []*stores.DB {
	var open []*stores.DB
	if s := in.copies.Load(); s != nil {
		open = s.databases()
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, h := range in.tasks {
		if h.db != nil {
			open = append(open, h.db)
		}
	}
	return open
}

// Directory returns who runs which tasks, if this instance leads the group,
// and else where the leader is to be asked. It holds for the generation, which is
// the last one whose tasks this instance has taken: Tasks lists them, those that
// restore too. Outside the group the generation is -1.
func (in *Instance) Directory() (d *Directory, leader string, generation int32) {
	r := nowhere
	if m := in.group.Load(); m != nil {
		r = m.routing()
	}
	return r.directory, r.leader, r.generation
}
