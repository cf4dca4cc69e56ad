package truth

import (
	"iter"
	"slices"
	"time"

	"github.com/millrace/millrace/llm"
)

// Components holds Health events by component and tumbling window.
type Components struct {
	size   int64
	ledger ledger[llm.Health]
}

// NewComponents returns a Components without events, for windows of a size of at
// least a millisecond.
func NewComponents(size time.Duration) *Components {
	return &Components{max(size.Milliseconds(), 1), newLedger[llm.Health]()}
}

// Add counts an event that was sent; as often as it was sent.
func (t *Components) Add(v llm.Health) { t.ledger.add(v.Component, floor(v.Timestamp, t.size), v) }

// Drop takes an event out of what is expected, since no window took it.
func (t *Components) Drop(v llm.Health) { t.ledger.drop(v.Component, floor(v.Timestamp, t.size), v) }

// Compare checks the final ones among the results.
func (t *Components) Compare(results iter.Seq[llm.HealthSummary]) Report {
	place := func(r *llm.HealthSummary) (llm.Place, int64) { return r.Place, r.Count }
	return compare(&t.ledger, results, place, func(c *comparison, want []llm.Health, got *llm.HealthSummary) {
		c.exact("window_end", c.key.start+t.size, got.WindowEnd)
		healthy := int64(0)
		var queues []float64
		for _, v := range want {
			if v.Healthy {
				healthy++
			}
			if depth, ok := v.QueueDepth.Get(); ok {
				queues = append(queues, float64(depth))
			}
		}
		n := int64(len(want))
		c.exact("unhealthy", n-healthy, got.Unhealthy)
		c.same("availability", float64(healthy)/float64(n), n > 0, got.Availability)
		c.load("cpu", pick(want, func(v *llm.Health) float64 { return v.CPU }), got.CPU)
		c.load("memory", pick(want, func(v *llm.Health) float64 { return v.Memory }), got.Memory)
		c.load("queue_depth", queues, got.Queue)
	})
}

// load compares mean and maximum of some values.
func (c *comparison) load(field string, values []float64, got llm.Load) {
	most := 0.0
	if len(values) > 0 {
		most = slices.Max(values)
	}
	c.same(field+".mean", meanOf(values), len(values) > 0, got.Mean)
	c.same(field+".max", most, len(values) > 0, got.Max)
}
