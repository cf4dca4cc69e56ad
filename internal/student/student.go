package student

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// TwoSided returns the probability that a value of the distribution with df
// degrees of freedom, more than 0, is at least as far from 0 as t. It is the
// regularized incomplete beta function at df/(df+t²) (Abramowitz and Stegun,
// 26.7.1 and 26.5.27), which keeps small probabilities precise, unlike 1 less the
// distribution function.
func TwoSided(t, df float64) float64 {
	return mathext.RegIncBeta(df/2, 0.5, df/(df+t*t))
}

// TwoSidedQuantile returns the t for which TwoSided is p, which is above 0 and at
// most 1.
func TwoSidedQuantile(p, df float64) float64 {
	x := mathext.InvRegIncBeta(df/2, 0.5, p)
	return math.Sqrt(df * (1 - x) / x)
}
