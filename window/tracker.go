package window

// Input is something that a task reads and that has a watermark of its own: a
// partition of a source (PartitionClock), or a partition of a repartition topic
// (Upstreams).
type Input interface {
	// Watermark returns the input's watermark: no on-time event earlier than
	// it is to come. It never falls.
	Watermark() int64

	// Idle reports whether the input is known to have nothing to say for the
	// time being. It then does not hold the watermark of its task back.
	Idle() bool

	// Clocked returns the watermark that an idle input has by the wall clock;
	// ok is false if it is not idle, or stands still when it is. It counts only
	// while all inputs are idle, and it may fall when the input wakes up.
	Clocked() (w int64, ok bool)
}

// Tracker is the watermark of a task: the least of the watermarks of those of
// its inputs that are not idle. When all inputs are idle it stands still, or
// follows the wall clock by the least of those that do so. It never falls: when an
// input wakes up behind it, it stands still. It is MaxTime only when every input
// is, so an input that is idle but may go on does not end a bounded run.
//
// Make one with NewTracker. It is not safe for use by several goroutines.
type Tracker struct {
	inputs    []Input
	watermark int64
	durable   int64 // the highest watermark before MaxTime
	holder    int   // the input that holds the watermark back, or -1
	held      int64 // the holder's watermark when last looked at
}

// NewTracker returns the tracker of a task with these inputs, which do not
// change during the task's life. Without inputs its watermark stays MinTime.
func NewTracker(inputs ...Input) *Tracker {
	t := &Tracker{inputs: inputs, watermark: MinTime, durable: MinTime, holder: -1}
	t.Refresh()
	return t
}

// Restore raises the watermark to at least w, which was kept before a restart
// (see Durable).
func (t *Tracker) Restore(w int64) {
	t.watermark, t.durable = max(t.watermark, w), max(t.durable, w)
}

// Moved takes note that the watermark or idleness of input i, in the order of
// NewTracker, has changed, and reports whether the task's watermark rose. It is
// cheap unless i is the input that holds the watermark back.
func (t *Tracker) Moved(i int) bool {
	if t.holder >= 0 && i != t.holder {
		return false
	}
	return t.Refresh()
}

// Refresh looks at every input again and reports whether the watermark rose.
func (t *Tracker) Refresh() bool {
	t.holder, t.held = -1, MaxTime
	endless := false
	for i, in := range t.inputs {
		w := in.Watermark()
		endless = endless || w != MaxTime
		if !in.Idle() && (t.holder < 0 || w < t.held) {
			t.holder, t.held = i, w
		}
	}
	if t.holder >= 0 && t.held == MaxTime && endless {
		t.holder = -1
	}
	if t.holder < 0 {
		w, ok := t.byClock()
		return ok && t.raise(w)
	}
	return t.raise(t.held)
}

func (t *Tracker) raise(w int64) bool {
	if w <= t.watermark {
		return false
	}
	t.watermark = w
	if w != MaxTime {
		t.durable = w
	}
	return true
}

// byClock returns the least of the watermarks by the wall clock, if all inputs
// are idle and some have one.
func (t *Tracker) byClock() (w int64, ok bool) {
	w = MaxTime
	for _, in := range t.inputs {
		if !in.Idle() {
			return MinTime, false
		}
		if c, clocked := in.Clocked(); clocked {
			w, ok = min(w, c), true
		}
	}
	return w, ok
}

// Clocked returns the task's watermark, and whether it follows the wall clock
// because all inputs are idle. It is what the task says about itself in its
// markers.
func (t *Tracker) Clocked() (w int64, ok bool) {
	_, ok = t.byClock()
	return t.watermark, ok
}

// Holder returns the input, in the order of NewTracker, whose watermark the
// task's waits for, and -1 if there is none: all are idle or have ended.
func (t *Tracker) Holder() int {
	if t.held == MaxTime {
		return -1
	}
	return t.holder
}

// Watermark returns the task's watermark.
func (t *Tracker) Watermark() int64 { return t.watermark }

// Durable returns the watermark to keep with the input offsets: the task's, or
// the last one before the end of a bounded run. Without it a restart would fall
// back to the inputs that were idle.
func (t *Tracker) Durable() int64 { return t.durable }

// Idle reports whether every input is idle. It is what the task says about
// itself in its markers.
func (t *Tracker) Idle() bool {
	for _, in := range t.inputs {
		if !in.Idle() {
			return false
		}
	}
	return len(t.inputs) > 0
}
