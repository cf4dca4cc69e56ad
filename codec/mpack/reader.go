package mpack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"
)

// Errors of a Reader, wrapped with the position.
var (
	// ErrShort: the bytes end within a value.
	ErrShort = errors.New("msgpack: cut short")
	// ErrType: the value is not of the type asked for, or does not fit in it.
	ErrType = errors.New("msgpack: unexpected type")
	// ErrDeep: values are nested deeper than MaxDepth.
	ErrDeep = errors.New("msgpack: nested too deeply")
)

// MaxDepth is how deep the values that Skip passes may be nested.
const MaxDepth = 10_000

// Reader reads msgpack values from bytes. After the first error every method
// returns the zero value of its type, so it is enough to look at Err once, at
// the end; loops over the counts of Map and Array then end as well.
type Reader struct {
	all, b []byte
	err    error
}

// NewReader returns a reader of b, which it does not change.
func NewReader(b []byte) Reader { return Reader{all: b, b: b} }

// Err returns the first error, or nil.
func (r *Reader) Err() error { return r.err }

// Rest returns the bytes that have not been read.
func (r *Reader) Rest() []byte { return r.b }

// Fail sets the error, unless there is one. It is for what a caller finds wrong
// with a value that it has read.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("at byte %d: %w", len(r.all)-len(r.b), err)
	}
}

// Nil reads nil and returns true, or reads nothing and returns false.
func (r *Reader) Nil() bool {
	if r.err != nil || len(r.b) == 0 || r.b[0] != 0xc0 {
		return false
	}
	r.b = r.b[1:]
	return true
}

// Map reads the head of a map and returns the number of its pairs.
func (r *Reader) Map() int {
	h := r.head()
	if r.err == nil && h.kind != kindMap {
		r.unexpected("a map", h)
	}
	if r.err != nil {
		return 0
	}
	return r.count(h.n, 2)
}

// Array reads the head of an array and returns the number of its values.
func (r *Reader) Array() int {
	h := r.head()
	if r.err == nil && h.kind != kindArray {
		r.unexpected("an array", h)
	}
	if r.err != nil {
		return 0
	}
	return r.count(h.n, 1)
}

// count checks that n items of at least size bytes can follow.
func (r *Reader) count(n uint64, size int) int {
	if n > uint64(len(r.b)/size) {
		r.Fail(ErrShort)
		return 0
	}
	return int(n)
}

// Bytes reads binary data or a string. The result aliases the input.
func (r *Reader) Bytes() []byte {
	h := r.head()
	if r.err == nil && h.kind != kindString && h.kind != kindBytes {
		r.unexpected("a string or binary data", h)
	}
	return r.take(h.n)
}

// String reads a string, or binary data. The result aliases the input.
func (r *Reader) String() string {
	b := r.Bytes()
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// Int reads an integer that fits in an int64.
func (r *Reader) Int() int64 {
	h := r.head()
	switch {
	case r.err != nil:
		return 0
	case h.kind == kindInt, h.kind == kindUint && h.n <= math.MaxInt64:
		return int64(h.n)
	}
	r.unexpected("an integer of 64 bits", h)
	return 0
}

// Uint reads an integer that is not negative.
func (r *Reader) Uint() uint64 {
	h := r.head()
	switch {
	case r.err != nil:
		return 0
	case h.kind == kindUint, h.kind == kindInt && int64(h.n) >= 0:
		return h.n
	}
	r.unexpected("an integer of 0 or more", h)
	return 0
}

// Float reads a number: a float of either size, or an integer.
func (r *Reader) Float() float64 {
	h := r.head()
	if r.err != nil {
		return 0
	}
	switch h.kind {
	case kindFloat:
		return math.Float64frombits(h.n)
	case kindInt:
		return float64(int64(h.n))
	case kindUint:
		return float64(h.n)
	}
	r.unexpected("a number", h)
	return 0
}

// Bool reads a boolean.
func (r *Reader) Bool() bool {
	h := r.head()
	if r.err == nil && h.kind != kindBool {
		r.unexpected("a boolean", h)
	}
	return r.err == nil && h.n == 1
}

// Skip passes over one value of any type, with all that is in it. It does not
// recurse.
func (r *Reader) Skip() {
	// stack holds how many values each open map or array still has to come.
	var few [16]uint64
	stack := few[:0]
	for r.err == nil {
		switch h := r.head(); h.kind {
		case kindMap, kindArray:
			n := h.n
			if h.kind == kindMap {
				n *= 2
			}
			if r.err == nil && n > 0 {
				r.count(n, 1)
				if len(stack) == MaxDepth {
					r.Fail(ErrDeep)
				}
				stack = append(stack, n)
				continue
			}
		case kindString, kindBytes, kindExt:
			r.take(h.n)
		}
		for len(stack) > 0 {
			if stack[len(stack)-1]--; stack[len(stack)-1] > 0 {
				break
			}
			stack = stack[:len(stack)-1]
		}
		if len(stack) == 0 {
			return
		}
	}
}

func (r *Reader) take(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.b)) {
		r.Fail(ErrShort)
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

type kind uint8

const (
	kindNil kind = iota
	kindBool
	kindInt
	kindUint
	kindFloat
	kindString
	kindBytes
	kindArray
	kindMap
	kindExt
)

// head is the start of a value: its kind, and its value or, for kinds with
// content, its length.
type head struct {
	code byte
	kind kind
	n    uint64
}

func (r *Reader) unexpected(want string, h head) {
	r.Fail(fmt.Errorf("%w: code %#02x, want %s", ErrType, h.code, want))
}

// layouts says for the codes from 0xc0 to 0xdf what they begin and how many
// bytes of number follow. Extensions have a type byte after the length.
var layouts = [32]struct {
	kind kind
	size uint8
	n    uint8 // the length of fixed extensions
	bad  bool
}{
	0x00: {kind: kindNil}, 0x01: {bad: true},
	0x02: {kind: kindBool}, 0x03: {kind: kindBool, n: 1},
	0x04: {kind: kindBytes, size: 1}, 0x05: {kind: kindBytes, size: 2}, 0x06: {kind: kindBytes, size: 4},
	0x07: {kind: kindExt, size: 1}, 0x08: {kind: kindExt, size: 2}, 0x09: {kind: kindExt, size: 4},
	0x0a: {kind: kindFloat, size: 4}, 0x0b: {kind: kindFloat, size: 8},
	0x0c: {kind: kindUint, size: 1}, 0x0d: {kind: kindUint, size: 2},
	0x0e: {kind: kindUint, size: 4}, 0x0f: {kind: kindUint, size: 8},
	0x10: {kind: kindInt, size: 1}, 0x11: {kind: kindInt, size: 2},
	0x12: {kind: kindInt, size: 4}, 0x13: {kind: kindInt, size: 8},
	0x14: {kind: kindExt, n: 1}, 0x15: {kind: kindExt, n: 2}, 0x16: {kind: kindExt, n: 4},
	0x17: {kind: kindExt, n: 8}, 0x18: {kind: kindExt, n: 16},
	0x19: {kind: kindString, size: 1}, 0x1a: {kind: kindString, size: 2}, 0x1b: {kind: kindString, size: 4},
	0x1c: {kind: kindArray, size: 2}, 0x1d: {kind: kindArray, size: 4},
	0x1e: {kind: kindMap, size: 2}, 0x1f: {kind: kindMap, size: 4},
}

func (r *Reader) head() head {
	if r.err != nil {
		return head{}
	}
	if len(r.b) == 0 {
		r.Fail(ErrShort)
		return head{}
	}
	c := r.b[0]
	switch {
	case c <= 0x7f:
		r.b = r.b[1:]
		return head{c, kindUint, uint64(c)}
	case c <= 0x8f:
		r.b = r.b[1:]
		return head{c, kindMap, uint64(c & 0x0f)}
	case c <= 0x9f:
		r.b = r.b[1:]
		return head{c, kindArray, uint64(c & 0x0f)}
	case c <= 0xbf:
		r.b = r.b[1:]
		return head{c, kindString, uint64(c & 0x1f)}
	case c >= 0xe0:
		r.b = r.b[1:]
		return head{c, kindInt, uint64(int64(int8(c)))}
	}
	l := layouts[c-0xc0]
	if l.bad {
		r.Fail(fmt.Errorf("%w: code %#02x is never used", ErrType, c))
		return head{}
	}
	if len(r.b) < 1+int(l.size) {
		r.Fail(ErrShort)
		return head{}
	}
	h := head{c, l.kind, uint64(l.n)}
	switch number := r.b[1:]; l.size {
	case 1:
		h.n = uint64(number[0])
	case 2:
		h.n = uint64(binary.BigEndian.Uint16(number))
	case 4:
		h.n = uint64(binary.BigEndian.Uint32(number))
	case 8:
		h.n = binary.BigEndian.Uint64(number)
	}
	switch {
	case l.kind == kindExt:
		h.n++ // the type byte
	case l.kind == kindFloat && l.size == 4:
		h.n = math.Float64bits(float64(math.Float32frombits(uint32(h.n))))
	case l.kind == kindInt:
		shift := 64 - 8*uint(l.size)
		h.n = uint64(int64(h.n<<shift) >> shift)
	}
	r.b = r.b[1+l.size:]
	return h
}
