package exact

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"math/bits"
)

// Sum is a sum of float64s, or of their squares. The zero Sum is that of nothing.
// It is not safe for use by several goroutines at once.
type Sum struct {
	low    int     // the weight of digits[0] is 2^(32*low-bias)
	digits []int64 // from the least significant one on
	adds   uint32  // at most so many were added to a digit since normalize
}

const (
	// bias makes the exponents of all squares positive: the smallest is
	// 2^-2148. It is a multiple of 32.
	bias = 68 * 32
	// mostDigits reaches beyond 2^63 times the greatest square, below 2^2048.
	mostDigits = (bias + 2048 + 64) / 32
	// mostAdds leaves room below an int64's end.
	mostAdds = 1 << 30
)

// Add adds v, which is finite.
func (s *Sum) Add(v float64) {
	m, e := mantissa(v)
	s.put(0, m, e, v < 0)
}

// AddSquare adds v*v, without the rounding that v*v has. v is finite.
func (s *Sum) AddSquare(v float64) {
	m, e := mantissa(v)
	hi, lo := bits.Mul64(m, m)
	s.put(hi, lo, 2*e, false)
}

// mantissa returns m and e so that |v| is m*2^e.
func mantissa(v float64) (m uint64, e int) {
	b := math.Float64bits(v)
	m, e = b&(1<<52-1), int(b>>52&0x7ff)
	if e == 0 {
		e = 1
	} else {
		m |= 1 << 52
	}
	return m, e - 1075
}

// put adds or subtracts the 128-bit number hi, lo times 2^e.
func (s *Sum) put(hi, lo uint64, e int, negative bool) {
	if hi|lo == 0 {
		return
	}
	at, shift := (e+bias)>>5, (e+bias)&31
	second, third := hi<<shift|lo>>(64-shift), hi>>(64-shift)
	lo <<= shift
	parts := [5]int64{int64(uint32(lo)), int64(lo >> 32), int64(uint32(second)), int64(second >> 32), int64(third)}
	n := len(parts)
	for parts[n-1] == 0 {
		n--
	}
	if s.adds == mostAdds {
		s.normalize()
	}
	s.cover(at, at+n)
	s.adds++
	into := s.digits[at-s.low:]
	for i, d := range parts[:n] {
		if negative {
			d = -d
		}
		into[i] += d
	}
}

// cover makes room for the digits from low up to high.
func (s *Sum) cover(low, high int) {
	if len(s.digits) == 0 {
		s.low = low
	}
	if low < s.low {
		wider := make([]int64, s.low+len(s.digits)-low, max(high, s.low+len(s.digits))-low)
		copy(wider[s.low-low:], s.digits)
		s.low, s.digits = low, wider
	}
	for s.low+len(s.digits) < high {
		s.digits = append(s.digits, 0)
	}
}

// Merge adds what from has summed, and leaves from as it is.
func (s *Sum) Merge(from *Sum) {
	if len(from.digits) == 0 {
		return
	}
	if s.adds+from.adds+1 > mostAdds {
		s.normalize()
	}
	s.cover(from.low, from.low+len(from.digits))
	s.adds += from.adds + 1
	for i, d := range from.digits {
		s.digits[from.low-s.low+i] += d
	}
}

// clone returns a copy that shares nothing.
func (s *Sum) clone() Sum {
	return Sum{s.low, append([]int64(nil), s.digits...), s.adds}
}

// normalize brings s into the one form that equal sums have: all digits of one
// sign, each less than 2^32 away from 0, none at either end 0.
func (s *Sum) normalize() {
	s.adds = 0
	if s.carry() {
		for i := range s.digits {
			s.digits[i] = -s.digits[i]
		}
		s.carry()
		for i := range s.digits {
			s.digits[i] = -s.digits[i]
		}
	}
	for len(s.digits) > 0 && s.digits[len(s.digits)-1] == 0 {
		s.digits = s.digits[:len(s.digits)-1]
	}
	for len(s.digits) > 0 && s.digits[0] == 0 {
		s.low++
		s.digits = s.digits[1:]
	}
	if len(s.digits) == 0 {
		*s = Sum{}
	}
}

// carry makes every digit but the last one 0 to 2^32-1, and reports whether the
// sum is negative, which shows in the last one.
func (s *Sum) carry() (negative bool) {
	over := int64(0)
	for i, d := range s.digits {
		d += over
		s.digits[i], over = d&(1<<32-1), d>>32
	}
	if over != 0 {
		s.digits = append(s.digits, over)
	}
	return over < 0
}

// big returns i and e so that the sum is i*2^e.
func (s *Sum) big() (i *big.Int, e int) {
	i = new(big.Int)
	digit := new(big.Int)
	for at := len(s.digits) - 1; at >= 0; at-- {
		i.Lsh(i, 32)
		i.Add(i, digit.SetInt64(s.digits[at]))
	}
	return i, 32*s.low - bias
}

// Value returns the sum, rounded once: infinite if it is beyond a float64.
func (s *Sum) Value() float64 {
	i, e := s.big()
	if i.Sign() == 0 {
		return 0
	}
	f := new(big.Float).SetInt(i)
	v, _ := f.SetMantExp(f, e).Float64()
	return v
}

// Mean returns the sum divided by n, rounded once. n is not 0.
func (s *Sum) Mean(n int64) float64 {
	i, e := s.big()
	return quotient(i, e, big.NewInt(n))
}

// Variance returns the unbiased estimate of the variance of n values, at least
// 2, with that sum and that sum of squares: (squares - sum²/n) / (n-1), rounded
// once, and so without the cancellation that this formula is known for.
func Variance(n int64, sum, squares *Sum) float64 {
	s, se := sum.big()
	q, qe := squares.big()
	s.Mul(s, s)
	q.Mul(q, big.NewInt(n))
	e := min(qe, 2*se)
	q.Lsh(q, uint(qe-e))
	q.Sub(q, s.Lsh(s, uint(2*se-e)))
	d := big.NewInt(n)
	return quotient(q, e, d.Mul(d, big.NewInt(n-1)))
}

// quotient returns i*2^e/d, rounded to nearest.
func quotient(i *big.Int, e int, d *big.Int) float64 {
	if e >= 0 {
		i.Lsh(i, uint(e))
	} else {
		// What i has in common with the power of two need not go into the division.
		if common := min(uint(-e), i.TrailingZeroBits()); i.Sign() != 0 && common > 0 {
			i.Rsh(i, common)
			e += int(common)
		}
		d.Lsh(d, uint(-e))
	}
	v, _ := new(big.Rat).SetFrac(i, d).Float64()
	return v
}

// ErrFormat means that bytes are no Sum in its normal form.
var ErrFormat = errors.New("exact: no sum in its normal form")

// Append appends the one encoded form that equal sums have: the number of digits
// as a uvarint of encoding/binary and, if it is not 0, the weight of the first
// one as a uvarint, a byte that is 1 if the sum is negative, and the digits, each
// a uint32 in little-endian order.
func (s *Sum) Append(dst []byte) []byte {
	c := s.clone()
	c.normalize()
	dst = binary.AppendUvarint(dst, uint64(len(c.digits)))
	if len(c.digits) == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(c.low))
	sign := int64(1)
	if c.digits[0] < 0 {
		sign = -1
	}
	dst = append(dst, byte((1-sign)/2))
	for _, d := range c.digits {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(sign*d))
	}
	return dst
}

// Decode reads a sum from the beginning of b, and returns what is behind it. It
// keeps nothing of b. The error is ErrFormat.
func Decode(b []byte) (s Sum, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > mostDigits {
		return Sum{}, nil, ErrFormat
	}
	if b = b[size:]; n == 0 {
		return Sum{}, b, nil
	}
	low, size := binary.Uvarint(b)
	if size <= 0 || low+n > mostDigits || uint64(len(b)-size) < 1+4*n || b[size] > 1 {
		return Sum{}, nil, ErrFormat
	}
	sign := 1 - 2*int64(b[size])
	b = b[size+1:]
	s = Sum{low: int(low), digits: make([]int64, n)}
	for i := range s.digits {
		s.digits[i] = sign * int64(binary.LittleEndian.Uint32(b[4*i:]))
	}
	if s.digits[0] == 0 || s.digits[n-1] == 0 {
		return Sum{}, nil, ErrFormat
	}
	return s, b[4*n:], nil
}
