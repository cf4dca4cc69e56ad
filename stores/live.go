package stores

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/window"
)

// Live is one aggregate as an object that its owner changes in place. It
// belongs to the task's goroutine and is valid until the next Commit of its DB,
// or until it is deleted; then it is looked up again.
//
// Whoever changes Value, Time or Firing calls Touch of the store, before or
// after but ahead of the next Collect. The object is encoded once a commit,
// however often it changes.
type Live[A any] struct {
	Value *A
	// Time is the greatest event time in Value, in Unix milliseconds. It
	// becomes the time of the changelog record.
	Time int64
	// Firing is how far the results of this key and window have come.
	Firing window.Firing
	// Held is the owner's: while it is set the object is not evicted, and so
	// stays valid over commits until it is deleted.
	Held bool

	key   string
	start int64
	size  int32  // bytes charged to the budget
	used  uint32 // the interval of the last use; 0 if only a scan read it
	born  uint32 // the interval in which it was deleted
	dirty bool
	// stored: the engine may hold an entry of this key, so that a delete needs
	// a tombstone.
	stored  bool
	deleted bool
	// gone: no longer in the overlay; lists that still hold it skip it.
	gone bool
}

// Key returns the encoded key. It must not be changed.
func (l *Live[A]) Key() []byte { return keyBytes(l.key) }

// Start returns the start of the window, in Unix milliseconds; 0 without
// windows.
func (l *Live[A]) Start() int64 { return l.start }

// Cursor returns the position of l in a scan.
func (l *Live[A]) Cursor() Cursor { return Cursor{Start: l.start, Key: l.Key()} }

// Cursor is a position in the order of starts and, within one start, of
// encoded keys. A nil Key stands for 'before everything'; an empty one that is
// not nil is a key.
type Cursor struct {
	Start int64
	Key   []byte
}

// keyString makes a copy of key that serves as string and as bytes.
func keyString(key []byte) string {
	if len(key) == 0 {
		return ""
	}
	k := make([]byte, len(key))
	copy(k, key)
	return unsafe.String(unsafe.SliceData(k), len(k))
}

// keyBytes returns the bytes of key, which are never changed. It is not nil.
func keyBytes(key string) []byte {
	if key == "" {
		return []byte{}
	}
	return unsafe.Slice(unsafe.StringData(key), len(key))
}

// The engine's value of a live object is its time, big-endian, the encoding of
// its Firing and the aggregate's bytes. The changelog carries the last as
// value, the Firing as header and the time as the record's.
const timeLen = 8

// splitLive takes an engine's value apart.
func splitLive(b []byte) (time int64, f window.Firing, value []byte, err error) {
	if len(b) < timeLen {
		return 0, f, nil, fmt.Errorf("%w: value of %d bytes", ErrCorrupt, len(b))
	}
	f, n, err := window.DecodeFiring(b[timeLen:])
	if err != nil {
		return 0, f, nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return int64(binary.BigEndian.Uint64(b)), f, b[timeLen+n:], nil
}

// appendLive appends the engine's value of a changelog record of a live object.
func appendLive(dst []byte, r LogRecord) ([]byte, error) {
	firing, time, err := r.parseHeader()
	if err != nil {
		return nil, err
	}
	dst = append(binary.BigEndian.AppendUint64(dst, uint64(time)), firing...)
	return append(dst, r.Value...), nil
}

// decodeLive returns the aggregate, time and Firing of an engine's value. The
// codec gets a copy, which its result may alias.
func decodeLive[A any](c codec.Codec[A], b []byte) (*A, int64, window.Firing, error) {
	time, f, value, err := splitLive(b)
	if err != nil {
		return nil, 0, f, err
	}
	a, err := c.Decode(append([]byte{}, value...))
	if err != nil {
		return nil, 0, f, err
	}
	return &a, time, f, nil
}

// liveOverhead is what a live object takes beside its key and its aggregate: a
// Live, an entry of a map that is between half and fully used, two pointers in
// lists. TestBudgetIsHonest measures it.
const liveOverhead = 176

// sizeOfLive estimates the memory of an object whose aggregate encodes to n
// bytes. Decoded, these take more than encoded: pointers, slack of slices.
func sizeOfLive[A any](key string, n int) int32 {
	var a A
	return int32(min(1<<30, liveOverhead+len(key)+int(unsafe.Sizeof(a))+2*n))
}
