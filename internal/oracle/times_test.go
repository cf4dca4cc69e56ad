package oracle

import (
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/window"
)

// Marks of times: nothing is known, and nothing more will come.
const (
	never   int64 = math.MinInt64
	forever int64 = math.MaxInt64
)

// times is the model of a task's watermark: it never falls, and is the least of
// the inputs that are not idle. If all are idle it stands still, and it is
// forever only when every input has ended.
type times struct {
	k      *kase
	inputs []*input
	w      int64
	// durable is w without the end of a bounded run.
	durable int64
}

// input is the model of one partition that a task reads.
type input struct {
	topic     string
	partition int32

	// A partition from outside: the highest event time, when the clock showed
	// that something came last, and whether it is idle or has ended.
	delay, idleAfter int64
	high             int64 // never if no event was seen
	quiet            bool  // since is set
	since            int64
	idle, ended      bool
	// mark is the greatest watermark that the strategy has told, if it follows no
	// delay. fresh are how many events a generator has seen since it was made,
	// greatest the greatest time of them, and latest when the last one came.
	byMark           bool
	mark             int64
	fresh            int
	greatest, latest int64
	// clock is when the clock was looked at last while the partition was idle.
	clock int64

	// A partition of a repartition topic: what upstream tasks have said, and the
	// least of it, which never falls.
	upstream   []*upstream
	w, durable int64
}

// upstream is what a task has said in its markers.
type upstream struct {
	task        int32
	heard       bool
	generation  int32
	w           int64
	idle, ended bool
	clocked     bool // it follows the clock
	// asked is when the clock was first looked at after the marker; a task that
	// says that it is idle is taken at its word for 3 s.
	fresh, stale bool
	asked        int64
}

// lease is for how long a task that is idle is taken at its word.
const lease = 3000

func (in *input) watermark() int64 {
	switch {
	case in.ended:
		return forever
	case in.upstream != nil:
		return in.w
	case in.byMark:
		return in.mark
	case in.high == never:
		return never
	}
	return in.high - in.delay
}

// byClock returns the watermark that an idle input has by the clock, if it has one.
func (t *times) byClock(in *input) (w int64, ok bool) {
	if in.upstream != nil {
		return in.w, in.isIdle() && slices.ContainsFunc(in.upstream, func(u *upstream) bool { return u.clocked && u.leftOut() })
	}
	return max(in.watermark(), in.clock-t.k.behind), t.k.clocked && in.idle && in.high != never
}

func (in *input) isIdle() bool {
	if in.upstream == nil {
		return in.idle
	}
	return !slices.ContainsFunc(in.upstream, func(u *upstream) bool { return !u.leftOut() })
}

func (u *upstream) watermark() int64 {
	if u.ended {
		return forever
	}
	return u.w
}

// leftOut reports whether the task is idle, and still to be believed.
func (u *upstream) leftOut() bool { return u.idle && !u.stale && !u.ended }

// least returns the least of the watermarks that count, and whether it does: not
// if all are left out, nor if it would be the end of what has not ended.
func least(n int, watermark func(int) int64, leftOut func(int) bool) (w int64, ok bool) {
	w, endless := forever, false
	for i := range n {
		endless = endless || watermark(i) != forever
		if !leftOut(i) {
			w, ok = min(w, watermark(i)), true
		}
	}
	return w, ok && !(w == forever && endless)
}

// settle computes everything anew.
func (t *times) settle() {
	for _, in := range t.inputs {
		up := in.upstream
		if up == nil {
			continue
		}
		if w, ok := least(len(up), func(i int) int64 { return up[i].watermark() }, func(i int) bool { return up[i].leftOut() }); ok {
			in.w = max(in.w, w)
		}
		if in.isIdle() {
			w, ok := forever, false
			for _, u := range up {
				if u.clocked && u.leftOut() {
					w, ok = min(w, u.watermark()), true
				}
			}
			if ok {
				in.w = max(in.w, w)
			}
		}
		if in.w != forever {
			in.durable = in.w
		}
	}
	w, ok := least(len(t.inputs), func(i int) int64 { return t.inputs[i].watermark() }, func(i int) bool { return t.inputs[i].isIdle() })
	if ok {
		t.w = max(t.w, w)
	}
	if t.idle() {
		w, ok := forever, false
		for _, in := range t.inputs {
			if c, clocked := t.byClock(in); clocked {
				w, ok = min(w, c), true
			}
		}
		if ok {
			t.w = max(t.w, w)
		}
	}
	if t.w != forever {
		t.durable = t.w
	}
}

// idle reports whether all inputs are.
func (t *times) idle() bool {
	return !slices.ContainsFunc(t.inputs, func(in *input) bool { return !in.isIdle() })
}

func (t *times) input(topic string, partition int32) *input {
	i := slices.IndexFunc(t.inputs, func(in *input) bool { return in.topic == topic && in.partition == partition })
	if i < 0 {
		panic(fmt.Sprintf("no input %s/%d", topic, partition))
	}
	return t.inputs[i]
}

// observe takes note of an event.
func (t *times) observe(e streamtest.TraceEvent, v event) {
	in := t.input(e.Topic, e.Partition)
	if in.upstream != nil {
		t.settle()
		return
	}
	in.high = max(in.high, v.Time)
	in.idle, in.quiet, in.since = false, true, e.Now.UnixMilli()
	t.settle() // a partition that wakes up may be the one that holds
	switch t.k.strategy {
	case byMark:
		if v.Marked {
			in.mark = max(in.mark, v.Mark)
		}
	case byGenerator:
		in.fresh, in.greatest, in.latest = in.fresh+1, max(in.greatest, v.Time), in.since
		if in.fresh%2 == 0 {
			in.mark = max(in.mark, in.greatest-in.delay)
		}
	}
	t.settle()
}

// hear takes note of a marker.
func (t *times) hear(e streamtest.TraceEvent) {
	m := e.Marker
	for _, u := range t.input(e.Topic, e.Partition).upstream {
		if u.task != m.Task || u.heard && m.Generation < u.generation {
			continue
		}
		u.ended = m.Watermark == window.MaxTime || u.ended && m.Generation == u.generation
		if m.Watermark != window.MaxTime {
			u.w = max(u.w, m.Watermark)
		}
		u.heard, u.generation, u.idle, u.clocked, u.fresh, u.stale = true, m.Generation, m.Idle, m.Clocked, true, false
	}
	t.settle()
}

// answer takes note of whether an input is read to its end. One that never had an
// event is then idle, one that fell silent after a while.
func (t *times) answer(e streamtest.TraceEvent) {
	in := t.input(e.Topic, e.Partition)
	if in.upstream != nil {
		return
	}
	now := e.Now.UnixMilli()
	if in.high != never && !in.quiet {
		in.quiet, in.since = true, now
	}
	silent := in.high == never || in.idleAfter > 0 && now-in.since >= in.idleAfter
	idle := e.AtEnd && silent && !in.ended
	if idle && !in.idle {
		in.clock = now
	}
	in.idle = idle
	if e.Ended {
		in.ended, in.idle = true, false
	}
	t.settle()
}

// tick takes note of the clock.
func (t *times) tick(now int64) {
	for _, in := range t.inputs {
		if in.idle && t.k.clocked && now-in.clock >= 1000 {
			in.clock = now
		}
		if t.k.flush > 0 && in.fresh > 0 && now-in.latest >= t.k.flush {
			in.mark = max(in.mark, in.greatest)
		}
		for _, u := range in.upstream {
			if u.fresh {
				u.fresh, u.asked = false, now
			}
			u.stale = u.stale || u.idle && now-u.asked > lease
		}
	}
	t.settle()
}

// clone returns a copy that shares nothing.
func (t *times) clone() *times {
	c := &times{k: t.k, w: t.w, durable: t.durable}
	for _, in := range t.inputs {
		copied := *in
		copied.upstream = nil
		for _, u := range in.upstream {
			one := *u
			copied.upstream = append(copied.upstream, &one)
		}
		c.inputs = append(c.inputs, &copied)
	}
	return c
}

// restart makes of what was committed what a new task begins with: nothing is
// known of idleness, and no run has ended.
func (t *times) restart() {
	t.w = t.durable
	for _, in := range t.inputs {
		in.idle, in.quiet, in.ended = false, false, false
		in.fresh, in.greatest = 0, never
		for _, u := range in.upstream {
			if u.ended = false; u.heard {
				u.fresh, u.stale = true, false
			}
		}
		in.w = in.durable
	}
	t.settle()
}

// newTimes returns the times of a task that begins.
func (k *kase) newTimes(sub int, task int32, shuffle string) *times {
	t := &times{k: k, w: never, durable: never}
	if sub == 0 {
		for _, topic := range k.topics {
			t.inputs = append(t.inputs, &input{topic: topic, partition: task, delay: k.delay, idleAfter: k.idle, high: never, byMark: k.strategy != byDelay, mark: never, greatest: never})
		}
		return t
	}
	in := &input{topic: shuffle, partition: task, w: never, durable: never, high: never}
	for p := range k.partitions {
		in.upstream = append(in.upstream, &upstream{task: int32(p), w: never})
	}
	t.inputs = append(t.inputs, in)
	return t
}
