package assign

import "slices"

// placeStandbys chooses who keeps copies of each task's state beside the member
// that runs it. In this order: in a rack where the task is not yet; where there is
// room, so that the copies are spread; where a copy is least behind; where there
// are the fewest for the workers. A member in no rack is in one of its own.
func (p *planner) placeStandbys() {
	p.standbys = make([][]int32, len(p.tasks))
	if p.policy.Standbys < 1 || len(p.members) < 2 {
		return
	}
	stateful := 0
	for t := range p.tasks {
		if !p.stateless(t) {
			stateful++
		}
	}
	s := &standbyPlan{planner: p, racks: p.racks(), count: make([]int64, len(p.members)), most: make([]int64, len(p.members))}
	total := int64(stateful) * int64(min(p.policy.Standbys, len(p.members)-1))
	for m := range s.most {
		s.most[m] = (total*p.load[m].workers + p.workers - 1) / p.workers
	}
	for range p.policy.Standbys {
		for t := range p.tasks {
			if p.stateless(t) {
				continue
			}
			if m := s.choose(t); m != nobody {
				p.standbys[t] = append(p.standbys[t], m)
				s.count[m]++
			}
		}
	}
}

// racks numbers the members' racks, from 1; 0 stands for none.
func (p *planner) racks() []int32 {
	racks := make([]int32, len(p.members))
	known := map[string]int32{"": 0}
	for m, member := range p.members {
		n, ok := known[member.Rack]
		if !ok {
			n = int32(len(known))
			known[member.Rack] = n
		}
		racks[m] = n
	}
	return racks
}

// standbyPlan is the state of placeStandbys.
type standbyPlan struct {
	*planner
	racks       []int32 // beside members
	count, most []int64 // beside members: copies so far, and its fair share of them
	taken       []int32 // the members that have to do with the task in work
	used        []int32 // the racks in which it runs or has a copy
}

// choose returns the member for one more copy of a task's state, or nobody if
// all have to do with it already.
func (s *standbyPlan) choose(t int) int32 {
	s.taken = append(s.taken[:0], s.plan[t], s.owner[t], s.aim[t])
	s.taken = append(s.taken, s.standbys[t]...)
	s.used = append(s.used[:0], s.racks[s.plan[t]])
	for _, m := range s.standbys[t] {
		s.used = append(s.used, s.racks[m])
	}
	best := nobody
	consider := func(m int32) {
		if !slices.Contains(s.taken, m) && !s.drains(m) && (best == nobody || s.better(t, m, best)) {
			best = m
		}
	}
	// The few that have a copy first: mostly one of them is it.
	for _, c := range s.copies[t] {
		consider(c.member)
	}
	if best != nobody && s.room(best) && !s.sharesRack(best) {
		return best
	}
	for m := range int32(len(s.members)) {
		consider(m)
	}
	return best
}

// room says whether a member has fewer copies than its share.
func (s *standbyPlan) room(m int32) bool { return s.count[m] < s.most[m] }

// sharesRack says whether the task in work runs, or has a copy, in the rack of a
// member.
func (s *standbyPlan) sharesRack(m int32) bool {
	return s.racks[m] != 0 && slices.Contains(s.used, s.racks[m])
}

// better says whether a copy of a task's state is better kept by a than by b.
func (s *standbyPlan) better(t int, a, b int32) bool {
	if x, y := s.sharesRack(a), s.sharesRack(b); x != y {
		return y
	}
	if x, y := s.room(a), s.room(b); x != y {
		return x
	}
	if len(s.copies[t]) > 0 {
		if c := compareGap(s.lagAt(t, a), s.lagAt(t, b)); c != 0 {
			return c < 0
		}
	}
	// (n+1)/workers, compared without dividing.
	return (s.count[a]+1)*s.load[b].workers < (s.count[b]+1)*s.load[a].workers
}
