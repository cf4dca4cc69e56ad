package topology

import (
	"fmt"
	"slices"
	"strings"
)

// picture is the graph as boxes and arrows, for DOT and Mermaid.
type picture struct {
	groups []pictureGroup
	// outside are the topics and stores, which belong to no group.
	outside []box
	arrows  []arrow
}

type pictureGroup struct {
	id, title string
	boxes     []box
}

// box is a node, a topic or a store. Ids are the same for one name and kind, and
// need no quotes.
type box struct {
	id, label string
	kind      boxKind
}

type boxKind int

const (
	nodeBox boxKind = iota
	topicBox
	storeBox
)

// arrow leads from one box to another; a plain line joins a node and a store.
type arrow struct {
	from, to string
	line     bool
}

// picture lays the graph out, always in the same order.
func (t *Topology) picture() picture {
	var p picture
	known := map[string]string{}
	outside := func(kind boxKind, prefix, label string) string {
		if id, ok := known[prefix+label]; ok {
			return id
		}
		id := fmt.Sprintf("%s%d", prefix, len(p.outside))
		known[prefix+label] = id
		p.outside = append(p.outside, box{id, label, kind})
		return id
	}
	for _, sub := range t.subs {
		g := pictureGroup{id: fmt.Sprintf("sub%d", sub.ID), title: fmt.Sprintf("sub-topology %d: %s", sub.ID, sub.Name)}
		for _, n := range sub.nodes {
			d := t.describeNode(n)
			id := fmt.Sprintf("n%d", n.id)
			label := d.Name
			if !strings.Contains(label, d.Kind) {
				label += "\n" + d.Kind
			}
			if d.Windows != "" {
				label += "\n" + d.Windows
			}
			g.boxes = append(g.boxes, box{id, label, nodeBox})
			for _, parent := range n.parents {
				p.arrows = append(p.arrows, arrow{from: fmt.Sprintf("n%d", parent), to: id})
			}
			for _, topic := range d.pictureTopics() {
				a := arrow{from: id, to: outside(topicBox, "t", topic)}
				if n.kind == kindSource {
					a.from, a.to = a.to, a.from
				}
				p.arrows = append(p.arrows, a)
			}
			for _, s := range n.stores {
				label := s.name
				if s.ttl != 0 {
					label += "\nTTL " + s.ttlText()
				}
				p.arrows = append(p.arrows, arrow{from: id, to: outside(storeBox, "s", label), line: true})
			}
		}
		p.groups = append(p.groups, g)
	}
	return p
}

// pictureTopics are the topics that a node reads or writes, as labels.
func (n *NodeDescription) pictureTopics() []string {
	switch {
	case n.Repartition != "":
		return []string{repartitionSuffix(n.Repartition)}
	case n.Pattern != "":
		return []string{n.Pattern}
	case n.Computed:
		return []string{"(computed)"}
	}
	return slices.Clone(n.Topics)
}

// DOT returns the graph in the language of Graphviz.
func (t *Topology) DOT() string {
	p := t.picture()
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n", dotQuote(t.application))
	for _, g := range p.groups {
		fmt.Fprintf(&b, "  subgraph cluster_%s {\n    label=%s;\n", g.id, dotQuote(g.title))
		for _, x := range g.boxes {
			fmt.Fprintf(&b, "    %s [label=%s];\n", x.id, dotQuote(x.label))
		}
		b.WriteString("  }\n")
	}
	for _, x := range p.outside {
		shape := "cylinder"
		if x.kind == topicBox {
			shape = "cds"
		}
		fmt.Fprintf(&b, "  %s [label=%s, shape=%s];\n", x.id, dotQuote(x.label), shape)
	}
	for _, a := range p.arrows {
		fmt.Fprintf(&b, "  %s -> %s", a.from, a.to)
		if a.line {
			b.WriteString(" [dir=none, style=dashed]")
		}
		b.WriteString(";\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// dotQuote quotes a label; a line end in it starts a new line.
func dotQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// Mermaid returns the graph as a Mermaid flowchart, which GitHub shows in
// Markdown.
func (t *Topology) Mermaid() string {
	p := t.picture()
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for _, g := range p.groups {
		fmt.Fprintf(&b, "  subgraph %s[%s]\n", g.id, mermaidQuote(g.title))
		for _, x := range g.boxes {
			fmt.Fprintf(&b, "    %s[%s]\n", x.id, mermaidQuote(x.label))
		}
		b.WriteString("  end\n")
	}
	for _, x := range p.outside {
		form := "  %s[(%s)]\n"
		if x.kind == topicBox {
			form = "  %s>%s]\n"
		}
		fmt.Fprintf(&b, form, x.id, mermaidQuote(x.label))
	}
	for _, a := range p.arrows {
		link := "-->"
		if a.line {
			link = "-.-"
		}
		fmt.Fprintf(&b, "  %s %s %s\n", a.from, link, a.to)
	}
	return b.String()
}

// mermaidQuote quotes a label; entities stand for what Mermaid would read.
func mermaidQuote(s string) string {
	return `"` + strings.NewReplacer("&", "#amp;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "#", "#35;", "\n", "<br/>").Replace(s) + `"`
}
