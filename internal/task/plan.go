package task

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// ErrMissingTopic is wrapped by the errors about topics that a topology reads
// or writes and that do not exist.
var ErrMissingTopic = errors.New("missing topic")

// ErrNotCopartitioned is wrapped by the errors about topics that lead to one
// store and have different numbers of partitions.
var ErrNotCopartitioned = errors.New("topics are not co-partitioned")

// Plan is what a topology comes to on given topics: how many tasks each
// sub-topology has, and which partitions each of them reads. It is a pure
// function of its arguments, so that every member of a group computes the same
// one. It is not changed after NewPlan.
//
// Topics that a pattern matches count as they stand, but for the application's
// own.
type Plan struct {
	Application string
	Topology    *topology.Topology
	// Subs are the sub-topologies in the order of their ids.
	Subs []PlannedSub
	// Partitions are the numbers of partitions of all topics that are read or
	// written, those that are yet to be created included.
	Partitions map[string]int32
	// Internal are the topics that belong to the application: repartitions,
	// then changelogs.
	Internal []InternalTopic
}

// PlannedSub is a sub-topology and how many tasks it has.
type PlannedSub struct {
	topology.SubTopology
	Tasks  int32
	Inputs []PlannedInput
}

// PlannedInput is one topic that a sub-topology reads.
type PlannedInput struct {
	topology.SourceSpec
	Topic string
	// Group is the same for inputs whose records can meet: in one sub-topology, or
	// behind repartitions. It is the least id of those sub-topologies.
	Group int
	// Upstream are the tasks that write a repartition topic, or nil.
	Upstream []window.Upstream
}

// InternalTopic is a topic that the application makes.
type InternalTopic struct {
	Name       string
	Partitions int32
	// Store is the store whose changelog the topic is, or "" for a
	// repartition.
	Store string
}

// NewPlan computes the plan of a topology that runs under the name of
// application. topics are all topics that exist, with their numbers of
// partitions. The error joins one for each missing topic, or one for each group of
// topics that lead to a store and are not co-partitioned.
//
// A sub-topology has as many tasks as the widest of its topics has partitions,
// and a repartition topic as many partitions as the user fixed, or else as its
// writer has tasks.
func NewPlan(t *topology.Topology, application string, topics map[string]int32) (*Plan, error) {
	p := &Plan{Application: application, Topology: t, Partitions: map[string]int32{}}
	var errs []error
	for _, sub := range t.SubTopologies() {
		s := PlannedSub{SubTopology: sub}
		for _, src := range sub.Sources {
			inputs, err := p.resolve(src, topics)
			errs = append(errs, err)
			s.Inputs = append(s.Inputs, inputs...)
		}
		p.Subs = append(p.Subs, s)
	}
	for _, topic := range t.SinkTopics() {
		if n, ok := topics[topic]; ok {
			p.Partitions[topic] = n
		} else {
			errs = append(errs, fmt.Errorf("%w: the topology writes %q: create it, or run 'millrace topics --create' for the application's own", ErrMissingTopic, topic))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.count()
	if err := p.copartitioned(); err != nil {
		return nil, err
	}
	p.connect()
	p.name()
	return p, nil
}

// resolve finds the topics of a source.
func (p *Plan) resolve(src topology.SourceSpec, topics map[string]int32) ([]PlannedInput, error) {
	if src.Repartition != "" {
		return []PlannedInput{{SourceSpec: src, Topic: topology.RepartitionTopic(p.Application, src.Repartition)}}, nil
	}
	names := src.Topics
	if src.Pattern != nil {
		names = slices.Sorted(maps.Keys(topics))
		names = slices.DeleteFunc(names, func(topic string) bool { return !src.Pattern.MatchString(topic) || p.owns(topic) })
		if len(names) == 0 {
			return nil, fmt.Errorf("%w: source %q: no topic matches the pattern %q", ErrMissingTopic, src.Name, src.Pattern)
		}
	}
	var inputs []PlannedInput
	var errs []error
	for _, name := range names {
		n, ok := topics[name]
		if !ok {
			errs = append(errs, fmt.Errorf("%w: source %q reads %q: create the topic, with the number of partitions that the application is to have tasks", ErrMissingTopic, src.Name, name))
			continue
		}
		if _, taken := p.Partitions[name]; taken {
			errs = append(errs, fmt.Errorf("%w: source %q reads %q, and so does another source: use one stream twice, or change the pattern", topology.ErrInvalid, src.Name, name))
			continue
		}
		p.Partitions[name] = n
		inputs = append(inputs, PlannedInput{SourceSpec: src, Topic: name})
	}
	return inputs, errors.Join(errs...)
}

// owns reports whether a topic is one that the application makes, which no
// pattern is to match.
func (p *Plan) owns(topic string) bool {
	return topic == DeadLetterTopic(p.Application) || slices.ContainsFunc(p.Topology.Repartitions(), func(r topology.Repartition) bool {
		return topic == topology.RepartitionTopic(p.Application, r.Name)
	}) || slices.ContainsFunc(p.Topology.SubTopologies(), func(s topology.SubTopology) bool {
		return slices.ContainsFunc(s.Changelogs(), func(store string) bool { return topic == changelog.TopicName(p.Application, store) })
	})
}

// count finds how many partitions the repartition topics have and with them
// how many tasks there are.
func (p *Plan) count() {
	repartitions := p.Topology.Repartitions()
	for range len(p.Subs) + 1 { // once for each step of the longest way
		for i := range p.Subs {
			s := &p.Subs[i]
			for _, in := range s.Inputs {
				s.Tasks = max(s.Tasks, p.Partitions[in.Topic])
			}
		}
		for _, r := range repartitions {
			n := r.Partitions
			if n == 0 {
				n = p.Subs[r.Writer].Tasks
			}
			p.Partitions[topology.RepartitionTopic(p.Application, r.Name)] = n
		}
	}
}

// copartitioned refuses topics that lead to one store and have different numbers
// of partitions. Stores that the same topics lead to are named by their first.
func (p *Plan) copartitioned() error {
	var errs []error
	told := map[string]bool{}
	for _, s := range p.Subs {
		for _, f := range s.Feeders() {
			var topics []string
			counts := map[int32]bool{}
			for _, in := range s.Inputs {
				if slices.Contains(f.Sources, in.Node) {
					n := p.Partitions[in.Topic]
					counts[n] = true
					topics = append(topics, fmt.Sprintf("%q with %d", in.Topic, n))
				}
			}
			list := strings.Join(topics, ", ")
			if len(counts) > 1 && !told[list] {
				told[list] = true
				errs = append(errs, fmt.Errorf("%w: store %q takes keys from topics with different numbers of partitions (%s), so that a key would have its state in several tasks: make the topics with equal numbers, or send those that differ through a repartition (GroupBy, Repartition) with topology.Partitions before they meet",
					ErrNotCopartitioned, f.Store, list))
			}
		}
	}
	return errors.Join(errs...)
}

// connect tells each reader of a repartition topic who writes it, and finds which
// inputs meet.
func (p *Plan) connect() {
	repartitions := p.Topology.Repartitions()
	group := make([]int, len(p.Subs))
	for i := range group {
		group[i] = i
	}
	for _, r := range repartitions {
		from, to := max(group[r.Writer], group[r.Reader]), min(group[r.Writer], group[r.Reader])
		for i := range group {
			if group[i] == from {
				group[i] = to
			}
		}
	}
	for i := range p.Subs {
		for j := range p.Subs[i].Inputs {
			p.Subs[i].Inputs[j].Group = group[i]
		}
	}
	for _, r := range repartitions {
		var upstream []window.Upstream
		for t := range p.Subs[r.Writer].Tasks {
			upstream = append(upstream, window.Upstream{SubTopology: int32(r.Writer), Task: t})
		}
		for i := range p.Subs[r.Reader].Inputs {
			if in := &p.Subs[r.Reader].Inputs[i]; in.Repartition == r.Name {
				in.Upstream = upstream
			}
		}
	}
}

// name lists the topics that belong to the application.
func (p *Plan) name() {
	for _, r := range p.Topology.Repartitions() {
		topic := topology.RepartitionTopic(p.Application, r.Name)
		p.Internal = append(p.Internal, InternalTopic{Name: topic, Partitions: p.Partitions[topic]})
	}
	for _, s := range p.Subs {
		for _, store := range s.Changelogs() {
			topic := changelog.TopicName(p.Application, store)
			p.Partitions[topic] = s.Tasks
			p.Internal = append(p.Internal, InternalTopic{Name: topic, Partitions: s.Tasks, Store: store})
		}
	}
}

// Tasks returns the ids of all tasks, in order.
func (p *Plan) Tasks() []processors.TaskID {
	var ids []processors.TaskID
	for _, s := range p.Subs {
		for n := range s.Tasks {
			ids = append(ids, processors.TaskID{Sub: s.ID, Partition: n})
		}
	}
	return ids
}

// Has reports whether the plan has the task.
func (p *Plan) Has(id processors.TaskID) bool {
	return id.Sub >= 0 && id.Sub < len(p.Subs) && id.Partition >= 0 && id.Partition < p.Subs[id.Sub].Tasks
}

// Inputs returns the partitions that a task reads, without offsets.
func (p *Plan) Inputs(id processors.TaskID) []InputConfig {
	var inputs []InputConfig
	for _, in := range p.Subs[id.Sub].Inputs {
		if id.Partition < p.Partitions[in.Topic] {
			inputs = append(inputs, InputConfig{
				Node: in.Node, Topic: in.Topic, Partition: id.Partition, Upstream: in.Upstream, Strategy: in.Strategy, Group: in.Group, Reset: in.Reset,
			})
		}
	}
	return inputs
}

// SourceTopics returns the names of all topics that are read, sorted.
func (p *Plan) SourceTopics() []string {
	var topics []string
	for _, s := range p.Subs {
		for _, in := range s.Inputs {
			topics = append(topics, in.Topic)
		}
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// Outside returns the topics that are read and that others write, with their
// numbers of partitions.
func (p *Plan) Outside() map[string]int32 {
	outside := map[string]int32{}
	for _, s := range p.Subs {
		for _, in := range s.Inputs {
			if in.Repartition == "" {
				outside[in.Topic] = p.Partitions[in.Topic]
			}
		}
	}
	return outside
}
