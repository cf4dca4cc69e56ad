package task_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// bag is an aggregate that shows everything that went into it.
type bag []int64

func bagging(merges bool) topology.Aggregator[int64, bag] {
	a := topology.Aggregator[int64, bag]{
		New: func() *bag { return new(bag) },
		Add: func(b *bag, v int64) error { *b = append(*b, v); return nil },
	}
	if merges {
		a.Merge = func(into, from *bag) error { *into = append(*into, *from...); return nil }
	}
	return a
}

// shape is what a run of the test below is made of.
type shape struct {
	windows window.Windows
	emit    window.Emit
	delay   int64
	merges  bool
}

func (s shape) String() string {
	return fmt.Sprintf("%v; %v; delay %d, merges %v", s.windows, s.emit, s.delay, s.merges)
}

func randomShape(rng *rand.Rand, kind window.Kind) shape {
	millis := func(least, most int64) time.Duration { return ms(least + rng.Int64N(most-least+1)) }
	s := shape{delay: 500 * rng.Int64N(4), merges: rng.IntN(2) == 0 || kind == window.SessionKind}
	switch kind {
	case window.HoppingKind:
		advance := 2 * millis(250, 750)
		s.windows = window.Hopping(advance * time.Duration(1+rng.IntN(4))).Every(advance)
		if rng.IntN(3) == 0 {
			s.windows = window.Hopping(advance * 5 / 2).Every(advance)
		}
	case window.SlidingKind:
		s.windows = window.Sliding(millis(200, 2500))
	case window.SessionKind:
		s.windows = window.Session(millis(200, 1500))
		if rng.IntN(2) == 0 {
			s.windows = s.windows.AtMost(millis(500, 3000))
		}
	case window.CalendarKind:
		s.windows = window.Calendar(window.Hour, "Australia/Lord_Howe")
	case window.CountKind:
		s.windows = window.Count(1 + rng.Int64N(6))
	default:
		s.windows = window.Tumbling(millis(500, 4000))
	}
	if kind == window.SlidingKind {
		// Every window takes every event that it should: Kafka Streams' algorithm
		// makes new windows from closed ones too, which lack what they refused.
		s.windows = s.windows.AllowedLateness(7 * time.Second)
	} else if kind != window.CountKind {
		s.windows = s.windows.AllowedLateness(ms(500 * rng.Int64N(6)))
	}
	s.emit = window.OnTime().Late(window.LatePolicy(rng.IntN(3)))
	switch rng.IntN(6) {
	case 0:
		s.emit = window.OnClose()
		return s
	case 1:
		s.emit = s.emit.Early(time.Second)
	case 2:
		s.emit = s.emit.EarlyAfter(1 + rng.Int64N(3))
	}
	switch rng.IntN(4) {
	case 0:
		s.emit = s.emit.Retracting()
	case 1:
		if kind != window.SlidingKind {
			s.emit = s.emit.Discarding()
		}
	}
	return s
}

// shown is a result.
type shown struct {
	Key     string
	Window  window.Window
	Pane    window.Pane
	Time    int64
	Value   bag
	Comment string
}

func (s shown) String() string {
	p := s.Pane
	return fmt.Sprintf("%s%v %v #%d final=%v retracted=%v at %d: %v", s.Key, s.Window, p.Kind, p.Sequence, p.Final, p.Retracted, s.Time, s.Value)
}

// model keeps every event and says what has to be sent. It is slow and plain.
type model struct {
	shape
	w       int64
	windows []*modelWindow
	events  map[string][]modelEvent
	out     []shown
	dropped int
}

type modelEvent struct{ time, value int64 }

type modelWindow struct {
	key            string
	x              window.Window
	all, fresh     []modelEvent // fresh: since the last result
	count          int64        // the same for early results by count, which sessions keep
	next           int64
	passed, final  bool
	changed, hurry bool   // for the next timer, for the next commit
	last           *shown // what was sent last
	made           int
}

func (m *model) close(x window.Window) bool { return m.windows0().Closed(x, m.w) }

func (m *model) windows0() window.Windows { return m.shape.windows }

// event is one event of a key.
func (m *model) event(key string, t, value int64) {
	m.w = max(m.w, t-m.delay)
	m.fire()
	e := modelEvent{t, value}
	taken, refused := 0, 0
	take := func(w *modelWindow) {
		taken++
		m.take(w, e)
	}
	switch m.windows0().Kind() {
	case window.SessionKind:
		if w := m.session(key, e); w != nil {
			take(w)
		}
	case window.CountKind:
		take(m.counting(key))
	case window.SlidingKind:
		m.events[key] = append(m.events[key], e)
		for _, w := range m.slide(key, e) {
			take(w)
		}
	default:
		for _, x := range aligned(m.windows0(), t) {
			if m.close(x) {
				refused++
				continue
			}
			take(m.at(key, x))
		}
	}
	if taken == 0 || refused > 0 {
		m.dropped++
	}
	m.fire()
	m.commit()
}

// aligned finds windows without arithmetic: it tries those near t.
func aligned(w window.Windows, t int64) []window.Window {
	if w.Kind() == window.CalendarKind {
		return w.Assign(t, nil)
	}
	var found []window.Window
	advance, size := w.AdvanceMillis(), w.SizeMillis()
	for start := t - t%advance - size/advance*advance - 2*advance; start <= t; start += advance {
		if x := (window.Window{Start: start, End: start + size}); x.Contains(t) {
			found = append(found, x)
		}
	}
	return found
}

// at returns the window of a key, made if need be.
func (m *model) at(key string, x window.Window) *modelWindow {
	for _, w := range m.windows {
		if w.key == key && w.x == x {
			return w
		}
	}
	w := &modelWindow{key: key, x: x, made: len(m.windows)}
	m.windows = append(m.windows, w)
	return w
}

// counting returns the open window of a key.
func (m *model) counting(key string) *modelWindow {
	n := int64(0)
	for _, w := range m.windows {
		if w.key == key && !w.final {
			return w
		} else if w.key == key {
			n++
		}
	}
	return m.at(key, window.Window{Start: n, End: n + 1})
}

// session merges the sessions that an event reaches into one and returns it.
func (m *model) session(key string, e modelEvent) *modelWindow {
	var near []*modelWindow
	for _, w := range m.windows {
		first, last := w.x.Start, w.x.End-1
		gap := m.windows0().GapMillis()
		if w.key == key && !m.close(w.x) && e.time >= first-gap && e.time <= last+gap {
			near = append(near, w)
		}
	}
	slices.SortFunc(near, func(a, b *modelWindow) int {
		return cmp.Or(cmp.Compare(a.x.Start, b.x.Start), cmp.Compare(a.x.End, b.x.End))
	})
	span := window.Window{Start: e.time, End: e.time + 1}
	var joined []*modelWindow
	for _, w := range near {
		both := window.Window{Start: min(span.Start, w.x.Start), End: max(span.End, w.x.End)}
		if both.End-1-both.Start <= m.windows0().MostMillis() && !m.close(both) {
			span, joined = both, append(joined, w)
		}
	}
	if len(joined) == 0 {
		if m.close(span) {
			return nil
		}
		return m.at(key, span)
	}
	whole := joined[0]
	if whole.x != span {
		m.takeBack(whole)
		whole = &modelWindow{key: key, x: span, all: whole.all, fresh: slices.Clone(whole.all), count: whole.count}
		m.windows = append(m.windows, whole)
		m.forget(joined[0])
	}
	for _, w := range joined[1:] {
		m.takeBack(w)
		whole.all, whole.fresh, whole.count = append(whole.all, w.all...), append(whole.fresh, w.all...), whole.count+w.count
		m.forget(w)
	}
	return whole
}

func (m *model) forget(w *modelWindow) {
	m.windows = slices.DeleteFunc(m.windows, func(o *modelWindow) bool { return o == w })
}

// slide returns the windows of a key that take an event, those that it gives
// rise to included. Every event that came lies in every window that it should.
func (m *model) slide(key string, e modelEvent) (takers []*modelWindow) {
	d := m.windows0().SizeMillis()
	before, later := int64(window.MinTime), false
	for _, o := range m.events[key] {
		if o.time < e.time {
			before = max(before, o.time)
		}
		later = later || o.time > e.time && o.time <= e.time+d
	}
	begins := []int64{e.time - d + 1}
	if before != window.MinTime {
		begins = append(begins, before+1)
	}
	if later {
		begins = append(begins, e.time+1)
	}
	for _, w := range m.windows {
		if w.key == key && w.x.Contains(e.time) && !m.close(w.x) {
			takers = append(takers, w)
		}
	}
	for _, start := range begins {
		x := window.Window{Start: start, End: start + d}
		exists := slices.ContainsFunc(m.windows, func(w *modelWindow) bool { return w.key == key && w.x == x })
		if exists || m.close(x) || !x.Contains(e.time) && start != e.time+1 {
			continue
		}
		w := m.at(key, x)
		for _, o := range m.events[key] {
			if x.Contains(o.time) && o != e {
				w.all, w.fresh = append(w.all, o), append(w.fresh, o)
			}
		}
		if x.Contains(e.time) {
			takers = append(takers, w)
		} else {
			m.changedBy(w)
		}
	}
	return takers
}

func (m *model) take(w *modelWindow, e modelEvent) {
	w.all, w.fresh = append(w.all, e), append(w.fresh, e)
	if !m.windows0().Complete(w.x, m.w) {
		w.count++
	}
	m.changedBy(w)
}

// changedBy sends what a change brings.
func (m *model) changedBy(w *modelWindow) {
	if m.shape.emit.ClosingOnly() && m.windows0().Kind() != window.CountKind {
		return
	}
	if n := m.windows0().Events(); n > 0 && int64(len(w.all)) == n {
		w.passed = true
		m.send(w, window.OnTimePane, true)
		return
	}
	if !m.windows0().Complete(w.x, m.w) {
		w.changed = true
		if n := m.shape.emit.EarlyCount(); n > 0 && w.count >= n {
			m.send(w, window.EarlyPane, false)
		}
		return
	}
	w.passed = true
	switch m.shape.emit.LatePolicy() {
	case window.EachUpdate:
		m.send(w, window.LatePane, false)
	case window.EachCommit:
		w.hurry = true
	}
}

// fire sends what is complete and what is closed.
func (m *model) fire() {
	if m.windows0().Kind() == window.CountKind {
		return
	}
	for _, w := range m.windows {
		if m.windows0().Complete(w.x, m.w) && !w.passed && !w.final && !m.shape.emit.ClosingOnly() {
			w.passed = true
			m.send(w, window.OnTimePane, m.windows0().LatenessMillis() == 0)
		}
		if m.close(w.x) && !w.final {
			kind := window.LatePane
			if !w.passed {
				kind = window.OnTimePane
			}
			w.passed = true
			m.send(w, kind, true)
		}
	}
}

func (m *model) commit() {
	for _, w := range m.windows {
		if w.hurry && !w.final {
			m.send(w, window.LatePane, false)
		}
	}
}

func (m *model) timer() {
	for _, w := range m.windows {
		if w.changed && !w.passed && !w.final {
			m.send(w, window.EarlyPane, false)
		}
	}
}

func (m *model) send(w *modelWindow, kind window.PaneKind, final bool) {
	mode := m.shape.emit.Mode()
	if mode == window.Retracting {
		m.takeBack(w)
	}
	content := w.all
	if mode == window.Discarding {
		content = w.fresh
	}
	s := shown{Key: w.key, Window: w.x, Pane: window.Pane{Kind: kind, Sequence: w.next, Final: final}}
	s.Value, s.Time = contents(content), last(content)
	m.out = append(m.out, s)
	w.next++
	w.count = 0
	w.fresh, w.changed, w.hurry, w.final = nil, false, false, final
	w.last = nil
	if !final {
		if mode == window.Discarding {
			// What was sent in several results is taken back as one.
			s.Value, s.Time = contents(w.all), last(w.all)
		}
		w.last = &s
	}
}

func (m *model) takeBack(w *modelWindow) {
	if w.last == nil {
		return
	}
	s := *w.last
	s.Pane.Retracted = true
	m.out = append(m.out, s)
}

func contents(events []modelEvent) bag {
	b := bag{}
	for _, e := range events {
		b = append(b, e.value)
	}
	slices.Sort(b)
	return b
}

func last(events []modelEvent) int64 {
	t := int64(window.MinTime)
	for _, e := range events {
		t = max(t, e.time)
	}
	return t
}

// TestEveryKindOfWindowAgainstAModel compares each result of random runs with a
// model that keeps all events: every kind of window, trigger and mode, events of
// any disorder, and clean restarts, which change nothing.
func TestEveryKindOfWindowAgainstAModel(t *testing.T) {
	kinds := []window.Kind{window.TumblingKind, window.HoppingKind, window.CalendarKind, window.SessionKind, window.CountKind, window.SlidingKind}
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			retracted, dropped := 0, 0
			for seed := range uint64(seeds / 3) {
				r, d := runShape(t, seed, kind)
				retracted, dropped = retracted+r, dropped+d
				if t.Failed() {
					return
				}
			}
			if retracted == 0 || dropped == 0 && kind != window.CountKind && kind != window.SlidingKind {
				t.Errorf("%d results retracted, %d events dropped: the test tests less than it says", retracted, dropped)
			}
		})
	}
}

// runShape makes one run and returns how many results were retracted and how many
// events dropped.
func runShape(t *testing.T, seed uint64, kind window.Kind) (retracted, dropped int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 77))
	s := randomShape(rng, kind)
	start := time.Date(2025, time.April, 5, 12, 0, 0, 0, time.UTC)
	scale := int64(1)
	if kind == window.CalendarKind {
		scale = 1000
	}
	out := new([]shown)
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		g := source(b, "in").EventTime(nil, window.BoundedDelay(ms(s.delay)).MaxAhead(240*time.Hour)).GroupByKey(codec.String, codec.Int64)
		results := topology.Aggregate(g.WindowedBy(s.windows), codec.JSON[bag](), bagging(s.merges), topology.Emit(s.emit), topology.Store("bags")).Stream()
		results.Peek(func(r topology.Record[string, bag]) {
			v := append(bag{}, r.Value...)
			slices.Sort(v)
			*out = append(*out, shown{Key: r.Key, Window: r.Window, Pane: r.Pane, Time: r.Time, Value: v})
		})
	}), streamtest.KeepBytes())
	in := input(d, "in")
	d.Batch(func() {})
	m := &model{shape: s, w: window.MinTime, events: map[string][]modelEvent{}}
	at := int64(0)
	for i := range int64(50) {
		switch n := rng.IntN(20); {
		case n == 0 && s.emit.EarlyEvery() > 0:
			d.Advance(s.emit.EarlyEvery())
			m.timer()
		case n == 1 && s.emit.EarlyEvery() == 0:
			d.Restart()
		default:
			at += rng.Int64N(800)
			eventTime := start.UnixMilli() + scale*(at-rng.Int64N(1+rng.Int64N(6000)))
			key := string(rune('a' + rng.IntN(2)))
			in.Send(key, i, time.UnixMilli(eventTime))
			m.event(key, eventTime, i)
		}
		if !sameResults(t, seed, s, *out, m.out) {
			return
		}
	}
	m.w = window.MaxTime
	m.fire()
	d.End()
	sameResults(t, seed, s, *out, m.out)
	drops := 0
	for _, n := range d.Dropped() {
		drops += n
	}
	if drops != m.dropped && kind != window.SlidingKind {
		t.Errorf("seed %d (%v): %d dropped, want %d", seed, s, drops, m.dropped)
	}
	for _, r := range *out {
		if r.Pane.Retracted {
			retracted++
		}
	}
	return retracted, drops
}

// sameResults compares results window by window: between windows their order is
// free.
func sameResults(t *testing.T, seed uint64, s shape, got, want []shown) bool {
	t.Helper()
	order := func(list []shown) []string {
		list = slices.Clone(list)
		slices.SortStableFunc(list, func(a, b shown) int {
			return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Window.Start, b.Window.Start), cmp.Compare(a.Window.End, b.Window.End))
		})
		var lines []string
		for _, r := range list {
			if len(r.Value) == 0 {
				r.Time = 0
			}
			lines = append(lines, r.String())
		}
		return lines
	}
	have, should := order(got), order(want)
	if slices.Equal(have, should) {
		return true
	}
	diff := []string{fmt.Sprintf("  %d results, want %d; the first that differ:", len(have), len(should))}
	for i := range min(len(have), len(should)) {
		if have[i] != should[i] {
			diff = append(diff, "  "+have[i], "  "+should[i])
			break
		}
	}
	for _, l := range have {
		if !slices.Contains(should, l) {
			diff = append(diff, "  not asked for: "+l)
		}
	}
	for _, l := range should {
		if !slices.Contains(have, l) {
			diff = append(diff, "  missing:       "+l)
		}
	}
	t.Errorf("seed %d (%v):\n%s", seed, s, strings.Join(diff, "\n"))
	return false
}
