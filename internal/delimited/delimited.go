package delimited

import "encoding/binary"

// Append appends the length of b and b.
func Append[B string | []byte](dst []byte, b B) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// Cut takes what Append has written off the front of b. Field and rest are parts of b;
// ok is false if b is cut short.
func Cut(b []byte) (field, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	b = b[n:]
	return b[:size], b[size:], true
}
