package topology

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"

	"github.com/millrace/millrace/window"
)

// Topology is a checked, immutable graph. Any number of goroutines may use it.
type Topology struct {
	application string
	nodes       []*node
	stores      []*store
	subs        []SubTopology
}

// SubTopology is a part of the graph that hangs together; each of its
// partitions runs as one task.
type SubTopology struct {
	// ID counts from 0 in the order in which the parts were begun.
	ID int
	// Name is the part's own: that of its first source by name. It stays the
	// same when other parts of the graph change.
	Name    string
	Sources []SourceSpec
	// Sinks are the ids of its sink nodes, Stores the names of its stores.
	Sinks  []int
	Stores []string
	nodes  []*node
	// first is the source that gave the name.
	first int
}

// metaSuffix ends the names of the stores in which tasks keep their progress.
const metaSuffix = "-meta"

// Meta returns the name of the store in which the sub-topology's tasks keep
// watermarks and firing cursors, or "" if it needs none: it has no state, and
// nothing comes to it through a repartition.
func (s *SubTopology) Meta() string {
	if len(s.Stores) == 0 && !slices.ContainsFunc(s.Sources, func(src SourceSpec) bool { return src.Repartition != "" }) {
		return ""
	}
	return s.Name + metaSuffix
}

// Changelogs returns the names of the stores that are replicated: Stores and
// Meta.
func (s *SubTopology) Changelogs() []string {
	if meta := s.Meta(); meta != "" {
		return append(slices.Clone(s.Stores), meta)
	}
	return s.Stores
}

// Feeders are the sources, by node id, whose records reach the nodes that use a
// store. Their topics must be co-partitioned: with other numbers of partitions
// the same key would have state in several tasks.
type Feeders struct {
	Store   string
	Sources []int
}

// Feeders returns the sources that lead to each store, in the order of Stores.
func (s *SubTopology) Feeders() []Feeders {
	reached := map[int][]int{} // by node: the sources that lead to it
	byStore := map[string][]int{}
	for _, n := range s.nodes {
		if n.kind == kindSource {
			reached[n.id] = []int{n.id}
		}
		for _, p := range n.parents {
			reached[n.id] = append(reached[n.id], reached[p]...)
		}
		for _, st := range n.stores {
			byStore[st.name] = append(byStore[st.name], reached[n.id]...)
		}
	}
	feeders := make([]Feeders, 0, len(s.Stores))
	for _, store := range s.Stores {
		sources := byStore[store]
		slices.Sort(sources)
		feeders = append(feeders, Feeders{store, slices.Compact(sources)})
	}
	return feeders
}

// Expiring is a store whose entries have a time to live, and the names of the nodes that
// use it.
type Expiring struct {
	Store string
	Nodes []string
}

// Expiring returns the stores with a time to live, in the order of Stores.
func (s *SubTopology) Expiring() []Expiring {
	users := map[string][]string{}
	for _, n := range s.nodes {
		for _, st := range n.stores {
			if st.ttl != 0 {
				users[st.name] = append(users[st.name], n.name)
			}
		}
	}
	var all []Expiring
	for _, store := range s.Stores {
		if nodes := users[store]; nodes != nil {
			all = append(all, Expiring{store, nodes})
		}
	}
	return all
}

// SourceSpec is an input of a sub-topology. It has either topics, a pattern,
// or the name of a repartition.
type SourceSpec struct {
	Node        int
	Name        string
	Topics      []string
	Pattern     *regexp.Regexp
	Repartition string
	// Strategy is how the source's watermark follows its records; it means
	// nothing for a repartition, which carries watermarks itself.
	Strategy window.Strategy
	// Reset is where the source goes on if its position is lost.
	Reset OffsetReset
}

// Repartition is a topic through which records pass from some sub-topologies
// to another.
type Repartition struct {
	Name string
	// Partitions is fixed by the user, or 0 for as many as lead to it.
	Partitions int32
	// Writer and Reader are sub-topology ids.
	Writer, Reader int
}

// Application returns the name that the topology was made with.
func (t *Topology) Application() string { return t.application }

// SubTopologies returns the parts of the graph in the order of their ids.
func (t *Topology) SubTopologies() []SubTopology { return t.subs }

// RepartitionTopic returns the name of a repartition's topic.
func RepartitionTopic(application, repartition string) string {
	return application + "-" + repartition + "-repartition"
}

// Repartitions returns the repartitions by name.
func (t *Topology) Repartitions() []Repartition {
	byName := map[string]*Repartition{}
	var names []string
	for _, sub := range t.subs {
		for _, n := range sub.nodes {
			if n.repartition == "" {
				continue
			}
			r := byName[n.repartition]
			if r == nil {
				r = &Repartition{Name: n.repartition, Partitions: n.partitions}
				byName[n.repartition] = r
				names = append(names, n.repartition)
			}
			if n.kind == kindSink {
				r.Writer = sub.ID
			} else {
				r.Reader = sub.ID
			}
		}
	}
	slices.Sort(names)
	out := make([]Repartition, 0, len(names))
	for _, name := range names {
		out = append(out, *byName[name])
	}
	return out
}

// SinkTopics returns the fixed topics that the topology writes, sorted.
func (t *Topology) SinkTopics() []string {
	var topics []string
	for _, n := range t.nodes {
		if n.kind == kindSink {
			topics = append(topics, n.topics...)
		}
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// Replicated returns the stores whose results go to the replica, sorted.
func (t *Topology) Replicated() []string {
	var names []string
	for _, n := range t.nodes {
		if n.replicates != "" {
			names = append(names, n.replicates)
		}
	}
	slices.Sort(names)
	return names
}

// DeadLetters reports whether some node sends records to the dead-letter topic.
func (t *Topology) DeadLetters() bool {
	return slices.ContainsFunc(t.nodes, func(n *node) bool { return n.policy == DeadLetter })
}

// Hash identifies the topology's [Shape]: what matters for its tasks and its
// state, but not the names of stateless steps.
func (t *Topology) Hash() string {
	b, _ := t.Shape().Encode() // strings and numbers always have a JSON form
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// divide finds the sub-topologies: nodes joined by an edge or by a common
// store belong together.
func (t *Topology) divide() {
	root := make([]int, len(t.nodes))
	for i := range root {
		root[i] = i
	}
	var find func(int) int
	find = func(i int) int {
		if root[i] != i {
			root[i] = find(root[i])
		}
		return root[i]
	}
	join := func(a, b int) {
		a, b = find(a), find(b)
		root[max(a, b)] = min(a, b)
	}
	for _, n := range t.nodes {
		for _, p := range n.parents {
			join(p, n.id)
		}
	}
	for _, s := range t.stores {
		for _, u := range s.users {
			join(s.users[0], u)
		}
	}
	ids := map[int]int{}
	for _, n := range t.nodes {
		r := find(n.id)
		id, known := ids[r]
		if !known {
			id = len(t.subs)
			ids[r] = id
			t.subs = append(t.subs, SubTopology{ID: id})
		}
		t.subs[id].add(n)
	}
	for i := range t.subs {
		s := &t.subs[i]
		slices.Sort(s.Stores)
		s.Stores = slices.Compact(s.Stores)
		first := slices.MinFunc(s.Sources, func(a, b SourceSpec) int { return cmp.Compare(a.stableName(), b.stableName()) })
		s.Name, s.first = first.stableName(), first.Node
	}
}

func (s *SubTopology) add(n *node) {
	s.nodes = append(s.nodes, n)
	switch n.kind {
	case kindSource:
		s.Sources = append(s.Sources, SourceSpec{
			Node: n.id, Name: n.name, Topics: n.topics, Pattern: n.pattern, Repartition: n.repartition, Strategy: n.strategy, Reset: n.reset,
		})
	case kindSink:
		s.Sinks = append(s.Sinks, n.id)
	}
	for _, st := range n.stores {
		s.Stores = append(s.Stores, st.name)
	}
}

// stableName is the part of a source that users fixed: the repartition's name,
// or the node's.
func (s SourceSpec) stableName() string { return cmp.Or(s.Repartition, s.Name) }
