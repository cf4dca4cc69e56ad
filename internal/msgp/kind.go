package msgp

// Kind is the type of an encoded value.
type Kind uint8

// The kinds of values. Timestamps are an Extension.
const (
	Invalid Kind = iota // no value, or the one code that the format never uses
	NilKind
	Boolean
	Integer
	Float
	String
	Binary
	Array
	Map
	Extension
)

// String returns the kind as error messages name it.
func (k Kind) String() string {
	switch k {
	case NilKind:
		return "nil"
	case Boolean:
		return "a boolean"
	case Integer:
		return "an integer"
	case Float:
		return "a float"
	case String:
		return "a string"
	case Binary:
		return "binary data"
	case Array:
		return "an array"
	case Map:
		return "a map"
	case Extension:
		return "an extension"
	default:
		return "no valid value"
	}
}

// The first byte of a value, by the table of the specification.
const (
	maxPosFixInt = 0x7f
	codeFixMap   = 0x80
	codeFixArray = 0x90
	codeFixStr   = 0xa0
	codeNil      = 0xc0
	codeFalse    = 0xc2
	codeTrue     = 0xc3
	codeBin8     = 0xc4
	codeBin16    = 0xc5
	codeBin32    = 0xc6
	codeExt8     = 0xc7
	codeExt32    = 0xc9
	codeFloat32  = 0xca
	codeFloat64  = 0xcb
	codeUint8    = 0xcc
	codeUint16   = 0xcd
	codeUint32   = 0xce
	codeUint64   = 0xcf
	codeInt8     = 0xd0
	codeInt16    = 0xd1
	codeInt32    = 0xd2
	codeInt64    = 0xd3
	codeFixExt1  = 0xd4
	codeFixExt16 = 0xd8
	codeStr8     = 0xd9
	codeStr16    = 0xda
	codeStr32    = 0xdb
	codeArray16  = 0xdc
	codeArray32  = 0xdd
	codeMap16    = 0xde
	codeMap32    = 0xdf
	minNegFixInt = 0xe0
)

func kindOf(c byte) Kind {
	switch {
	case c <= maxPosFixInt || c >= minNegFixInt:
		return Integer
	case c < codeFixArray:
		return Map
	case c < codeFixStr:
		return Array
	case c < codeNil:
		return String
	case c == codeNil:
		return NilKind
	case c < codeFalse:
		return Invalid
	case c <= codeTrue:
		return Boolean
	case c <= codeBin32:
		return Binary
	case c <= codeExt32:
		return Extension
	case c <= codeFloat64:
		return Float
	case c <= codeInt64:
		return Integer
	case c <= codeFixExt16:
		return Extension
	case c <= codeStr32:
		return String
	case c <= codeArray32:
		return Array
	default:
		return Map
	}
}

// lengths says for the codes from nil to map32 how wide the length field
// behind the code is, and how many bytes follow beside what it counts (an
// extension's type). It never changes.
var lengths = [256]struct{ field, fixed uint8 }{
	codeBin8: {1, 0}, codeBin16: {2, 0}, codeBin32: {4, 0},
	codeExt8: {1, 1}, codeExt8 + 1: {2, 1}, codeExt32: {4, 1},
	codeFloat32: {0, 4}, codeFloat64: {0, 8},
	codeUint8: {0, 1}, codeUint16: {0, 2}, codeUint32: {0, 4}, codeUint64: {0, 8},
	codeInt8: {0, 1}, codeInt16: {0, 2}, codeInt32: {0, 4}, codeInt64: {0, 8},
	codeFixExt1: {0, 2}, codeFixExt1 + 1: {0, 3}, codeFixExt1 + 2: {0, 5},
	codeFixExt1 + 3: {0, 9}, codeFixExt16: {0, 17},
	codeStr8: {1, 0}, codeStr16: {2, 0}, codeStr32: {4, 0},
	codeArray16: {2, 0}, codeArray32: {4, 0}, codeMap16: {2, 0}, codeMap32: {4, 0},
}
