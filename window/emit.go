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

// Mode says how the results of one key and window belong together, in the words
// of the Dataflow Model (Akidau et al., VLDB 2015).
type Mode uint8

const (
	// Accumulating results hold everything in the window so far: each replaces
	// the one before.
	Accumulating Mode = iota
	// Discarding results hold what came since the one before: a reader adds
	// them up. The closing result may hold nothing.
	Discarding
	// Retracting results are like accumulating ones, but what was sent before
	// goes out again first, with its own sequence number and Retracted set: a
	// reader that adds up under another key takes it off.
	Retracting
)

// modeNames are the names of the modes.
var modeNames = [...]string{Accumulating: "accumulating", Discarding: "discarding", Retracting: "retracting"}

// String returns the mode's name as in "accumulating".
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// Emit says when the results of a window are sent, and what they hold.
//
// It is a value; its methods return a changed copy. The zero value is OnTime()
// with accumulating results and late updates sent one by one.
type Emit struct {
	onClose, onUpdate bool
	early             time.Duration
	every             int64
	commits           bool
	late              LatePolicy
	mode              Mode
	hasEarly, hasLate bool
	hasEvery          bool
}

// OnTime sends a result when the window is complete, then one for each late
// update (see Late), and a closing one when the allowed lateness is over. If
// the allowed lateness is 0 the on-time result is the final one.
func OnTime() Emit { return Emit{} }

// OnClose sends one result, when the window is closed: the final one. It is
// for readers that cannot take a correction, and costs the allowed lateness in
// delay. It goes with no other setting.
func OnClose() Emit { return Emit{onClose: true} }

// OnUpdate sends a result with each commit, and one when the window is complete, if the
// value has changed since the last result; and nothing otherwise. It is what Kafka
// Streams does by itself. Where most windows take few events it is much cheaper than
// OnTime: a window that one commit has seen is sent and logged once, not three times.
//
// No result is final, so that a reader cannot tell which is the last, and nothing that
// needs to know goes with it: topology.UntilWindowCloses, a cold tier. It may be
// Discarding or Retracting, and goes with no other setting. An application that
// changes to OnTime sends what is due of the windows that are still kept.
func OnUpdate() Emit { return Emit{onUpdate: true, commits: true, late: EachCommit} }

// Early also sends a result each time that much processing time has passed,
// if the value has changed since the last result, until the window is complete.
// What waits for its time is held in memory: if the windows that have changed take
// more of the budget than there is, they are sent with the next commit.
func (e Emit) Early(every time.Duration) Emit {
	e.early, e.hasEarly = every, true
	return e
}

// EarlyEachCommit also sends a result with each commit, if the value has changed
// since the last result, until the window is complete. It leaves with the commit,
// where one of Early waits for the next. It takes the place of Early; in an
// application that had that, what waited for the clock when it stopped is sent once
// its value changes again, or as the result on time.
func (e Emit) EarlyEachCommit() Emit {
	e.commits = true
	return e
}

// EarlyAfter also sends a result each time that n events have come to a key and
// window since its last result, until the window is complete. It may stand
// beside Early and EarlyEachCommit. Hopping windows are then not kept by pane.
func (e Emit) EarlyAfter(n int64) Emit {
	e.every, e.hasEvery = n, true
	return e
}

// Discarding makes each result hold only what came since the one before. Hopping
// windows are then not kept by pane.
func (e Emit) Discarding() Emit {
	e.mode = Discarding
	return e
}

// Retracting sends each result again, marked as retracted, before the one that
// takes its place. It keeps the last value sent of each key and window.
func (e Emit) Retracting() Emit {
	e.mode = Retracting
	return e
}

// Late sets what becomes of late updates. The default is EachUpdate.
func (e Emit) Late(p LatePolicy) Emit {
	e.late, e.hasLate = p, true
	return e
}

// ClosingOnly reports whether only the closing result is sent.
func (e Emit) ClosingOnly() bool { return e.onClose }

// UpdatesOnly reports whether results come of changes alone, and none of time.
func (e Emit) UpdatesOnly() bool { return e.onUpdate }

// EarlyEvery returns the interval of early results in processing time; 0 means
// that there are none.
func (e Emit) EarlyEvery() time.Duration { return e.early }

// EarlyByCommit reports whether there are early results with each commit.
func (e Emit) EarlyByCommit() bool { return e.commits }

// EarlyCount returns after how many events there is an early result; 0 means
// that there is none.
func (e Emit) EarlyCount() int64 { return e.every }

// Mode returns how the results of one key and window belong together.
func (e Emit) Mode() Mode { return e.mode }

// LatePolicy returns what becomes of late updates.
func (e Emit) LatePolicy() LatePolicy { return e.late }

// Validate returns every mistake in e, each wrapping ErrInvalid, or nil.
func (e Emit) Validate() error {
	var m mistakes
	m.unless(!e.hasEarly || e.early >= time.Millisecond, "early results every %v: want at least 1ms", e.early)
	m.unless(!e.hasEvery || e.every >= 1, "early results after %d events: want at least 1", e.every)
	m.unless(!e.hasEarly || !e.commits || e.onUpdate, "early results both every %v and each commit: leave out Early or EarlyEachCommit", e.early)
	m.unless(e.late <= NoLate, "late policy %d: want EachUpdate, EachCommit or NoLate", uint8(e.late))
	if e.onClose {
		const only = "OnClose sends only the closing result: leave out %s, or use OnTime"
		m.unless(!e.hasEarly, only, "Early")
		m.unless(!e.hasEvery, only, "EarlyAfter")
		m.unless(!e.commits, only, "EarlyEachCommit")
		m.unless(!e.hasLate, only, "Late")
		m.unless(e.mode == Accumulating, only, "Discarding and Retracting")
	}
	if e.onUpdate {
		const only = "OnUpdate sends each change with its commit: leave out %s, or use OnTime"
		m.unless(!e.hasEarly, only, "Early")
		m.unless(!e.hasEvery, only, "EarlyAfter")
		m.unless(!e.hasLate, only, "Late")
	}
	return errors.Join(m...)
}

// String describes e for people, as in "on time, early each 30s, late each_update".
func (e Emit) String() string {
	if e.onClose {
		return "on close"
	}
	s := "on update"
	if !e.onUpdate {
		s = "on time"
		if e.early > 0 {
			s += fmt.Sprintf(", early each %v", e.early)
		}
		if e.commits {
			s += ", early each_commit"
		}
		if e.every > 0 {
			s += fmt.Sprintf(", early after %d", e.every)
		}
		s += ", late " + e.late.String()
	}
	if e.mode != Accumulating {
		s += ", " + e.mode.String()
	}
	return s
}
