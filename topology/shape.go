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
	// Version is the version in which values are written: see [codec.Versioned]; 0
	// stands for 1. Oldest is the oldest one that may be left; 0 stands for Version. It
	// is that of state, and not of a topology.
	Version int `json:"version,omitempty"`
	Oldest  int `json:"oldest,omitempty"`
}

// Versions returns the oldest version that values may be of, and the newest.
func (s StoreShape) Versions() (oldest, newest int) {
	newest = max(1, s.Version)
	if s.Oldest == 0 {
		return newest, newest
	}
	return s.Oldest, newest
}

// RepartitionShape is that of a repartition topic.
type RepartitionShape struct {
	Name string `json:"name"`
	// Partitions is 0 unless the program fixes it.
	Partitions int32  `json:"partitions,omitempty"`
	Key        string `json:"key,omitempty"`
	Value      string `json:"value,omitempty"`
}

// forms are the names of a key's and a value's codec, the versions of values, and
// what is wrong with the codecs.
type forms struct {
	key, value string
	versions   codec.Lineage
	mistake    error
}

func formsOf(key, value any) forms {
	f := forms{key: codec.Form(key), value: codec.Form(value), versions: codec.LineageOf(value), mistake: codec.Check(value)}
	if codec.LineageOf(key).Current > 1 {
		f.mistake = errors.New("has a codec for its keys whose version is not 1: what a key was written as is what it is found under")
	}
	return f
}

// checkPlain notes a mistake if a codec of a topic that is not the application's own
// marks its values.
func checkPlain(b *Builder, n *node, codecs ...any) {
	for _, c := range codecs {
		if codec.LineageOf(c).Current > 1 {
			b.mistake(n, "codec.Versioned marks what it writes: it is for stores and repartition topics; give this topic the codec of the bytes in it")
		}
	}
}

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
			if v := st.forms.versions.Current; v > 1 {
				store.Version = v
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
// alone; a store that is in both must be the same, but for versions of its values
// that its codec can read. The error is an [Incompatible].
func (s *SubTopology) CheckState(stored SubShape) error {
	own := s.Shape()
	versions := s.versions()
	takes := func(own, stored StoreShape) bool { return own.takes(stored, versions[own.Name]) }
	reads := func(own, stored StoreShape) bool { return unread(versions[own.Name], stored) == "" }
	there := fmt.Sprintf("the state of sub-topology %d (%q)", s.ID, s.Name)
	if differences := inBoth(compare("store", own.Stores, stored.Stores, StoreShape.name, takes)); len(differences) > 0 {
		return &Incompatible{
			There:       there,
			Advice:      "Give the store a new name (topology.Store), so that it begins empty beside the old one; or go back to the program that wrote it; or forget all state with 'millrace reset', which lists what it would delete, and with --execute deletes it",
			Differences: differences,
		}
	}
	differences := inBoth(compare("store", own.Stores, stored.Stores, StoreShape.name, reads))
	if len(differences) == 0 {
		return nil
	}
	e := &Incompatible{There: there}
	for i, d := range differences {
		at := slices.IndexFunc(stored.Stores, func(st StoreShape) bool { return st.Name == d.Name })
		e.Advice = unread(versions[d.Name], stored.Stores[at])
		differences[i].Here, differences[i].There = describeVersions(versions[d.Name], stored.Stores[at])
	}
	e.Differences = differences
	return e
}

// inBoth leaves out what is only in one of two lists.
func inBoth(all []Difference) []Difference {
	return slices.DeleteFunc(all, func(d Difference) bool { return d.Here == "" || d.There == "" })
}

// versions returns the versions of values that each store reads.
func (s *SubTopology) versions() map[string]codec.Lineage {
	all := map[string]codec.Lineage{}
	for _, n := range s.nodes {
		for _, st := range n.stores {
			all[st.name] = st.forms.versions
		}
	}
	return all
}

// takes reports whether a store can go on from a stored one, whatever the versions.
func (s StoreShape) takes(stored StoreShape, versions codec.Lineage) bool {
	if s.Kind != stored.Kind || s.Windows != stored.Windows || !sameForm(s.Key, stored.Key) {
		return false
	}
	_, newest := stored.Versions()
	return newest < versions.Oldest || newest > versions.Current || sameForm(versions.Form(newest), stored.Value)
}

// unread says what to do if a stored store may hold values of a version that is not
// read; "" if all are. It says that no value was changed, and not more: the state folder
// may have got the task's own store of the changelog before, which has the shape that is
// refused.
func unread(versions codec.Lineage, stored StoreShape) string {
	oldest, newest := stored.Versions()
	switch {
	case newest > versions.Current:
		return "A newer program has written it, and this one would not understand it: run that program, or a newer one. No value was changed"
	case oldest < versions.Oldest:
		return fmt.Sprintf("Values of version %d may be left: give codec.Versioned the steps from version %d on again. They may go when the log has said 'all values are of the newest version' of each task. No value was changed", oldest, oldest)
	}
	return ""
}

// describeVersions says which versions the program reads and the state has.
func describeVersions(versions codec.Lineage, stored StoreShape) (here, there string) {
	between := func(from, to int) string {
		if from == to {
			return fmt.Sprintf("version %d of its values", to)
		}
		return fmt.Sprintf("versions %d to %d of its values", from, to)
	}
	oldest, newest := stored.Versions()
	return "read in " + between(versions.Oldest, versions.Current), "written in " + between(oldest, newest)
}

func (s StoreShape) name() string       { return s.Name }
func (r RepartitionShape) name() string { return r.Name }

// fits reports whether each can read what the other writes.
func (s StoreShape) fits(other StoreShape) bool {
	return s.Kind == other.Kind && s.Windows == other.Windows && s.Version == other.Version &&
		sameForm(s.Key, other.Key) && sameForm(s.Value, other.Value)
}

func (r RepartitionShape) fits(other RepartitionShape) bool {
	return r.Partitions == other.Partitions && sameForm(r.Key, other.Key) && sameForm(r.Value, other.Value)
}

func sameForm(a, b string) bool { return a == b || a == "" || b == "" }

// String describes the store without its name.
func (s StoreShape) String() string {
	value := s.Value
	if value == "" && s.Version > 1 {
		value = fmt.Sprintf("v%d", s.Version)
	}
	return describeShape(s.Kind, s.Windows, s.Key, value)
}

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
