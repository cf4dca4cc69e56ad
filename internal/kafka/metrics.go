package kafka

import (
	"strings"

	"github.com/rcrowley/go-metrics"
)

// noMetrics is a registry that keeps nothing. sarama accepts no nil registry,
// and its default one starts go-metrics' ticker, a goroutine that nobody owns and
// that keeps a synctest bubble from ending. The constructors handed to
// GetOrRegister are never called.
type noMetrics struct{}

func (noMetrics) GetOrRegister(_ string, metric any) any {
	switch metric.(type) {
	case func() metrics.Meter:
		return metrics.NilMeter{}
	case func() metrics.Histogram:
		return metrics.NilHistogram{}
	case func() metrics.Counter:
		return metrics.NilCounter{}
	}
	return metric
}

func (noMetrics) Register(string, any) error         { return nil }
func (noMetrics) Get(string) any                     { return nil }
func (noMetrics) GetAll() map[string]map[string]any  { return nil }
func (noMetrics) Each(func(name string, metric any)) {}
func (noMetrics) RunHealthchecks()                   {}
func (noMetrics) Unregister(string)                  {}
func (noMetrics) UnregisterAll()                     {}

// silenceTopic keeps sarama from starting go-metrics' ticker for a topic that is
// fetched: FetchRequest.encode marks a meter of go-metrics' global registry, not
// of the one it was given. A meter that does nothing takes that name first; the
// global switch UseNilMetrics would silence the meters of the whole process.
func silenceTopic(topic string) {
	name := "consumer-fetch-rate-for-topic-" + strings.ReplaceAll(topic, ".", "_")
	metrics.DefaultRegistry.GetOrRegister(name, metrics.NilMeter{})
}
