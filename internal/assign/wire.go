package assign

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/millrace/millrace/internal/delimited"
	"github.com/millrace/millrace/internal/invariants"
)

// Version is the newest version of the wire form that this program reads and
// writes, and Oldest the oldest. A change that old readers may skip needs no new
// version: it goes into a tagged field.
//
// In a group of several programs nobody writes what another cannot read. A
// newcomer, which does not know the others yet, writes the oldest version that it
// can, with the newest that it reads beside it; the leader writes to all in the
// newest that every member reads, and tells them so: Assignment.Common.
const (
	Version uint8 = 1
	Oldest  uint8 = 1
)

// written returns the version to write to readers of up to common, which is 0 if
// nothing is known of them.
func written(common uint8) uint8 { return max(Oldest, min(Version, common)) }

// Append appends the wire form. The lists need not be sorted; equal
// subscriptions have equal bytes.
//
//	version     1 byte; it and the next byte mean the same in every version
//	newest      1 byte
//	process     16 bytes
//	endpoint, rack, topology, application    each a length and its bytes
//	workers     number
//	generation  number, plus 1
//	owned       tasks
//	state       tasks, then for each a number: its lag plus 1, 0 if unknown
//	tagged      how many; for each a tag, a length and its bytes; see the tags
//
// Numbers and lengths are unsigned varints (encoding/binary). Tasks are grouped:
// how many sub-topologies; for each the gap to the one before, how many
// partitions, and for each partition the gap to the one before. A gap is the
// difference less 1, and what comes before the first is -1: each list has one
// form, sorted and without repeats, and a task costs one byte or two.
func (s Subscription) Append(dst []byte) []byte {
	dst = append(dst, written(s.Write), cmp.Or(s.Newest, Version))
	dst = append(dst, s.Process[:]...)
	for _, text := range []string{s.Endpoint, s.Rack, s.Topology, s.Application} {
		dst = delimited.Append(dst, text)
	}
	dst = binary.AppendUvarint(dst, uint64(max(s.Workers, 1)))
	dst = binary.AppendUvarint(dst, uint64(int64(max(s.Generation, NoGeneration))+1))
	dst = appendTasks(dst, slices.Clone(s.Owned))
	dst = appendState(dst, s.State)
	count := tagged{tag: tagProducers}
	if s.Producers > 0 {
		count.b = binary.AppendUvarint(nil, uint64(s.Producers))
	}
	return appendTagged(dst, count, producersField(tagRemembers, s.Remembers),
		tagged{tagShape, []byte(s.Shape)}, flagField(tagDraining, s.Draining))
}

// DecodeSubscription reads what Append wrote. The result does not alias b. The
// error is a VersionError or wraps ErrMalformed.
func DecodeSubscription(b []byte) (Subscription, error) {
	r := reader{what: "subscription", b: b}
	var s Subscription
	s.Newest = r.head()
	copy(s.Process[:], r.take(len(s.Process), "process id"))
	s.Endpoint = r.text("endpoint")
	s.Rack = r.text("rack")
	s.Topology = r.text("topology hash")
	s.Application = r.text("application version")
	s.Workers = r.int32("workers")
	s.Generation = int32(r.number("generation", maxInt32+1)) - 1
	s.Owned = r.tasks("owned tasks")
	s.State = r.state("task state")
	r.tagged(func(tag uint64, f *reader) {
		switch tag {
		case tagProducers:
			s.Producers = f.int32("producers")
		case tagRemembers:
			s.Remembers = f.producers("remembered producers")
		case tagShape:
			s.Shape = f.rest()
		case tagDraining:
			s.Draining = true
		}
	})
	if err := r.close(); err != nil {
		return Subscription{}, err
	}
	return s, nil
}

// Append appends the wire form, in the terms of Subscription.Append:
//
//	version     1 byte; it and the next byte mean the same in every version
//	common      1 byte
//	members     number
//	leader      a length and its bytes
//	active, standby, warm-up    tasks, each
//	tagged      as there
func (a Assignment) Append(dst []byte) []byte {
	dst = append(dst, written(cmp.Or(a.Common, Version)), cmp.Or(a.Common, Version))
	dst = binary.AppendUvarint(dst, uint64(max(a.Members, 0)))
	dst = delimited.Append(dst, a.Leader)
	for _, tasks := range [][]Task{a.Active, a.Standby, a.Warmup} {
		dst = appendTasks(dst, slices.Clone(tasks))
	}
	follows, planned := tagged{tag: tagFollows}, tagged{tag: tagPlanned}
	if a.Follows {
		follows.b = []byte{1}
	}
	if a.Planned != 0 {
		planned.b = binary.BigEndian.AppendUint64(nil, a.Planned)
	}
	return appendTagged(dst, producersField(tagRemember, a.Remember), producersField(tagAbort, a.Abort), follows, planned,
		tagged{tagRefused, []byte(a.Refused)})
}

// DecodeAssignment reads what Append wrote. The result does not alias b. The
// error is a VersionError or wraps ErrMalformed. Empty bytes, which Kafka hands
// to a member that the leader did not name, are malformed too.
func DecodeAssignment(b []byte) (Assignment, error) {
	r := reader{what: "assignment", b: b}
	var a Assignment
	a.Common = r.head()
	a.Members = r.int32("members")
	a.Leader = r.text("leader")
	a.Active = r.tasks("active tasks")
	a.Standby = r.tasks("standby tasks")
	a.Warmup = r.tasks("warm-up tasks")
	r.tagged(func(tag uint64, f *reader) {
		switch tag {
		case tagRemember:
			a.Remember = f.producers("producers to remember")
		case tagAbort:
			a.Abort = f.producers("producers to abort")
		case tagRefused:
			a.Refused = f.rest()
		case tagFollows:
			b := f.take(1, "whether a round follows")
			a.Follows = len(b) == 1 && b[0] != 0
		case tagPlanned:
			if b := f.take(8, "fingerprint of the subscription"); b != nil {
				a.Planned = binary.BigEndian.Uint64(b)
			}
		}
	})
	if err := r.close(); err != nil {
		return Assignment{}, err
	}
	return a, nil
}

// appendTasks appends a list of tasks, which it sorts in place.
func appendTasks(dst []byte, tasks []Task) []byte {
	slices.SortFunc(tasks, Task.Compare)
	tasks = slices.Compact(tasks)
	if len(tasks) > 0 {
		invariants.Check(tasks[0].Sub >= 0, "task %v has a negative number", tasks[0])
	}
	subs := 0
	for i, t := range tasks {
		if i == 0 || t.Sub != tasks[i-1].Sub {
			invariants.Check(t.Partition >= 0, "task %v has a negative number", t)
			subs++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(subs))
	for before := int32(-1); len(tasks) > 0; {
		sub := tasks[0].Sub
		n := slices.IndexFunc(tasks, func(t Task) bool { return t.Sub != sub })
		if n < 0 {
			n = len(tasks)
		}
		dst = binary.AppendUvarint(dst, gap(before, sub))
		dst = binary.AppendUvarint(dst, uint64(n))
		last := int32(-1)
		for _, t := range tasks[:n] {
			dst = binary.AppendUvarint(dst, gap(last, t.Partition))
			last = t.Partition
		}
		before, tasks = sub, tasks[n:]
	}
	return dst
}

// gap returns how many numbers lie between a and the larger b.
func gap(a, b int32) uint64 { return uint64(int64(b) - int64(a) - 1) }

// appendState appends a list of tasks with state. Of several entries for a task
// the least lag counts.
func appendState(dst []byte, state []TaskState) []byte {
	state = slices.Clone(state)
	slices.SortFunc(state, func(a, b TaskState) int {
		return cmp.Or(a.Task.Compare(b.Task), compareLag(a.Lag, b.Lag))
	})
	state = slices.CompactFunc(state, func(a, b TaskState) bool { return a.Task == b.Task })
	tasks := make([]Task, len(state))
	for i, s := range state {
		tasks[i] = s.Task
	}
	dst = appendTasks(dst, tasks)
	for _, s := range state {
		dst = binary.AppendUvarint(dst, uint64(max(s.Lag, LagUnknown))+1)
	}
	return dst
}

// compareLag orders lags: least first, an unknown one last.
func compareLag(a, b int64) int {
	return cmp.Compare(uint64(max(a, LagUnknown)), uint64(max(b, LagUnknown)))
}
