package window

import (
	"encoding/binary"
	"fmt"
)

// IdleLease is how long, in milliseconds of processing time, a task that said
// that it is idle is taken at its word. One that lives repeats it well within
// that time. One that is stuck or has crashed may have been sent something
// since.
const IdleLease = 3000

// Upstream names a task that writes to a repartition topic.
type Upstream struct {
	SubTopology, Task int32
}

// Upstreams is the watermark of one partition of a repartition topic: the least
// of what the tasks that write to the topic have said in their markers in that
// partition, idle ones left out. A task that has not been heard of counts as
// MinTime. It implements Input.
//
// The tasks are known beforehand, from the plan. Make it with NewUpstreams. It
// belongs to the task that reads the partition and is not safe for use by
// several goroutines.
type Upstreams struct {
	index    map[Upstream]*upstream
	tasks    []*upstream
	tracker  *Tracker
	heard    bool
	fallback bool
}

// upstream is one task's entry in the vector; it is an Input of the partition's
// own tracker.
type upstream struct {
	id         Upstream
	position   int
	tasks      int32
	generation int32
	watermark  int64 // without the end of a bounded run
	heard      bool
	idle       bool
	clocked    bool // its watermark follows the wall clock while it is idle
	ended      bool
	// fresh is set by each marker; said is when it was first looked at, and stale
	// set when that is too long ago.
	fresh, stale bool
	said         int64
}

func (u *upstream) Watermark() int64 {
	if u.ended {
		return MaxTime
	}
	return u.watermark
}

func (u *upstream) Idle() bool { return u.idle && !u.stale && !u.ended }

func (u *upstream) Clocked() (int64, bool) { return u.watermark, u.clocked && u.Idle() }

// NewUpstreams returns the watermark of a partition to which exactly these
// tasks write. Duplicates count once.
func NewUpstreams(expected []Upstream) *Upstreams {
	u := &Upstreams{index: make(map[Upstream]*upstream, len(expected))}
	var inputs []Input
	for _, id := range expected {
		if u.index[id] != nil {
			continue
		}
		t := &upstream{id: id, position: len(u.tasks), watermark: MinTime}
		u.index[id] = t
		u.tasks = append(u.tasks, t)
		inputs = append(inputs, t)
	}
	u.tracker = NewTracker(inputs...)
	return u
}

// UseOwnTime lets the partition's own highest event time (see ObserveTime) be
// its watermark until the first marker of any task. It is for a topic that was
// taken over from a program that writes no markers.
func (u *Upstreams) UseOwnTime() { u.fallback = true }

// ObserveTime takes note of the event time of a record in the partition, and
// reports whether the watermark rose. It does nothing without UseOwnTime, or
// once a marker was heard.
func (u *Upstreams) ObserveTime(t int64) (moved bool) {
	if !u.fallback || u.heard || t <= u.tracker.watermark || t == MaxTime {
		return false
	}
	u.tracker.Restore(t)
	return true
}

// Observe takes note of a marker, and reports whether the watermark or idleness
// changed. Markers of a lower generation than one already heard of the same
// task are ignored, and the watermark of a task only rises. A marker of a task
// that is not expected returns ErrMarker and changes nothing: the topic holds
// what another plan wrote.
func (u *Upstreams) Observe(m Marker) (moved bool, err error) {
	t := u.index[Upstream{m.SubTopology, m.Task}]
	if t == nil {
		return false, fmt.Errorf("%w: sub-topology %d, task %d is none of the %d that write here",
			ErrMarker, m.SubTopology, m.Task, len(u.tasks))
	}
	if t.heard && m.Generation < t.generation {
		return false, nil
	}
	idle := u.Idle()
	// An end lasts for the generation that told it: the task of a later one
	// runs on.
	t.ended = m.Watermark == MaxTime || t.ended && m.Generation == t.generation
	if m.Watermark != MaxTime {
		t.watermark = max(t.watermark, m.Watermark)
	}
	t.generation, t.tasks, t.idle, t.clocked, t.heard = m.Generation, m.Tasks, m.Idle, m.Clocked, true
	t.fresh, t.stale = true, false
	u.heard = true
	moved = u.tracker.Moved(t.position)
	return moved || idle != u.Idle(), nil
}

// Tick takes note of the wall clock, in Unix milliseconds: tasks that have not
// said for IdleLease that they are idle count as not idle. It reports whether
// the watermark or idleness changed.
func (u *Upstreams) Tick(now int64) (moved bool) {
	idle := u.Idle()
	for _, t := range u.tasks {
		if t.fresh {
			t.said, t.fresh = now, false
		}
		if t.idle && !t.stale && now-t.said > IdleLease {
			t.stale = true
			moved = u.tracker.Refresh() || moved
		}
	}
	return moved || idle != u.Idle()
}

// Watermark returns the partition's watermark. It never falls.
func (u *Upstreams) Watermark() int64 { return u.tracker.Watermark() }

// Idle reports whether all upstream tasks are idle.
func (u *Upstreams) Idle() bool { return u.tracker.Idle() }

// Clocked returns the watermark, and whether it follows the wall clock: all
// upstream tasks are idle, and those that let it follow have said so.
func (u *Upstreams) Clocked() (w int64, ok bool) { return u.tracker.Clocked() }

// Heard returns of how many of the expected tasks a marker was seen.
func (u *Upstreams) Heard() (heard, expected int) {
	for _, t := range u.tasks {
		if t.heard {
			heard++
		}
	}
	return heard, len(u.tasks)
}

// Unheard returns the expected tasks that no marker has come from.
func (u *Upstreams) Unheard() []Upstream {
	var unheard []Upstream
	for _, t := range u.tasks {
		if !t.heard {
			unheard = append(unheard, t.id)
		}
	}
	return unheard
}

// Waiting returns the tasks that hold the watermark back: those that have not
// been heard of, or else those with the least watermark. It is for people who
// ask why nothing fires.
func (u *Upstreams) Waiting() []Upstream {
	var waiting []Upstream
	least := MaxTime
	for _, t := range u.tasks {
		w := t.Watermark()
		if t.Idle() || w > least {
			continue
		}
		if w < least {
			least, waiting = w, waiting[:0]
		}
		waiting = append(waiting, t.id)
	}
	return waiting
}

// The encoding of the vector is a version byte, the partition's watermark (8
// bytes, big-endian), and the markers of the tasks heard of, one behind the
// other.
const vectorVersion = 1

// Append appends the vector to dst, for Restore after a restart at the same
// input offset: 9 bytes and 26 for each task heard of. The end of a bounded run
// is not in it.
func (u *Upstreams) Append(dst []byte) []byte {
	dst = append(dst, vectorVersion)
	dst = binary.BigEndian.AppendUint64(dst, uint64(u.tracker.Durable()))
	for _, t := range u.tasks {
		if t.heard {
			dst = Marker{
				SubTopology: t.id.SubTopology, Task: t.id.Task, Tasks: t.tasks,
				Generation: t.generation, Watermark: t.watermark, Idle: t.idle, Clocked: t.clocked,
			}.Append(dst)
		}
	}
	return dst
}

// Restore reads what Append wrote, before the first marker. Tasks that are no
// longer expected are left out. Errors wrap ErrVector and change nothing.
func (u *Upstreams) Restore(b []byte) error {
	if len(b) < 9 || b[0] != vectorVersion || (len(b)-9)%markerLen != 0 {
		return fmt.Errorf("%w: %d bytes of version %d wanted, have %d bytes", ErrVector,
			9+len(u.tasks)*markerLen, vectorVersion, len(b))
	}
	w := int64(binary.BigEndian.Uint64(b[1:]))
	var markers []Marker
	for rest := b[9:]; len(rest) > 0; rest = rest[markerLen:] {
		m, err := DecodeMarker(rest[:markerLen])
		if err != nil {
			return fmt.Errorf("%w: %w", ErrVector, err)
		}
		markers = append(markers, m)
	}
	for _, m := range markers {
		if u.index[Upstream{m.SubTopology, m.Task}] == nil {
			continue
		}
		if _, err := u.Observe(m); err != nil {
			return err
		}
	}
	u.tracker.Restore(w)
	return nil
}
