package assign

import (
	"cmp"
	"slices"
)

// room says whether a member may get one more task. Whatever is placed where
// there is room, the rest finds room too: what has no plan is always as much as
// the members lack to their lows, and the extras not yet used.
func (p *planner) room(l *load) bool {
	return l.count < l.low || l.count == l.low && l.high > l.low && p.above < p.extras
}

// surplus says whether a member has a task to give away: it has more than its
// high, or it has its high and too many others do.
func (p *planner) surplus(l *load) bool {
	return l.count > l.high || l.count > l.low && p.above > p.extras
}

// place plans a task that has no plan on member m.
func (p *planner) place(t, m int32) {
	l := &p.load[m]
	if l.count == l.low && l.high > l.low {
		p.above++
	}
	p.plan[t] = m
	l.count++
	l.bySub[p.sub[t]]++
}

// release takes a task from the member on which it is planned.
func (p *planner) release(t int32) {
	l := &p.load[p.plan[t]]
	p.plan[t] = nobody
	l.count--
	l.bySub[p.sub[t]]--
	if l.count == l.low && l.high > l.low {
		p.above--
	}
}

// copyOf is the state of a task on the disk of a member that does not run it.
type copyOf struct {
	task, member int32
	lag          int64
}

// placeByState places tasks where their state is least behind: first those that
// nobody runs, which wait for their restore, then those whose owner has to give
// some away. Of copies that have caught up those come first with which
// sub-topologies are spread more evenly.
func (p *planner) placeByState() {
	var copies []copyOf
	for m, member := range p.members {
		if !p.room(&p.load[m]) {
			continue
		}
		for _, s := range member.State {
			t, ok := p.index[s.Task]
			if ok && p.owner[t] != int32(m) && (p.owner[t] == nobody || p.surplus(&p.load[p.owner[t]])) {
				lag := s.Lag
				if lag > 0 && lag <= p.policy.AcceptableLag {
					lag = 0
				}
				copies = append(copies, copyOf{task: t, member: int32(m), lag: lag})
			}
		}
	}
	slices.SortFunc(copies, func(a, b copyOf) int {
		return cmp.Or(
			cmp.Compare(min(p.owner[a.task], 0), min(p.owner[b.task], 0)), // nobody first
			compareLag(a.lag, b.lag),
			cmp.Compare(a.task, b.task),
			cmp.Compare(a.member, b.member),
		)
	})
	for from := 0; from < len(copies); {
		to := from + 1
		for to < len(copies) && copies[to].lag == copies[from].lag &&
			(p.owner[copies[to].task] == nobody) == (p.owner[copies[from].task] == nobody) {
			to++
		}
		alike := copies[from:to]
		from = to
		if p.policy.AcceptableLag > 0 && alike[0].lag == 0 {
			for _, c := range alike {
				if p.evens(c) {
					p.takeCopy(c)
				}
			}
		}
		for _, c := range alike {
			p.takeCopy(c)
		}
	}
}

// evens says whether a sub-topology is spread more evenly if the task runs where
// the copy is.
func (p *planner) evens(c copyOf) bool {
	sub := int(p.sub[c.task])
	if p.excess(&p.load[c.member], sub) >= 0 {
		return false
	}
	now := p.plan[c.task]
	return now == nobody || p.excess(&p.load[now], sub) > 0
}

// takeCopy plans a task where the copy is, if there is room and the task is to
// be had.
func (p *planner) takeCopy(c copyOf) {
	if !p.room(&p.load[c.member]) {
		return
	}
	switch now := p.plan[c.task]; {
	case now == nobody:
		p.place(c.task, c.member)
	case now == p.owner[c.task] && p.surplus(&p.load[now]):
		p.release(c.task)
		p.place(c.task, c.member)
	}
}

// shed takes from the members what they have to give away. Which member and
// which task is chosen by sub-topology, so that all of them end as evenly spread
// as they can; of one sub-topology the highest partitions go.
func (p *planner) shed() {
	if !slices.ContainsFunc(p.load, func(l load) bool { return p.surplus(&l) }) {
		return
	}
	owned := make([][]int32, len(p.members)) // tasks by member, in order
	for t, m := range p.plan {
		if m != nobody {
			owned[m] = append(owned[m], int32(t))
		}
	}
	lack := p.lack()
	give := func(m, sub int32) {
		i := len(owned[m]) - 1
		for p.sub[owned[m][i]] != sub {
			i--
		}
		p.release(owned[m][i])
		owned[m] = slices.Delete(owned[m], i, i+1)
		lack[sub] -= p.workers
	}
	for m := range p.load {
		for l := &p.load[m]; l.count > l.high; {
			sub, _ := p.worst(l, lack)
			give(int32(m), sub)
		}
	}
	for p.above > p.extras {
		var from, sub int32
		var most burden
		for m := range p.load {
			if l := &p.load[m]; p.surplus(l) {
				if s, b := p.worst(l, lack); most.less(b) {
					from, sub, most = int32(m), s, b
				}
			}
		}
		give(from, sub)
	}
}

// burden says how good it is that a member gives away a task of a sub-topology.
type burden struct {
	over int64 // by how many tasks it exceeds its fair share, rounded down; at least 0
	lack int64 // how much those that are to get tasks lack of it, as in planner.lack
	any  bool  // false for no task at all
}

// less says whether it is better to give away b.
func (a burden) less(b burden) bool {
	if !a.any || !b.any {
		return b.any
	}
	return a.over < b.over || a.over == b.over && a.lack < b.lack
}

// excess returns by how much a member has more of a sub-topology than its fair
// share, in tasks times workers of the group.
func (p *planner) excess(l *load, sub int) int64 {
	return l.bySub[sub]*p.workers - p.size[sub]*l.workers
}

// lack returns, by sub-topology, how much the members that are to get tasks fall
// short of their fair shares, less the tasks that wait to be placed.
func (p *planner) lack() []int64 {
	lack := make([]int64, len(p.size))
	for m := range p.load {
		if l := &p.load[m]; p.room(l) {
			for sub := range lack {
				lack[sub] += max(0, -p.excess(l, sub))
			}
		}
	}
	for t, m := range p.plan {
		if m == nobody {
			lack[p.sub[t]] -= p.workers
		}
	}
	return lack
}

// worst returns the sub-topology of which a member best gives a task away.
func (p *planner) worst(l *load, lack []int64) (worst int32, most burden) {
	for sub, n := range l.bySub {
		if n == 0 {
			continue
		}
		over := max(0, (p.excess(l, sub)+p.workers-1)/p.workers)
		if b := (burden{over: over, lack: lack[sub], any: true}); most.less(b) {
			worst, most = int32(sub), b
		}
	}
	return worst, most
}

// placeBySpread places what is left: each task on the member that, for its
// workers, has the fewest tasks of the sub-topology; of those, on the one that
// has the most room beside what it needs for the sub-topologies still to come.
// Without the second rule whoever has much room would be filled up with tasks of
// the first sub-topologies.
func (p *planner) placeBySpread() {
	spare := make([]int64, len(p.load)) // beside members; in tasks times workers of the group
	for t, sub := range p.sub {
		if t == 0 || sub != p.sub[t-1] {
			p.spare(spare, sub)
		}
		if p.plan[t] != nobody {
			continue
		}
		best := nobody
		for m := range p.load {
			l := &p.load[m]
			if !p.room(l) {
				continue
			}
			if best != nobody {
				// (n+1)/workers, compared without dividing.
				b := &p.load[best]
				x, y := (l.bySub[sub]+1)*b.workers, (b.bySub[sub]+1)*l.workers
				if x > y || x == y && spare[m] <= spare[best] {
					continue
				}
			}
			best = int32(m)
		}
		p.place(int32(t), best)
		spare[best] -= p.workers
	}
}

// spare sets how much room each member has beside what it lacks of the
// sub-topologies after sub.
func (p *planner) spare(spare []int64, sub int32) {
	for m := range p.load {
		l := &p.load[m]
		spare[m] = int64(l.high-l.count) * p.workers
		for later := int(sub) + 1; later < len(p.size); later++ {
			spare[m] -= max(0, -p.excess(l, later))
		}
	}
}
