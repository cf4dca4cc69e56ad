package codec

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// OffsetMetadata is what Kafka Streams keeps in the metadata string of a
// committed offset (TopicPartitionMetadata). It is per input partition.
type OffsetMetadata struct {
	// Time is the partition's time in Unix milliseconds; -1 is unknown.
	Time int64
	// Processors are times by name. Kafka Streams keeps there, by store, up to
	// which window end results were sent. Partitions of a task are merged by
	// the greatest time of a name.
	Processors map[string]int64
}

const (
	offsetMetadataV1 = 1 // [1][time:8]
	offsetMetadataV2 = 2 // [2][time:8], and [n:4]{[len:4][name][time:8]} unless n is 0
)

// Encode returns m as Kafka Streams writes it: Base64 of version 2, with the
// names sorted.
func (m OffsetMetadata) Encode() string {
	b := binary.BigEndian.AppendUint64([]byte{offsetMetadataV2}, uint64(m.Time))
	if len(m.Processors) > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(len(m.Processors)))
		for _, name := range slices.Sorted(maps.Keys(m.Processors)) {
			b = binary.BigEndian.AppendUint32(b, uint32(len(name)))
			b = binary.BigEndian.AppendUint64(append(b, name...), uint64(m.Processors[name]))
		}
	}
	return base64.StdEncoding.EncodeToString(b)
}

var errOffsetMetadata = errors.New("not in a form of Kafka Streams")

// DecodeOffsetMetadata reads the metadata string of a committed offset, in
// version 1 or 2. The empty string, of an offset that a plain consumer
// committed, is the unknown time. Whatever else does not decode returns the
// unknown time with an error that wraps ErrDecode; Kafka Streams logs it and
// goes on, and callers may as well.
func DecodeOffsetMetadata(s string) (OffsetMetadata, error) {
	unknown := OffsetMetadata{Time: -1}
	if s == "" {
		return unknown, nil
	}
	fail := func(cause error) (OffsetMetadata, error) {
		return unknown, fmt.Errorf("%w the metadata of an offset, %q: %w", ErrDecode, s, cause)
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return fail(err)
	}
	if len(b) < 9 || b[0] != offsetMetadataV1 && b[0] != offsetMetadataV2 {
		return fail(errOffsetMetadata)
	}
	m := OffsetMetadata{Time: int64(binary.BigEndian.Uint64(b[1:]))}
	version, b := b[0], b[9:]
	if len(b) == 0 {
		return m, nil
	}
	if version == offsetMetadataV1 || len(b) < 4 {
		return fail(errOffsetMetadata)
	}
	n, b := binary.BigEndian.Uint32(b), b[4:]
	m.Processors = make(map[string]int64)
	for range n {
		if len(b) < 4 {
			return fail(errOffsetMetadata)
		}
		size := uint64(binary.BigEndian.Uint32(b))
		if b = b[4:]; uint64(len(b)) < size+8 {
			return fail(errOffsetMetadata)
		}
		m.Processors[string(b[:size])] = int64(binary.BigEndian.Uint64(b[size:]))
		b = b[size+8:]
	}
	if len(b) > 0 {
		return fail(errTrailing)
	}
	return m, nil
}
