package codec

import (
	"encoding/binary"
	"math"
	"time"
	"unsafe"
)

// Codecs of basic types. Each is a constant in all but name: its type is an
// empty struct, so that assigning to it changes nothing.
//
// Those marked so write what the serializer of that name in Apache Kafka's Java
// client writes.
var (
	// String holds a string's bytes as they are, and does not check that they
	// are UTF-8 (Kafka: StringSerializer). What Decode returns aliases its
	// argument.
	String stringCodec

	// Bytes holds bytes as they are (Kafka: ByteArraySerializer). What Decode
	// returns is its argument.
	Bytes bytesCodec

	// Int32 is 4 bytes, big-endian two's complement (Kafka: IntegerSerializer).
	Int32 int32Codec

	// Int64 is 8 bytes, big-endian two's complement (Kafka: LongSerializer).
	Int64 int64Codec

	// Float64 is the 8 bytes of IEEE 754, big-endian (Kafka: DoubleSerializer).
	Float64 float64Codec

	// Time is an instant in Unix milliseconds, written as Int64 does; Decode
	// returns it in UTC. What is finer than a millisecond is cut off.
	Time timeCodec
)

type stringCodec struct{}

func (stringCodec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }

func (stringCodec) Decode(b []byte) (string, error) {
	return unsafe.String(unsafe.SliceData(b), len(b)), nil
}

type bytesCodec struct{}

func (bytesCodec) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }

func (bytesCodec) Decode(b []byte) ([]byte, error) { return b, nil }

type int32Codec struct{}

func (int32Codec) Append(dst []byte, v int32) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, uint32(v)), nil
}

func (int32Codec) Decode(b []byte) (int32, error) {
	if len(b) != 4 {
		return 0, lengthError("an int32", b, 4)
	}
	return int32(binary.BigEndian.Uint32(b)), nil
}

type int64Codec struct{}

func (int64Codec) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}

func (int64Codec) Decode(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, lengthError("an int64", b, 8)
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

type float64Codec struct{}

func (float64Codec) Append(dst []byte, v float64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), nil
}

func (float64Codec) Decode(b []byte) (float64, error) {
	if len(b) != 8 {
		return 0, lengthError("a float64", b, 8)
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}

type timeCodec struct{}

func (timeCodec) Append(dst []byte, v time.Time) ([]byte, error) {
	return Int64.Append(dst, v.UnixMilli())
}

func (timeCodec) Decode(b []byte) (time.Time, error) {
	if len(b) != 8 {
		return time.Time{}, lengthError("a time", b, 8)
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b))).UTC(), nil
}
