package streamtest

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/window"
)

// TraceKind says what a TraceEvent tells of.
type TraceKind int

// The kinds of trace events.
const (
	// TraceStart: the task is about to be made, from what is committed.
	TraceStart TraceKind = iota
	// TraceStop: the task is gone; Crashed says if it crashed.
	TraceStop
	// TraceRead: the task is about to process a record.
	TraceRead
	// TraceAnswer: an input is about to be told whether it is read to its end, and
	// whether it has ended for good.
	TraceAnswer
	// TraceTick: the task is about to do what is due by watermark and clock.
	TraceTick
	// TraceSend: the task has sent a record, which a crash may still lose.
	TraceSend
	// TracePrepare: a commit of the task begins. TraceChangelog: its changelogs
	// are written. TraceOffsets: its input offsets are committed. TraceCommit: its
	// state is, and the commit is done.
	TracePrepare
	TraceChangelog
	TraceOffsets
	TraceCommit
)

// traceNames are the names of the kinds.
var traceNames = [...]string{
	TraceStart: "start", TraceStop: "stop", TraceRead: "read", TraceAnswer: "answer", TraceTick: "tick",
	TraceSend: "send", TracePrepare: "prepare", TraceChangelog: "changelog", TraceOffsets: "offsets", TraceCommit: "commit",
}

// String returns the kind's name, as in "read".
func (k TraceKind) String() string {
	if k >= 0 && int(k) < len(traceNames) {
		return traceNames[k]
	}
	return fmt.Sprintf("TraceKind(%d)", int(k))
}

// TraceEvent is something that happens to a task. It is what a test needs to
// follow the order in which a task saw things, which chance may decide.
type TraceEvent struct {
	Kind     TraceKind
	Instance int
	// SubTopology and Task name the task; Task is its partition number.
	SubTopology int
	Task        int32
	// Now is the clock's time, Watermark the task's before the event, in Unix
	// milliseconds.
	Now       time.Time
	Watermark int64

	// Topic, Partition, Offset and Time are those of a record that is read or
	// sent; a record that is sent has no offset yet. An answer has topic and
	// partition.
	Topic     string
	Partition int32
	Offset    int64
	Time      int64
	// Marker is set if the record is a watermark marker.
	Marker *window.Marker
	// AtEnd and Ended are set by TraceAnswer, Crashed by TraceStop, Generation by
	// TraceStart.
	AtEnd, Ended, Crashed bool
	Generation            int32
}

// String shows the event in a line, as in "0_1 read in/1@17 at
// 2026-01-01T00:00:01.000Z; watermark -infinity".
func (e TraceEvent) String() string {
	s := fmt.Sprintf("%d_%d %v", e.SubTopology, e.Task, e.Kind)
	switch e.Kind {
	case TraceStart:
		s += fmt.Sprintf(" on instance %d, generation %d", e.Instance, e.Generation)
	case TraceStop:
		if e.Crashed {
			s += " crashed"
		}
	case TraceRead, TraceSend:
		s += fmt.Sprintf(" %s/%d", e.Topic, e.Partition)
		if e.Kind == TraceRead {
			s += fmt.Sprintf("@%d", e.Offset)
		}
		if m := e.Marker; m != nil {
			s += fmt.Sprintf(" marker of %d_%d: %s, idle %v", m.SubTopology, m.Task, window.FormatTime(m.Watermark), m.Idle)
		} else {
			s += " at " + window.FormatTime(e.Time)
		}
	case TraceAnswer:
		s += fmt.Sprintf(" %s/%d, at end %v, ended %v", e.Topic, e.Partition, e.AtEnd, e.Ended)
	}
	return s + "; watermark " + window.FormatTime(e.Watermark)
}

// Trace has f called with everything that happens to tasks. It is for tests that
// follow what a task saw, and for a timeline of one that failed. Default: nobody
// is told.
func Trace(f func(TraceEvent)) Option { return func(c *config) { c.trace = f } }

// trace tells of an event of a task.
func (d *Driver) trace(r *running, e TraceEvent) {
	if d.cfg.trace == nil {
		return
	}
	e.Instance, e.SubTopology, e.Task, e.Now, e.Watermark = r.owner.number, r.id.Sub, r.id.Partition, d.now, window.MinTime
	if r.task != nil {
		e.Watermark = r.task.Watermark()
	}
	d.cfg.trace(e)
}

// traceRecord tells of a record that a task reads or sends.
func (d *Driver) traceRecord(r *running, kind TraceKind, topic string, rec *record) {
	if d.cfg.trace == nil {
		return
	}
	e := TraceEvent{Kind: kind, Topic: topic, Partition: rec.partition, Offset: rec.offset, Time: rec.time}
	if rec.isMarker() {
		if m, err := window.DecodeMarker(rec.headers[0].Value); err == nil {
			e.Marker = &m
		}
	}
	d.trace(r, e)
}
