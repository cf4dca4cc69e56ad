package student_test

import (
	"math"
	"testing"

	"github.com/millrace/millrace/internal/student"
)

// TestTwoSidedIsStudentsDistribution compares with the closed forms for 1, 2 and
// 4 degrees of freedom, far out too, and with the normal distribution.
func TestTwoSidedIsStudentsDistribution(t *testing.T) {
	for _, x := range []float64{0, 0.1, 0.5, 1, 2, 5, 20, 1e3, 1e6} {
		s := x / math.Sqrt(4+x*x)
		for df, want := range map[float64]float64{
			1: 2 / math.Pi * math.Atan2(1, x),
			2: 2 / (2 + x*x + x*math.Sqrt(2+x*x)), // 1 - x/√(2+x²), without cancellation
			4: 1 - s*(3-s*s)/2,
		} {
			got := student.TwoSided(x, df)
			tolerance := 1e-9 * want
			if df == 4 {
				tolerance = 1e-12 // of the closed form's own cancellation
			}
			if math.Abs(got-want) > tolerance {
				t.Errorf("t %v, df %v: %v, want %v", x, df, got, want)
			}
		}
		if got, want := student.TwoSided(x, 1e9), math.Erfc(x/math.Sqrt2); math.Abs(got-want) > 1e-6 {
			t.Errorf("t %v, df 1e9: %v, want %v", x, got, want)
		}
	}
	for df, want := range map[float64]float64{1: 12.706204736, 5: 2.570581836, 30: 2.042272456, 1e9: 1.959963985} {
		if got := student.TwoSidedQuantile(0.05, df); math.Abs(got-want) > 1e-6 {
			t.Errorf("quantile of %v degrees: %v, want %v", df, got, want)
		}
	}
}
