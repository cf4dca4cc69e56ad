package assign

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
)

// Producers are transactional producers of one process: Count of them, numbered
// from First. What they leave open when the process is gone holds readers back,
// until somebody aborts it.
//
// Nobody but its process knows of a producer, so each member remembers those of a
// few others. When the process of one is not in the group any more, the leader
// learns that from the subscriptions of those who remember it, and names it to
// one of the members that get its tasks. A new leader needs no memory for that.
type Producers struct {
	Process      ProcessID
	First, Count int32
}

// Compare orders by process, then by number.
func (p Producers) Compare(q Producers) int {
	return cmp.Or(bytes.Compare(p.Process[:], q.Process[:]), cmp.Compare(p.First, q.First), cmp.Compare(p.Count, q.Count))
}

// remembrances returns how many others a member remembers: few in a large group,
// where they would fill its record.
func remembrances(members int) int {
	if members <= 100 {
		return 3
	}
	return 1
}

// share gives each member the producers that it is to remember, and those of
// processes that are gone to the members that get new tasks. members are sorted.
func (a *Assignments) share(members []Member) {
	a.remember, a.abort = map[string][]Producers{}, map[string][]Producers{}
	var writing []Member
	present := map[ProcessID]int32{}
	for _, m := range members {
		present[m.Process] = max(present[m.Process], m.Producers)
		if m.Producers > 0 {
			writing = append(writing, m)
		}
	}
	for i, m := range members {
		known := min(remembrances(len(members)), len(writing))
		for j := range known {
			// The next ones in the order of all, so that two members remember others.
			next := writing[(i+1+j)%len(writing)]
			if next.Process != m.Process {
				a.remember[m.ID] = append(a.remember[m.ID], Producers{Process: next.Process, Count: next.Producers})
			}
		}
	}

	gone := map[ProcessID]Producers{}
	for _, m := range members {
		for _, p := range m.Remembers {
			// A process that is back may have fewer producers than before.
			first, end := max(p.First, present[p.Process]), p.First+p.Count
			if g, ok := gone[p.Process]; ok {
				first, end = min(first, g.First), max(end, g.First+g.Count)
			}
			if first < end {
				gone[p.Process] = Producers{Process: p.Process, First: first, Count: end - first}
			}
		}
	}
	if len(gone) == 0 {
		return
	}
	heirs := a.heirs(members)
	for i, p := range slices.SortedFunc(maps.Values(gone), Producers.Compare) {
		id := heirs[i%len(heirs)]
		a.abort[id] = append(a.abort[id], p)
	}
}

// heirs returns the members that get tasks that they did not have, or all if
// none does.
func (a *Assignments) heirs(members []Member) []string {
	var heirs, all []string
	for _, m := range members {
		all = append(all, m.ID)
		if _, start := Diff(m.Owned, a.Active[m.ID]); len(start) > 0 {
			heirs = append(heirs, m.ID)
		}
	}
	if len(heirs) == 0 {
		return all
	}
	return heirs
}

// The tags of fields that came after the first version. Who does not know them
// skips them.
const (
	tagProducers uint64 = 1 // of a subscription: a number
	tagRemembers uint64 = 2 // of a subscription: producers
	tagRemember  uint64 = 1 // of an assignment: producers
	tagAbort     uint64 = 2 // of an assignment: producers
	tagFollows   uint64 = 3 // of an assignment: a byte, not 0
	tagPlanned   uint64 = 4 // of an assignment: 8 bytes, big-endian

	tagShape    uint64 = 16 // of a subscription: text
	tagDraining uint64 = 17 // of a subscription: there for yes
	tagRefused  uint64 = 16 // of an assignment: text
)

// tagged is a field that is left out if it is empty.
type tagged struct {
	tag uint64
	b   []byte
}

// flagField is a field that says yes by being there.
func flagField(tag uint64, set bool) tagged {
	if !set {
		return tagged{}
	}
	return tagged{tag, []byte{1}}
}

func producersField(tag uint64, producers []Producers) tagged {
	if len(producers) == 0 {
		return tagged{}
	}
	return tagged{tag, appendProducers(nil, producers)}
}

// appendTagged appends how many fields are not empty, and for each its tag, a
// length and its bytes.
func appendTagged(dst []byte, fields ...tagged) []byte {
	fields = slices.DeleteFunc(fields, func(f tagged) bool { return len(f.b) == 0 })
	dst = binary.AppendUvarint(dst, uint64(len(fields)))
	for _, f := range fields {
		dst = binary.AppendUvarint(dst, f.tag)
		dst = append(binary.AppendUvarint(dst, uint64(len(f.b))), f.b...)
	}
	return dst
}

// appendProducers appends how many there are, and for each the process, the
// first number and the count.
func appendProducers(dst []byte, producers []Producers) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(producers)))
	for _, p := range producers {
		dst = append(dst, p.Process[:]...)
		dst = binary.AppendUvarint(dst, uint64(max(p.First, 0)))
		dst = binary.AppendUvarint(dst, uint64(max(p.Count, 0)))
	}
	return dst
}

// producers reads what appendProducers wrote. An empty list is nil.
func (r *reader) producers(field string) []Producers {
	var producers []Producers
	for range r.length(field) {
		var p Producers
		copy(p.Process[:], r.take(len(p.Process), field))
		p.First = r.int32(field)
		p.Count = int32(r.number(field, uint64(maxInt32-p.First)))
		if r.err != nil {
			return nil
		}
		producers = append(producers, p)
	}
	return producers
}
