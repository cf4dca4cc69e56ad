package bench

import (
	"fmt"

	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/streams"
)

// Work is what the contenders do: which windows over which events, and how
// safely.
type Work struct {
	Name  string
	Shape llm.Shape
	// Key is what the events are keyed by.
	Key       Key
	Guarantee streams.Guarantee
	// CommitMS is the time between commits.
	CommitMS int64
	// Heap is the JVM's -Xmx: the smallest at which Kafka Streams keeps 95 % of
	// its rate.
	Heap string
	// Restore has those that keep state restore it, after each run.
	Restore bool
	// Events and Keys, if they are not 0, are how many events the load has in place of
	// what is asked for, and any of how many keys each has in place of Key. All of them
	// lie in one window, so that no state is deleted before it is restored.
	Events, Keys int64
}

// RestoreWork is the work whose point is the state that it leaves.
const RestoreWork = "restore"

// Works returns every work, in the order of the page.
func Works() []Work {
	work := func(name string, s llm.Shape, k Key, g streams.Guarantee, heap string) Work {
		return Work{
			Name: name, Shape: s, Key: k, Guarantee: g, CommitMS: g.CommitInterval().Milliseconds(), Heap: heap,
			// By model there is next to nothing to restore.
			Restore: s == llm.TumblingShape && k == BySession,
		}
	}
	return []Work{
		work("tumbling", llm.TumblingShape, ByModel, streams.AtLeastOnce, "384m"),
		work("tumbling-exactly-once", llm.TumblingShape, ByModel, streams.ExactlyOnce, "384m"),
		work("tumbling-by-session", llm.TumblingShape, BySession, streams.AtLeastOnce, "1g"),
		work("session", llm.SessionShape, BySession, streams.AtLeastOnce, "1g"),
		work("hopping", llm.HoppingShape, ByModel, streams.AtLeastOnce, "384m"),
		{
			Name: RestoreWork, Shape: llm.TumblingShape, Guarantee: streams.AtLeastOnce, CommitMS: streams.AtLeastOnce.CommitInterval().Milliseconds(),
			Heap: "1g", Restore: true, Events: 3_000_000, Keys: 6_000_000,
		},
	}
}

// load returns the load of the work, if as many events as l has are asked for.
func (w Work) load(l Load) Load {
	if w.Keys > 0 {
		return oneWindow(w.Events, w.Keys, l.Seed)
	}
	l.Key = w.Key
	return l
}

// FindWork returns the work of a name.
func FindWork(name string) (Work, error) {
	var names []string
	for _, w := range Works() {
		if w.Name == name {
			return w, nil
		}
		names = append(names, w.Name)
	}
	return Work{}, fmt.Errorf("bench: there is no work %q; there are %q", name, names)
}

// contenders are those that take part by default. Raw comes first: the others'
// results are compared with its.
func (w Work) contenders() []string {
	if w.Name == Works()[0].Name {
		return []string{Raw, KafkaStreams, Millrace, Plain}
	}
	return []string{Raw, KafkaStreams, Millrace}
}

// title describes the windows for people.
func (w Work) title() string {
	windows := map[llm.Shape]string{
		llm.TumblingShape: "tumbling windows of 5 minutes",
		llm.HoppingShape:  "hopping windows of 15 minutes, one each minute",
		llm.SessionShape:  "sessions that 30 minutes of silence end",
	}
	by := string(w.Key)
	if w.Keys > 0 {
		by = fmt.Sprintf("%d keys", w.Keys)
	}
	return fmt.Sprintf("%s, by %s, %s", windows[w.Shape], by, w.Guarantee)
}
