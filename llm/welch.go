package llm

import (
	"cmp"
	"math"
	"slices"

	"github.com/millrace/millrace/internal/student"
)

// Comparison is Welch's test of the difference between two variants (Welch, 'The
// generalization of Student's problem when several different population
// variances are involved', Biometrika 34, 1947).
//
// The hypothesis is that both variants have the same mean; P is the probability
// of a difference at least as large, in either direction, if that is so. Nothing
// is assumed of the variances. The values must be independent of one another,
// and their means about normal: with some dozens of values of a metric without
// heavy tails they are.
//
// One P says that much about one comparison that was planned, read once. PHolm
// is corrected for the comparisons of the same result (Holm, 'A simple
// sequentially rejective multiple test procedure', Scand. J. Statist. 6, 1979).
// Nobody corrects for several metrics, several windows, or for early panes: a
// reader who waits for the first pane with a small P will find one.
//
// All but the names is absent where there is nothing to compute: with less than
// two values of a variant, or if no value differs from the others of its
// variant.
type Comparison struct {
	Baseline, Variant string
	// Difference is the mean of Variant less that of Baseline; Low and High bound
	// its 95 % confidence interval.
	Difference, Low, High Optional[float64]
	// T is the test's statistic, DF its degrees of freedom (after Welch and
	// Satterthwaite), P the two-sided p-value and PHolm the corrected one.
	T, DF, P, PHolm Optional[float64]
}

// welch compares a variant with the baseline.
func welch(baseline, variant *Variant) Comparison {
	c := Comparison{Baseline: baseline.Name, Variant: variant.Name}
	va, okA := baseline.Variance.Get()
	vb, okB := variant.Variance.Get()
	difference := variant.Mean.value - baseline.Mean.value
	if !okA || !okB || math.IsInf(difference, 0) {
		return c
	}
	c.Difference = Some(difference)
	// The squared standard errors of the means.
	a, b := va/float64(baseline.Count), vb/float64(variant.Count)
	if !(a+b > 0) || math.IsInf(a+b, 0) {
		return c
	}
	err := math.Sqrt(a + b)
	// With shares of a+b, no square overflows.
	wa, wb := a/(a+b), b/(a+b)
	df := 1 / (wa*wa/float64(baseline.Count-1) + wb*wb/float64(variant.Count-1))
	t := difference / err
	half := err * student.TwoSidedQuantile(0.05, df)
	c.T, c.DF, c.P = finite(t), Some(df), Some(student.TwoSided(t, df))
	c.Low, c.High = finite(difference-half), finite(difference+half)
	return c
}

// holm corrects the p-values of the comparisons for their number.
func holm(all []Comparison) {
	var order []int
	for i := range all {
		if all[i].P.ok {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(all[i].P.value, all[j].P.value) })
	least := 0.0
	for rank, i := range order {
		least = max(least, min(1, float64(len(order)-rank)*all[i].P.value))
		all[i].PHolm = Some(least)
	}
}
