package stores

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
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
	// Held is the owner's, a bit for each list that the object is in: while it
	// is not 0 the object is not evicted, and so stays valid over commits until
	// it is deleted.
	Held uint8

	key   string
	span  *spanPart[A] // in a Spans store
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

// Window returns the span of an object of a Spans store. For any other store its
// end is that of no window, but the start.
func (l *Live[A]) Window() window.Window {
	if l.span == nil {
		return window.Window{Start: l.start, End: l.start}
	}
	return window.Window{Start: l.start, End: l.span.end}
}

// Order returns the place of l in the order of scans: the start or, in a Spans
// store, when it is due as the last scan knew it.
func (l *Live[A]) Order() int64 {
	if l.span == nil {
		return l.start
	}
	return l.span.at
}

// Deleted reports whether l was deleted, so that a list which holds it skips it.
func (l *Live[A]) Deleted() bool { return l.deleted || l.gone }

// Cursor returns the position of l in a scan.
func (l *Live[A]) Cursor() Cursor {
	if l.span == nil {
		return Cursor{Start: l.start, Key: l.Key()}
	}
	return Cursor{Start: l.span.at, Key: l.Key(), id: l.span.id}
}

// Cursor is a position in the order of starts and, within one start, of
// encoded keys. A nil Key stands for 'before everything'; an empty one that is
// not nil is a key.
type Cursor struct {
	Start int64
	Key   []byte
	id    uint64 // of an entry in the index of a Spans store
}

// Visitor is called with one aggregate after the other, and says whether it wants
// more.
type Visitor[A any] interface {
	Visit(*Live[A]) (more bool)
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

// timeIn returns the time that an engine's value begins with; ok is false if it is
// cut short.
func timeIn(value []byte) (time int64, ok bool) {
	if len(value) < timeLen {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(value)), true
}

// splitTime takes the time off an engine's value.
func splitTime(b []byte) (time int64, rest []byte, err error) {
	time, ok := timeIn(b)
	if !ok {
		return 0, nil, fmt.Errorf("%w: value of %d bytes", ErrCorrupt, len(b))
	}
	return time, b[timeLen:], nil
}

// splitLive takes an engine's value apart.
func splitLive(b []byte) (time int64, f window.Firing, value []byte, err error) {
	time, rest, err := splitTime(b)
	if err != nil {
		return 0, f, nil, err
	}
	f, n, err := window.DecodeFiring(rest)
	if err != nil {
		return 0, f, nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return time, f, rest[n:], nil
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

// liveStore is what the encoding of an object needs to know of its store.
type liveStore[A any] interface {
	info() *storeInfo
	logKeyOf(*Live[A]) []byte
}

// appendValue appends the engine's value of l to the arena of c and notes its
// parts in e. It returns the length of the aggregate's bytes.
func appendValue[A any](c *collector, e *change, l *Live[A], codec codec.Codec[A], s liveStore[A]) (n int, err error) {
	from := len(c.arena)
	c.arena = binary.BigEndian.AppendUint64(c.arena, uint64(l.Time))
	c.arena = window.AppendFiring(c.arena, l.Firing)
	e.header = c.since(from + timeLen)
	arena, err := encodeValue(c.arena, l, codec, s)
	if err != nil {
		return 0, err
	}
	c.arena = arena
	e.value = c.since(from)
	e.log = c.since(int(e.header.to))
	if s.info().db.outside(l.Time) {
		from = len(c.arena)
		c.arena = appendTimeHeader(c.arena, c.at(e.header), l.Time)
		e.header = c.since(from)
	}
	return e.log.len(), nil
}

// encodeValue appends the bytes of l's aggregate.
func encodeValue[A any](dst []byte, l *Live[A], codec codec.Codec[A], s liveStore[A]) (out []byte, err error) {
	var stack []byte
	defer func() {
		if p := recover(); p != nil {
			err, stack = fmt.Errorf("panic: %v", p), debug.Stack()
		}
		if err != nil {
			err = &EncodeError{Store: s.info().name, Key: s.logKeyOf(l), Stack: stack,
				Err: fmt.Errorf("encoding key %q, window %d: %w", l.key, l.start, err)}
		}
	}()
	out, err = codec.Append(dst, *l.Value)
	if err == nil && len(out) < len(dst) {
		err = errors.New("the codec's Append has not returned what it was given to append to")
	}
	return out, err
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
const liveOverhead = 184

// sizeOfLive estimates the memory of an object whose aggregate encodes to n
// bytes. Decoded, these take more than encoded: pointers, slack of slices.
func sizeOfLive[A any](key string, n int) int32 {
	var a A
	return int32(min(1<<30, liveOverhead+len(key)+int(unsafe.Sizeof(a))+2*n))
}

// keptSize is the memory of the value that l's Firing keeps to take it back.
func keptSize[A any](l *Live[A]) int32 { return int32(min(1<<29, l.Firing.KeptBytes())) }
