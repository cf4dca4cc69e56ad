package truth

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/llm"
)

// Verdicts holds what the detection of anomalies looks at, by model or component
// and hopping window: each observation in every window that it is in.
type Verdicts struct {
	size, every int64
	detection   llm.Detection
	ledger      ledger[observation]
}

// observation is one event as the detection sees it.
type observation struct {
	at        int64
	bad       bool
	component bool
	values    [3]llm.Optional[float64] // latency per token, or CPU, memory and queue depth
}

// NewVerdicts returns a Verdicts without events, for windows of a size that
// begin so far apart.
func NewVerdicts(size, every time.Duration, d llm.Detection) *Verdicts {
	return &Verdicts{size.Milliseconds(), max(every.Milliseconds(), 1), d, newLedger[observation]()}
}

// AddPerformance counts an event that was sent; as often as it was sent.
func (t *Verdicts) AddPerformance(v llm.Performance) {
	o := observation{at: v.Timestamp, bad: v.Error}
	o.values[0] = llm.Some(v.LatencyMS / (float64(v.CompletionTokens) + 0.01*float64(v.PromptTokens) + 4))
	t.add(v.Model, o)
}

// AddHealth counts an event that was sent; as often as it was sent.
func (t *Verdicts) AddHealth(v llm.Health) {
	o := observation{at: v.Timestamp, bad: !v.Healthy, component: true}
	o.values = [3]llm.Optional[float64]{llm.Some(v.CPU), llm.Some(v.Memory)}
	if depth, ok := v.QueueDepth.Get(); ok {
		o.values[2] = llm.Some(float64(depth))
	}
	t.add(v.Component, o)
}

func (t *Verdicts) add(name string, o observation) {
	for start := floor(o.at, t.every); start > o.at-t.size; start -= t.every {
		t.ledger.add(name, start, o)
	}
}

// Compare checks the final ones among the verdicts. The report counts an event
// once for each window that it is in. Values and baselines must be equal within
// 1 %, scores within what that can make of them, and what is anomalous must be so
// unless the score is that near the threshold.
func (t *Verdicts) Compare(results iter.Seq[llm.Verdict]) Report {
	place := func(r *llm.Verdict) (llm.Place, int64) { return r.Place, r.Count }
	return compare(&t.ledger, results, place, func(c *comparison, want []observation, got *llm.Verdict) {
		c.exact("window_end", c.key.start+t.size, got.WindowEnd)
		w := looking{from: c.key.start, slot: t.every, slots: int(t.size / t.every), all: want}
		anomalous := false
		for _, s := range got.Signals {
			anomalous = anomalous || s.Anomalous
			c.signal(&w, &t.detection, s)
		}
		if names := map[bool]int{true: 4, false: 2}[want[0].component]; len(got.Signals) != names || got.Anomalous != anomalous {
			c.problem(fmt.Sprintf("%d signals, anomalous: %v", len(got.Signals), got.Anomalous))
		}
	})
}

// looking is a window of one key.
type looking struct {
	from, slot int64
	slots      int
	all        []observation
}

// split returns the values of each slot of the baseline, and those of the newest
// fifth of the window.
func (w *looking) split(of func(observation) (float64, bool)) (base [][]float64, newest []float64) {
	recent := max(int(math.Round(float64(w.slots)/5)), 1)
	base = make([][]float64, w.slots-recent)
	for _, o := range w.all {
		v, ok := of(o)
		if !ok {
			continue
		}
		if i := int((o.at - w.from) / w.slot); i < len(base) {
			base[i] = append(base[i], v)
		} else {
			newest = append(newest, v)
		}
	}
	return base, newest
}

// signal computes a signal anew.
func (c *comparison) signal(w *looking, d *llm.Detection, got llm.Signal) {
	var value, center, score, tolerance, threshold float64
	var judged bool
	switch got.Name {
	case llm.ErrorSignal:
		tolerance = 1e-9
		value, center, score, judged = w.share(10, 50, 3, 0.02)
		threshold = d.Errors
	case llm.UnhealthySignal:
		tolerance = 1e-9
		value, center, score, judged = w.share(3, 10, 2, 0.1)
		threshold = d.Unhealthy
	case llm.PaceSignal:
		value, center, score, tolerance, judged = w.pace()
		threshold = d.Pace
	case llm.CPUSignal:
		value, center, score, tolerance, judged = w.load(0, func(float64) float64 { return 0.02 }, 0.1)
		threshold = d.Load
	case llm.MemorySignal:
		value, center, score, tolerance, judged = w.load(1, func(float64) float64 { return 0.02 }, 0.1)
		threshold = d.Load
	case llm.QueueSignal:
		value, center, score, tolerance, judged = w.load(2, func(center float64) float64 { return math.Sqrt(1 + center) }, 3)
		threshold = d.Load
	}
	found, there := got.Score.Get()
	if there != judged {
		c.problem(fmt.Sprintf("%s is judged: %v, want %v", got.Name, there, judged))
		return
	}
	if v, ok := got.Value.Get(); ok {
		c.near(got.Name+".value", value, v, percentileTolerance)
	}
	if v, ok := got.Baseline.Get(); ok {
		c.near(got.Name+".baseline", center, v, percentileTolerance)
	}
	if !judged {
		return
	}
	// A change near the least that matters may count for one and not the other.
	if math.Abs(found-score) > tolerance && found != 0 && score != 0 {
		c.differs(got.Name+".score", score, found)
	}
	if sure := math.Abs(score-threshold) > tolerance && found != 0; sure && got.Anomalous != (score > threshold) {
		c.problem(fmt.Sprintf("%s with score %v is anomalous: %v", got.Name, score, got.Anomalous))
	}
}

// share computes the signal of the bad events.
func (w *looking) share(leastNewest, leastBase, leastBad int, leastRise float64) (value, center, score float64, judged bool) {
	base, newest := w.split(func(o observation) (float64, bool) {
		if o.bad {
			return 1, true
		}
		return 0, true
	})
	var filled [][]float64
	total := 0
	for _, slot := range base {
		if len(slot) > 0 {
			filled = append(filled, slot)
			total += len(slot)
		}
	}
	rate := func(v []float64) float64 { return sum(v) / float64(len(v)) }
	slices.SortStableFunc(filled, func(a, b []float64) int {
		switch {
		case rate(a) < rate(b):
			return -1
		case rate(a) > rate(b):
			return 1
		}
		return 0
	})
	k, n := sum(newest), float64(len(newest))
	bad, count := 0.0, 0.0
	for _, slot := range filled[:len(filled)-len(filled)/4] {
		bad += sum(slot)
		count += float64(len(slot))
	}
	value, center = k/n, (bad+0.5)/(count+1)
	if len(filled) < 5 || len(newest) < leastNewest || total < leastBase {
		return value, center, 0, false
	}
	score = 2 * math.Sqrt(n) * (math.Asin(math.Sqrt((k+3./8)/(n+3./4))) - math.Asin(math.Sqrt(center)))
	if score > 0 && (k < float64(leastBad) || value-center < leastRise) {
		score = 0
	}
	return value, center, score, true
}

// middle returns the median of slots' medians or the like: the mean of the two
// in the middle of an even number.
func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// away returns the median distance from the center.
func away(values []float64, center float64) float64 {
	var distances []float64
	for _, v := range values {
		distances = append(distances, math.Abs(v-center))
	}
	return middle(distances)
}

// slack is by how much a score may differ if each value may by err: the rise by
// twice that, and so each distance from the center, of which the scale is 1.4826
// times the median.
func slack(score, scale, err float64) float64 {
	return 2 * err * (1 + 1.4826*math.Abs(score)) / max(scale-2*1.4826*err, scale/2)
}

// medians returns the medians of the slots with enough values, all values of the
// baseline in order, and the newest ones in order.
func (w *looking) medians(series, least int) (medians, pooled, newest []float64) {
	base, newest := w.split(func(o observation) (float64, bool) { return o.values[series].Get() })
	for _, slot := range base {
		pooled = append(pooled, slot...)
		if len(slot) >= least {
			medians = append(medians, percentile(slices.Sorted(slices.Values(slot)), 0.5))
		}
	}
	return medians, slices.Sorted(slices.Values(pooled)), slices.Sorted(slices.Values(newest))
}

func (w *looking) pace() (value, center, score, tolerance float64, judged bool) {
	medians, pooled, newest := w.medians(0, 5)
	if len(newest) > 0 {
		value = percentile(newest, 0.5)
	}
	if len(medians) > 0 {
		center = middle(medians)
	}
	if len(medians) < 5 || len(newest) < 10 || len(pooled) < 50 {
		return value, center, 0, 0, false
	}
	var logs []float64
	for _, v := range medians {
		logs = append(logs, math.Log(v))
	}
	sigma := (math.Log(percentile(pooled, 0.75)) - math.Log(percentile(pooled, 0.25))) / 1.349
	err := 1.2533 * sigma * math.Sqrt(1/float64(len(newest))+1/float64(len(pooled)))
	rise := math.Log(value) - middle(logs)
	scale := max(1.4826*away(logs, middle(logs)), err, 0.01)
	score = rise / scale
	tolerance = slack(score, scale, percentileTolerance)
	if score > 0 && rise < math.Log(1.25) {
		score = 0
	}
	return value, center, score, tolerance, true
}

func (w *looking) load(series int, least func(center float64) float64, leastRise float64) (value, center, score, tolerance float64, judged bool) {
	medians, pooled, newest := w.medians(series, 1)
	if len(newest) > 0 {
		value = percentile(newest, 0.5)
	}
	if len(medians) > 0 {
		center = middle(medians)
	}
	if len(medians) < 5 || len(newest) < 3 || len(pooled) < 10 {
		return value, center, 0, 0, false
	}
	scale := max(1.4826*away(medians, center), least(center))
	score = (value - center) / scale
	tolerance = slack(score, scale, percentileTolerance*max(value, slices.Max(medians)))
	if score > 0 && value-center < leastRise {
		score = 0
	}
	return value, center, score, tolerance, true
}
