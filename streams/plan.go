package streams

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// ErrMissingTopic is wrapped by the error about topics that the application
// reads or writes and that do not exist.
var ErrMissingTopic = errors.New("streams: missing topic")

// plan is what a topology comes to on a cluster: how many tasks each
// sub-topology has, and which partitions each of them reads. Every member
// computes the same plan from the same metadata.
type plan struct {
	application string
	topology    *topology.Topology
	subs        []subPlan
	// partitions are the numbers of partitions of all topics that are read or
	// written, those yet to be created included.
	partitions map[string]int32
	// created are the topics that belong to the application.
	created []internalTopic
}

type subPlan struct {
	topology.SubTopology
	tasks int32
	// topics are those that its tasks read, by source.
	topics []plannedSource
}

// plannedSource is one topic that a sub-topology reads.
type plannedSource struct {
	topology.SourceSpec
	topic    string
	upstream []window.Upstream
}

// internalTopic is a topic that the application makes.
type internalTopic struct {
	name        string
	partitions  int32
	repartition bool
	changelog   bool
	deadLetter  bool
}

// makePlan computes the plan. topics are all topics of the cluster with their
// numbers of partitions.
func makePlan(t *topology.Topology, application string, topics map[string]int32) (*plan, error) {
	p := &plan{application: application, topology: t, partitions: map[string]int32{}}
	var errs []error
	for _, sub := range t.SubTopologies() {
		s := subPlan{SubTopology: sub}
		for _, src := range sub.Sources {
			sources, err := p.resolve(src, topics)
			errs = append(errs, err)
			s.topics = append(s.topics, sources...)
		}
		p.subs = append(p.subs, s)
	}
	for _, topic := range t.SinkTopics() {
		if n, ok := topics[topic]; ok {
			p.partitions[topic] = n
		} else {
			errs = append(errs, fmt.Errorf("%w: the topology writes %q: create it, or run 'millrace topics --create' for the application's own", ErrMissingTopic, topic))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.count(topics)
	p.connect()
	p.name()
	return p, nil
}

// resolve finds the topics of a source.
func (p *plan) resolve(src topology.SourceSpec, topics map[string]int32) ([]plannedSource, error) {
	if src.Repartition != "" {
		return []plannedSource{{SourceSpec: src, topic: topology.RepartitionTopic(p.application, src.Repartition)}}, nil
	}
	names := src.Topics
	if src.Pattern != nil {
		for topic := range topics {
			if src.Pattern.MatchString(topic) {
				names = append(names, topic)
			}
		}
		slices.Sort(names)
		if len(names) == 0 {
			return nil, fmt.Errorf("%w: source %q: no topic matches the pattern %q", ErrMissingTopic, src.Name, src.Pattern)
		}
	}
	var sources []plannedSource
	var errs []error
	for _, name := range names {
		n, ok := topics[name]
		if !ok {
			errs = append(errs, fmt.Errorf("%w: source %q reads %q: create the topic, with the number of partitions that the application is to have tasks", ErrMissingTopic, src.Name, name))
			continue
		}
		p.partitions[name] = n
		sources = append(sources, plannedSource{SourceSpec: src, topic: name})
	}
	return sources, errors.Join(errs...)
}

// count finds how many partitions the repartition topics have and with them
// how many tasks there are. A topic that exists keeps its number.
func (p *plan) count(topics map[string]int32) {
	repartitions := p.topology.Repartitions()
	for range len(p.subs) + 1 { // once for each step of the longest way
		for i := range p.subs {
			s := &p.subs[i]
			for _, src := range s.topics {
				s.tasks = max(s.tasks, p.partitions[src.topic])
			}
		}
		for _, r := range repartitions {
			topic := topology.RepartitionTopic(p.application, r.Name)
			n := r.Partitions
			if n == 0 {
				n = p.subs[r.Writer].tasks
			}
			p.partitions[topic] = n
		}
	}
}

// connect tells each reader of a repartition topic who writes it.
func (p *plan) connect() {
	for _, r := range p.topology.Repartitions() {
		var upstream []window.Upstream
		for t := range p.subs[r.Writer].tasks {
			upstream = append(upstream, window.Upstream{SubTopology: int32(r.Writer), Task: t})
		}
		for i := range p.subs[r.Reader].topics {
			if src := &p.subs[r.Reader].topics[i]; src.Repartition == r.Name {
				src.upstream = upstream
			}
		}
	}
}

// name lists the topics that belong to the application.
func (p *plan) name() {
	for _, r := range p.topology.Repartitions() {
		topic := topology.RepartitionTopic(p.application, r.Name)
		p.created = append(p.created, internalTopic{name: topic, partitions: p.partitions[topic], repartition: true})
	}
	for _, s := range p.subs {
		for _, store := range s.Changelogs() {
			topic := changelog.TopicName(p.application, store)
			p.partitions[topic] = s.tasks
			p.created = append(p.created, internalTopic{name: topic, partitions: s.tasks, changelog: true})
		}
	}
}

// tasks returns the ids of all tasks, in order.
func (p *plan) tasks() []processors.TaskID {
	var ids []processors.TaskID
	for _, s := range p.subs {
		for n := range s.tasks {
			ids = append(ids, processors.TaskID{Sub: s.ID, Partition: n})
		}
	}
	return ids
}

// has reports whether the plan has the task.
func (p *plan) has(id processors.TaskID) bool {
	return id.Sub >= 0 && id.Sub < len(p.subs) && id.Partition >= 0 && id.Partition < p.subs[id.Sub].tasks
}

// inputs returns the partitions that a task reads, without offsets.
func (p *plan) inputs(id processors.TaskID) []task.InputConfig {
	var inputs []task.InputConfig
	for _, src := range p.subs[id.Sub].topics {
		if id.Partition < p.partitions[src.topic] {
			inputs = append(inputs, task.InputConfig{
				Node: src.Node, Topic: src.topic, Partition: id.Partition, Upstream: src.upstream, Strategy: src.Strategy,
			})
		}
	}
	return inputs
}

// sources returns the partitions of the topics that come from outside.
func (p *plan) sources() map[string]int32 {
	outside := map[string]int32{}
	for _, s := range p.subs {
		for _, src := range s.topics {
			if src.Repartition == "" {
				outside[src.topic] = p.partitions[src.topic]
			}
		}
	}
	return outside
}

// sourceTopics are the names of all topics that are read.
func (p *plan) sourceTopics() []string {
	topics := map[string]bool{}
	for _, s := range p.subs {
		for _, src := range s.topics {
			topics[src.topic] = true
		}
	}
	return slices.Sorted(maps.Keys(topics))
}

// partitionsRead returns what some tasks read, by topic, for tools that show a
// group's assignment.
func (p *plan) partitionsRead(ids []processors.TaskID) map[string][]int32 {
	read := map[string][]int32{}
	for _, id := range ids {
		for _, c := range p.inputs(id) {
			read[c.Topic] = append(read[c.Topic], c.Partition)
		}
	}
	return read
}

// same reports whether two plans have the same topics and partitions.
func (p *plan) same(q *plan) bool { return maps.Equal(p.partitions, q.partitions) }
