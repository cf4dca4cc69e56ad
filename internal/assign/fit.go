package assign

import (
	"slices"
	"sort"
)

// GroupLimit is how many bytes a group's record in Kafka's own topic may take.
// The coordinator writes all subscriptions and assignments of a generation as
// one record, and fails the rebalance if that exceeds the message size of the
// topic, 1 MB where nobody changed it.
const GroupLimit = 900_000

// memberOverhead is what a record holds of a member beside its subscription and
// assignment: ids, client name, host, time-outs, lengths, and the assigned
// partitions in Kafka's own form.
const memberOverhead = 250

// Fit returns the subscription with as much of State as a group of that many
// members has room for: the entries that are furthest behind are left out, and
// count as state that is not there. So is the shape, which only explains a
// difference. members is Assignment.Members, 0 before the first one.
func (s Subscription) Fit(members int) Subscription {
	room := (GroupLimit/max(members, 1) - memberOverhead) * 2 / 3
	if len(s.Owned) > 0 && len(s.Shape)*max(members, 1) > GroupLimit/8 {
		s.Shape = "" // whoever owns tasks has been judged before
	}
	if len(s.Append(nil)) <= room {
		return s
	}
	s.Shape = ""
	state := slices.Clone(s.State)
	slices.SortFunc(state, func(a, b TaskState) int {
		if c := compareLag(a.Lag, b.Lag); c != 0 {
			return c
		}
		return a.Task.Compare(b.Task)
	})
	var buf []byte
	tooMany := sort.Search(len(state), func(n int) bool {
		s.State = state[:n+1]
		buf = s.Append(buf[:0])
		return len(buf) > room
	})
	s.State = state[:tooMany]
	return s
}
