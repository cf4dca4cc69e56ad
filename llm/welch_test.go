package llm_test

import (
	"math"
	"slices"
	"testing"

	"github.com/millrace/millrace/llm"
)

// summaryOf describes the values of some variants.
func summaryOf(t *testing.T, values map[string][]float64) llm.ExperimentSummary {
	t.Helper()
	s := llm.NewExperimentStats()
	for name, of := range values {
		for _, v := range of {
			if err := s.Add(llm.Experiment{Variant: name, Value: v}); err != nil {
				t.Fatal(err)
			}
		}
	}
	v, err := llm.NewExperimentSummary(llm.Place{Key: "e/m"}, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestComparisonsThatCannotBeMade(t *testing.T) {
	for name, other := range map[string][]float64{
		"one value": {2}, "no variance": {2, 2, 2}, "infinite variance": {-math.MaxFloat64, math.MaxFloat64},
	} {
		c := summaryOf(t, map[string][]float64{"a": {1, 1, 1}, "b": other}).Comparisons[0]
		for _, v := range []llm.Optional[float64]{c.P, c.PHolm, c.T, c.DF, c.Low, c.High} {
			if _, ok := v.Get(); ok {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
	// No variance on one side, and huge numbers on the other.
	c := summaryOf(t, map[string][]float64{"a": {1, 1, 1}, "b": {1e150, 1.1e150, 0.9e150, 1e150, 1.2e150}}).Comparisons[0]
	if p := c.P.Or(1); p > 1e-4 || p == 0 || math.Abs(c.DF.Or(0)-4) > 1e-9 {
		t.Errorf("huge: %+v", c)
	}
}

func TestTheBaselineIsTheControl(t *testing.T) {
	v := summaryOf(t, map[string][]float64{"a": {1, 2}, llm.BaselineVariant: {1, 3}, "z": {1, 4}})
	for i, want := range []string{"a", "z"} {
		if c := v.Comparisons[i]; c.Baseline != llm.BaselineVariant || c.Variant != want {
			t.Errorf("%+v", c)
		}
	}
	if c := summaryOf(t, map[string][]float64{"b": {1, 2}, "a": {1, 3}}).Comparisons[0]; c.Baseline != "a" {
		t.Errorf("%+v", c)
	}
}

// TestHolmCorrectsForTheComparisonsOfAResult compares with the definition: the
// largest of (m-j+1) p(j) so far, and at most 1.
func TestHolmCorrectsForTheComparisonsOfAResult(t *testing.T) {
	v := summaryOf(t, map[string][]float64{
		llm.BaselineVariant: {1, 2, 3, 4, 5}, "far": {11, 12, 13, 14, 15.5}, "near": {1, 2.5, 3, 4, 5}, "middle": {4, 5, 6, 7, 8.5}, "single": {3},
	})
	var tested []llm.Comparison
	for _, c := range v.Comparisons {
		if _, ok := c.P.Get(); ok {
			tested = append(tested, c)
		}
	}
	slices.SortFunc(tested, func(a, b llm.Comparison) int { return int(math.Copysign(1, a.P.Or(0)-b.P.Or(0))) })
	if len(tested) != 3 || tested[0].Variant != "far" || tested[2].Variant != "near" {
		t.Fatalf("%+v", tested)
	}
	least := 0.0
	for i, c := range tested {
		least = max(least, min(1, float64(3-i)*c.P.Or(0)))
		if math.Abs(c.PHolm.Or(-1)-least) > 1e-15 {
			t.Errorf("%s: p %v, corrected %v, want %v", c.Variant, c.P, c.PHolm, least)
		}
	}
}
