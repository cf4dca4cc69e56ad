package assign

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"slices"
)

// Protocol is the name under which members offer this assignor to Kafka. The
// broker admits only members that have a protocol in common.
const Protocol = "millrace"

// NoGeneration is the generation of a member that owns nothing yet.
const NoGeneration int32 = -1

// LagUnknown is the lag of state that lies on a disk while the end of its
// changelog could not be read. It counts as further behind than any known lag
// and as better than no state.
const LagUnknown int64 = -1

// Task is one sub-topology on one partition: the unit of assignment. Both
// numbers are at least 0.
type Task struct {
	Sub       int32
	Partition int32
}

// String returns the form used in logs and folders, such as "0_3".
func (t Task) String() string { return fmt.Sprintf("%d_%d", t.Sub, t.Partition) }

// Compare orders tasks by sub-topology, then by partition.
func (t Task) Compare(u Task) int {
	return cmp.Or(cmp.Compare(t.Sub, u.Sub), cmp.Compare(t.Partition, u.Partition))
}

// ProcessID identifies a state folder, and so a process over its restarts. It is
// made once at random and kept in the folder.
type ProcessID [16]byte

// String returns the form of a UUID.
func (p ProcessID) String() string {
	s := hex.EncodeToString(p[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// TaskState says that the state of a task lies on a member's disk.
type TaskState struct {
	Task Task

	// Lag is how many changelog records the state is behind, summed over the
	// task's stores, or LagUnknown.
	Lag int64
}

// Subscription is what a member tells the leader when it joins.
type Subscription struct {
	// Newest is the newest version that the member reads. Append writes this
	// program's Version if it is 0.
	Newest uint8

	// Process is the member's state folder.
	Process ProcessID

	// Endpoint is the base URL under which other members reach this one, such as
	// "http://10.0.0.7:8080"; empty if it serves none.
	Endpoint string

	// Rack is where the member runs, in the names of the brokers' broker.rack.
	// Empty if unknown.
	Rack string

	// Topology is the hash of what the member runs. Members that differ are in
	// the middle of a rolling upgrade, or misconfigured; the leader judges. Shape
	// is what the hash is of, for the leader to say what differs; Fit leaves it
	// out where there is no room.
	Topology, Shape string

	// Application is the version of the user's program, for people to read.
	Application string

	// Workers is how many tasks the member works on at the same time: its
	// weight when tasks are shared out. Below 1 counts as 1.
	Workers int32

	// Owned are the tasks that the member runs and keeps running through the
	// rebalance, and Generation is the generation whose assignment gave them to
	// it, NoGeneration if none. They are empty once the member was expelled: a
	// claim says that its state in memory is good.
	Generation int32
	Owned      []Task

	// State lists the tasks that the member does not run and whose state its
	// disk holds: left from an earlier run, standbys and warm-ups. A task in both
	// lists counts as owned.
	State []TaskState

	// Producers is how many transactional producers the process has, numbered
	// from 0; none at least once.
	Producers int32

	// Remembers are those of other processes that earlier assignments asked the
	// member to remember or to abort, the latter until it has done so.
	Remembers []Producers

	// Draining says that the member wants to give all its tasks away and get none.
	Draining bool

	// Write is the version to write, Assignment.Common of the last one. A newcomer
	// leaves it 0 and writes the oldest.
	Write uint8
}

// Fingerprint tells subscriptions apart that lead to other plans or directories,
// whatever the member runs or has copied. It is not 0.
func (s Subscription) Fingerprint() uint64 {
	s.Generation, s.Owned, s.State, s.Remembers = NoGeneration, nil, nil, nil
	h := fnv.New64a()
	h.Write(s.Append(nil))
	return max(1, h.Sum64())
}

// Assignment is what the leader tells a member. What to revoke is not in it:
// that is what the member owns and is not assigned, see Diff.
type Assignment struct {
	// Common is the newest version that all members read: what this member may
	// write in its next subscription. Append writes this program's Version if it
	// is 0.
	Common uint8

	// Members is the size of the group, for Subscription.Fit.
	Members int32

	// Leader is the endpoint of the leader. It serves the list of all members'
	// endpoints and tasks, valid for this generation.
	Leader string

	Active  []Task // to run, sorted
	Standby []Task // to keep a copy of the state of
	Warmup  []Task // to copy the state of, since they are to move here

	// Follows says that another rebalance comes at once, as soon as members have
	// given away what is to move.
	Follows bool

	// Planned is the Fingerprint of the subscription that the plan was made for.
	// A static member that returns gets the assignment of its earlier self; if
	// that said something else, the member joins once more.
	Planned uint64

	Remember []Producers // for the next subscription
	Abort    []Producers // whose processes are gone: to fence before anything is read

	// Refused says why the member gets nothing and is to leave, or is empty.
	Refused string
}

// Member is a member of the group as the leader sees it.
type Member struct {
	ID string // the coordinator's name for it, unique in the group
	Subscription
}

// Move is a task on its way from one member to another.
type Move struct {
	Task     Task
	From, To string // ids of members
}

// Assignments is a plan for the whole group.
type Assignments struct {
	// Active has an entry for every member, empty ones included; tasks are
	// sorted. No task is in two entries.
	Active map[string][]Task

	// Withheld are the tasks that are in no entry because From still runs them,
	// sorted by task. From revokes them and joins again; the plan of that round
	// gives them away. If it is empty the plan is complete and no round follows.
	Withheld []Move

	// Standby and Warmup have entries for those members that keep copies: of
	// tasks that others run, and of tasks that are to move to them. Tasks are
	// sorted. No task is twice in the entries of a member, Active included.
	Standby, Warmup map[string][]Task

	common  uint8
	members int32
	planned map[string]uint64 // by member: the fingerprint of its subscription
	// remember and abort are by member, as in Assignment.
	remember, abort map[string][]Producers
}

// For returns the assignment of one member. leader is the endpoint of the
// member that plans.
func (a Assignments) For(member, leader string) Assignment {
	return Assignment{
		Common:  a.common,
		Members: a.members,
		Leader:  leader,
		Active:  a.Active[member],
		Standby: a.Standby[member],
		Warmup:  a.Warmup[member],
		Follows: len(a.Withheld) > 0,
		Planned: a.planned[member],

		Remember: a.remember[member],
		Abort:    a.abort[member],
	}
}

// Diff compares what a member runs with what it is assigned: revoke is owned and
// no longer assigned, start is assigned and not yet owned. Both are sorted. A
// member that has something to revoke joins again when that is done.
func Diff(owned, active []Task) (revoke, start []Task) {
	return without(owned, active), without(active, owned)
}

// without returns the tasks of a that are not in b, sorted.
func without(a, b []Task) []Task {
	drop := make(map[Task]struct{}, len(b))
	for _, t := range b {
		drop[t] = struct{}{}
	}
	var out []Task
	for _, t := range a {
		if _, ok := drop[t]; !ok {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, Task.Compare)
	return slices.Compact(out)
}
