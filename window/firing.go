package window

import (
	"encoding/binary"
	"fmt"
)

// Firing is how far the results of one key and window have come: which pane is
// next, and what has been sent. Its methods decide, its owner sends. The zero
// value is that of a key and window with no result yet.
//
// The owner calls, for each key and window that has a value:
//
//   - Early when an early timer fires and the value has changed;
//   - OnTime when the watermark completes the window;
//   - Update after a late event has changed the value, and Commit before the
//     state is committed;
//   - Close when the watermark closes the window, after OnTime.
//
// Each returns the pane of the result to send, and whether there is one. Calls
// that come twice, or too late, return none.
//
// An owner that fires many windows in slices calls OnTime before it adds a late
// event to a window whose turn has not come; OnTime then finds nothing to do
// when the turn comes.
//
// These rules hold in any order of calls: sequences count from 0 without a gap;
// no early result follows an on-time or late one; one result at most is on
// time; the result of the first Close, or of OnTime if no lateness is allowed,
// is final, and nothing follows it.
type Firing struct {
	next    int64
	passed  bool // no result can be early or on time any more
	pending bool // a late update waits for Commit
	final   bool
}

// Rule is what Emit and the windows together say about firing. Make it once
// with Emit.Rule and hand it to the methods of Firing.
type Rule struct {
	onClose  bool
	lateness bool
	late     LatePolicy
}

// Rule returns the rule by which windows w fire under e. Both must be valid.
func (e Emit) Rule(w Windows) Rule {
	return Rule{onClose: e.onClose, lateness: w.LatenessMillis() > 0, late: e.late}
}

// Sequence returns the sequence number of the next result, which is also how
// many were sent.
func (f *Firing) Sequence() int64 { return f.next }

// Passed reports whether the time for an on-time result is over: it was sent,
// or the key came to the window only after it.
func (f *Firing) Passed() bool { return f.passed }

// Final reports whether the final result was sent. A late event must then no
// longer change the value.
func (f *Firing) Final() bool { return f.final }

// Early returns the pane of an early result.
func (f *Firing) Early(r Rule) (Pane, bool) {
	if r.onClose || f.passed || f.final {
		return Pane{}, false
	}
	return f.send(EarlyPane, false), true
}

// OnTime returns the pane of the result of a window that is complete.
func (f *Firing) OnTime(r Rule) (Pane, bool) {
	if r.onClose || f.passed || f.final {
		return Pane{}, false
	}
	f.passed = true
	return f.send(OnTimePane, !r.lateness), true
}

// Update returns the pane of the result after a late update. Under EachCommit
// it returns none and Commit does.
//
// A key whose first event in the window is late gets no on-time result: its
// first is late.
func (f *Firing) Update(r Rule) (Pane, bool) {
	if r.onClose || f.final {
		return Pane{}, false
	}
	f.passed = true
	switch r.late {
	case EachUpdate:
		return f.send(LatePane, false), true
	case EachCommit:
		f.pending = true
	}
	return Pane{}, false
}

// Commit returns the pane of the one late result that a commit may bring under
// EachCommit, if there was a late update since the last one.
func (f *Firing) Commit(Rule) (Pane, bool) {
	if !f.pending || f.final {
		return Pane{}, false
	}
	return f.send(LatePane, false), true
}

// Close returns the pane of the final result of a window that is closed, if it
// was not sent before. It is to be sent even if the value has not changed.
func (f *Firing) Close(Rule) (Pane, bool) {
	if f.final {
		return Pane{}, false
	}
	kind := LatePane
	if !f.passed {
		kind = OnTimePane
	}
	f.passed = true
	return f.send(kind, true), true
}

// send takes the next sequence number.
func (f *Firing) send(kind PaneKind, final bool) Pane {
	p := Pane{Kind: kind, Sequence: f.next, Final: final}
	f.next++
	f.pending, f.final = false, final
	return p
}

// FiringHeader is the key of the changelog record's header that carries the
// encoding of a Firing. Kafka Streams ignores it.
const FiringHeader = "__millrace.firing"

// The encoding of a Firing is one byte, version in the high half and flags in
// the low one, and the next sequence number as an unsigned varint: two bytes
// for a window of up to 127 results.
const (
	firingVersion = 1 << 4
	firingPassed  = 1 << 0
	firingPending = 1 << 1
	firingFinal   = 1 << 2
	firingFlags   = firingPassed | firingPending | firingFinal
)

// AppendFiring appends the encoding of f to dst: two to ten bytes.
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
	return binary.AppendUvarint(append(dst, b), uint64(f.next))
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
	if b[0]&0x0f&^firingFlags != 0 {
		return Firing{}, 0, fmt.Errorf("%w: unknown flags %#x", ErrFiring, b[0]&0x0f)
	}
	next, m := binary.Uvarint(b[1:])
	if m <= 0 || next > uint64(MaxTime) {
		return Firing{}, 0, fmt.Errorf("%w: sequence number cut short or out of range", ErrFiring)
	}
	return Firing{
		next:    int64(next),
		passed:  b[0]&firingPassed != 0,
		pending: b[0]&firingPending != 0,
		final:   b[0]&firingFinal != 0,
	}, 1 + m, nil
}
