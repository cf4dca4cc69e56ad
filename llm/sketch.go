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

// fewBins is how many bins a sketch keeps in itself before it makes a store. A
// window of a busy key has hundreds, one of a session less than this: a store
// would take ten times the memory of all its events.
const fewBins = 32

// bin is how many values fell into one index. Both fit their types: an index of
// the range above has 12 bits, and a count that would not fit makes a store.
type bin struct {
	index int16
	count uint16
}

// sketch counts values by bins: up to fewBins in itself, by rising index, else
// all of them in a store. The zero sketch is empty.
type sketch struct {
	zeros uint64 // values below sketchMin
	few   [fewBins]bin
	used  int                               // of few; 0 once there is a store
	bins  *store.CollapsingLowestDenseStore // nil at first
}

// add counts v, which is not negative and not NaN.
func (s *sketch) add(v float64) {
	if v < sketchMin {
		s.zeros++
		return
	}
	index := sketchMapping.Index(min(v, sketchMax))
	if s.bins != nil {
		s.bins.Add(index)
		return
	}
	s.addFew(index, 1)
}

// addCount counts values of one bin.
func (s *sketch) addCount(index int, count uint64) {
	if s.bins != nil {
		s.bins.AddWithCount(index, float64(count))
		return
	}
	s.addFew(index, count)
}

// addFew is addCount for a sketch without a store.
func (s *sketch) addFew(index int, count uint64) {
	i := 0
	for i < s.used && int(s.few[i].index) < index {
		i++
	}
	found := i < s.used && int(s.few[i].index) == index
	total := count
	if found {
		total += uint64(s.few[i].count)
	}
	if total > math.MaxUint16 || !found && s.used == fewBins {
		s.makeStore()
		s.bins.AddWithCount(index, float64(count))
		return
	}
	if !found {
		copy(s.few[i+1:s.used+1], s.few[i:s.used])
		s.used++
	}
	s.few[i] = bin{int16(index), uint16(total)}
}

// makeStore moves the bins to a store.
func (s *sketch) makeStore() {
	s.bins = store.NewCollapsingLowestDenseStore(sketchBins)
	for _, b := range s.few[:s.used] {
		s.bins.AddWithCount(int(b.index), float64(b.count))
	}
	s.used = 0
}

// merge adds what from has counted, and leaves from as it is.
func (s *sketch) merge(from *sketch) {
	s.zeros += from.zeros
	if from.bins == nil {
		for _, b := range from.few[:from.used] {
			s.addCount(int(b.index), uint64(b.count))
		}
		return
	}
	if s.bins == nil {
		s.makeStore()
	}
	s.bins.MergeWith(from.bins)
}

// all yields the bins by rising index.
func (s *sketch) all(yield func(index int, count uint64) bool) {
	if s.bins != nil {
		s.bins.ForEach(func(index int, count float64) (stop bool) { return !yield(index, uint64(count)) })
		return
	}
	for _, b := range s.few[:s.used] {
		if !yield(int(b.index), uint64(b.count)) {
			return
		}
	}
}

// quantile returns the value at rank q*(count-1), or NaN if the sketch is
// empty.
func (s *sketch) quantile(q float64) float64 {
	count := uint64(s.total())
	if count == 0 {
		return math.NaN()
	}
	rank := uint64(0)
	if r := math.Floor(q * float64(count-1)); r > 0 {
		rank = min(uint64(min(r, 1<<63)), count-1)
	}
	if rank < s.zeros {
		return 0
	}
	rank -= s.zeros
	if s.bins != nil {
		return sketchMapping.Value(s.bins.KeyAtRank(float64(rank)))
	}
	i := 0
	for ; rank >= uint64(s.few[i].count); i++ {
		rank -= uint64(s.few[i].count)
	}
	return sketchMapping.Value(int(s.few[i].index))
}

// total returns how many values were added.
func (s *sketch) total() int64 {
	count := s.zeros
	if s.bins != nil {
		count += uint64(s.bins.TotalCount())
	}
	for _, b := range s.few[:s.used] {
		count += uint64(b.count)
	}
	return int64(count)
}
