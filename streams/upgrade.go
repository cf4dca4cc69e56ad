package streams

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/millrace/millrace/internal/assign"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/topology"
)

// A rolling upgrade puts members of two programs into one group. Those whose
// topologies have one shape mean the same by the name of a task, by a store and by
// a repartition topic, whatever else has changed: they share the tasks. A
// newcomer of another shape is refused by the leader, with what differs, while the
// members that run tasks go on.

// ErrIncompatible is wrapped by the errors of an instance whose topology fits
// neither the state nor the running members of its application.
var ErrIncompatible = topology.ErrIncompatible

// introduce completes a subscription by what concerns other programs in the
// group.
func (m *membership) introduce(sub *assign.Subscription) error {
	shape, err := m.in.topology.Shape().Encode()
	if err != nil {
		return err
	}
	sub.Shape, sub.Draining, sub.Write = string(shape), m.in.control.isDraining(), m.common
	return nil
}

// judgement is what the leader thinks of the members.
type judgement struct {
	// admitted are those that get tasks, refused the others and why.
	admitted []assign.Member
	refused  map[string]string
	// foreign is set if the members that run tasks run another topology than the
	// leader, which cannot plan for them: they keep what they have.
	foreign bool
}

// judge compares the members' topologies. What the members run that own tasks
// counts; if none does, what the leader runs.
//
// Nobody who owns tasks is refused: it would still run them when others get them.
func (m *membership) judge(own string, members []assign.Member) judgement {
	reference := m.in.topology.Hash()
	newest := assign.NoGeneration
	for _, member := range members {
		if len(member.Owned) > 0 && member.Generation > newest {
			newest, reference = member.Generation, member.Topology
		}
	}
	for _, member := range members { // among those of one generation, the leader's own
		if member.ID == own && len(member.Owned) > 0 {
			reference = member.Topology
		}
	}
	j := judgement{refused: map[string]string{}, foreign: reference != m.in.topology.Hash()}
	var there string
	for _, member := range members {
		if member.Topology == reference {
			there = cmp.Or(there, member.Shape)
		}
	}
	for _, member := range members {
		switch {
		case member.Topology == reference:
		case len(member.Owned) == 0:
			j.refused[member.ID] = explainShapes(member.Shape, there)
			m.in.log.Warn("a member is refused: its topology is incompatible with the running one", "member", member.ID, "endpoint", member.Endpoint,
				"differences", j.refused[member.ID])
			continue
		default:
			m.in.log.Warn("a member runs another topology", "member", member.ID, "endpoint", member.Endpoint,
				"topology", member.Topology, "reference", reference)
		}
		j.admitted = append(j.admitted, member)
	}
	m.warnOfCopies(members)
	return j
}

// warnOfCopies tells of state folders that were copied: the instances would
// fence one another's transactions.
func (m *membership) warnOfCopies(members []assign.Member) {
	seen := map[assign.ProcessID]string{}
	for _, member := range members {
		if other, ok := seen[member.Process]; ok {
			m.in.log.Warn("two members have one process id, which comes with a state folder: if the folder was copied, delete the file "+processFile+" in one of the copies",
				"process", member.Process.String(), "members", []string{other, member.ID})
		}
		seen[member.Process] = member.ID
	}
}

// explainShapes says in what a refused member's topology differs from the one
// that runs.
func explainShapes(here, there string) string {
	const unknown = "the shapes cannot be compared; 'millrace topology' of both programs shows them"
	if here == "" || there == "" {
		return unknown
	}
	h, err := topology.DecodeShape([]byte(here))
	t, err2 := topology.DecodeShape([]byte(there))
	if errors.Join(err, err2) != nil {
		return unknown
	}
	differences := h.Differences(t)
	if len(differences) == 0 {
		return unknown
	}
	list := make([]string, len(differences))
	for i, d := range differences {
		list[i] = d.String()
	}
	return strings.Join(list, "; ")
}

// refusedError is what a refused instance ends with.
func (in *Instance) refusedError(why string) error {
	return fmt.Errorf("%w: this program (here) and the running members of group %q (there) differ: %s. A rolling upgrade needs the same sub-topologies, stores and repartition topics: stop all other instances, then start this one; a store that keeps its name, kind, windows and codecs keeps its state",
		ErrIncompatible, in.cfg.Application, why)
}

// keepAll is the plan of a leader that cannot plan for the others, and leaves:
// each keeps what it has.
func (j judgement) keepAll(leader string) map[string]kafka.Assignment {
	given := map[string]kafka.Assignment{}
	for _, member := range j.admitted {
		a := assign.Assignment{Members: int32(len(j.admitted)), Leader: leader, Active: member.Owned, Remember: member.Remembers}
		given[member.ID] = kafka.Assignment{UserData: a.Append(nil)}
	}
	j.refuse(given, leader)
	return given
}

// refuse adds the assignments of the refused members.
func (j judgement) refuse(given map[string]kafka.Assignment, leader string) {
	for id, why := range j.refused {
		a := assign.Assignment{Members: int32(len(j.admitted)), Leader: leader, Refused: why}
		given[id] = kafka.Assignment{UserData: a.Append(nil)}
	}
}
