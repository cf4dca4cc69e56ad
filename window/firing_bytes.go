package window

import (
	"encoding/binary"
	"fmt"
)

// FiringHeader is the key of the changelog record's header that carries the
// encoding of a Firing. Kafka Streams ignores it.
const FiringHeader = "__millrace.firing"

// The encoding of a Firing is one byte, version in the high half and flags in
// the low one; a second byte of flags if the first says so; the next sequence
// number; and, if the second byte says so, the numbers of events, unsent and in
// total, and what is kept: its time, sequence number, length and bytes. Numbers are varints, unsigned but
// for the time. A window of up to 127 results that keeps nothing takes two bytes.
const (
	firingVersion = 1 << 4
	firingPassed  = 1 << 0
	firingPending = 1 << 1
	firingFinal   = 1 << 2
	firingMore    = 1 << 3

	// In the second byte the lowest bits are the marks.
	firingMarks  = EntryEmpty | EntryPane | EntryUnreadable
	firingUnsent = 1 << 3
	firingKind   = 4 // by how much the kind of the value kept is shifted
	firingKinds  = 3 << firingKind
	firingTotal  = 1 << 6
	firingMost   = byte(firingMarks) | firingUnsent | firingKinds | firingTotal
)

// AppendFiring appends the encoding of f to dst.
func AppendFiring(dst []byte, f Firing) []byte {
	b := byte(firingVersion)
	if f.passed {
		b |= firingPassed
	}
	if f.pending {
		b |= firingPending
	}
	if f.final {
		b |= firingFinal
	}
	more := byte(f.marks) | byte(f.kind)<<firingKind
	if f.unsent > 0 {
		more |= firingUnsent
	}
	if f.total > 0 {
		more |= firingTotal
	}
	if more == 0 {
		return binary.AppendUvarint(append(dst, b), uint64(f.next))
	}
	dst = binary.AppendUvarint(append(dst, b|firingMore, more), uint64(f.next))
	if f.unsent > 0 {
		dst = binary.AppendUvarint(dst, uint64(f.unsent))
	}
	if f.total > 0 {
		dst = binary.AppendUvarint(dst, uint64(f.total))
	}
	if f.kind != NoPane {
		dst = binary.AppendUvarint(binary.AppendVarint(dst, f.time), uint64(f.seq))
		dst = append(binary.AppendUvarint(dst, uint64(len(f.kept))), f.kept...)
	}
	return dst
}

// DecodeFiring reads the Firing at the start of b and returns it with its
// length in bytes; what follows it is not looked at. Errors wrap ErrFiring.
func DecodeFiring(b []byte) (f Firing, n int, err error) {
	if len(b) == 0 {
		return Firing{}, 0, fmt.Errorf("%w: no bytes", ErrFiring)
	}
	if v := b[0] &^ 0x0f; v != firingVersion {
		return Firing{}, 0, fmt.Errorf("%w: version %d, this program knows %d",
			ErrFiring, v>>4, firingVersion>>4)
	}
	f = Firing{
		passed:  b[0]&firingPassed != 0,
		pending: b[0]&firingPending != 0,
		final:   b[0]&firingFinal != 0,
	}
	rest := b[1:]
	var more byte
	if b[0]&firingMore != 0 {
		if len(rest) == 0 || rest[0] == 0 || rest[0]&^firingMost != 0 {
			return Firing{}, 0, fmt.Errorf("%w: unknown flags", ErrFiring)
		}
		more, rest = rest[0], rest[1:]
		f.marks, f.kind = Marks(more)&firingMarks, PaneKind(more&firingKinds>>firingKind)
	}
	ok := true
	number := func() int64 {
		v, m := binary.Uvarint(rest)
		if m <= 0 || v > uint64(MaxTime) {
			ok = false
			return 0
		}
		rest = rest[m:]
		return int64(v)
	}
	f.next = number()
	if more&firingUnsent != 0 {
		f.unsent = number()
	}
	if more&firingTotal != 0 {
		f.total = number()
	}
	if f.kind != NoPane {
		time, m := binary.Varint(rest)
		if m <= 0 {
			return Firing{}, 0, fmt.Errorf("%w: the time of the value kept is cut short", ErrFiring)
		}
		f.time, rest = time, rest[m:]
		f.seq = number()
		size := number()
		if size > int64(len(rest)) {
			return Firing{}, 0, fmt.Errorf("%w: the value kept is cut short", ErrFiring)
		}
		f.kept, rest = string(rest[:size]), rest[size:]
	}
	if !ok {
		return Firing{}, 0, fmt.Errorf("%w: number cut short or out of range", ErrFiring)
	}
	return f, len(b) - len(rest), nil
}
