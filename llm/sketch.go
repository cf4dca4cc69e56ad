package llm

import (
	"fmt"
	"math"

	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"
)

// The sketch is a DDSketch (Masson, Rim, Lee: 'DDSketch: a fast and
// fully-mergeable quantile sketch with relative-error guarantees', VLDB 2019)
// from the mapping and the store of sketches-go. Latencies are never negative,
// so one store will do instead of DDSketch's two.
const (
	// sketchAccuracy is the relative error of a percentile. It leaves room
	// below the promised 1 % for rounding.
	sketchAccuracy = 0.009

	// Latencies from 0.1 µs to 3 years (in milliseconds) are told apart; what
	// is smaller counts as 0, what is larger as the upper end. This keeps one
	// absurd event from collapsing the bins of all the others.
	sketchMin = 1e-4
	sketchMax = 1e11

	// sketchBins bounds the memory to 8 bytes a bin. The range above fills
	// 1,960 of them, so the store never collapses, and merging commutes.
	// A usual window has 200 to 500.
	sketchBins = 2048
)

// sketchMapping turns values into bin indices. It never changes.
var sketchMapping = newSketchMapping()

// newSketchMapping builds the mapping with cubic interpolation: 1 % more bins
// than the logarithm, at a third of the time.
func newSketchMapping() mapping.IndexMapping {
	m, err := mapping.NewCubicallyInterpolatedMapping(sketchAccuracy)
	if err != nil {
		panic(fmt.Sprintf("llm: the accuracy %v is a constant between 0 and 1: %v", sketchAccuracy, err))
	}
	return m
}

type sketch struct {
	zeros uint64 // values below sketchMin
	bins  store.CollapsingLowestDenseStore
}

func newSketch() sketch {
	return sketch{bins: *store.NewCollapsingLowestDenseStore(sketchBins)}
}

// add counts v, which is not negative and not NaN.
func (s *sketch) add(v float64) {
	if v < sketchMin {
		s.zeros++
		return
	}
	s.bins.Add(sketchMapping.Index(min(v, sketchMax)))
}

// merge adds what from has counted, and leaves from as it is.
func (s *sketch) merge(from *sketch) {
	s.zeros += from.zeros
	s.bins.MergeWith(&from.bins)
}

// quantile returns the value at rank q*(count-1), or NaN if the sketch is
// empty.
func (s *sketch) quantile(q float64) float64 {
	zeros := float64(s.zeros)
	count := zeros + s.bins.TotalCount()
	if count == 0 {
		return math.NaN()
	}
	rank := math.Floor(q * (count - 1))
	if rank < zeros {
		return 0
	}
	return sketchMapping.Value(s.bins.KeyAtRank(rank - zeros))
}
