package llm

import (
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
)

// Outputs returns the topics that c's topology writes, in alphabetical order.
func (c Config) Outputs() []string {
	a := application{Config: c}
	outputs := []string{a.output(LateTopic)}
	for _, kind := range []struct{ input, output string }{
		{c.Topic, StatsTopic}, {c.Feedback.Topic, FeedbackStatsTopic}, {c.Responses.Topic, ResponseStatsTopic},
		{c.Health.Topic, HealthStatsTopic}, {c.Experiments.Topic, ExperimentStatsTopic},
	} {
		if kind.input != "" {
			outputs = append(outputs, a.output(kind.output))
		}
	}
	if c.AnomalySize > 0 && (c.Topic != "" || c.Health.Topic != "") {
		outputs = append(outputs, a.output(AnomaliesTopic))
	}
	slices.Sort(outputs)
	return outputs
}

// output returns the topic that stands for one of the topics that are written.
func (a *application) output(topic string) string { return a.OutputPrefix + topic }

// ranged reports whether only some windows send results.
func (a *application) ranged() bool { return !a.From.IsZero() || !a.To.IsZero() }

// covers reports whether a time, in Unix milliseconds, is one that counts.
func (a *application) covers(at int64) bool {
	return (a.From.IsZero() || at >= a.From.UnixMilli()) && (a.To.IsZero() || at < a.To.UnixMilli())
}

// inRange returns the results of the windows that are to send some.
func inRange[A any](a *application, table topology.WindowedTable[string, A]) topology.Stream[string, A] {
	results := table.Stream()
	if !a.ranged() {
		return results
	}
	return results.Filter(func(r topology.Record[string, A]) bool { return a.covers(r.Window.Start) })
}

// sendLate sends the events that no window takes on, marked with the name of their
// source.
func sendLate[V any](a *application, windows topology.Windowed[string, V], events codec.Codec[V], source string) {
	late := windows.Late()
	if a.ranged() {
		late = late.Filter(func(r topology.Record[string, V]) bool { return a.covers(r.Time) })
	}
	late.To(a.output(LateTopic), codec.String, events, topology.WithHeader(LateHeader, []byte(source)))
}
