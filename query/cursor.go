package query

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
)

// position is the place of an item in a scan over several partitions. Items
// come in the order of their bytes in the store, then of partitions. That is a
// total order, so that the position of the last item of a page says for every
// partition where the next page begins.
type position struct {
	bytes     []byte
	partition int32
}

func (p position) compare(q position) int {
	return cmp.Or(bytes.Compare(p.bytes, q.bytes), cmp.Compare(p.partition, q.partition))
}

// begin returns the store's cursor with which partition goes on behind p.
func (p position) begin(partition int32) []byte {
	if partition <= p.partition {
		return append(bytes.Clone(p.bytes), 0)
	}
	return p.bytes
}

// Layout of a cursor, written in URL-safe Base64: version, the query's
// fingerprint, partition, position.
const (
	cursorVersion = 1
	cursorHeader  = 1 + 8 + 4
)

// fingerprint tells queries apart, so that a cursor is not used with another.
func fingerprint(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		h.Write(binary.AppendUvarint(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return h.Sum64()
}

func (p position) cursor(query uint64) string {
	b := []byte{cursorVersion}
	b = binary.BigEndian.AppendUint64(b, query)
	b = binary.BigEndian.AppendUint32(b, uint32(p.partition))
	return base64.RawURLEncoding.EncodeToString(append(b, p.bytes...))
}

// parseCursor reads what cursor wrote for the same query over n partitions. No
// text is no position.
func parseCursor(text string, query uint64, n int32) (*position, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxCursorText {
		return nil, bad(CodeBadCursor, "the cursor has %d bytes: give the next of an answer as it is", len(text))
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < cursorHeader || b[0] != cursorVersion {
		return nil, bad(CodeBadCursor, "the cursor cannot be read: give the next of an answer as it is")
	}
	partition := binary.BigEndian.Uint32(b[9:])
	if binary.BigEndian.Uint64(b[1:]) != query || partition >= uint32(n) {
		return nil, bad(CodeBadCursor, "the cursor belongs to another query: only limit and stale may differ from that of the page before")
	}
	return &position{bytes: b[cursorHeader:], partition: int32(partition)}, nil
}
