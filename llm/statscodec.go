package llm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/millrace/millrace/codec"
)

// StatsCodec encodes Stats without loss. Equal Stats have equal bytes. Decode
// keeps nothing of its input.
//
// The layout, version 1; uvarint is that of encoding/binary, float is a
// float64's bits in little-endian order:
//
//	byte     version
//	uvarint  Count, Errors, PromptTokens, CompletionTokens, QualityCount
//	float    CostUSD, QualitySum, LatencySum, LatencyMax
//	uvarint  latencies that count as zero
//	uvarint  number of bins that are not empty; then for each, by rising index:
//	  varint   index for the first, uvarint distance to the one before for others
//	  uvarint  count
//
// The version stands for the sketch's parameters too.
var StatsCodec codec.Codec[Stats] = statsCodec{}

// ErrStats means that bytes are no encoded Stats of a version that is known.
var ErrStats = errors.New("llm: no valid encoded stats")

const statsVersion = 1

type statsCodec struct{}

func (statsCodec) Append(dst []byte, s Stats) ([]byte, error) {
	dst = append(dst, statsVersion)
	for _, n := range [...]int64{s.Count, s.Errors, s.PromptTokens, s.CompletionTokens, s.QualityCount} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	for _, f := range [...]float64{s.CostUSD, s.QualitySum, s.LatencySum, s.LatencyMax} {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
	}
	return s.latency.append(dst), nil
}

func (statsCodec) Decode(b []byte) (Stats, error) {
	if len(b) == 0 {
		return Stats{}, fmt.Errorf("%w: no bytes", ErrStats)
	}
	if b[0] != statsVersion {
		return Stats{}, fmt.Errorf("%w: version %d, this program knows %d", ErrStats, b[0], statsVersion)
	}
	in := input{b: b[1:]}
	var s Stats
	for _, n := range [...]*int64{&s.Count, &s.Errors, &s.PromptTokens, &s.CompletionTokens, &s.QualityCount} {
		*n = in.count()
	}
	for _, f := range [...]*float64{&s.CostUSD, &s.QualitySum, &s.LatencySum, &s.LatencyMax} {
		*f = in.float()
	}
	in.sketch(&s.latency, s.Count)
	if in.err == nil && len(in.b) > 0 {
		in.err = fmt.Errorf("%d bytes after the end", len(in.b))
	}
	if in.err == nil && (s.Errors > s.Count || s.QualityCount > s.Count) {
		in.err = fmt.Errorf("%d errors and %d qualities of %d events", s.Errors, s.QualityCount, s.Count)
	}
	if in.err != nil {
		return Stats{}, fmt.Errorf("%w: %w", ErrStats, in.err)
	}
	return s, nil
}

// append writes the sketch's part of the layout.
func (s *sketch) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, s.zeros)
	n := uint64(0)
	for range s.all {
		n++
	}
	dst = binary.AppendUvarint(dst, n)
	first, previous := true, 0
	for index, count := range s.all {
		if first {
			dst = binary.AppendVarint(dst, int64(index))
		} else {
			dst = binary.AppendUvarint(dst, uint64(index-previous))
		}
		first, previous = false, index
		dst = binary.AppendUvarint(dst, count)
	}
	return dst
}

// input reads the layout; its error is sticky.
type input struct {
	b   []byte
	err error
}

func (in *input) fail(err error) {
	if in.err == nil {
		in.err = err
	}
	in.b = nil
}

var (
	errShort  = errors.New("cut short")
	errSketch = errors.New("the sketch contradicts itself")
)

func (in *input) uvarint() uint64 {
	v, n := binary.Uvarint(in.b)
	if n <= 0 {
		in.fail(errShort)
		return 0
	}
	in.b = in.b[n:]
	return v
}

func (in *input) varint() int64 {
	v, n := binary.Varint(in.b)
	if n <= 0 {
		in.fail(errShort)
		return 0
	}
	in.b = in.b[n:]
	return v
}

func (in *input) count() int64 {
	v := in.uvarint()
	if v > math.MaxInt64 {
		in.fail(fmt.Errorf("the count %d", v))
		return 0
	}
	return int64(v)
}

// float reads a sum or a maximum of amounts.
func (in *input) float() float64 {
	if len(in.b) < 8 {
		in.fail(errShort)
		return 0
	}
	f := math.Float64frombits(binary.LittleEndian.Uint64(in.b))
	in.b = in.b[8:]
	if !(f >= 0) {
		in.fail(fmt.Errorf("the amount %v", f))
	}
	return f
}

// sketch reads a sketch of so many values into s, which is empty.
func (in *input) sketch(s *sketch, values int64) {
	s.zeros = in.uvarint()
	left := uint64(values)
	if s.zeros > left {
		in.fail(errSketch)
		return
	}
	left -= s.zeros
	bins := in.uvarint()
	// The first pass checks. The second begins with the outermost bins, so that
	// a store takes its final extent at once instead of growing bin by bin.
	second := *in
	first, last := in.bins(bins, func(_ int, count uint64) bool {
		ok := count > 0 && count <= left
		left -= count
		return ok
	})
	if in.err == nil && left != 0 {
		in.fail(errSketch)
	}
	if in.err != nil || bins == 0 {
		return
	}
	if bins > fewBins {
		s.makeStore()
	}
	s.addCount(first.index, first.count)
	if last.index != first.index {
		s.addCount(last.index, last.count)
	}
	second.bins(bins, func(index int, count uint64) bool {
		if index != first.index && index != last.index {
			s.addCount(index, count)
		}
		return true
	})
}

// decodedBin is a bin as it is read.
type decodedBin struct {
	index int
	count uint64
}

// bins reads n bins, hands each to take, which may refuse it, and returns the
// first and the last.
func (in *input) bins(n uint64, take func(index int, count uint64) bool) (first, last decodedBin) {
	lowest, highest := int64(sketchMapping.Index(sketchMin)), int64(sketchMapping.Index(sketchMax))
	index := int64(0)
	for i := uint64(0); i < n && in.err == nil; i++ {
		if i == 0 {
			index = in.varint()
		} else {
			step := in.uvarint()
			if step == 0 || step > sketchBins {
				in.fail(errSketch)
				return
			}
			index += int64(step)
		}
		count := in.uvarint()
		if in.err == nil && (index < lowest || index > highest || !take(int(index), count)) {
			in.fail(errSketch)
			return
		}
		last = decodedBin{int(index), count}
		if i == 0 {
			first = last
		}
	}
	return first, last
}
