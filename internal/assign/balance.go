package assign

import (
	"cmp"
	"slices"
)

// mayRaise says whether a member may get one of the extras.
func (p *planner) mayRaise(l *load) bool { return l.limit < l.high && p.extras > 0 }

func (p *planner) raise(l *load) {
	l.limit++
	p.extras--
}

// room says whether a member may get one more task. Whatever is placed where
// there is room, the rest finds room too: what is not placed yet is always as
// much as the members lack to their limits, and the extras.
func (p *planner) room(l *load) bool { return l.count < l.limit || l.count == l.limit && p.mayRaise(l) }

// surplus says whether a member has to give a task away.
func surplus(l *load) bool { return l.count > l.limit }

// set plans a task that has no plan on member m, whether or not there is room.
func (p *planner) set(t, m int32) {
	p.plan[t] = m
	p.load[m].count++
	p.load[m].bySub[p.sub[t]]++
}

// unset takes a task from the member on which it is planned.
func (p *planner) unset(t int32) {
	l := &p.load[p.plan[t]]
	l.count--
	l.bySub[p.sub[t]]--
	p.plan[t] = nobody
}

// place plans a task that has no plan on member m, which has room.
func (p *planner) place(t, m int32) {
	if l := &p.load[m]; l.count == l.limit {
		p.raise(l)
	}
	p.set(t, m)
}

// copyOf is the state of a task on the disk of a member that does not run it.
type copyOf struct {
	task, member int32
	lag          int64
}

// placeByState places tasks where their state is least behind: first those that
// nobody runs, which wait for their restore, then those whose owner has to give
// some away.
func (p *planner) placeByState() {
	var copies []copyOf
	for m, member := range p.members {
		if !p.room(&p.load[m]) {
			continue
		}
		for _, s := range member.State {
			t, ok := p.index[s.Task]
			if ok && p.owner[t] != int32(m) && (p.owner[t] == nobody || surplus(&p.load[p.owner[t]])) {
				copies = append(copies, copyOf{task: t, member: int32(m), lag: s.Lag})
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
	for _, c := range copies {
		if !p.room(&p.load[c.member]) {
			continue
		}
		switch now := p.plan[c.task]; {
		case now == nobody:
			p.place(c.task, c.member)
		case now == p.owner[c.task] && surplus(&p.load[now]):
			p.unset(c.task)
			p.place(c.task, c.member)
		}
	}
}

// shed takes from each member what it has above its limit. Which task goes is
// chosen by sub-topology, so that the rest is spread as evenly as it can be; of
// one sub-topology the highest partitions go.
func (p *planner) shed() {
	if !slices.ContainsFunc(p.load, func(l load) bool { return surplus(&l) }) {
		return
	}
	owned := make([][]int32, len(p.members)) // tasks by member, in order
	for t, m := range p.plan {
		if m != nobody {
			owned[m] = append(owned[m], int32(t))
		}
	}
	lack := p.lack()
	for m := range p.load {
		l := &p.load[m]
		for surplus(l) {
			sub := p.worst(l, lack)
			i := len(owned[m]) - 1
			for p.sub[owned[m][i]] != sub {
				i--
			}
			p.unset(owned[m][i])
			owned[m] = slices.Delete(owned[m], i, i+1)
			lack[sub] -= p.workers
		}
	}
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

// worst returns the sub-topology of which a member gives a task away: the one of
// which it exceeds its fair share, rounded down, by the most tasks; of those, the
// one that others lack most.
func (p *planner) worst(l *load, lack []int64) int32 {
	best, bestRank := nobody, [2]int64{}
	for sub, n := range l.bySub {
		if n == 0 {
			continue
		}
		over := max(0, (p.excess(l, sub)+p.workers-1)/p.workers)
		rank := [2]int64{over, lack[sub]}
		if best == nobody || slices.Compare(rank[:], bestRank[:]) > 0 {
			best, bestRank = int32(sub), rank
		}
	}
	return best
}

// placeBySpread places what is left: each task on the member that, for its
// workers, has the fewest tasks of the sub-topology, and of those the fewest
// tasks at all.
func (p *planner) placeBySpread() {
	for t := range p.plan {
		if p.plan[t] != nobody {
			continue
		}
		sub, best := p.sub[t], nobody
		for m := range p.load {
			if p.room(&p.load[m]) && (best == nobody || p.lighter(&p.load[m], &p.load[best], sub)) {
				best = int32(m)
			}
		}
		p.place(int32(t), best)
	}
}

// lighter says whether one more task of sub is a smaller burden on a than on b.
func (p *planner) lighter(a, b *load, sub int32) bool {
	// (n+1)/workers, compared without dividing.
	if x, y := (a.bySub[sub]+1)*b.workers, (b.bySub[sub]+1)*a.workers; x != y {
		return x < y
	}
	return int64(a.count+1)*b.workers < int64(b.count+1)*a.workers
}
