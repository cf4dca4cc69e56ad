package topology

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

// Instance is one sub-topology composed for one task: closures, processors and
// open stores. It belongs to the task's goroutine.
type Instance struct {
	sources map[int]processors.Source
	// Stateful are the nodes that time moves, in topological order.
	Stateful []StatefulNode
	// Repartitions are the sinks that feed other sub-topologies, and which
	// nodes' results reach them.
	Repartitions []RepartitionSink
}

// StatefulNode is a node that time moves, with the stateful nodes whose
// results reach it by way of stateless ones.
type StatefulNode struct {
	Name string
	processors.Stateful
	Upstream
	// Follows is set if the node goes by how far those before it have been
	// advanced, and not by their outputs: see [processors.Follower].
	Follows bool
}

// RepartitionSink is a sink that feeds the named repartition.
type RepartitionSink struct {
	Name string
	Upstream
}

// Upstream says where a node's records come from: its input watermark is the
// least of the task's, if FromSource, and of the outputs of the stateful nodes
// with these indexes in Instance.Stateful.
type Upstream struct {
	FromSource bool
	Nodes      []int
}

// Source returns the source with the node id of a [SourceSpec].
func (in *Instance) Source(node int) processors.Source { return in.sources[node] }

// Close closes the nodes, not the stores, and returns the first error.
func (in *Instance) Close() error {
	var first error
	for _, s := range in.Stateful {
		first = cmp.Or(first, s.Close())
	}
	return first
}

// instance is an Instance while it is composed.
type instance struct {
	rt       *processors.Runtime
	opened   Stores
	nodes    map[int]*processors.Node
	edges    map[any]any
	stateful map[int]processors.Stateful
}

// Stores are the open stores of one task by name, in their types.
type Stores map[string]any

// OpenStores opens the stores of sub-topology sub in a task's database. That
// comes first: the stores are then restored from their changelogs, and only
// then does Instantiate run user code that may read them.
func (t *Topology) OpenStores(sub int, db *stores.DB) (Stores, error) {
	opened := Stores{}
	for _, n := range t.subs[sub].nodes {
		for _, s := range n.stores {
			if opened[s.name] != nil {
				continue
			}
			var err error
			if opened[s.name], err = s.open(db); err != nil {
				return nil, fmt.Errorf("store %q (%s): %w", s.name, s.where, err)
			}
		}
	}
	return opened, nil
}

// Instantiate composes sub-topology sub for one task, with the stores that
// OpenStores opened, and makes the processors.
func (t *Topology) Instantiate(sub int, rt *processors.Runtime, opened Stores) (*Instance, error) {
	in := &instance{
		rt: rt, opened: opened, nodes: map[int]*processors.Node{}, edges: map[any]any{}, stateful: map[int]processors.Stateful{},
	}
	out := &Instance{sources: map[int]processors.Source{}}
	for _, n := range t.subs[sub].nodes {
		if n.compose == nil {
			continue
		}
		src, err := n.compose(in)
		if err != nil {
			if _, blamed := errors.AsType[*processors.NodeError](err); !blamed {
				err = fmt.Errorf("node %q (%s): %w", n.name, n.where, err)
			}
			// The processors made so far are the caller's to close no more.
			for _, s := range in.stateful {
				err = errors.Join(err, s.Close())
			}
			return nil, err
		}
		out.sources[n.id] = src
	}
	t.connect(sub, in, out)
	return out, nil
}

// connect puts the stateful nodes in order and finds what is upstream of them
// and of the repartition sinks.
func (t *Topology) connect(sub int, in *instance, out *Instance) {
	index := map[int]int{}
	reach := map[int]Upstream{}
	for _, n := range t.subs[sub].nodes {
		var up Upstream
		if len(n.parents) == 0 {
			up.FromSource = true
		}
		for _, p := range n.parents {
			if i, stateful := index[p]; stateful {
				up.Nodes = append(up.Nodes, i)
				continue
			}
			up.FromSource = up.FromSource || reach[p].FromSource
			up.Nodes = append(up.Nodes, reach[p].Nodes...)
		}
		slices.Sort(up.Nodes)
		up.Nodes = slices.Compact(up.Nodes)
		reach[n.id] = up
		if s, ok := in.stateful[n.id]; ok {
			index[n.id] = len(out.Stateful)
			f, follows := s.(processors.Follower)
			if follows {
				f.Follow(in.stateful[n.parents[0]])
			}
			out.Stateful = append(out.Stateful, StatefulNode{Name: n.name, Stateful: s, Upstream: up, Follows: follows})
		}
		if n.kind == kindSink && n.repartition != "" {
			out.Repartitions = append(out.Repartitions, RepartitionSink{Name: n.repartition, Upstream: up})
		}
	}
}

// node returns n's run-time part, the same one each time.
func (in *instance) node(n *node) *processors.Node {
	if p, ok := in.nodes[n.id]; ok {
		return p
	}
	p := &processors.Node{Name: n.name, Policy: n.policy, Where: n.where}
	in.nodes[n.id] = p
	return p
}

func (in *instance) addStateful(n *node, s processors.Stateful) { in.stateful[n.id] = s }
