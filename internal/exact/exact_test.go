package exact

import (
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// anyFinite draws float64s of all sizes, the smallest and the greatest included.
var anyFinite = rapid.OneOf(
	rapid.Float64Range(-1e3, 1e3), rapid.Float64(),
	rapid.SampledFrom([]float64{0, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64, 1 << 53, 0.1}),
).Filter(func(v float64) bool { return !math.IsInf(v, 0) && !math.IsNaN(v) })

// sums returns the exact sums of values and of their squares.
func sums(values []float64) (sum, squares Sum) {
	for _, v := range values {
		sum.Add(v)
		squares.AddSquare(v)
	}
	return sum, squares
}

// rational returns the sums as fractions, computed by math/big.
func rational(values []float64) (sum, squares *big.Rat) {
	sum, squares = new(big.Rat), new(big.Rat)
	for _, v := range values {
		r := new(big.Rat).SetFloat64(v)
		sum.Add(sum, r)
		squares.Add(squares, new(big.Rat).Mul(r, r))
	}
	return sum, squares
}

func TestExactSumsAreThoseOfFractions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(anyFinite, 0, 40).Draw(t, "values")
		sum, squares := sums(values)
		wantSum, wantSquares := rational(values)
		if want, _ := wantSum.Float64(); sum.Value() != want {
			t.Fatalf("sum %v, want %v", sum.Value(), want)
		}
		if want, _ := wantSquares.Float64(); squares.Value() != want {
			t.Fatalf("squares %v, want %v", squares.Value(), want)
		}
		n := int64(len(values))
		if n < 2 {
			return
		}
		if want, _ := new(big.Rat).Quo(wantSum, new(big.Rat).SetInt64(n)).Float64(); sum.Mean(n) != want {
			t.Fatalf("mean %v, want %v", sum.Mean(n), want)
		}
		// (q - s²/n) / (n-1)
		v := new(big.Rat).Mul(wantSum, wantSum)
		v.Sub(wantSquares, v.Quo(v, new(big.Rat).SetInt64(n)))
		if want, _ := v.Quo(v, new(big.Rat).SetInt64(n-1)).Float64(); Variance(n, &sum, &squares) != want {
			t.Fatalf("variance %v, want %v", Variance(n, &sum, &squares), want)
		}
	})
}

// TestExactMergeEqualsTheSingleSum deals values to partitions, merges these in
// any order and shape, and wants the very same digits.
func TestExactMergeEqualsTheSingleSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(anyFinite, 1, 60).Draw(t, "values")
		whole, _ := sums(values)
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 1))
		shuffled := slices.Clone(values)
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		parts := make([]Sum, 1+random.IntN(8))
		for _, v := range shuffled {
			parts[random.IntN(len(parts))].Add(v)
		}
		for len(parts) > 1 {
			i := random.IntN(len(parts) - 1)
			before := parts[i+1].clone()
			parts[i].Merge(&parts[i+1])
			if !reflect.DeepEqual(before, parts[i+1].clone()) {
				t.Fatal("merge changed what it merged from")
			}
			parts = slices.Delete(parts, i+1, i+2)
		}
		whole.normalize()
		parts[0].normalize()
		if whole.low != parts[0].low || !slices.Equal(whole.digits, parts[0].digits) {
			t.Fatalf("%+v, want %+v", parts[0], whole)
		}
		if n := len(whole.digits); n > mostDigits {
			t.Fatalf("%d digits", n)
		}
		encoded := parts[0].Append(nil)
		decoded, rest, err := Decode(append(encoded, 7))
		if err != nil || len(rest) != 1 || !slices.Equal(decoded.digits, whole.digits) || decoded.low != whole.low {
			t.Fatalf("%+v comes back as %+v, %v", whole, decoded, err)
		}
		if _, _, err := Decode(encoded[:random.IntN(len(encoded))]); err != ErrFormat {
			t.Fatalf("cut short: %v", err)
		}
	})
}

// TestNaiveSumsDependOnTheOrder shows that the tests above ask for something.
func TestNaiveSumsDependOnTheOrder(t *testing.T) {
	values := []float64{1e16, 1, -1e16}
	if a, b := values[0]+values[1]+values[2], values[0]+values[2]+values[1]; a == b {
		t.Fatalf("%v and %v", a, b)
	}
	sum, _ := sums(values)
	if sum.Value() != 1 {
		t.Errorf("%v", sum.Value())
	}
}

func TestExactPropagatesCarriesInTime(t *testing.T) {
	var s Sum
	s.Add(math.MaxFloat64)
	s.adds = mostAdds // as if there had been so many
	for range 3 {
		s.Add(math.MaxFloat64)
	}
	if s.adds > 4 {
		t.Errorf("%d additions without a carry", s.adds)
	}
	if got := s.Mean(4); got != math.MaxFloat64 {
		t.Errorf("%v", got)
	}
	big := Sum{low: s.low, digits: slices.Clone(s.digits), adds: mostAdds}
	s.Merge(&big)
	if got := s.Mean(8); got != math.MaxFloat64 {
		t.Errorf("%v", got)
	}
	s.Add(-1)
	s.adds = mostAdds
	s.Add(1)
	if got := s.Mean(8); got != math.MaxFloat64 {
		t.Errorf("%v", got)
	}
}

func BenchmarkExactAdd(b *testing.B) {
	var s, q Sum
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		v := 1 + float64(i&1023)/7
		s.Add(v)
		q.AddSquare(v)
	}
}
