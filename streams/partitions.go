package streams

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/topology"
)

// A topic whose number of partitions is changed spreads its keys anew: events of
// one key are then in two partitions, and its state in two tasks. Where there is
// state, or a repartition of as many partitions, that is refused, at a start and
// as soon as a running instance sees it.

// topicsInterval is how often an instance looks at the topics that it reads.
const topicsInterval = 30 * time.Second

// explainPartitions says why one of the application's own topics does not fit, by
// the inputs whose partitions it follows.
func (in *Instance) explainPartitions(t task.InternalTopic, has int32) error {
	kind := fmt.Sprintf("the state of store %q was made", t.Store)
	if t.Store == "" {
		kind = "the repartition topic was made"
	}
	cause := "the topology"
	if inputs := in.inputsBehind(t); len(inputs) > 0 {
		cause = "input " + strings.Join(inputs, ", ")
	}
	return fmt.Errorf("%w: %w: %s has %d partitions, and %s for %d (topic %q). Were partitions added to the input? Its keys are in other partitions now, where their state is not. Either make a new input topic with %d partitions, copy the events and have the producers write there; or begin anew with 'millrace reset', which lists what it would delete",
		ErrTopic, changelog.ErrPartitions, cause, t.Partitions, kind, has, t.Name, has)
}

// inputsBehind returns the inputs, outside the application, from which a topic of
// the application's own has its number of partitions.
func (in *Instance) inputsBehind(t task.InternalTopic) []string {
	p := in.currentPlan()
	var inputs []string
	var visit func(sub int)
	seen := map[int]bool{}
	visit = func(sub int) {
		if seen[sub] {
			return
		}
		seen[sub] = true
		for _, input := range p.Subs[sub].Inputs {
			switch {
			case p.Partitions[input.Topic] != t.Partitions:
			case input.Repartition == "":
				inputs = append(inputs, fmt.Sprintf("%q", input.Topic))
			default:
				for _, r := range p.Topology.Repartitions() {
					if r.Name == input.Repartition {
						visit(r.Writer)
					}
				}
			}
		}
	}
	for _, sub := range p.Subs {
		if slices.Contains(sub.Changelogs(), t.Store) {
			visit(sub.ID)
		}
	}
	for _, r := range p.Topology.Repartitions() {
		if t.Store == "" && t.Name == topology.RepartitionTopic(p.Application, r.Name) {
			visit(r.Writer)
		}
	}
	slices.Sort(inputs)
	return slices.Compact(inputs)
}
