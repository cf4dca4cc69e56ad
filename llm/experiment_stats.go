package llm

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/exact"
	"github.com/millrace/millrace/topology"
)

// ExperimentStats is the aggregate of Experiment events of one experiment and
// metric: for each variant the count, the extremes, and the exact sums of the
// values and of their squares. The zero ExperimentStats is that of none.
//
// Partitions merge exactly. Mean and variance are rounded once, from sums that
// were never rounded, so the parts of a stream merge to the very same bits as
// the whole, in any order. Updating means and sums of squared deviations in
// place (Welford 1962, merged as by Chan, Golub and LeVeque 1979) is as precise
// in practice, but its last bits depend on how the stream was cut.
//
// It tells apart the first 32 variants in alphabetical order; of the others it
// keeps the count.
type ExperimentStats struct {
	variants []variantStats // by name
	others   int64
}

// variantStats is the aggregate of the values of a variant.
type variantStats struct {
	name         string
	count        int64
	least, most  float64
	sum, squares exact.Sum
}

// mostVariants is how many variants of an experiment are told apart.
const mostVariants = 32

// NewExperimentStats returns an aggregate of nothing.
func NewExperimentStats() *ExperimentStats { return &ExperimentStats{} }

// ExperimentAggregator aggregates Experiment events into ExperimentStats.
var ExperimentAggregator = topology.Aggregator[Experiment, ExperimentStats]{
	New:   NewExperimentStats,
	Add:   (*ExperimentStats).Add,
	Merge: (*ExperimentStats).Merge,
}

// ExperimentKey is the key of an experiment and metric, as in
// "prompt-v2/quality". A '%' or '/' in either name is written %25 or %2F.
func ExperimentKey(experiment, metric string) string {
	escape := strings.NewReplacer("%", "%25", "/", "%2F")
	return escape.Replace(experiment) + "/" + escape.Replace(metric)
}

// SplitExperimentKey returns the names in an ExperimentKey.
func SplitExperimentKey(key string) (experiment, metric string, err error) {
	experiment, metric, ok := strings.Cut(key, "/")
	if !ok {
		return "", "", fmt.Errorf("llm: %.80q is no key of an experiment and metric: want them with a '/' between", key)
	}
	restore := strings.NewReplacer("%2F", "/", "%25", "%")
	return restore.Replace(experiment), restore.Replace(metric), nil
}

// Count returns the number of events.
func (s *ExperimentStats) Count() int64 {
	sum := s.others
	for i := range s.variants {
		sum += s.variants[i].count
	}
	return sum
}

// Add counts an event. It refuses a value that is not finite with a FieldError,
// and leaves s as it was. It keeps nothing of v.
func (s *ExperimentStats) Add(v Experiment) error {
	if math.IsNaN(v.Value) || math.IsInf(v.Value, 0) {
		c := checker{name: experimentSchema.name}
		c.fail("value", v.Value, "a finite number")
		return c.err
	}
	into := s.variant(v.Variant)
	if into == nil {
		s.others++
		return nil
	}
	if into.count == 0 {
		into.least, into.most = v.Value, v.Value
	}
	into.count++
	into.least, into.most = min(into.least, v.Value), max(into.most, v.Value)
	into.sum.Add(v.Value)
	into.squares.AddSquare(v.Value)
	return nil
}

// variant returns the variant with that name, a new one if need be, or nil if it
// is one of the others.
func (s *ExperimentStats) variant(name string) *variantStats {
	i, found := slices.BinarySearchFunc(s.variants, name, func(a variantStats, name string) int { return strings.Compare(a.name, name) })
	if found {
		return &s.variants[i]
	}
	if len(s.variants) == mostVariants {
		if i == mostVariants {
			return nil
		}
		s.others += s.variants[mostVariants-1].count
		s.variants = s.variants[:mostVariants-1]
	}
	s.variants = slices.Insert(s.variants, i, variantStats{name: strings.Clone(name)})
	return &s.variants[i]
}

// Merge adds what from has counted, and leaves from as it is. It returns no
// error.
func (s *ExperimentStats) Merge(from *ExperimentStats) error {
	s.others += from.others
	for i := range from.variants {
		v := &from.variants[i]
		into := s.variant(v.name)
		switch {
		case into == nil:
			s.others += v.count
			continue
		case into.count == 0:
			into.least, into.most = v.least, v.most
		}
		into.count += v.count
		into.least, into.most = min(into.least, v.least), max(into.most, v.most)
		into.sum.Merge(&v.sum)
		into.squares.Merge(&v.squares)
	}
	return nil
}

// ExperimentStatsCodec encodes ExperimentStats without loss; equal ones have
// equal bytes. The layout, version 1: the number of variants and the count of
// the others as uvarints; for each variant the length of its name, the name,
// its count, least and greatest value as floats, and the exact sums of values
// and of squares as in HealthStatsCodec.
var ExperimentStatsCodec codec.Codec[ExperimentStats] = layoutCodec[ExperimentStats]{
	name: "experiment stats", version: 1,
	fields: func(l *layout, s *ExperimentStats) {
		n := l.length(len(s.variants), mostVariants)
		l.count(&s.others)
		if l.reading() {
			s.variants = make([]variantStats, n)
		}
		for i := range s.variants {
			v := &s.variants[i]
			l.str(&v.name)
			l.count(&v.count)
			l.float(&v.least)
			l.float(&v.most)
			l.exact(&v.sum)
			l.exact(&v.squares)
		}
	},
	check: func(s *ExperimentStats) error {
		for i := range s.variants {
			v := &s.variants[i]
			finite := v.least >= -math.MaxFloat64 && v.least <= v.most && v.most <= math.MaxFloat64
			if !finite || v.count == 0 || i > 0 && v.name <= s.variants[i-1].name {
				return errors.New("the variants contradict themselves")
			}
		}
		return nil
	},
}

// MarshalJSON describes s as an ExperimentSummary does, without key, window and
// pane, which answers of queries have beside the value, and without what is
// absent. There is no way back.
func (s ExperimentStats) MarshalJSON() ([]byte, error) {
	v := ExperimentSummary{}
	v.describe(&s)
	return marshal(v.measures)
}
