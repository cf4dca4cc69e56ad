package msgp

import (
	"encoding/binary"
	"math"
)

// AppendNil appends nil.
func AppendNil(dst []byte) []byte { return append(dst, codeNil) }

// AppendBool appends a boolean.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, codeTrue)
	}
	return append(dst, codeFalse)
}

// AppendInt appends an integer in its shortest form: unsigned if it is not
// negative, signed if it is.
func AppendInt(dst []byte, v int64) []byte {
	switch {
	case v >= 0:
		return appendUint(dst, uint64(v))
	case v >= -32:
		return append(dst, byte(v))
	case v >= math.MinInt8:
		return append(dst, codeInt8, byte(v))
	case v >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(dst, codeInt16), uint16(v))
	case v >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(dst, codeInt32), uint32(v))
	default:
		return binary.BigEndian.AppendUint64(append(dst, codeInt64), uint64(v))
	}
}

func appendUint(dst []byte, v uint64) []byte {
	switch {
	case v <= maxPosFixInt:
		return append(dst, byte(v))
	case v <= math.MaxUint8:
		return append(dst, codeUint8, byte(v))
	case v <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, codeUint16), uint16(v))
	case v <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, codeUint32), uint32(v))
	default:
		return binary.BigEndian.AppendUint64(append(dst, codeUint64), v)
	}
}

// AppendFloat appends a number as a float64, bit by bit.
func AppendFloat(dst []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, codeFloat64), math.Float64bits(v))
}

// AppendStr appends a string. Its length is below 4 GiB.
func AppendStr(dst []byte, v string) []byte {
	if len(v) < 32 {
		dst = append(dst, codeFixStr|byte(len(v)))
	} else {
		dst = appendLength(dst, len(v), codeStr8, codeStr16, codeStr32)
	}
	return append(dst, v...)
}

// AppendBytes appends binary data. Its length is below 4 GiB.
func AppendBytes(dst, v []byte) []byte {
	return append(appendLength(dst, len(v), codeBin8, codeBin16, codeBin32), v...)
}

// AppendMapLen appends the head of a map; n pairs of key and value follow it.
func AppendMapLen(dst []byte, n int) []byte {
	if n < 16 {
		return append(dst, codeFixMap|byte(n))
	}
	return appendLength(dst, n, 0, codeMap16, codeMap32)
}

// AppendArrayLen appends the head of an array; n elements follow it.
func AppendArrayLen(dst []byte, n int) []byte {
	if n < 16 {
		return append(dst, codeFixArray|byte(n))
	}
	return appendLength(dst, n, 0, codeArray16, codeArray32)
}

// appendLength appends the shortest head for the length n. A code of 0 says
// that there is no head of that width.
func appendLength(dst []byte, n int, code8, code16, code32 byte) []byte {
	switch {
	case n <= math.MaxUint8 && code8 != 0:
		return append(dst, code8, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, code16), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(dst, code32), uint32(n))
	}
}
