package assign

import (
	"cmp"
	"slices"
)

// Plan shares the tasks out among the members. It is a pure function: the order
// of members and tasks does not matter, repeats of a task count once, and of two
// members with the same id, which Kafka does not produce, one counts. Claims to
// tasks that are not in tasks are ignored, so their owners revoke them.
//
// Two members may claim the same task: the claim of the newer generation counts,
// and within a generation that of the smaller id. An older claim that nobody
// contradicts is believed: its maker is in the group, so it was never expelled,
// and every leader since then has left the task to it or waited for it. To give
// it away at once would let two members run it.
//
// A member that drains has no share: its tasks go to the others. If all drain,
// there is nobody to give them to, and they stay.
//
// Movement is the least that the bounds of balance allow. In a group of equal
// members a newcomer moves its own share and a leaver its own tasks; with uneven
// workers rounding may move a few more. A first plan for 1,000 members and 10,000
// tasks takes some tens of milliseconds (tasks times members), one that changes
// little a few.
//
// Tasks wait for their state as policy says: one that nobody runs is run by the
// member that is least behind, and one that is to move stays, until the member
// that is to have it in the end has caught up. Meanwhile members may run more or
// less than their shares.
func Plan(members []Member, tasks []Task, policy Policy) Assignments {
	p := newPlanner(members, tasks)
	p.policy = policy
	if len(p.members) > 0 {
		p.keep()
		p.placeByState()
		p.shed()
		p.placeBySpread()
		p.settle()
		p.placeStandbys()
	}
	return p.result()
}

// nobody is the index of no member.
const nobody int32 = -1

// planner holds one plan while it is made. Members, tasks and sub-topologies are
// named by their index in sorted order. Plan calls its steps in their order.
type planner struct {
	policy  Policy
	members []Member
	load    []load // beside members
	workers int64  // of all members
	extras  int    // how many members are to end above their low; see load
	above   int    // how many are above it, of those that may end there

	tasks []Task
	index map[Task]int32
	sub   []int32 // beside tasks: the sub-topology
	size  []int64 // beside sub-topologies: how many tasks
	owner []int32 // beside tasks: who runs it now, or nobody
	plan  []int32 // beside tasks: who is to run it, or nobody yet

	// copies are, beside tasks, who has their state and does not run them, in the
	// order of members.
	copies [][]copyAt
	// aim is, beside tasks, who copies the state in order to run it, or nobody;
	// standbys are those who keep a copy.
	aim      []int32
	standbys [][]int32
}

// load is what one member is planned to run. It ends with its low or its high:
// the fair share, rounded down and up. They are equal if the share is whole, else
// they differ by 1. The lows add up to the tasks less the extras, so as many
// members end with a high that is above their low.
type load struct {
	workers   int64
	low, high int
	count     int     // tasks planned
	bySub     []int64 // the same by sub-topology
}

// newPlanner sorts the input and sets the bounds.
func newPlanner(members []Member, tasks []Task) *planner {
	p := &planner{members: slices.Clone(members), tasks: slices.Clone(tasks)}
	slices.SortFunc(p.members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), -cmp.Compare(a.Generation, b.Generation))
	})
	p.members = slices.CompactFunc(p.members, func(a, b Member) bool { return a.ID == b.ID })
	slices.SortFunc(p.tasks, Task.Compare)
	p.tasks = slices.Compact(p.tasks)

	p.index = make(map[Task]int32, len(p.tasks))
	p.sub = make([]int32, len(p.tasks))
	for t, task := range p.tasks {
		if t == 0 || task.Sub != p.tasks[t-1].Sub {
			p.size = append(p.size, 0)
		}
		p.index[task], p.sub[t] = int32(t), int32(len(p.size)-1)
		p.size[p.sub[t]]++
	}
	p.owner = slices.Repeat([]int32{nobody}, len(p.tasks))
	p.plan = slices.Clone(p.owner)

	p.load = make([]load, len(p.members))
	allDrain := !slices.ContainsFunc(p.members, func(m Member) bool { return !m.Draining })
	for m, member := range p.members {
		p.load[m] = load{workers: int64(max(member.Workers, 1)), bySub: make([]int64, len(p.size))}
		if member.Draining && !allDrain {
			p.load[m].workers = 0
		}
		p.workers += p.load[m].workers
	}
	p.extras = len(p.tasks)
	for m := range p.load {
		l := &p.load[m]
		share := int64(len(p.tasks)) * l.workers
		l.low = int(share / p.workers)
		l.high = int((share + p.workers - 1) / p.workers)
		p.extras -= l.low
	}
	return p
}

// drains reports whether a member gives everything away.
func (p *planner) drains(m int32) bool { return p.load[m].workers == 0 }

// keep settles who owns what and plans it there for the present.
func (p *planner) keep() {
	for m, member := range p.members {
		for _, task := range member.Owned {
			t, ok := p.index[task]
			if !ok {
				continue
			}
			if o := p.owner[t]; o == nobody || member.Generation > p.members[o].Generation {
				p.owner[t] = int32(m)
			}
		}
	}
	for t, m := range p.owner {
		if m != nobody {
			p.place(int32(t), m)
		}
	}
	p.copies = make([][]copyAt, len(p.tasks))
	for m, member := range p.members {
		for _, s := range member.State {
			if t, ok := p.index[s.Task]; ok && p.owner[t] != int32(m) {
				p.copies[t] = append(p.copies[t], copyAt{int32(m), s.Lag})
			}
		}
	}
}

// result divides the plan into what takes effect now and what waits for an
// owner to let go.
func (p *planner) result() Assignments {
	a := Assignments{
		Active: make(map[string][]Task, len(p.members)), Standby: map[string][]Task{}, Warmup: map[string][]Task{},
		common: Version, members: int32(len(p.members)), planned: make(map[string]uint64, len(p.members)),
	}
	for m, member := range p.members {
		a.Active[member.ID] = make([]Task, 0, p.load[m].count)
		a.planned[member.ID] = member.Fingerprint()
		if member.Newest > 0 {
			a.common = min(a.common, member.Newest)
		}
	}
	for t, task := range p.tasks {
		from, to := p.owner[t], p.plan[t]
		switch {
		case to == nobody: // there are no members
		case from == nobody || from == to:
			id := p.members[to].ID
			a.Active[id] = append(a.Active[id], task)
		default:
			a.Withheld = append(a.Withheld, Move{Task: task, From: p.members[from].ID, To: p.members[to].ID})
		}
		if len(p.members) == 0 {
			continue
		}
		for _, m := range p.standbys[t] {
			id := p.members[m].ID
			a.Standby[id] = append(a.Standby[id], task)
		}
		aim := p.aim[t]
		if from != nobody && from != to && p.follows(t, to) {
			aim = to // until it has the task
		}
		if aim != nobody {
			id := p.members[aim].ID
			a.Warmup[id] = append(a.Warmup[id], task)
		}
	}
	a.share(p.members)
	return a
}
