package topology

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/codec"
)

// ErrIncompatible is wrapped by the errors about topologies that cannot share
// state or a group. [Incompatible] has the differences.
var ErrIncompatible = errors.New("incompatible topology")

// Shape is what the tasks and the state of a topology depend on: two topologies
// of one shape can run in one group, and each can go on with the other's state.
// Names of stateless steps, their code, delays, lateness, triggers and error
// policies are not in it. Its JSON form is kept with the state and sent between
// members: fields may be added, and none changes its meaning.
type Shape struct {
	Subs []SubShape `json:"subs"`
}

// SubShape is that of a sub-topology. Tasks are named by its place in the list.
type SubShape struct {
	Name string `json:"name"`
	// Sources are the topics that are read, as "topic", "~pattern" or
	// ">repartition", sorted.
	Sources []string     `json:"sources"`
	Stores  []StoreShape `json:"stores,omitempty"`
	// Repartitions are those that the sub-topology writes, by name.
	Repartitions []RepartitionShape `json:"repartitions,omitempty"`
}

// StoreShape is that of a store. Codecs are named by [codec.Form]; "" is not
// known and fits everything.
type StoreShape struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Windows string `json:"windows,omitempty"`
	Key     string `json:"key,omitempty"`
	Value   string `json:"value,omitempty"`
}

// RepartitionShape is that of a repartition topic.
type RepartitionShape struct {
	Name string `json:"name"`
	// Partitions is 0 unless the program fixes it.
	Partitions int32  `json:"partitions,omitempty"`
	Key        string `json:"key,omitempty"`
	Value      string `json:"value,omitempty"`
}

// forms are the names of a key's and a value's codec.
type forms struct{ key, value string }

func formsOf(key, value any) forms { return forms{codec.Form(key), codec.Form(value)} }

// Shape returns the topology's shape.
func (t *Topology) Shape() Shape {
	var s Shape
	for i := range t.subs {
		s.Subs = append(s.Subs, t.subs[i].Shape())
	}
	return s
}

// Shape returns the sub-topology's shape.
func (s *SubTopology) Shape() SubShape {
	shape := SubShape{Name: s.Name}
	for _, src := range s.Sources {
		switch {
		case src.Repartition != "":
			shape.Sources = append(shape.Sources, ">"+src.Repartition)
		case src.Pattern != nil:
			shape.Sources = append(shape.Sources, "~"+src.Pattern.String())
		default:
			shape.Sources = append(shape.Sources, src.Topics...)
		}
	}
	slices.Sort(shape.Sources)
	for _, n := range s.nodes {
		for _, st := range n.stores {
			store := StoreShape{Name: st.name, Kind: st.kind, Key: st.forms.key, Value: st.forms.value}
			if n.windows != nil {
				store.Windows = n.windows.Layout()
			}
			shape.Stores = append(shape.Stores, store)
		}
		if n.kind == kindSink && n.repartition != "" {
			shape.Repartitions = append(shape.Repartitions, RepartitionShape{n.repartition, n.partitions, n.forms.key, n.forms.value})
		}
	}
	slices.SortFunc(shape.Stores, func(a, b StoreShape) int { return cmp.Compare(a.Name, b.Name) })
	shape.Stores = slices.CompactFunc(shape.Stores, func(a, b StoreShape) bool { return a.Name == b.Name })
	slices.SortFunc(shape.Repartitions, func(a, b RepartitionShape) int { return cmp.Compare(a.Name, b.Name) })
	return shape
}

// Encode returns the JSON form.
func (s Shape) Encode() ([]byte, error) { return json.Marshal(s) }

// DecodeShape reads what Encode wrote, also of a newer program.
func DecodeShape(b []byte) (Shape, error) {
	var s Shape
	err := json.Unmarshal(b, &s)
	return s, err
}

// Difference is one thing in which two topologies differ.
type Difference struct {
	// What is "sub-topology", "source", "store" or "repartition", and Name its
	// name.
	What, Name string
	// Here and There are what it is in the one and in the other, "" for absent.
	Here, There string
}

// String says it for people.
func (d Difference) String() string {
	switch {
	case d.Here == "":
		return fmt.Sprintf("%s %q is only there: %s", d.What, d.Name, d.There)
	case d.There == "":
		return fmt.Sprintf("%s %q is only here: %s", d.What, d.Name, d.Here)
	}
	return fmt.Sprintf("%s %q is %s here and %s there", d.What, d.Name, d.Here, d.There)
}

// Incompatible says in what topologies differ that cannot go together. It wraps
// [ErrIncompatible].
type Incompatible struct {
	// There says what the other one is, as in "the state of task 1_0", and Advice
	// what to do.
	There, Advice string
	Differences   []Difference
}

// Error names each difference and what to do.
func (e *Incompatible) Error() string {
	list := make([]string, len(e.Differences))
	for i, d := range e.Differences {
		list[i] = d.String()
	}
	return fmt.Sprintf("%v: this program (here) and %s (there) differ: %s. %s", ErrIncompatible, e.There, strings.Join(list, "; "), e.Advice)
}

// Unwrap returns ErrIncompatible.
func (e *Incompatible) Unwrap() error { return ErrIncompatible }

// Differences returns in what the shapes of two members of one group differ. Any
// difference keeps them apart: they would not mean the same by a task's name.
func (s Shape) Differences(there Shape) []Difference {
	var all []Difference
	for i := range max(len(s.Subs), len(there.Subs)) {
		switch {
		case i >= len(there.Subs):
			all = append(all, Difference{"sub-topology", s.Subs[i].Name, fmt.Sprint("number ", i), ""})
		case i >= len(s.Subs):
			all = append(all, Difference{"sub-topology", there.Subs[i].Name, "", fmt.Sprint("number ", i)})
		case s.Subs[i].Name != there.Subs[i].Name:
			all = append(all, Difference{"sub-topology", fmt.Sprint(i), fmt.Sprintf("%q", s.Subs[i].Name), fmt.Sprintf("%q", there.Subs[i].Name)})
		default:
			all = append(all, s.Subs[i].differences(there.Subs[i])...)
		}
	}
	return all
}

func (s SubShape) differences(there SubShape) []Difference {
	var all []Difference
	if here, there := strings.Join(s.Sources, ", "), strings.Join(there.Sources, ", "); here != there {
		all = append(all, Difference{"source", s.Name, "[" + here + "]", "[" + there + "]"})
	}
	all = append(all, compare("store", s.Stores, there.Stores, StoreShape.name, StoreShape.fits)...)
	return append(all, compare("repartition", s.Repartitions, there.Repartitions, RepartitionShape.name, RepartitionShape.fits)...)
}

// compare goes through two lists that are sorted by name.
func compare[T fmt.Stringer](what string, here, there []T, name func(T) string, fits func(T, T) bool) []Difference {
	var all []Difference
	for len(here) > 0 || len(there) > 0 {
		switch {
		case len(there) == 0 || len(here) > 0 && name(here[0]) < name(there[0]):
			all = append(all, Difference{what, name(here[0]), here[0].String(), ""})
			here = here[1:]
		case len(here) == 0 || name(there[0]) < name(here[0]):
			all = append(all, Difference{what, name(there[0]), "", there[0].String()})
			there = there[1:]
		default:
			if !fits(here[0], there[0]) {
				all = append(all, Difference{what, name(here[0]), here[0].String(), there[0].String()})
			}
			here, there = here[1:], there[1:]
		}
	}
	return all
}

// CheckState compares a sub-topology with the shape under which its state was
// written. Stores that are new begin empty, and those that are gone are left
// alone; a store that is in both must be the same. The error is an
// [Incompatible].
func (s *SubTopology) CheckState(stored SubShape) error {
	own := s.Shape()
	var differences []Difference
	for _, d := range compare("store", own.Stores, stored.Stores, StoreShape.name, StoreShape.fits) {
		if d.Here != "" && d.There != "" {
			differences = append(differences, d)
		}
	}
	if len(differences) == 0 {
		return nil
	}
	return &Incompatible{
		There:       fmt.Sprintf("the state of sub-topology %d (%q)", s.ID, s.Name),
		Advice:      "Give the store a new name (topology.Store), so that it begins empty beside the old one; or go back to the program that wrote it; or forget all state with 'millrace reset', which lists what it would delete, and with --execute deletes it",
		Differences: differences,
	}
}

func (s StoreShape) name() string       { return s.Name }
func (r RepartitionShape) name() string { return r.Name }

// fits reports whether each can read what the other writes.
func (s StoreShape) fits(other StoreShape) bool {
	return s.Kind == other.Kind && s.Windows == other.Windows && sameForm(s.Key, other.Key) && sameForm(s.Value, other.Value)
}

func (r RepartitionShape) fits(other RepartitionShape) bool {
	return r.Partitions == other.Partitions && sameForm(r.Key, other.Key) && sameForm(r.Value, other.Value)
}

func sameForm(a, b string) bool { return a == b || a == "" || b == "" }

// String describes the store without its name.
func (s StoreShape) String() string { return describeShape(s.Kind, s.Windows, s.Key, s.Value) }

// String describes the topic without its name.
func (r RepartitionShape) String() string {
	partitions := "as many partitions as its writer has tasks"
	if r.Partitions > 0 {
		partitions = fmt.Sprintf("%d partitions", r.Partitions)
	}
	return describeShape("a topic", partitions, r.Key, r.Value)
}

func describeShape(what, more, key, value string) string {
	if more != "" {
		what += " (" + more + ")"
	}
	if key != "" {
		what += ", keys as " + key
	}
	if value != "" {
		what += ", values as " + value
	}
	return what
}
