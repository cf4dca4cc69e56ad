// Package exact adds up float64s without any rounding.
//
// A Sum is a long fixed-point number that covers the whole range of float64s, or
// that of their squares. Sums of the same values are therefore equal whatever the
// order and grouping in which they were added, in all their bits, and a mean or a
// variance is rounded once, at the end:
//
//	var sum, squares exact.Sum
//	for _, v := range values {
//		sum.Add(v)
//		squares.AddSquare(v)
//	}
//	mean, variance := sum.Mean(n), exact.Variance(n, &sum, &squares)
//
// It is the small superaccumulator of Neal, 'Fast exact summation using small and
// large superaccumulators' (2015, arXiv:1505.05571), section 2: signed 64-bit
// digits of weight 2^32, so that carries need to be propagated only once in 2^30
// additions. Only the digits in use are kept: a few for values of similar size,
// at most 134 (1,072 bytes) for any.
package exact
