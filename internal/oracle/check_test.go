package oracle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// taskID names a task.
type taskID struct {
	sub  int
	task int32
}

// modelled is the model of a task, and what is committed of it.
type modelled struct {
	times *times
	model *model  // nil if the task does not aggregate
	held  *buffer // nil without Suppress
	beat  *beat   // nil without a punctuator
	// prepared and committed are copies.
	prepared, committed *snapshot
	// torn: changelogs are written whose offsets are not. inexact: the task
	// crashed then, so that its state is ahead of its offsets.
	torn, inexact bool
	// before is the watermark before the step in work, and whether all inputs
	// were idle.
	before     int64
	beforeIdle bool
	// advanced: the step has told the nodes how far time has come. calls are those of
	// the punctuator.
	advanced bool
	calls    []int64
}

type snapshot struct {
	times *times
	model *model
	held  *buffer
	beat  beat
}

func (m *modelled) snapshot() *snapshot {
	s := &snapshot{times: m.times.clone()}
	if m.held != nil {
		s.held = m.held.clone()
	}
	if m.beat != nil {
		s.beat = *m.beat
	}
	if m.model != nil {
		s.model = m.model.clone()
	}
	return s
}

// verdict is what came out of a comparison.
type verdict struct {
	problem string // "" if all is well
	at      int    // the index of the step, or -1
	// Figures: results compared, results retracted, events late or dropped, and
	// whether every step was compared.
	results, retracted, dropped int
	suppressed, ticks           int // compared
	exact                       bool
}

// check compares a run with the model.
func check(h *history) verdict {
	c := &checker{h: h, tasks: map[taskID]*modelled{}}
	v := verdict{at: -1, exact: true}
	if h.err != nil {
		v.problem = h.err.Error()
		return v
	}
	for i, s := range h.steps {
		if problem := c.step(s, &v); problem != "" {
			v.problem, v.at = problem, i
			return v
		}
	}
	late, partly := 0, 0
	for _, m := range c.tasks {
		v.exact = v.exact && !m.inexact
		if m.model != nil {
			late, partly = late+m.model.late, partly+m.model.partly
		}
	}
	v.dropped = h.dropped["late"] + h.dropped["partly_late"]
	if h.k.w.kind == window.HoppingKind && !h.k.w.separate && h.k.has(opEndAndRestart) {
		// A pane does not know of all its windows whether a bounded run's end has
		// closed them.
		partly = h.dropped["partly_late"]
	}
	if v.exact && (h.dropped["late"] != late || h.dropped["partly_late"] != partly) {
		v.problem = fmt.Sprintf("dropped %v; the model has %d late and %d partly late", h.dropped, late, partly)
		return v
	}
	if v.problem = h.complete(v); v.problem == "" {
		v.problem = h.calm(v)
	}
	return v
}

type checker struct {
	h     *history
	tasks map[taskID]*modelled
}

// step follows one step.
func (c *checker) step(s step, v *verdict) string {
	k := c.h.k
	id := taskID{s.SubTopology, s.Task}
	m := c.tasks[id]
	if m == nil {
		m = &modelled{times: k.newTimes(id.sub, id.task, topology.RepartitionTopic(application, "shuffle"))}
		if id.sub == k.operator() {
			m.model = &model{k: k, w: never, durable: never}
			if k.s.used {
				m.held = &buffer{s: k.s, w: never, durable: never}
			}
		}
		if id.sub == 0 && k.ticks.used {
			m.beat = &beat{x: k.ticks, w: never, durable: never}
		}
		m.committed = m.snapshot()
		c.tasks[id] = m
	}
	if s.Kind == streamtest.TraceStart {
		return ""
	}
	if !m.inexact && s.Kind != streamtest.TraceSend && s.Kind != streamtest.TraceStop && s.Watermark != m.times.w {
		return fmt.Sprintf("before this step the watermark is %s, want %s", window.FormatTime(s.Watermark), window.FormatTime(m.times.w))
	}
	if s.Kind != streamtest.TraceSend {
		m.before, m.beforeIdle = m.times.w, m.times.idle()
	}
	if problem := c.follow(m, s); problem != "" {
		return problem
	}
	if s.Kind == streamtest.TraceSend {
		return "" // what it sends belongs to the step before
	}
	problem := c.compare(m, s, v)
	if m.advanced, m.calls = false, nil; s.Kind == streamtest.TracePrepare {
		m.prepared = m.snapshot()
	}
	return problem
}

// compare compares what came of a step.
func (c *checker) compare(m *modelled, s step, v *verdict) string {
	var want []result
	var later map[span]bool
	if m.model != nil {
		want, later = m.model.results, m.model.laterOf
		m.model.results, m.model.laterOf = nil, nil
	}
	if m.inexact {
		return ""
	}
	v.ticks += len(s.ticks)
	if problem := c.h.ticked(s.ticks, m.calls); problem != "" || m.model == nil {
		return problem
	}
	v.results += len(s.results)
	for _, r := range s.results {
		if r.Pane.Retracted {
			v.retracted++
		}
	}
	if problem := c.h.same(s.results, want); problem != "" || m.held == nil {
		return problem
	}
	v.suppressed += len(s.suppressed)
	return c.h.suppressed(s.suppressed, m.held.step(s.results, later, m.advanced, m.times.w))
}

// follow has the model do what a step says.
func (c *checker) follow(m *modelled, s step) string {
	switch s.Kind {
	case streamtest.TraceStop:
		if m.inexact = m.inexact || s.Crashed && m.torn; m.inexact {
			return ""
		}
		from := m.committed
		m.times = from.times.clone()
		m.times.restart()
		if from.model != nil {
			late, partly := m.model.late, m.model.partly
			m.model = from.model.clone()
			m.model.late, m.model.partly = late, partly
			m.model.restart()
		}
		if m.held != nil {
			m.held = from.held.clone()
			m.held.restart()
		}
		if m.beat != nil {
			*m.beat = from.beat
			m.beat.restart()
		}
		m.torn = false
	case streamtest.TraceRead:
		if s.Marker != nil {
			m.times.hear(s.TraceEvent)
			m.fire()
			return ""
		}
		e, ok := c.h.records[place{s.Topic, s.Partition, s.Offset}]
		if !ok {
			return "nobody has sent that record"
		}
		m.times.observe(s.TraceEvent, e)
		if m.model != nil {
			m.model.event(e)
		}
		m.fire()
	case streamtest.TraceAnswer:
		m.times.answer(s.TraceEvent)
	case streamtest.TraceTick:
		m.times.tick(s.Now.UnixMilli())
		m.fire()
		if m.model != nil {
			m.model.tick(s.Now.UnixMilli())
		}
	case streamtest.TraceSend:
		if s.Marker != nil && !m.inexact {
			return m.told(s.Marker)
		}
	case streamtest.TracePrepare:
		m.fire()
		if m.model != nil {
			m.model.prepare()
		}
	case streamtest.TraceChangelog:
		m.torn = true
	case streamtest.TraceOffsets:
		m.torn, m.committed = false, m.prepared
	case streamtest.TraceCommit, streamtest.TraceStart:
	}
	return ""
}

// fire tells the nodes how far time has come.
func (m *modelled) fire() {
	m.advanced = true
	if m.times.w == forever && m.times.durable != never {
		// What was known before the end comes before it.
		m.tell(m.times.durable)
	}
	m.tell(m.times.w)
}

// tell tells one watermark.
func (m *modelled) tell(w int64) {
	if m.beat != nil {
		m.calls = append(m.calls, m.beat.advance(w)...)
	}
	if m.model != nil {
		m.model.advance(w)
	}
}

// told checks what a task says in a marker: its watermark before or after what it
// does now.
func (m *modelled) told(marker *window.Marker) string {
	if w := marker.Watermark; w != m.before && w != m.times.w {
		return fmt.Sprintf("the marker says %s, want %s or %s", window.FormatTime(w), window.FormatTime(m.before), window.FormatTime(m.times.w))
	}
	if marker.Clocked && !m.times.k.clocked {
		return "the marker says that time goes by the clock"
	}
	if marker.Idle != m.beforeIdle && marker.Idle != m.times.idle() {
		return fmt.Sprintf("the marker says idle %v, and the task was and is %v", marker.Idle, m.beforeIdle)
	}
	return ""
}

// same compares results window by window: between windows their order is free.
func (h *history) same(got, want []result) string {
	order := func(list []result) (lines []string) {
		list = slices.Clone(list)
		slices.SortStableFunc(list, func(a, b result) int {
			if a.Key != b.Key {
				return strings.Compare(a.Key, b.Key)
			}
			return compare(a.Window, b.Window)
		})
		for _, r := range list {
			lines = append(lines, r.show(h.k.base))
		}
		return lines
	}
	have, should := order(got), order(want)
	if slices.Equal(have, should) {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d results, want %d", len(have), len(should))
	for _, l := range have {
		if !slices.Contains(should, l) {
			b.WriteString("\n  not asked for: " + l)
		}
	}
	for _, l := range should {
		if !slices.Contains(have, l) {
			b.WriteString("\n  missing:       " + l)
		}
	}
	if strings.Count(b.String(), "\n") == 0 {
		b.WriteString(": the same in another order or number")
	}
	return b.String()
}

// complete checks what holds whatever crashed, if nothing could be dropped: each
// event is in the last final result of every window that it belongs to, and in
// that of some window at least; where none is final, in the last one that was not
// taken back. If no task was replayed from a torn commit,
// nothing was dropped and each key and window is final once. It checks nothing of
// count windows, which a replay shifts, but that final ones are full.
func (h *history) complete(v verdict) string {
	k := h.k
	finals, last := map[span]int{}, map[span]result{}
	for _, r := range h.out {
		switch {
		case r.Pane.Final:
			finals[r.span()]++
			last[r.span()] = r
		case !k.e.onUpdate || k.w.kind == window.CountKind:
		case r.Pane.Retracted:
			delete(last, r.span())
		default:
			last[r.span()] = r
		}
	}
	if k.w.kind == window.CountKind {
		for _, r := range last {
			if k.e.mode != window.Discarding && int64(len(r.Events)) != k.w.count {
				return "a window that is not full is final: " + r.show(k.base)
			}
		}
		return ""
	}
	if !k.bounded {
		return ""
	}
	if v.exact && h.crashes == 0 {
		if v.dropped > 0 {
			return fmt.Sprintf("dropped %v, and nothing was late", h.dropped)
		}
		for s, n := range finals {
			if n > 1 {
				return fmt.Sprintf("%d final results: %s", n, last[s].show(k.base))
			}
		}
	}
	if k.e.mode == window.Discarding {
		return "" // a final result holds only what is new in it
	}
	for s, events := range h.stored {
		if r, ok := last[s]; v.exact && (!ok || !slices.Equal(events, r.Events)) {
			return fmt.Sprintf("the store holds %v of %s[%d, %d), and the final result is %s", events, s.key, s.window.Start-k.base, s.window.End-k.base, r.show(k.base))
		}
	}
	holders := map[int64]int{}
	for _, r := range last {
		for _, id := range r.Events {
			holders[id]++
		}
	}
	for _, o := range k.ops {
		for _, s := range o.sent {
			if holders[s.ID] == 0 {
				return fmt.Sprintf("event %d of %s at %d is in no final result", s.ID, s.Key, s.Time-k.base)
			}
			for _, x := range k.belongs(s.Time) {
				if r, ok := last[span{s.Key, x}]; !ok || !slices.Contains(r.Events, s.ID) {
					return fmt.Sprintf("event %d of %s at %d is not in the last final result of [%d, %d)", s.ID, s.Key, s.Time-k.base, x.Start-k.base, x.End-k.base)
				}
			}
		}
	}
	return ""
}

// has reports whether the script has a step of a kind.
func (k *kase) has(kind opKind) bool {
	return slices.ContainsFunc(k.ops, func(o op) bool { return o.kind == kind })
}

// belongs returns the windows that an event belongs to, as far as its time alone
// says.
func (k *kase) belongs(t int64) []window.Window {
	switch k.w.kind {
	case window.SessionKind:
		return nil
	case window.SlidingKind:
		return []window.Window{{Start: t - k.w.difference, End: t + 1}}
	}
	return k.aligned(t)
}
