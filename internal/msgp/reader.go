package msgp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"
)

// MaxDepth is how deep arrays and maps may nest in a value that is skipped.
const MaxDepth = 64

// The problems that a Reader reports. Each comes wrapped in the position and
// what was found there; test for it with errors.Is.
var (
	// ErrTruncated means that the input ends inside a value.
	ErrTruncated = errors.New("the input ends inside a value")
	// ErrType means that a value is of another type than the one asked for.
	ErrType = errors.New("wrong type")
	// ErrOverflow means that an integer does not fit an int64.
	ErrOverflow = errors.New("the integer does not fit 64 signed bits")
	// ErrTrailing means that bytes follow the value.
	ErrTrailing = errors.New("bytes after the end of the value")
	// ErrDepth means that a value nests deeper than MaxDepth.
	ErrDepth = errors.New("nested too deep")
)

// Reader reads the values of one encoded input in turn. The zero Reader reads
// an empty input. A Reader is not safe for use by several goroutines at once.
type Reader struct {
	b   []byte
	pos int
	err error
}

// NewReader returns a Reader over b, which must not change while results of
// the Reader are in use.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Err returns the first problem, or nil.
func (r *Reader) Err() error { return r.err }

// Close returns the first problem; if there was none and input is left over,
// that is the problem.
func (r *Reader) Close() error {
	if r.err == nil && r.pos < len(r.b) {
		r.err = fmt.Errorf("%w: %d of them at offset %d", ErrTrailing, len(r.b)-r.pos, r.pos)
	}
	return r.err
}

// Kind returns the kind of the next value and does not consume it.
func (r *Reader) Kind() Kind {
	if r.err != nil || r.pos >= len(r.b) {
		return Invalid
	}
	return kindOf(r.b[r.pos])
}

// Nil consumes the next value if it is nil, and says whether it was.
func (r *Reader) Nil() bool {
	if r.err == nil && r.pos < len(r.b) && r.b[r.pos] == codeNil {
		r.pos++
		return true
	}
	return false
}

// Str reads a string. The result aliases the input.
func (r *Reader) Str() string {
	// The short form, which nearly every field name and most values have.
	if b := r.b; r.err == nil && r.pos < len(b) {
		if c := b[r.pos]; c&0xe0 == codeFixStr {
			from := r.pos + 1
			if to := from + int(c&0x1f); to <= len(b) {
				r.pos = to
				return alias(b[from:to])
			}
		}
	}
	return r.longStr()
}

func (r *Reader) longStr() string {
	c, ok := r.code()
	if !ok {
		return ""
	}
	if kindOf(c) != String {
		r.wrongType(c, "a string")
		return ""
	}
	return alias(r.take(r.length(c)))
}

// Bytes reads binary data, or the bytes of a string. The result aliases the
// input.
func (r *Reader) Bytes() []byte {
	c, ok := r.code()
	if !ok {
		return nil
	}
	if k := kindOf(c); k != Binary && k != String {
		r.wrongType(c, "binary data")
		return nil
	}
	return r.take(r.length(c))
}

// Bool reads a boolean.
func (r *Reader) Bool() bool {
	c, ok := r.code()
	if !ok {
		return false
	}
	if c&^1 != codeFalse {
		r.wrongType(c, "a boolean")
		return false
	}
	return c == codeTrue
}

// Int reads an integer of any width and sign.
func (r *Reader) Int() int64 {
	c, ok := r.code()
	if !ok {
		return 0
	}
	if c <= maxPosFixInt || c >= minNegFixInt {
		return int64(int8(c))
	}
	if c < codeUint8 || c > codeInt64 {
		r.wrongType(c, "an integer")
		return 0
	}
	return r.intBody(c)
}

// intBody reads what follows the code c of an integer that is no fixint.
func (r *Reader) intBody(c byte) int64 {
	b := r.take(1 << ((c - codeUint8) & 3))
	if b == nil {
		return 0
	}
	switch c {
	case codeUint8:
		return int64(b[0])
	case codeUint16:
		return int64(binary.BigEndian.Uint16(b))
	case codeUint32:
		return int64(binary.BigEndian.Uint32(b))
	case codeUint64:
		u := binary.BigEndian.Uint64(b)
		if u > math.MaxInt64 {
			r.fail(fmt.Errorf("%w: %d", ErrOverflow, u))
			return 0
		}
		return int64(u)
	case codeInt8:
		return int64(int8(b[0]))
	case codeInt16:
		return int64(int16(binary.BigEndian.Uint16(b)))
	case codeInt32:
		return int64(int32(binary.BigEndian.Uint32(b)))
	default:
		return int64(binary.BigEndian.Uint64(b))
	}
}

// Whole reads an integer, or a float without a fraction whose magnitude is at
// most 2^53: some writers send integers beyond 32 bits so.
func (r *Reader) Whole() int64 {
	if r.pos >= len(r.b) || r.b[r.pos] != codeFloat64 && r.b[r.pos] != codeFloat32 {
		return r.Int()
	}
	f := r.Float()
	if f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		r.fail(fmt.Errorf("%w: want an integer, found the number %v", ErrType, f))
		return 0
	}
	return int64(f)
}

// Float reads a number of any type as a float64. An integer beyond 2^53 is
// rounded.
func (r *Reader) Float() float64 {
	c, ok := r.code()
	if !ok {
		return 0
	}
	switch {
	case c == codeFloat64:
		if b := r.take(8); b != nil {
			return math.Float64frombits(binary.BigEndian.Uint64(b))
		}
	case c == codeFloat32:
		if b := r.take(4); b != nil {
			return float64(math.Float32frombits(binary.BigEndian.Uint32(b)))
		}
	case c <= maxPosFixInt || c >= minNegFixInt:
		return float64(int8(c))
	case c >= codeUint8 && c <= codeInt64:
		return float64(r.intBody(c))
	default:
		r.wrongType(c, "a number")
	}
	return 0
}

// MapLen reads the head of a map and returns how many pairs follow. The number
// is what the input claims: loop over it, allocate nothing for it.
func (r *Reader) MapLen() int {
	c, ok := r.code()
	if !ok {
		return 0
	}
	if c&0xf0 == codeFixMap {
		return int(c & 0x0f)
	}
	if kindOf(c) != Map {
		r.wrongType(c, "a map")
		return 0
	}
	return r.length(c)
}

// ArrayLen reads the head of an array and returns how many elements follow,
// with the caveat of MapLen.
func (r *Reader) ArrayLen() int {
	c, ok := r.code()
	if !ok {
		return 0
	}
	if kindOf(c) != Array {
		r.wrongType(c, "an array")
		return 0
	}
	return r.length(c)
}

// Skip consumes the next value, whatever it is.
func (r *Reader) Skip() { r.skip(0) }

func (r *Reader) skip(depth int) {
	c, ok := r.code()
	if !ok {
		return
	}
	switch k := kindOf(c); k {
	case Invalid:
		r.wrongType(c, "a value")
	case Map, Array:
		if depth == MaxDepth {
			r.fail(fmt.Errorf("%w: more than %d levels", ErrDepth, MaxDepth))
			return
		}
		n := r.length(c)
		if k == Map {
			n *= 2
		}
		for ; n > 0 && r.err == nil; n-- {
			r.skip(depth + 1)
		}
	default:
		r.take(r.length(c))
	}
}

// code consumes one byte.
func (r *Reader) code() (byte, bool) {
	if r.err != nil || r.pos >= len(r.b) {
		r.truncated()
		return 0, false
	}
	c := r.b[r.pos]
	r.pos++
	return c, true
}

// take consumes n bytes. It returns nil only after a problem.
func (r *Reader) take(n int) []byte {
	if r.err != nil || n > len(r.b)-r.pos {
		r.truncated()
		return nil
	}
	from := r.pos
	r.pos += n
	return r.b[from:r.pos:r.pos]
}

// length returns how much follows the code c: bytes, or for a map pairs and
// for an array elements. It reads the length field, if there is one.
func (r *Reader) length(c byte) int {
	switch {
	case c&0xe0 == codeFixStr:
		return int(c & 0x1f)
	case c&0xe0 == codeFixMap: // and fixarray
		return int(c & 0x0f)
	}
	l := lengths[c]
	var n int
	if l.field > 0 {
		b := r.take(int(l.field))
		if b == nil {
			return 0
		}
		switch l.field {
		case 1:
			n = int(b[0])
		case 2:
			n = int(binary.BigEndian.Uint16(b))
		case 4:
			// Every counted thing takes a byte at least; this also keeps the
			// number within an int of 32 bits.
			u := binary.BigEndian.Uint32(b)
			if uint64(u) > uint64(len(r.b)) {
				r.truncated()
				return 0
			}
			n = int(u)
		}
	}
	return n + int(l.fixed)
}

func (r *Reader) truncated() {
	if r.err == nil {
		r.err = fmt.Errorf("%w of %d bytes", ErrTruncated, len(r.b))
	}
}

func (r *Reader) wrongType(c byte, want string) {
	r.fail(fmt.Errorf("%w: want %s, found %s", ErrType, want, kindOf(c)))
}

func (r *Reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
