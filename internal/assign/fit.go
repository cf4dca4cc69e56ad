package assign

import (
	"errors"
	"fmt"
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

// ErrTooLarge is wrapped by the errors of what a group's record has no room for.
var ErrTooLarge = errors.New("assign: too large for the group's record")

// CheckSize refuses a subscription or an assignment of so many bytes that no
// coordinator would take it, not even for a group of one.
func CheckSize(what string, bytes int) error {
	if bytes <= GroupLimit {
		return nil
	}
	return fmt.Errorf("%w: the %s takes %d bytes, and at most %d are allowed: are the instance's URL (--advertise), rack or topic names that long? Else use fewer partitions, or several applications", ErrTooLarge, what, bytes, GroupLimit)
}

// Record adds up the record that the coordinator will write of a group.
type Record struct {
	members                    int
	subscriptions, assignments int // bytes
}

// Add adds a member by the bytes of its subscription and its assignment.
func (r *Record) Add(subscription, assignment int) {
	r.members++
	r.subscriptions, r.assignments = r.subscriptions+subscription, r.assignments+assignment
}

// Bytes is about how long the record is.
func (r *Record) Bytes() int {
	return r.subscriptions + r.assignments + r.members*memberOverhead
}

// Check returns an error if the record exceeds GroupLimit. The coordinator refuses
// it only beyond the message size of its own topic, which may have been raised.
func (r *Record) Check() error {
	if r.Bytes() <= GroupLimit {
		return nil
	}
	return fmt.Errorf("%w: %d members with %d bytes of subscriptions and %d of assignments take %d bytes, and at most %d are safe: use fewer instances with more workers each, fewer standbys or partitions, or raise max.message.bytes of the topic __consumer_offsets", ErrTooLarge, r.members, r.subscriptions, r.assignments, r.Bytes(), GroupLimit)
}
