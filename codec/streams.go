package codec

import (
	"encoding/binary"
	"fmt"
)

// The functions in this file read and write keys as Kafka Streams does (facts
// checked against 4.3), so that an application can go on with the topics that a
// Kafka Streams application left, and Java programs can read its results. All
// numbers are big-endian; times are Unix milliseconds. Keys that Split functions
// return alias their argument.

// AppendWindowKey appends the key of a window store's changelog record:
// [key][start:8][seq:4] (WindowKeySchema). seq is 0 unless the store keeps
// duplicates.
func AppendWindowKey(dst, key []byte, start int64, seq int32) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, key...), uint64(start))
	return binary.BigEndian.AppendUint32(dst, uint32(seq))
}

// SplitWindowKey takes apart what AppendWindowKey made.
func SplitWindowKey(b []byte) (key []byte, start int64, seq int32, err error) {
	n := len(b) - 12
	if n < 0 {
		return nil, 0, 0, suffixError("a window store's key", b, 12)
	}
	return b[:n:n], int64(binary.BigEndian.Uint64(b[n:])), int32(binary.BigEndian.Uint32(b[n+8:])), nil
}

// AppendSessionKey appends the key of a session store's changelog record, which
// is also that of a session's result: [key][end:8][start:8] (SessionKeySchema,
// SessionWindowedSerializer). Kafka Streams' session ends are inclusive: end is
// the time of the last event.
func AppendSessionKey(dst, key []byte, start, end int64) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, key...), uint64(end))
	return binary.BigEndian.AppendUint64(dst, uint64(start))
}

// SplitSessionKey takes apart what AppendSessionKey made.
func SplitSessionKey(b []byte) (key []byte, start, end int64, err error) {
	n := len(b) - 16
	if n < 0 {
		return nil, 0, 0, suffixError("a session's key", b, 16)
	}
	return b[:n:n], int64(binary.BigEndian.Uint64(b[n+8:])), int64(binary.BigEndian.Uint64(b[n:])), nil
}

// AppendTimeWindowedKey appends the key of a window's result on an output topic:
// [key][start:8] (TimeWindowedSerializer). The window's size is not in it.
func AppendTimeWindowedKey(dst, key []byte, start int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, key...), uint64(start))
}

// SplitTimeWindowedKey takes apart what AppendTimeWindowedKey made.
func SplitTimeWindowedKey(b []byte) (key []byte, start int64, err error) {
	n := len(b) - 8
	if n < 0 {
		return nil, 0, suffixError("a windowed key", b, 8)
	}
	return b[:n:n], int64(binary.BigEndian.Uint64(b[n:])), nil
}

func suffixError(what string, b []byte, want int) error {
	return fmt.Errorf("%w %s from %d bytes: want at least %d", ErrDecode, what, len(b), want)
}
