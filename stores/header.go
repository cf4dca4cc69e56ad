package stores

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/millrace/millrace/window"
)

// The content of the state header is the Firing of an aggregate and, if the
// record's own time cannot be the entry's, that time as a varint. Brokers refuse
// times far ahead of their clock, and the protocol those before 1970. An entry of
// a KeyValue store has no Firing: its header is that of an empty one and the
// time, or is left out.

// BoundTimes says which times the log takes: from and to are Unix milliseconds,
// inclusive. From the next Collect on an entry with another time carries it in
// its header, so that a restore finds it. By default every time is taken. The
// caller clamps the records' own times, to no less than these bounds.
func (db *DB) BoundTimes(from, to int64) { db.from, db.to = from, to }

// outside reports whether a record cannot carry the time t.
func (db *DB) outside(t int64) bool { return t < db.from || t > db.to }

// appendTimeHeader appends a header with an encoded Firing and a time.
func appendTimeHeader(dst, firing []byte, t int64) []byte {
	return binary.AppendVarint(append(dst, firing...), t)
}

// noFiring is the encoding of an empty Firing.
func noFiring() []byte { return window.AppendFiring(nil, window.Firing{}) }

// parseHeader returns what the header of r says, or what it stands for if there
// is none: the encoding of a Firing, and the time of the entry.
func (r LogRecord) parseHeader() (firing []byte, t int64, err error) {
	if r.Header == nil {
		// Kafka Streams wrote it, or another tool.
		return noFiring(), r.Time, nil
	}
	_, n, err := window.DecodeFiring(r.Header)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: header %s: %w", ErrCorrupt, StateHeader, err)
	}
	firing, rest := r.Header[:n], r.Header[n:]
	if len(rest) == 0 {
		return firing, r.Time, nil
	}
	t, n = binary.Varint(rest)
	if n <= 0 {
		return nil, 0, fmt.Errorf("%w: header %s: time", ErrCorrupt, StateHeader)
	}
	return firing, t, nil
}

// Equal reports whether two records leave the same under the same key. Their
// times may differ: brokers and clocks bound them.
func (r LogRecord) Equal(o LogRecord) bool {
	mine, _, err := r.parseHeader()
	theirs, _, otherErr := o.parseHeader()
	return err == nil && otherErr == nil && bytes.Equal(mine, theirs) &&
		bytes.Equal(r.Key, o.Key) && (r.Value == nil) == (o.Value == nil) && bytes.Equal(r.Value, o.Value)
}
