package task

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// maxFuture is how far ahead of the clock a record's time may be on Kafka.
// Brokers refuse records that are more than an hour ahead by default.
const maxFuture = 50 * time.Minute

// clockSlack is by how much the clock may be set back between the moment at which
// a commit decides which entries carry their time themselves, and the one at
// which their records are clamped.
const clockSlack = 10 * time.Minute

// timeHeader is the key of the header in which a record of a repartition carries
// its event time, as a varint, if its own timestamp had to be clamped.
const timeHeader = "__millrace.time"

// clamped is the task's outlet: it keeps record times within what brokers and
// the protocol take.
type clamped struct {
	processors.Outlet
	task *Task
}

func (c *clamped) Send(topic string, partition int32, key, value []byte, t int64, headers []processors.Header) error {
	at := Clamp(t, c.task.now)
	if at != t && key != nil && c.task.feeds(topic) {
		headers = append(slices.Clip(headers), processors.Header{Key: timeHeader, Value: binary.AppendVarint(nil, t)})
	}
	return c.Outlet.Send(topic, partition, key, value, at, headers)
}

// feeds reports whether a topic is a repartition that the task writes to.
func (t *Task) feeds(topic string) bool {
	return slices.ContainsFunc(t.instance.Repartitions, func(r topology.RepartitionSink) bool { return t.rt.Topic(r.Name) == topic })
}

// ownTime returns the event time of a record of a repartition, and its headers
// without the one that says so.
func ownTime(r *Fetched) (int64, []processors.Header) {
	if n := len(r.Headers); n > 0 && r.Headers[n-1].Key == timeHeader {
		if t, size := binary.Varint(r.Headers[n-1].Value); size > 0 {
			return t, r.Headers[:n-1]
		}
	}
	return r.Time, r.Headers
}

// Clamp returns t, or the nearest time that a record on Kafka may have at now:
// from 0 to 50 minutes ahead.
func Clamp(t int64, now time.Time) int64 {
	return min(max(t, 0), now.Add(maxFuture).UnixMilli())
}

// Intervals of watermark markers: not more often than the first while the
// watermark moves, and not more seldom than the second, so that new readers
// and purged topics do no harm; than the third by a task that is idle, whose
// readers do not wait for it only as long as it says so.
const (
	markerLinger = 20 * time.Millisecond
	markerRepeat = 10 * time.Second
	idleRepeat   = window.IdleLease / 3 * time.Millisecond
)

// markers tells the sub-topologies behind repartitions how far the task's
// watermark has come.
type markers struct {
	task *Task
	// sent is the watermark last sent to each repartition, idle what was said
	// of idleness, last when.
	sent  []int64
	idle  bool
	last  time.Time
	begun bool // all was sent once, or there is nothing to send

	header [1]processors.Header
	buf    []byte
}

// send writes a marker to every partition of every repartition topic, if one
// is due, or if the watermark has moved and force is set.
func (m *markers) send(now time.Time, force bool) error {
	t := m.task
	if len(m.sent) == 0 {
		m.begun = true
		return nil
	}
	idle := t.tracker.Idle()
	since := now.Sub(m.last)
	repeat := !m.begun || since >= markerRepeat || idle != m.idle || idle && since >= idleRepeat
	if !repeat && !force && since < markerLinger {
		return nil
	}
	for i, r := range t.instance.Repartitions {
		w := t.reached(r.Upstream)
		if !repeat && w == m.sent[i] {
			continue
		}
		if err := m.write(r.Name, w, idle); err != nil {
			return fmt.Errorf("task %v: watermark marker to repartition %q: %w", t.cfg.ID, r.Name, err)
		}
		m.sent[i], m.last, m.idle = w, now, idle
	}
	m.begun = true
	return nil
}

func (m *markers) write(repartition string, w int64, idle bool) error {
	t := m.task
	topic := t.rt.Topic(repartition)
	partitions, err := t.cfg.Outlet.Partitions(topic)
	if err != nil {
		return err
	}
	_, clocked := t.tracker.Clocked()
	m.buf = window.Marker{
		SubTopology: int32(t.cfg.ID.Sub), Task: t.cfg.ID.Partition, Tasks: t.cfg.Tasks,
		Generation: t.cfg.Generation, Watermark: w, Idle: idle, Clocked: clocked,
	}.Append(m.buf[:0])
	m.header[0] = processors.Header{Key: window.MarkerHeader, Value: m.buf}
	for p := range partitions {
		if err := t.rt.Outlet.Send(topic, p, nil, nil, w, m.header[:]); err != nil {
			return err
		}
	}
	return nil
}
