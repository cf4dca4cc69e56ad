package assign

import (
	"cmp"
	"slices"
)

// Policy says how many copies of a task's state there are to be, and when a task
// may move to a member that has yet to copy its state. With the zero value there
// are no copies, and tasks move at once.
type Policy struct {
	// Standbys is how many members beside the one that runs a task keep a copy
	// of its state. Below 1 there are none.
	Standbys int

	// Warmups is how many tasks a member copies at a time in order to run them,
	// beside those that it is about to get.
	// A task that is to move to a member whose copy is further behind than
	// AcceptableLag stays where it runs until that copy has caught up. Below 1
	// tasks do not wait.
	Warmups int

	// AcceptableLag is how many changelog records a copy may be behind and yet
	// count as caught up: its member restores them in a moment.
	AcceptableLag int64

	// Stateless are the sub-topologies whose tasks have no state: they move at
	// once, and are copied nowhere.
	Stateless []int32

	// Sizes are how many changelog records tasks have altogether: how far a
	// member is behind that has nothing. A task that is not here has more than
	// is acceptable.
	Sizes map[Task]int64
}

// copyAt is a member's copy of a task's state.
type copyAt struct {
	member int32
	lag    int64 // or LagUnknown
}

// settle decides where tasks run for now: where they are planned, or elsewhere
// until their state is there. It moves the plans of the latter to p.aim.
func (p *planner) settle() {
	p.aim = slices.Repeat([]int32{nobody}, len(p.tasks))
	if p.policy.Warmups < 1 {
		return
	}
	var wanted []warmup
	for t := range p.tasks {
		from, to := p.owner[t], p.plan[t]
		if from == to || p.caughtUp(t, to) {
			continue
		}
		if from == nobody { // the least behind runs it meanwhile
			if from = p.leastBehind(t); from == nobody || from == to {
				continue
			}
		}
		p.plan[t] = from
		wanted = append(wanted, warmup{int32(t), to, p.lagAt(t, to)})
	}
	// Those that are least behind first: what has begun is brought to its end.
	slices.SortFunc(wanted, func(a, b warmup) int {
		return cmp.Or(cmp.Compare(a.member, b.member), compareGap(a.lag, b.lag), cmp.Compare(a.task, b.task))
	})
	begun := make([]int, len(p.members))
	for _, w := range wanted {
		if begun[w.member] < p.policy.Warmups {
			begun[w.member]++
			p.aim[w.task] = w.member
		}
	}
}

// warmup is a task that is to be copied to a member, which is behind by lag.
type warmup struct {
	task, member int32
	lag          int64
}

// lagNone is the lag of a member without any state of a task whose size is not
// known. It counts as further behind than any other.
const lagNone int64 = -2

// lagAt returns how far a member is behind with a task's state, LagUnknown or
// lagNone.
func (p *planner) lagAt(t int, member int32) int64 {
	for _, c := range p.copies[t] {
		if c.member == member {
			return c.lag
		}
	}
	if n, ok := p.policy.Sizes[p.tasks[t]]; ok {
		return n
	}
	return lagNone
}

// follows says whether a member keeps copying a task's state until it has the
// task: it has begun.
func (p *planner) follows(t int, member int32) bool {
	return p.policy.Standbys+p.policy.Warmups > 0 && !p.stateless(t) &&
		slices.ContainsFunc(p.copies[t], func(c copyAt) bool { return c.member == member })
}

// caughtUp says whether a member may run a task without a warm-up.
func (p *planner) caughtUp(t int, member int32) bool {
	if p.stateless(t) {
		return true
	}
	lag := p.lagAt(t, member)
	return lag >= 0 && lag <= p.policy.AcceptableLag
}

func (p *planner) stateless(t int) bool { return slices.Contains(p.policy.Stateless, p.tasks[t].Sub) }

// leastBehind returns the member whose copy of a task's state is least behind,
// of several that where it is planned, or nobody if there is none that is any
// better than what the task's plan has.
func (p *planner) leastBehind(t int) int32 {
	best, least := p.plan[t], p.lagAt(t, p.plan[t])
	for _, c := range p.copies[t] {
		if !p.drains(c.member) && compareGap(c.lag, least) < 0 {
			best, least = c.member, c.lag
		}
	}
	return best
}

// compareGap orders lags: known ones, unknown ones, no state at all.
func compareGap(a, b int64) int {
	if none := cmp.Compare(boolInt(a == lagNone), boolInt(b == lagNone)); none != 0 {
		return none
	}
	return compareLag(a, b)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
