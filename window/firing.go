package window

// Firing is how far the results of one key and window have come: which pane is
// next, and what has been sent. Its methods decide, its owner sends. The zero
// value is that of a key and window with no result yet.
//
// The owner calls, for each key and window that has a value:
//
//   - Early when an early timer fires and the value has changed;
//   - Count after an event that is not late has changed the value;
//   - OnTime when the watermark completes the window, under OnUpdate only if the value
//     has changed since the last result;
//   - Update after a late event has changed the value, and Commit before the
//     state is committed;
//   - Close when the watermark closes the window, after OnTime, but not under OnUpdate.
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

	unsent int64 // events since the last result, if they are counted
	total  int64 // events in a window that ends by their number

	// What the owner notes, to be stored with the rest.
	marks Marks
	kept  string   // the last value sent, encoded
	time  int64    // and the time of the result that it was sent in
	seq   int64    // and its sequence number
	kind  PaneKind // and its kind, or NoPane if nothing is kept
}

// Marks are what an owner notes of an entry.
type Marks uint8

const (
	// EntryEmpty: no event is in the entry's value. It stands for a window that
	// has its events in other panes, or that has sent all that came.
	EntryEmpty Marks = 1 << iota
	// EntryPane: the entry is one pane of hopping windows, and not a window.
	EntryPane
	// EntryUnreadable: the retention of the entry's window is over.
	EntryUnreadable
)

// Rule is what Emit and the windows together say about firing. Make it once
// with Emit.Rule and hand it to the methods of Firing.
type Rule struct {
	onClose  bool
	updates  bool // an owner asks for what has changed, and for nothing else
	lateness bool // more may follow what is on time
	late     LatePolicy
	every    int64 // events to an early result
	events   int64 // events to the end of the window
}

// Rule returns the rule by which windows w fire under e. Both must be valid.
func (e Emit) Rule(w Windows) Rule {
	return Rule{
		onClose: e.onClose, updates: e.onUpdate, lateness: w.LatenessMillis() > 0 || e.onUpdate,
		late: e.late, every: e.every, events: w.Events(),
	}
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

// Early returns the pane of an early result. Under OnUpdate it is a late one where the
// end of a bounded run had completed the window before.
func (f *Firing) Early(r Rule) (Pane, bool) {
	if r.onClose || f.final || r.every > 0 && f.unsent == 0 {
		return Pane{}, false
	}
	if f.passed {
		return f.again(r)
	}
	return f.send(EarlyPane, false), true
}

// Count returns the pane of the result that is due because so many events have
// come: since the last one or, in count windows, since the first.
func (f *Firing) Count(r Rule) (Pane, bool) {
	if f.passed || f.final {
		return Pane{}, false
	}
	if r.events > 0 {
		if f.total++; f.total >= r.events {
			f.passed = true
			return f.send(OnTimePane, true), true
		}
	}
	if r.every == 0 {
		return Pane{}, false
	}
	if f.unsent++; f.unsent < r.every {
		return Pane{}, false
	}
	return f.send(EarlyPane, false), true
}

// OnTime returns the pane of the result of a window that is complete. Under OnUpdate it
// is a late one where the end of a bounded run had completed the window before.
func (f *Firing) OnTime(r Rule) (Pane, bool) {
	if r.onClose || f.final {
		return Pane{}, false
	}
	if f.passed {
		return f.again(r)
	}
	f.passed = true
	return f.send(OnTimePane, !r.lateness), true
}

// again returns the pane of another result of a window that had one on time.
func (f *Firing) again(r Rule) (Pane, bool) {
	if !r.updates {
		return Pane{}, false
	}
	return f.send(LatePane, false), true
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
	f.unsent, f.pending, f.final = 0, false, final
	return p
}

// Has reports whether any of the marks is set.
func (f *Firing) Has(m Marks) bool { return f.marks&m != 0 }

// Mark sets marks.
func (f *Firing) Mark(m Marks) { f.marks |= m }

// Unmark takes marks off.
func (f *Firing) Unmark(m Marks) { f.marks &^= m }

// Keep notes what was just sent in p: the encoded value and the result's time.
// Nothing is kept of a final result, which nothing takes back.
func (f *Firing) Keep(value []byte, time int64, p Pane) {
	f.kept, f.time, f.seq, f.kind = "", 0, 0, NoPane
	if !p.Final {
		f.kept, f.time, f.seq, f.kind = string(value), time, p.Sequence, p.Kind
	}
}

// Kept returns what was kept of the last result, encoded value and time, and the
// pane of its retraction; ok is false if nothing was.
func (f *Firing) Kept() (value string, time int64, p Pane, ok bool) {
	if f.kind == NoPane {
		return "", 0, Pane{}, false
	}
	return f.kept, f.time, Pane{Kind: f.kind, Sequence: f.seq, Retracted: true}, true
}

// KeptBytes returns the length of the value that is kept.
func (f *Firing) KeptBytes() int { return len(f.kept) }

// Rename makes f that of a window that goes on under another name, such as a
// session that has grown: nothing of it was sent, and it counts on.
func (f *Firing) Rename() { *f = Firing{unsent: f.unsent} }

// Absorb counts the events of another window that has become part of f's.
func (f *Firing) Absorb(o Firing) { f.unsent += o.unsent }
