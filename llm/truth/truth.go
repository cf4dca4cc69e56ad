package truth

import (
	"slices"
	"time"

	"github.com/millrace/millrace/llm"
)

// Truth holds the events by model and tumbling window.
type Truth struct {
	size    int64 // of a window, in milliseconds
	events  int64
	dropped int64
	windows map[key]*group
}

type key struct {
	model string
	start int64 // Unix milliseconds
}

// group is the events of a key, and of them those that were dropped.
type group struct{ all, dropped tally }

type tally struct {
	count, errors, prompt, completion int64
	latencies, costs, qualities       []float64
}

func (t *tally) add(v *llm.Performance) {
	t.count++
	if v.Error {
		t.errors++
	}
	t.prompt += v.PromptTokens
	t.completion += v.CompletionTokens
	t.latencies = append(t.latencies, v.LatencyMS)
	if cost, ok := v.CostUSD.Get(); ok {
		t.costs = append(t.costs, cost)
	}
	if quality, ok := v.Quality.Get(); ok {
		t.qualities = append(t.qualities, quality)
	}
}

// New returns a Truth without events, for windows of a size of at least a
// millisecond.
func New(size time.Duration) *Truth {
	return &Truth{size: max(size.Milliseconds(), 1), windows: map[key]*group{}}
}

// Add counts an event that was sent; as often as it was sent.
func (t *Truth) Add(v llm.Performance) {
	t.events++
	t.group(&v).all.add(&v)
}

// Drop takes an event out of what is expected, since no window took it. It may
// come before or after Add of the same event.
func (t *Truth) Drop(v llm.Performance) {
	t.dropped++
	t.group(&v).dropped.add(&v)
}

func (t *Truth) group(v *llm.Performance) *group {
	into := v.Timestamp % t.size
	if into < 0 {
		into += t.size
	}
	k := key{v.Model, v.Timestamp - into}
	g := t.windows[k]
	if g == nil {
		// The model's name may alias a whole batch of records.
		k.model = string([]byte(k.model))
		g = &group{}
		t.windows[k] = g
	}
	return g
}

// expected returns what a final result of the group must say. It is false if
// more was dropped than added.
func (g *group) expected() (tally, bool) {
	t := tally{
		count: g.all.count - g.dropped.count, errors: g.all.errors - g.dropped.errors,
		prompt: g.all.prompt - g.dropped.prompt, completion: g.all.completion - g.dropped.completion,
	}
	var ok [3]bool
	t.latencies, ok[0] = without(g.all.latencies, g.dropped.latencies)
	t.costs, ok[1] = without(g.all.costs, g.dropped.costs)
	t.qualities, ok[2] = without(g.all.qualities, g.dropped.qualities)
	return t, t.count >= 0 && ok[0] && ok[1] && ok[2]
}

// without returns the values in rising order, less one occurrence for each of
// the dropped ones; false if one of these does not occur.
func without(values, dropped []float64) ([]float64, bool) {
	values, dropped = slices.Sorted(slices.Values(values)), slices.Sorted(slices.Values(dropped))
	kept := values[:0]
	for _, v := range values {
		if len(dropped) > 0 && dropped[0] == v {
			dropped = dropped[1:]
			continue
		}
		kept = append(kept, v)
	}
	return kept, len(dropped) == 0
}

func sum(values []float64) float64 {
	s := 0.0
	for _, v := range values {
		s += v
	}
	return s
}

// percentile returns the value at rank floor(q*(n-1)) of n sorted values.
func percentile(sorted []float64, q float64) float64 {
	return sorted[int(q*float64(len(sorted)-1))]
}
