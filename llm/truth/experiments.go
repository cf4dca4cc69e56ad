package truth

import (
	"iter"
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/llm"
)

// Experiments holds Experiment events by experiment, metric and tumbling window.
type Experiments struct {
	size   int64
	ledger ledger[llm.Experiment]
}

// NewExperiments returns an Experiments without events, for windows of a size of
// at least a millisecond.
func NewExperiments(size time.Duration) *Experiments {
	return &Experiments{max(size.Milliseconds(), 1), newLedger[llm.Experiment]()}
}

func experimentKey(v *llm.Experiment) string {
	escape := func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "%", "%25"), "/", "%2F") }
	return escape(v.Experiment) + "/" + escape(v.Metric)
}

// Add counts an event that was sent; as often as it was sent.
func (t *Experiments) Add(v llm.Experiment) {
	t.ledger.add(experimentKey(&v), floor(v.Timestamp, t.size), v)
}

// Drop takes an event out of what is expected, since no window took it.
func (t *Experiments) Drop(v llm.Experiment) {
	t.ledger.drop(experimentKey(&v), floor(v.Timestamp, t.size), v)
}

// moments are those of the values of a variant, each rounded once.
type moments struct {
	n              float64
	mean, variance float64
}

// momentsOf computes with fractions.
func momentsOf(values []float64) moments {
	m := moments{n: float64(len(values)), mean: meanOf(values)}
	if len(values) < 2 {
		return m
	}
	n := new(big.Rat).SetInt64(int64(len(values)))
	mean, sum := new(big.Rat), new(big.Rat)
	for _, v := range values {
		mean.Add(mean, new(big.Rat).SetFloat64(v))
	}
	mean.Quo(mean, n)
	for _, v := range values {
		away := new(big.Rat).Sub(new(big.Rat).SetFloat64(v), mean)
		sum.Add(sum, away.Mul(away, away))
	}
	m.variance, _ = sum.Quo(sum, n.Sub(n, big.NewRat(1, 1))).Float64()
	return m
}

// Compare checks the final ones among the results. Means and variances must be
// equal bit for bit, and the tests' numbers within 1e-6.
func (t *Experiments) Compare(results iter.Seq[llm.ExperimentSummary]) Report {
	place := func(r *llm.ExperimentSummary) (llm.Place, int64) { return r.Place, r.Count }
	return compare(&t.ledger, results, place, func(c *comparison, want []llm.Experiment, got *llm.ExperimentSummary) {
		c.exact("window_end", c.key.start+t.size, got.WindowEnd)
		if got.Experiment != want[0].Experiment || got.Metric != want[0].Metric {
			c.problem("it is called " + got.Experiment + " and " + got.Metric)
		}
		values := map[string][]float64{}
		for _, v := range want {
			values[v.Variant] = append(values[v.Variant], v.Value)
		}
		if names := slices.Sorted(maps.Keys(values)); len(names) != len(got.Variants) || len(got.Comparisons) != len(names)-1 {
			c.problem("the variants are others than " + strings.Join(names, ", "))
			return
		}
		all := map[string]moments{}
		for _, v := range got.Variants {
			m := momentsOf(values[v.Name])
			all[v.Name] = m
			c.exact(v.Name+".count", int64(len(values[v.Name])), v.Count)
			c.same(v.Name+".mean", m.mean, true, v.Mean)
			c.same(v.Name+".variance", m.variance, m.n > 1, v.Variance)
			c.same(v.Name+".min", slices.Min(values[v.Name]), true, v.Min)
			c.same(v.Name+".max", slices.Max(values[v.Name]), true, v.Max)
		}
		for _, test := range got.Comparisons {
			c.welch(all[test.Baseline], all[test.Variant], test)
		}
	})
}

const testTolerance = 1e-6

// welch compares Welch's test of two variants.
func (c *comparison) welch(a, b moments, got llm.Comparison) {
	err := a.variance/a.n + b.variance/b.n
	if a.n < 2 || b.n < 2 || err == 0 {
		if _, ok := got.P.Get(); ok {
			c.problem("there is nothing to test " + got.Variant + " by")
		}
		return
	}
	t := (b.mean - a.mean) / math.Sqrt(err)
	df := err * err / (math.Pow(a.variance/a.n, 2)/(a.n-1) + math.Pow(b.variance/b.n, 2)/(b.n-1))
	c.about(got.Variant+".difference", b.mean-a.mean, got.Difference, testTolerance)
	c.about(got.Variant+".t", t, got.T, testTolerance)
	c.about(got.Variant+".df", df, got.DF, testTolerance)
	p, ok := got.P.Get()
	if want := outside(math.Abs(t), df); !ok || math.Abs(p-want) > testTolerance {
		c.differs(got.Variant+".p", want, p)
	}
}

// outside integrates the density of Student's distribution from t to where
// nothing is left, twice, by Simpson's rule over its logarithm.
func outside(t, df float64) float64 {
	lg := func(x float64) float64 { v, _ := math.Lgamma(x); return v }
	scale := lg((df+1)/2) - lg(df/2) - 0.5*math.Log(df*math.Pi)
	// With x = e^u - 1 the tail shrinks to a short stretch of u.
	f := func(u float64) float64 {
		x := math.Expm1(u)
		return math.Exp(scale - (df+1)/2*math.Log1p(x*x/df) + u)
	}
	const steps = 4000
	from, to := math.Log1p(t), math.Log1p(1e12)
	h := (to - from) / steps
	sum := f(from) + f(to)
	for i := 1; i < steps; i++ {
		sum += f(from+float64(i)*h) * float64(2+2*(i%2))
	}
	return 2 * sum * h / 3
}
