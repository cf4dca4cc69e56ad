package oracle

import (
	"slices"

	"github.com/millrace/millrace/window"
)

// model is the model of one task's aggregate. It keeps all windows and all events
// of them for ever, and looks at every one of them each time.
type model struct {
	k *kase
	// w is the watermark that it was told last, durable the last before the end of
	// a bounded run.
	w, durable int64
	windows    []*keyed
	// nextEarly is when the next early results are due, if hasEarly. After a
	// restart every open window is shown, changed or not.
	nextEarly         int64
	hasEarly, showAll bool

	results []result
	// later: what is sent now is of a timer or of a commit, and not of a record or
	// of the watermark. laterOf are the windows of which such was sent in this step.
	later   bool
	laterOf map[span]bool
	// late and partly are how many events no window has taken, and how many only
	// some of theirs.
	late, partly int
}

// keyed is a window of a key.
type keyed struct {
	span
	all, fresh    []event // fresh: since the last result
	count         int64   // on-time events since the last result
	sequence      int64
	passed, final bool
	changed       bool    // the next early results show it
	hurry         bool    // the next commit shows it
	sent          *result // what would be taken back
}

// unlessPassed returns the kind of a result, or that of a late one if the window had one
// on time: the end of a bounded run completes what is not complete for the next.
func (w *keyed) unlessPassed(kind window.PaneKind) window.PaneKind {
	if w.passed {
		return window.LatePane
	}
	return kind
}

func (m *model) clone() *model {
	c := *m
	c.results, c.windows, c.laterOf = nil, nil, nil
	for _, w := range m.windows {
		one := *w
		one.all, one.fresh = slices.Clone(w.all), slices.Clone(w.fresh)
		c.windows = append(c.windows, &one)
	}
	return &c
}

// restart makes of a copy of what was committed what a new task begins with.
func (m *model) restart() {
	m.w, m.hasEarly, m.showAll = m.durable, false, m.k.e.early > 0
	for _, w := range m.windows {
		w.changed, w.hurry = false, false
	}
}

// due returns the least watermark at which no on-time event of a window is to
// come.
func (m *model) due(x window.Window) int64 {
	switch k := m.k.w; k.kind {
	case window.SessionKind:
		last := x.End - 1
		due := last + k.gap
		if k.most > 0 {
			due = min(due, x.Start+k.most)
		}
		return due + 1
	case window.CountKind:
		return forever
	}
	return x.End
}

// complete and closed say whether no on-time event, and no event at all, is to
// come. A count window never is by time.
func (m *model) complete(x window.Window) bool {
	return m.k.w.kind != window.CountKind && m.w >= m.due(x)
}

func (m *model) closed(x window.Window) bool {
	return m.k.w.kind != window.CountKind && m.w != never && m.w >= m.due(x)+m.k.w.lateness
}

// at returns the window of a key, made if need be.
func (m *model) at(s span) *keyed {
	if w := m.find(s); w != nil {
		return w
	}
	w := &keyed{span: s}
	m.windows = append(m.windows, w)
	return w
}

func (m *model) find(s span) *keyed {
	for _, w := range m.windows {
		if w.span == s {
			return w
		}
	}
	return nil
}

// of returns the windows of a key, by start.
func (m *model) of(key string) (windows []*keyed) {
	for _, w := range m.windows {
		if w.key == key {
			windows = append(windows, w)
		}
	}
	slices.SortStableFunc(windows, func(a, b *keyed) int { return compare(a.window, b.window) })
	return windows
}

func compare(a, b window.Window) int {
	switch {
	case a.Start != b.Start && a.Start < b.Start, a.Start == b.Start && a.End < b.End:
		return -1
	case a == b:
		return 0
	}
	return 1
}

func (m *model) forget(w *keyed) {
	m.windows = slices.DeleteFunc(m.windows, func(o *keyed) bool { return o == w })
}

// event is one event.
func (m *model) event(e event) {
	takers, refused := m.place(e)
	for _, w := range takers {
		m.take(w, e)
	}
	switch {
	case len(takers) == 0:
		m.late++
	case refused > 0:
		m.partly++
	}
}

// take adds an event to a window.
func (m *model) take(w *keyed, e event) {
	w.all, w.fresh = append(w.all, e), append(w.fresh, e)
	if !m.complete(w.window) {
		w.count++
	}
	m.changed(w)
}

// changed sends what the change of a window brings at once.
func (m *model) changed(w *keyed) {
	k := m.k
	if k.w.kind == window.CountKind && int64(len(w.all)) == k.w.count {
		w.passed = true
		m.send(w, window.OnTimePane, true)
		return
	}
	if k.e.onClose {
		return
	}
	if !m.complete(w.window) {
		w.changed = true
		if k.e.earlyCount > 0 && w.count >= k.e.earlyCount {
			m.send(w, window.EarlyPane, false)
		}
		return
	}
	w.passed = true
	switch k.e.late {
	case window.EachUpdate:
		m.send(w, window.LatePane, false)
	case window.EachCommit:
		w.hurry = true
	}
	if k.e.onUpdate {
		w.changed = false // a session that was not complete, until it has grown
	}
}

// advance tells the watermark, and sends what is complete and what is closed.
func (m *model) advance(watermark int64) {
	if m.w = max(m.w, watermark); m.w != forever {
		m.durable = m.w
	}
	for _, w := range m.windows {
		if m.k.e.onUpdate {
			if m.complete(w.window) && w.changed {
				kind := w.unlessPassed(window.OnTimePane)
				w.passed, w.changed = true, false
				m.send(w, kind, false)
			}
			if m.closed(w.window) && w.hurry {
				m.send(w, window.LatePane, false)
			}
			continue
		}
		if m.complete(w.window) && !w.passed && !w.final && !m.k.e.onClose {
			w.passed = true
			m.send(w, window.OnTimePane, m.k.w.lateness == 0)
		}
		if m.closed(w.window) && !w.final {
			kind := window.LatePane
			if !w.passed {
				kind = window.OnTimePane
			}
			w.passed = true
			m.send(w, kind, true)
		}
	}
}

// tick tells the clock's time.
func (m *model) tick(now int64) {
	every := m.k.e.early
	if every == 0 {
		return
	}
	if !m.hasEarly {
		m.hasEarly, m.nextEarly = true, now+every
	}
	if now < m.nextEarly {
		return
	}
	m.nextEarly = now + every
	m.later = true
	m.early()
	m.showAll, m.later = false, false
}

// early sends the early results of the windows that have changed.
func (m *model) early() {
	for _, w := range m.windows {
		show := w.changed || m.showAll && !m.complete(w.window)
		w.changed = false
		if show && (!w.passed || m.k.e.onUpdate) && !w.final && (m.k.e.earlyCount == 0 || w.count > 0) {
			m.send(w, w.unlessPassed(window.EarlyPane), false)
		}
	}
}

// prepare is the beginning of a commit.
func (m *model) prepare() {
	m.later = true
	if m.k.e.eachCommit {
		m.early()
	}
	for _, w := range m.windows {
		if w.hurry && !w.final {
			m.send(w, window.LatePane, false)
		}
		w.hurry = false
	}
	m.later = false
}

func (m *model) send(w *keyed, kind window.PaneKind, final bool) {
	mode := m.k.e.mode
	if m.later {
		if m.laterOf == nil {
			m.laterOf = map[span]bool{}
		}
		m.laterOf[w.span] = true
	}
	if mode == window.Retracting {
		m.takeBack(w)
	}
	content := w.all
	if mode == window.Discarding {
		content = w.fresh
	}
	r := newResult(w.span, window.Pane{Kind: kind, Sequence: w.sequence, Final: final}, content)
	m.results = append(m.results, r)
	w.sequence++
	w.fresh, w.count, w.hurry, w.final, w.sent = nil, 0, false, final, nil
	if !final {
		if mode == window.Discarding {
			// What was sent in several results is taken back as one.
			r = newResult(w.span, r.Pane, w.all)
		}
		w.sent = &r
	}
}

// takeBack sends the last result again, as retracted.
func (m *model) takeBack(w *keyed) {
	if w.sent != nil {
		r := *w.sent
		r.Pane.Retracted, r.Pane.Final = true, false
		m.results = append(m.results, r)
	}
}

func newResult(s span, p window.Pane, events []event) result {
	r := result{Key: s.key, Window: s.window, Pane: p, Events: bag{}}
	for i, e := range events {
		r.Events = append(r.Events, e.ID)
		if i == 0 || e.Time > r.Time {
			r.Time = e.Time
		}
	}
	slices.Sort(r.Events)
	return r
}
