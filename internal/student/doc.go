// Package student is Student's t distribution, as far as the test of a difference
// between two means needs it: the probability of a value so far out, and the
// value of a probability.
//
// Both come from the regularized incomplete beta function of gonum's mathext, and
// are functions of their arguments alone: any number of goroutines may call them.
package student
