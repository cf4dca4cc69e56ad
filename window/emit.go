package window

import (
	"errors"
	"fmt"
	"time"
)

// LatePolicy says what becomes of an update that reaches a key and window
// after its on-time result. Whatever the policy, the update is in the closing
// result.
type LatePolicy uint8

const (
	// EachUpdate sends a late result for every late update.
	EachUpdate LatePolicy = iota
	// EachCommit sends at most one late result a commit, with all late updates
	// since the last one in it.
	EachCommit
	// NoLate sends no late results but the closing one.
	NoLate
)

// String returns the policy's name as in "each_update".
func (p LatePolicy) String() string {
	switch p {
	case EachUpdate:
		return "each_update"
	case EachCommit:
		return "each_commit"
	case NoLate:
		return "no_late"
	}
	return fmt.Sprintf("LatePolicy(%d)", uint8(p))
}

// Emit says when the results of a window are sent. Each result holds
// everything in the window so far (accumulating panes in the sense of the
// Dataflow Model, Akidau et al. 2015): it replaces the one before.
//
// It is a value; its methods return a changed copy. The zero value is OnTime()
// with late updates sent one by one.
type Emit struct {
	onClose           bool
	early             time.Duration
	late              LatePolicy
	hasEarly, hasLate bool
}

// OnTime sends a result when the window is complete, then one for each late
// update (see Late), and a closing one when the allowed lateness is over. If
// the allowed lateness is 0 the on-time result is the final one.
func OnTime() Emit { return Emit{} }

// OnClose sends one result, when the window is closed: the final one. It is
// for readers that cannot take a correction, and costs the allowed lateness in
// delay. It goes with neither Early nor Late.
func OnClose() Emit { return Emit{onClose: true} }

// Early also sends a result each time that much processing time has passed,
// if the value has changed since the last result, until the window is complete.
func (e Emit) Early(every time.Duration) Emit {
	e.early, e.hasEarly = every, true
	return e
}

// Late sets what becomes of late updates. The default is EachUpdate.
func (e Emit) Late(p LatePolicy) Emit {
	e.late, e.hasLate = p, true
	return e
}

// ClosingOnly reports whether only the closing result is sent.
func (e Emit) ClosingOnly() bool { return e.onClose }

// EarlyEvery returns the interval of early results in processing time; 0 means
// that there are none.
func (e Emit) EarlyEvery() time.Duration { return e.early }

// LatePolicy returns what becomes of late updates.
func (e Emit) LatePolicy() LatePolicy { return e.late }

// Validate returns every mistake in e, each wrapping ErrInvalid, or nil.
func (e Emit) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...)))
	}
	if e.hasEarly && e.early < time.Millisecond {
		bad("early results every %v: want at least 1ms", e.early)
	}
	if e.late > NoLate {
		bad("late policy %d: want EachUpdate, EachCommit or NoLate", uint8(e.late))
	}
	if e.onClose && e.hasEarly {
		bad("OnClose sends only the closing result: leave out Early, or use OnTime")
	}
	if e.onClose && e.hasLate {
		bad("OnClose sends only the closing result: leave out Late, or use OnTime")
	}
	return errors.Join(errs...)
}

// String describes e for people, as in "on time, early each 30s, late each_update".
func (e Emit) String() string {
	if e.onClose {
		return "on close"
	}
	s := "on time"
	if e.early > 0 {
		s += fmt.Sprintf(", early each %v", e.early)
	}
	return s + ", late " + e.late.String()
}
