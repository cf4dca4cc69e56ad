package topology

import (
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// ErrInvalid is wrapped by every mistake that Build reports.
var ErrInvalid = errors.New("invalid topology")

// Builder collects the nodes of a topology. One goroutine uses it.
type Builder struct {
	application string
	nodes       []*node
	stores      []*store
	mistakes    []error
	// checks run at Build, when everything that may follow a call is known.
	checks []func()
	// tables are the tables of the cold tier, by name.
	tables map[string]*stores.ColdTable
	built  bool
}

// New begins a topology. The application's name is the consumer group and the
// prefix of every topic that the application makes; a running instance may
// override it.
func New(application string) *Builder {
	b := &Builder{application: application, tables: map[string]*stores.ColdTable{}}
	if mistake := checkTopicPart(application); mistake != "" {
		b.mistakes = append(b.mistakes, fmt.Errorf("%w: application name %q %s (%s)", ErrInvalid, application, mistake, caller()))
	}
	return b
}

// kind says what a node does.
type kind string

const (
	kindSource    kind = "source"
	kindSink      kind = "sink"
	kindFilter    kind = "filter"
	kindPeek      kind = "peek"
	kindMap       kind = "map"
	kindMapValues kind = "map-values"
	kindFlatMap   kind = "flat-map"
	kindSelectKey kind = "select-key"
	kindSplit     kind = "split"
	kindMerge     kind = "merge"
	kindAggregate kind = "aggregate"
	kindLate      kind = "late"
	kindSuppress  kind = "suppress"
	kindProcess   kind = "process"
)

// node is one node of the graph. Its parents have lower ids than itself.
type node struct {
	id      int
	kind    kind
	name    string
	parents []int
	where   string
	policy  processors.ErrorPolicy
	stores  []*store

	// A source or sink has topics, a pattern, or the name of the repartition
	// that it reads or writes.
	topics      []string
	pattern     *regexp.Regexp
	repartition string
	partitions  int32
	routed      bool
	// replicates is the store whose results a sink's records are.
	replicates string

	reset OffsetReset

	eventTime bool
	strategy  window.Strategy
	windows   *window.Windows

	// forms are those of a repartition.
	forms forms

	// compose builds a source's part of an instance.
	compose func(*instance) (processors.Source, error)
}

// kindBuffer is the kind of store that Suppress has.
const kindBuffer = "buffer"

// store is a named store of the graph.
type store struct {
	name  string
	kind  string
	where string
	users []int
	forms forms
	// cold is set if the store's windows go to the cold tier.
	cold bool
	// ttl is the time to live of entries, 0 for none.
	ttl time.Duration
	// open opens the store in a task's database.
	open func(*stores.DB) (any, error)
}

// add appends a node; an empty name is made from its first parent's.
func (b *Builder) add(k kind, o options, parents ...int) *node {
	n := &node{id: len(b.nodes), kind: k, name: o.name, parents: parents, where: caller(), policy: o.policy, reset: o.reset}
	if n.name == "" && len(parents) > 0 {
		n.name = b.derive(k, b.nodes[parents[0]])
	}
	b.nodes = append(b.nodes, n)
	return n
}

// derive names a node after its parent and its operator; the second child of
// the same kind gets -2, and so on. Steps elsewhere do not change the name.
func (b *Builder) derive(k kind, parent *node) string {
	count := 1
	for _, n := range b.nodes[parent.id+1:] {
		if n.kind == k && len(n.parents) > 0 && n.parents[0] == parent.id {
			count++
		}
	}
	name := parent.name + "." + string(k)
	if count > 1 {
		name = fmt.Sprintf("%s-%d", name, count)
	}
	return name
}

// addStore notes a store; n is the node that keeps it, or nil if processors
// will ask for it.
func (b *Builder) addStore(name, kind string, n *node) *store {
	s := &store{name: name, kind: kind, where: caller()}
	if n != nil {
		s.users = []int{n.id}
		n.stores = append(n.stores, s)
	}
	b.stores = append(b.stores, s)
	return s
}

// mistake notes something wrong with n, to be returned by Build.
func (b *Builder) mistake(n *node, format string, args ...any) {
	b.mistakes = append(b.mistakes, fmt.Errorf("%w: node %q (%s): %s", ErrInvalid, n.name, n.where, fmt.Sprintf(format, args...)))
}

// storeMistake is a mistake in a store.
func storeMistake(s *store, format string, args ...any) error {
	return fmt.Errorf("%w: %s %q (%s) %s", ErrInvalid, s.kind, s.name, s.where, fmt.Sprintf(format, args...))
}

// caller returns the file and line of the call into this package.
func caller() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "github.com/millrace/millrace/topology.") || !more {
			file := f.File[strings.LastIndexByte(f.File, '/')+1:]
			return fmt.Sprintf("%s:%d", file, f.Line)
		}
	}
}

// topicPart matches what Kafka allows in a topic's name.
var topicPart = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// checkTopicPart says what is wrong with a name that becomes part of a topic.
func checkTopicPart(name string) string {
	switch {
	case name == "":
		return "is empty"
	case len(name) > 200:
		return "is longer than 200 characters"
	case !topicPart.MatchString(name):
		return "has a character that Kafka does not allow in a topic; use letters, digits, '.', '_' and '-'"
	}
	return ""
}

// Build checks the graph and returns it as an immutable Topology. The error
// joins every mistake; each wraps [ErrInvalid] and names a node and the file
// and line of the call that made it.
func (b *Builder) Build() (*Topology, error) {
	if b.built {
		return nil, fmt.Errorf("%w: Build was called twice (%s)", ErrInvalid, caller())
	}
	b.built = true
	for _, check := range b.checks {
		check()
	}
	b.check()
	if len(b.mistakes) > 0 {
		return nil, errors.Join(b.mistakes...)
	}
	t := &Topology{application: b.application, nodes: b.nodes, stores: b.stores}
	t.divide()
	b.checkParts(t)
	if len(b.mistakes) > 0 {
		return nil, errors.Join(b.mistakes...)
	}
	return t, nil
}

func (b *Builder) check() {
	if !slices.ContainsFunc(b.nodes, func(n *node) bool { return n.kind == kindSource }) {
		b.mistakes = append(b.mistakes, fmt.Errorf("%w: %q has no source: begin with topology.Source", ErrInvalid, b.application))
	}
	nodes, stores, repartitions, topics := map[string]*node{}, map[string]*store{}, map[string]*node{}, map[string]*node{}
	for _, n := range b.nodes {
		if first, taken := nodes[n.name]; taken {
			b.mistake(n, "the name is taken by the node made at %s: give one of them another topology.Named", first.where)
		}
		nodes[n.name] = n
		if n.name == "" || strings.ContainsAny(n.name, " \t\r\n,") {
			b.mistake(n, "a node's name is not empty and has no blank and no comma in it")
		}
		if n.kind == kindSource && n.repartition == "" {
			b.checkSource(n, topics)
		}
		if n.kind == kindSink && n.repartition != "" {
			if first, taken := repartitions[n.repartition]; taken {
				b.mistake(n, "the repartition %q is made already at %s", n.repartition, first.where)
			}
			repartitions[n.repartition] = n
			if n.forms.mistake != nil {
				b.mistake(n, "its repartition topic: %v", n.forms.mistake)
			}
		}
	}
	for _, s := range b.stores {
		if mistake := checkTopicPart(s.name); mistake != "" {
			by := "topology.Store"
			if s.kind == kindBuffer {
				by = "topology.BufferIn"
			}
			b.mistakes = append(b.mistakes, storeMistake(s, "makes a changelog topic, and its name %s; give one with %s", mistake, by))
			continue
		}
		if strings.HasSuffix(s.name, metaSuffix) {
			b.mistakes = append(b.mistakes, storeMistake(s, "has a name that ends in %q: those are the tasks' own", metaSuffix))
		}
		if first, taken := stores[s.name]; taken {
			b.mistakes = append(b.mistakes, storeMistake(s, "has the name of the store made at %s", first.where))
		}
		stores[s.name] = s
		if s.forms.mistake != nil {
			b.mistakes = append(b.mistakes, storeMistake(s, "%v", s.forms.mistake))
		}
		if len(s.users) == 0 {
			b.mistakes = append(b.mistakes, storeMistake(s, "is used by no processor; give it to one with topology.Uses"))
		}
	}
}

// needs notes a mistake if n was given no function.
func (b *Builder) needs(n *node, missing bool, what string) {
	if missing {
		b.mistake(n, "%s is nil", what)
	}
}

// checkReplicas checks that the results of a store are replicated where the store
// is, whose changelog says which of two results is the newer one, and only once.
func (b *Builder) checkReplicas(t *Topology) {
	first := map[string]*node{}
	for i := range t.subs {
		for _, n := range t.subs[i].nodes {
			if n.replicates == "" {
				continue
			}
			if !slices.Contains(t.subs[i].Stores, n.replicates) {
				b.mistake(n, "topology.Replicated names %q, which is no store of its sub-topology (%s)", n.replicates, strings.Join(t.subs[i].Stores, ", "))
			}
			if other := first[n.replicates]; other != nil {
				b.mistake(n, "the results of store %q are replicated already by node %q (%s)", n.replicates, other.name, other.where)
			}
			first[n.replicates] = n
		}
	}
}

// checkParts checks what is known once the graph is divided.
func (b *Builder) checkParts(t *Topology) {
	b.checkReplicas(t)
	metas := map[string]*node{}
	for i := range t.subs {
		sub := &t.subs[i]
		meta := sub.Meta()
		if meta == "" {
			continue
		}
		n := b.nodes[sub.first]
		if mistake := checkTopicPart(sub.Name); mistake != "" {
			b.mistake(n, "it gives its sub-topology a name, which makes a changelog topic, and the name %q %s; give one with topology.Named", sub.Name, mistake)
		} else if first, taken := metas[meta]; taken {
			b.mistake(n, "it gives its sub-topology the name %q, which the node made at %s has given to another: give one of them another topology.Named", sub.Name, first.where)
		}
		metas[meta] = n
	}
	// A watermark that waits for itself stands still.
	into := make([][]Repartition, len(t.subs))
	for _, r := range t.Repartitions() {
		into[r.Reader] = append(into[r.Reader], r)
	}
	for _, r := range t.Repartitions() {
		if leadsTo(into, r.Reader, r.Writer, map[int]bool{}) {
			sink := slices.IndexFunc(b.nodes, func(n *node) bool { return n.kind == kindSink && n.repartition == r.Name })
			b.mistake(b.nodes[sink], "the repartition %q leads back to the sub-topology that writes it, because a store or a merge joins the two: no watermark can pass a circle", r.Name)
		}
	}
}

// leadsTo reports whether what sub-topology from sends reaches to.
func leadsTo(into [][]Repartition, from, to int, seen map[int]bool) bool {
	if from == to {
		return true
	}
	if seen[to] {
		return false
	}
	seen[to] = true
	return slices.ContainsFunc(into[to], func(r Repartition) bool { return leadsTo(into, from, r.Writer, seen) })
}

// checkSource checks the topics and the watermark strategy of one source.
func (b *Builder) checkSource(n *node, topics map[string]*node) {
	for _, topic := range n.topics {
		if mistake := checkTopicPart(topic); mistake != "" {
			b.mistake(n, "the topic's name %q %s", topic, mistake)
		}
		if first, taken := topics[topic]; taken {
			b.mistake(n, "topic %q is read already by node %q (%s): use that stream twice instead", topic, first.name, first.where)
		}
		topics[topic] = n
	}
	if err := n.strategy.Validate(); err != nil {
		b.mistake(n, "watermark: %v", err)
	}
}
