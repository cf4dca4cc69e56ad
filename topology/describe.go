package topology

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Description is the graph as data, for people and tools. Its JSON form is
// stable: fields may be added, and none changes its meaning.
type Description struct {
	// Application is the name that the topology was made with.
	Application string `json:"application"`
	// Hash is that of Topology.Hash.
	Hash          string                   `json:"hash"`
	SubTopologies []SubTopologyDescription `json:"sub_topologies"`
	Stores        []StoreDescription       `json:"stores"`
	Repartitions  []RepartitionDescription `json:"repartitions"`
}

// SubTopologyDescription is one part of the graph.
type SubTopologyDescription struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
	// Nodes are in an order in which each comes after those that lead to it.
	Nodes []NodeDescription `json:"nodes"`
}

// NodeDescription is one node.
type NodeDescription struct {
	Name string `json:"name"`
	// Kind is the operator: source, sink, filter, peek, map, map-values,
	// flat-map, select-key, split, merge, aggregate, late or process.
	Kind string `json:"kind"`
	// From and To are the names of the nodes before and after it in the same
	// sub-topology.
	From []string `json:"from,omitempty"`
	To   []string `json:"to,omitempty"`
	// A source or sink has Topics, a Pattern of topics, a Repartition, or, if
	// the program computes the topic of each record, Computed.
	Topics      []string `json:"topics,omitempty"`
	Pattern     string   `json:"pattern,omitempty"`
	Repartition string   `json:"repartition,omitempty"`
	Computed    bool     `json:"computed,omitempty"`
	Stores      []string `json:"stores,omitempty"`
	// Windows describes the windows of an aggregate, Watermark how the
	// watermark of a source follows.
	Windows   string `json:"windows,omitempty"`
	Watermark string `json:"watermark,omitempty"`
}

// StoreDescription is one store.
type StoreDescription struct {
	Name string `json:"name"`
	// Kind is "window store" or "key-value store".
	Kind        string `json:"kind"`
	SubTopology int    `json:"sub_topology"`
	// TTL is the time to live of entries, such as "24h0m0s".
	TTL string `json:"ttl,omitempty"`
}

// RepartitionDescription is a topic between two sub-topologies.
type RepartitionDescription struct {
	Name string `json:"name"`
	// Partitions is 0 unless the program fixes it.
	Partitions int32 `json:"partitions,omitempty"`
	Writer     int   `json:"writer"`
	Reader     int   `json:"reader"`
}

// Description returns the graph as data.
func (t *Topology) Description() Description {
	d := Description{Application: t.application, Hash: t.Hash(), Stores: []StoreDescription{}, Repartitions: []RepartitionDescription{}}
	for i := range t.subs {
		sub := &t.subs[i]
		s := SubTopologyDescription{ID: sub.ID, Name: sub.Name}
		for _, n := range sub.nodes {
			s.Nodes = append(s.Nodes, t.describeNode(n))
			for _, st := range n.stores {
				d.Stores = append(d.Stores, StoreDescription{Name: st.name, Kind: st.kind, SubTopology: sub.ID, TTL: st.ttlText()})
			}
		}
		d.SubTopologies = append(d.SubTopologies, s)
	}
	slices.SortFunc(d.Stores, func(a, b StoreDescription) int { return cmp.Compare(a.Name, b.Name) })
	d.Stores = slices.Compact(d.Stores)
	for _, r := range t.Repartitions() {
		d.Repartitions = append(d.Repartitions, RepartitionDescription(r))
	}
	return d
}

// ttlText is the time to live as text, "" for none.
func (s *store) ttlText() string {
	if s.ttl == 0 {
		return ""
	}
	return s.ttl.String()
}

func (t *Topology) describeNode(n *node) NodeDescription {
	d := NodeDescription{
		Name: n.name, Kind: string(n.kind), Topics: n.topics, Repartition: n.repartition, Computed: n.routed,
	}
	if n.pattern != nil {
		d.Pattern = n.pattern.String()
	}
	for _, p := range n.parents {
		d.From = append(d.From, t.nodes[p].name)
	}
	for _, child := range t.nodes[n.id+1:] {
		if slices.Contains(child.parents, n.id) {
			d.To = append(d.To, child.name)
		}
	}
	for _, s := range n.stores {
		d.Stores = append(d.Stores, s.name)
	}
	if n.windows != nil {
		d.Windows = n.windows.String()
	}
	if n.kind == kindSource && n.repartition == "" {
		d.Watermark = n.strategy.String()
	}
	return d
}

// JSON returns the Description as JSON, indented, with a line end behind it.
func (t *Topology) JSON() ([]byte, error) {
	b, err := json.MarshalIndent(t.Description(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("topology: description: %w", err)
	}
	return append(b, '\n'), nil
}

// Describe returns the graph in the text form of Kafka Streams
// (TopologyDescription), which existing viewers read. Repartition topics stand
// there without the application's name, as they do in Kafka Streams.
func (t *Topology) Describe() string {
	var b strings.Builder
	b.WriteString("Topologies:\n ")
	for _, sub := range t.Description().SubTopologies {
		fmt.Fprintf(&b, "  Sub-topology: %d\n", sub.ID)
		for _, n := range sub.Nodes {
			b.WriteString("    ")
			switch n.Kind {
			case string(kindSource):
				fmt.Fprintf(&b, "Source: %s (topics: %s)\n", n.Name, n.sourceTopics())
			case string(kindSink):
				fmt.Fprintf(&b, "Sink: %s (%s)\n", n.Name, n.sinkTopic())
			default:
				fmt.Fprintf(&b, "Processor: %s (stores: [%s])\n", n.Name, strings.Join(n.Stores, ", "))
			}
			if n.Kind != string(kindSink) {
				fmt.Fprintf(&b, "      --> %s\n", orNone(n.To))
			}
			if n.Kind != string(kindSource) {
				fmt.Fprintf(&b, "      <-- %s\n", orNone(n.From))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (n *NodeDescription) sourceTopics() string {
	switch {
	case n.Pattern != "":
		return n.Pattern
	case n.Repartition != "":
		return "[" + repartitionSuffix(n.Repartition) + "]"
	}
	return "[" + strings.Join(n.Topics, ", ") + "]"
}

func (n *NodeDescription) sinkTopic() string {
	switch {
	case n.Computed:
		// Kafka Streams has the name of a class here.
		return "extractor class: function"
	case n.Repartition != "":
		return "topic: " + repartitionSuffix(n.Repartition)
	}
	return "topic: " + strings.Join(n.Topics, ", ")
}

// repartitionSuffix is a repartition topic's name without the application's.
func repartitionSuffix(name string) string {
	return strings.TrimPrefix(RepartitionTopic("", name), "-")
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
