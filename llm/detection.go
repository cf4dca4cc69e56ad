package llm

import (
	"cmp"
	"math"
	"slices"
)

// Detection finds degradations: in each window it compares the newest slots of a
// key with the others of the window, its baseline, by a robust score. One
// outlier, or a degradation that covers less than half of the baseline, does not
// move the yardstick, as it would with means and standard deviations.
//
// For a measured value (latency per token of work, CPU, memory, queue depth) the
// score is the modified z-score of Iglewicz and Hoaglin ('How to Detect and Handle Outliers',
// ASQC Basic References in Quality Control 16, 1993; also NIST/SEMATECH
// e-Handbook of Statistical Methods, 1.3.5.17):
//
//	(x - median) / (1.4826 * MAD)
//
// where x is the median of the newest slots, and median and MAD (the median
// absolute deviation) are over the medians of the baseline's slots. Latencies go
// in as logarithms, since they are slowed by a factor and skewed to the right.
// A dozen slots give a MAD that is too small now and then, so the scale is not
// less than x's own sampling error: for a latency that of a median of as many
// values, 1.2533 times their robust standard deviation (interquartile range /
// 1.349) over the root of their number; for a load a constant.
//
// For a share (errors of a model, bad reports of a component) the score is the
// difference of the two shares after Anscombe's transformation ('The
// transformation of Poisson, binomial and negative-binomial data', Biometrika
// 35, 1948), which makes its variance 1 whatever the share:
//
//	2 √n (asin √((k+3/8)/(n+3/4)) - asin √p)
//
// where k of n newest events are bad, and p is the share of the baseline without
// the quarter of its slots with the greatest shares, of which one more event is
// taken for half bad.
//
// Only changes for the worse count: what improves has a score below 0. A change
// too small to matter has the score 0, however certain it is; see the constants
// of this file.
type Detection struct {
	// Pace, Errors, Unhealthy and Load are the scores above which a signal is
	// anomalous; Pace is for the latency per token, Load for CPU, memory and queue
	// depth.
	Pace, Errors, Unhealthy, Load float64
}

// DefaultDetection has the thresholds that were chosen on traffic with planted
// degradations; docs/llm.md has how, and how well they do on other traffic.
func DefaultDetection() Detection {
	return Detection{Pace: 3.5, Errors: 4, Unhealthy: 3, Load: 2.5}
}

// What the score asks for.
const (
	// newestShare is the part of a window's slots that is judged.
	newestShare = 1. / 5
	// leastSlots is how many slots of the baseline must have events.
	leastSlots = 5
	// The least events: of a model's slot to have a median that counts, of the
	// newest slots, and of the baseline. A component has fewer reports.
	modelSlot, modelNewest, modelBaseline             = 5, 10, 50
	componentSlot, componentNewest, componentBaseline = 1, 3, 10
)

// The least changes that matter.
const (
	leastSlower    = 1.25 // times the latency per token
	leastErrors    = 3    // bad events
	leastErrorRise = 0.02
	leastUnhealthy = 2 // bad reports
	leastUnwell    = 0.1
	leastLoadRise  = 0.1 // of CPU or memory
	leastQueueRise = 3   // requests
)

// The least scales.
const (
	logScale  = 0.01 // the sketch's own error
	loadScale = 0.02
)

// Signal names, in the order in which a Verdict has them.
const (
	PaceSignal      = "ms_per_token"
	ErrorSignal     = "error_rate"
	UnhealthySignal = "unhealthy_rate"
	CPUSignal       = "cpu"
	MemorySignal    = "memory"
	QueueSignal     = "queue_depth"
)

// threshold returns the score above which a signal is anomalous.
func (d *Detection) threshold(signal string) float64 {
	switch signal {
	case PaceSignal:
		return d.Pace
	case ErrorSignal:
		return d.Errors
	case UnhealthySignal:
		return d.Unhealthy
	}
	return d.Load
}

// Judge compares the newest slots of the place's window with the others.
func (d *Detection) Judge(at Place, s *Signals, slotMillis int64) Verdict {
	v := Verdict{Place: at, Count: s.Count()}
	slots := max((at.WindowEnd-at.WindowStart)/max(slotMillis, 1), 1)
	newest := max(int64(math.Round(newestShare*float64(slots))), 1)
	from := at.WindowEnd - newest*slotMillis
	split, _ := slices.BinarySearchFunc(s.slots, from, func(a slot, from int64) int { return cmp.Compare(a.start, from) })
	c := comparing{d: d, base: s.slots[:split], newest: s.slots[split:]}
	if len(s.slots) > 0 {
		if len(s.slots[0].values) == componentSeries {
			c.component()
		} else {
			c.model()
		}
	}
	v.Signals = c.signals
	for i := range v.Signals {
		v.Judged = v.Judged || v.Signals[i].Score.ok
		v.Anomalous = v.Anomalous || v.Signals[i].Anomalous
	}
	return v
}

// comparing makes signals of two runs of slots.
type comparing struct {
	d            *Detection
	base, newest []slot
	signals      []Signal
}

func (c *comparing) model() {
	c.values(PaceSignal, paceSeries, modelSlot, modelNewest, modelBaseline, paceScore)
	c.share(ErrorSignal, modelNewest, modelBaseline, leastErrors, leastErrorRise)
}

func (c *comparing) component() {
	c.share(UnhealthySignal, componentNewest, componentBaseline, leastUnhealthy, leastUnwell)
	load := func(b *baseline) float64 { return b.score(b.newest, b.medians, loadScale, leastLoadRise) }
	c.values(CPUSignal, cpuSeries, componentSlot, componentNewest, componentBaseline, load)
	c.values(MemorySignal, memorySeries, componentSlot, componentNewest, componentBaseline, load)
	c.values(QueueSignal, queueSeries, componentSlot, componentNewest, componentBaseline, func(b *baseline) float64 {
		return b.score(b.newest, b.medians, math.Sqrt(1+b.center), leastQueueRise)
	})
}

// baseline is what the score of a measured value is computed from.
type baseline struct {
	medians []float64 // of the slots that have enough values
	center  float64   // the median of these
	pooled  sketch    // all values of the baseline
	newest  float64   // the median of the newest slots
	n       int64     // how many values they have
}

// values adds the signal of a series.
func (c *comparing) values(name string, series int, leastSlot, leastNewest, leastBase int64, score func(*baseline) float64) {
	var b baseline
	for i := range c.base {
		values := &c.base[i].values[series]
		b.pooled.merge(values)
		if values.total() >= leastSlot {
			b.medians = append(b.medians, values.quantile(0.5))
		}
	}
	var newest sketch
	for i := range c.newest {
		newest.merge(&c.newest[i].values[series])
	}
	signal := Signal{Name: name}
	b.n, b.newest = newest.total(), newest.quantile(0.5)
	signal.Value = finite(b.newest)
	if len(b.medians) > 0 {
		b.center = median(b.medians)
		signal.Baseline = Some(b.center)
	}
	if len(b.medians) >= leastSlots && b.n >= leastNewest && b.pooled.total() >= leastBase {
		c.judged(&signal, score(&b))
	}
	c.signals = append(c.signals, signal)
}

func (c *comparing) judged(signal *Signal, score float64) {
	signal.Score = Some(score)
	signal.Anomalous = score > c.d.threshold(signal.Name)
}

// paceScore compares logarithms.
func paceScore(b *baseline) float64 {
	logs := make([]float64, len(b.medians))
	for i, v := range b.medians {
		logs[i] = logOf(v)
	}
	spread := (logOf(b.pooled.quantile(0.75)) - logOf(b.pooled.quantile(0.25))) / 1.349
	sampling := 1.2533 * spread * math.Sqrt(1/float64(b.n)+1/float64(b.pooled.total()))
	return b.score(logOf(b.newest), logs, max(sampling, logScale), math.Log(leastSlower))
}

// logOf is the logarithm of a value of a sketch, which counts what is less than
// sketchMin as 0.
func logOf(v float64) float64 { return math.Log(max(v, sketchMin)) }

// score is the modified z-score of x among values, with a scale of at least
// leastScale; 0 for a rise of less than leastRise.
func (b *baseline) score(x float64, values []float64, leastScale, leastRise float64) float64 {
	center := median(values)
	away := make([]float64, len(values))
	for i, v := range values {
		away[i] = math.Abs(v - center)
	}
	z := (x - center) / max(1.4826*median(away), leastScale)
	if z > 0 && x-center < leastRise {
		return 0
	}
	return z
}

// median returns the median of values, which it sorts; there is at least one.
func median(values []float64) float64 {
	slices.Sort(values)
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half]
	}
	return (values[half-1] + values[half]) / 2
}

// share adds the signal of the share of bad events.
func (c *comparing) share(name string, leastNewest, leastBase, leastBad int64, leastRise float64) {
	k, n := badOf(c.newest)
	all := slices.Clone(c.base)
	slices.SortStableFunc(all, func(a, b slot) int {
		return cmp.Compare(float64(a.bad)/float64(a.count), float64(b.bad)/float64(b.count))
	})
	bad, count := badOf(all[:len(all)-len(all)/4])
	signal := Signal{Name: name}
	if n > 0 {
		signal.Value = Some(float64(k) / float64(n))
	}
	if count > 0 {
		p := (float64(bad) + 0.5) / float64(count+1)
		signal.Baseline = Some(p)
		if _, base := badOf(c.base); len(c.base) >= leastSlots && n >= leastNewest && base >= leastBase {
			score := 2 * math.Sqrt(float64(n)) *
				(math.Asin(math.Sqrt((float64(k)+0.375)/(float64(n)+0.75))) - math.Asin(math.Sqrt(p)))
			if score > 0 && (k < leastBad || signal.Value.value-p < leastRise) {
				score = 0
			}
			c.judged(&signal, score)
		}
	}
	c.signals = append(c.signals, signal)
}

// badOf adds up the bad and all events of slots.
func badOf(slots []slot) (bad, count int64) {
	for i := range slots {
		bad += slots[i].bad
		count += slots[i].count
	}
	return bad, count
}
