package stores_test

import (
	"math"
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// spanDue is when the sessions of the machine are due: unlike their ends, in no
// order of them.
func spanDue(w window.Window) int64 { return w.End + w.Start%3 }

func sessionKey(key string, w window.Window) string {
	return string(codec.AppendSessionKey(nil, []byte(key), w.Start, w.End-1))
}

func splitSession(key string) (string, window.Window) {
	k, start, end, err := codec.SplitSessionKey([]byte(key))
	if err != nil {
		panic(err)
	}
	return string(k), window.Window{Start: start, End: end + 1}
}

func (m *machine) span() window.Window {
	start := m.rnd.Int64N(6) - 3
	return window.Window{Start: start, End: start + 1 + m.rnd.Int64N(4)}
}

// find returns the session of a key with a span, with its value.
func (m *machine) find(key string, w window.Window) *stores.Live[blob] {
	lane, err := m.ses.Of([]byte(key))
	m.must(err)
	if !slices.IsSortedFunc(lane, func(a, b *stores.Live[blob]) int { return int(a.Start() - b.Start()) }) {
		m.fatal("the sessions of %q are not in order", key)
	}
	i := slices.IndexFunc(lane, func(l *stores.Live[blob]) bool { return l.Window() == w })
	if i < 0 {
		return nil
	}
	m.must(m.ses.Load(lane[i]))
	return lane[i]
}

// session creates, changes, moves or deletes a session.
func (m *machine) session() {
	k, w := m.key(), m.span()
	key := sessionKey(k, w)
	l := m.find(k, w)
	m.same("ses", key, l)
	switch {
	case l == nil:
		created, err := m.ses.Create([]byte(k), w)
		m.must(err)
		m.change("ses", key, created, true, m.ses.Touch, m.ses.Delete)
	case m.rnd.IntN(2) == 0:
		m.change("ses", key, l, false, m.ses.Touch, m.ses.Delete)
	default:
		m.moveSession(k, l, m.span())
	}
}

func (m *machine) moveSession(k string, l *stores.Live[blob], to window.Window) {
	if m.find(k, to) != nil {
		return
	}
	from := sessionKey(k, l.Window())
	m.note("ses move %q %v to %v", k, l.Window(), to)
	m.ses.Move(l, to)
	e := m.visible["ses"][from]
	m.remove("ses", from)
	if d, ok := m.deleted["ses"][from]; ok {
		// What it had when it moved stands under its new span only.
		d.changed = false
		m.deleted["ses"][from] = d
	}
	m.put("ses", sessionKey(k, to), e)
}

func (m *machine) dropSessions() {
	bound := m.rnd.Int64N(10) - 3
	want := 0
	for key := range m.visible["ses"] {
		if _, w := splitSession(key); spanDue(w) < bound {
			want++
			m.remove("ses", key)
		}
	}
	m.note("ses drop before %d: %d", bound, want)
	got, err := m.ses.DropBefore(bound)
	m.must(err)
	if got != want {
		m.fatal("DropBefore(%d) removed %d sessions, want %d", bound, got, want)
	}
}

// compareSessions scans all sessions in slices, and looks for the next one due.
func (m *machine) compareSessions() {
	got := map[string]entry{}
	last := int64(math.MinInt64)
	var after stores.Cursor
	for more := true; more; {
		more = false
		for l, err := range m.ses.Scan(math.MinInt64, math.MaxInt64, after) {
			m.must(err)
			if more = len(got)%3 == 2; spanDue(l.Window()) != l.Order() || l.Order() < last {
				m.fatal("ses: %v, due %d, after one due %d", l.Window(), l.Order(), last)
			}
			last, after = l.Order(), l.Cursor()
			got[sessionKey(string(l.Key()), l.Window())] = liveEntry(l)
			if more {
				break
			}
		}
	}
	m.equal("ses", got, m.visible["ses"])
	from := m.rnd.Int64N(10) - 3
	want, has := int64(math.MaxInt64), false
	for key := range got {
		if _, w := splitSession(key); spanDue(w) >= from && spanDue(w) < want {
			want, has = spanDue(w), true
		}
	}
	if due, ok, err := m.ses.Next(from); err != nil || ok != has || ok && due != want {
		m.fatal("ses: Next(%d) = %d, %v, %v, want %d, %v", from, due, ok, err, want, has)
	}
}
