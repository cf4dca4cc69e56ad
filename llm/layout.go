package llm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/exact"
)

// ErrAggregate means that bytes are no encoded aggregate of a version that is
// known.
var ErrAggregate = errors.New("llm: no valid encoded aggregate")

// layoutCodec encodes an aggregate without loss as a version byte and the parts
// that fields names, in their order. Equal aggregates have equal bytes. Decode
// keeps nothing of its input.
type layoutCodec[A any] struct {
	name    string
	version byte
	// fields writes or reads each part; it may look at what it has read.
	fields func(*layout, *A)
	// check says what is wrong with an aggregate that was read.
	check func(*A) error
}

// interface check
var _ codec.Codec[FeedbackStats] = layoutCodec[FeedbackStats]{}

func (c layoutCodec[A]) Append(dst []byte, a A) ([]byte, error) {
	l := layout{out: append(dst, c.version)}
	c.fields(&l, &a)
	return l.out, nil
}

func (c layoutCodec[A]) Decode(b []byte) (A, error) {
	var a, none A
	if len(b) == 0 {
		return none, fmt.Errorf("%w: %s: no bytes", ErrAggregate, c.name)
	}
	if b[0] != c.version {
		return none, fmt.Errorf("%w: %s: version %d, this program knows %d", ErrAggregate, c.name, b[0], c.version)
	}
	in := input{b: b[1:]}
	c.fields(&layout{in: &in}, &a)
	if in.err == nil && len(in.b) > 0 {
		in.err = fmt.Errorf("%d bytes after the end", len(in.b))
	}
	if in.err == nil {
		in.err = c.check(&a)
	}
	if in.err != nil {
		return none, fmt.Errorf("%w: %s: %w", ErrAggregate, c.name, in.err)
	}
	return a, nil
}

// layout writes the parts of an aggregate or, with in, reads them: one
// description serves for both directions.
//
// Of the forms, uvarint and varint are those of encoding/binary; a float is a
// float64's bits in little-endian order.
type layout struct {
	out []byte
	in  *input
}

func (l *layout) reading() bool { return l.in != nil }

// count is a number that is not negative, as a uvarint.
func (l *layout) count(n *int64) {
	if l.reading() {
		*n = l.in.count()
		return
	}
	l.out = binary.AppendUvarint(l.out, uint64(*n))
}

// time is any integer, as a varint.
func (l *layout) time(n *int64) {
	if l.reading() {
		*n = l.in.varint()
		return
	}
	l.out = binary.AppendVarint(l.out, *n)
}

// float is any number, as a float.
func (l *layout) float(f *float64) {
	if !l.reading() {
		l.out = binary.LittleEndian.AppendUint64(l.out, math.Float64bits(*f))
		return
	}
	if len(l.in.b) < 8 {
		l.in.fail(errShort)
		return
	}
	*f = math.Float64frombits(binary.LittleEndian.Uint64(l.in.b))
	l.in.b = l.in.b[8:]
}

// str is a text: its length as a uvarint, then its bytes.
func (l *layout) str(s *string) {
	if !l.reading() {
		l.out = append(binary.AppendUvarint(l.out, uint64(len(*s))), *s...)
		return
	}
	n := l.in.uvarint()
	if n > uint64(len(l.in.b)) {
		l.in.fail(errShort)
		return
	}
	*s = string(l.in.b[:n])
	l.in.b = l.in.b[n:]
}

// length is how many parts follow, at most so many; each has a byte at least.
func (l *layout) length(n, most int) int {
	if !l.reading() {
		l.out = binary.AppendUvarint(l.out, uint64(n))
		return n
	}
	read := l.in.uvarint()
	if read > uint64(most) || read > uint64(len(l.in.b)) {
		l.in.fail(fmt.Errorf("%d parts, where there are at most %d", read, most))
		return 0
	}
	return int(read)
}

// sketch is as in StatsCodec; it holds so many values.
func (l *layout) sketch(s *sketch, values int64) {
	if l.reading() {
		l.in.sketch(s, values)
		return
	}
	l.out = s.append(l.out)
}

// exact is as exact.Sum encodes itself.
func (l *layout) exact(s *exact.Sum) {
	if !l.reading() {
		l.out = s.Append(l.out)
		return
	}
	sum, rest, err := exact.Decode(l.in.b)
	if err != nil {
		l.in.fail(err)
		return
	}
	*s, l.in.b = sum, rest
}

// names is their number as a uvarint, for each its text and its count, and the
// count of all others.
func (l *layout) names(n *names) {
	count := l.length(len(n.all), mostNames)
	if l.reading() {
		n.all = make([]named, count)
	}
	for i := range n.all {
		l.str(&n.all[i].name)
		l.count(&n.all[i].count)
		if l.reading() && (n.all[i].count == 0 || i > 0 && n.all[i].name <= n.all[i-1].name) {
			l.in.fail(errors.New("names are not in their order"))
		}
	}
	l.count(&n.others)
}
