package llm

import (
	"math"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/exact"
)

// ExperimentSummary is what one pane says about the variants of an experiment in
// one metric.
type ExperimentSummary struct {
	Place
	Experiment, Metric string
	// Count is the number of events, Others of those of variants beyond the first
	// 32 in alphabetical order, of which no more is said.
	Count, Others int64
	Variants      []Variant
	// Comparisons has each variant but the baseline against the baseline: the one
	// named "control", or else the first in alphabetical order.
	Comparisons []Comparison
}

// Variant describes the values of one variant. Mean and variance (the unbiased
// estimate, absent of a single value) are those of the exact sums, rounded once.
// A variance beyond a float64 is absent too.
type Variant struct {
	Name           string
	Count          int64
	Mean, Variance Optional[float64]
	Min, Max       Optional[float64]
}

// BaselineVariant is the name of the variant that the others are compared with.
const BaselineVariant = "control"

// NewExperimentSummary describes s. The error says that the key is no
// ExperimentKey. It keeps nothing of s but names.
func NewExperimentSummary(at Place, s *ExperimentStats) (ExperimentSummary, error) {
	v := ExperimentSummary{Place: at}
	var err error
	if v.Experiment, v.Metric, err = SplitExperimentKey(at.Key); err != nil {
		return ExperimentSummary{}, err
	}
	v.describe(s)
	return v, nil
}

// describe fills in what s says.
func (v *ExperimentSummary) describe(s *ExperimentStats) {
	v.Count, v.Others = s.Count(), s.others
	baseline := 0
	for i := range s.variants {
		of := &s.variants[i]
		described := Variant{
			Name: of.name, Count: of.count,
			Mean: Some(of.sum.Mean(of.count)), Min: Some(of.least), Max: Some(of.most),
		}
		if of.count > 1 {
			described.Variance = finite(exact.Variance(of.count, &of.sum, &of.squares))
		}
		v.Variants = append(v.Variants, described)
		if of.name == BaselineVariant {
			baseline = i
		}
	}
	for i := range v.Variants {
		if i != baseline {
			v.Comparisons = append(v.Comparisons, welch(&v.Variants[baseline], &v.Variants[i]))
		}
	}
	holm(v.Comparisons)
}

// finite returns v, or absence if it is infinite or not a number.
func finite(v float64) Optional[float64] {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return Optional[float64]{}
	}
	return Some(v)
}

// The codecs of experiment summaries; see ResultCodec.
var (
	ExperimentSummaryCodec codec.Codec[ExperimentSummary] = formCodec[ExperimentSummary]{"experiment summary", func(f *form, v *ExperimentSummary) {
		v.Place.fields(f)
		f.str("experiment", &v.Experiment)
		f.str("metric", &v.Metric)
		v.measures(f)
	}}
	ExperimentSummaryJSON codec.Codec[ExperimentSummary] = jsonCodec[ExperimentSummary]{ExperimentSummaryCodec}
)

func (v *ExperimentSummary) measures(f *form) {
	f.int("count", &v.Count)
	f.int("others", &v.Others)
	list(f, "variants", &v.Variants, func(f *form, v *Variant) {
		f.str("variant", &v.Name)
		f.int("count", &v.Count)
		f.number("mean", &v.Mean)
		f.number("variance", &v.Variance)
		f.number("min", &v.Min)
		f.number("max", &v.Max)
	})
	list(f, "comparisons", &v.Comparisons, func(f *form, c *Comparison) {
		f.str("baseline", &c.Baseline)
		f.str("variant", &c.Variant)
		f.number("difference", &c.Difference)
		f.number("low", &c.Low)
		f.number("high", &c.High)
		f.number("t", &c.T)
		f.number("df", &c.DF)
		f.number("p", &c.P)
		f.number("p_holm", &c.PHolm)
	})
}
