package stores_test

import (
	"cmp"
	"math"
	"reflect"
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

// visiting is a look at the sessions that are due in a time, a slice at a time, with
// other operations between the slices.
type visiting struct {
	from, to int64
	after    stores.Cursor
	// left are the sessions that are yet to come; remove takes out those that are
	// deleted or moved.
	left map[string]bool
}

// slice is a Visitor that does something with each session until it has seen some.
type slice struct {
	more int
	each func(*stores.Live[blob])
}

func (s *slice) Visit(l *stores.Live[blob]) bool {
	s.each(l)
	s.more--
	return s.more > 0
}

// dueIn returns the sessions due in [from, to), by the model.
func (m *machine) dueIn(from, to int64) map[string]bool {
	due := map[string]bool{}
	for key := range m.visible["ses"] {
		if _, w := splitSession(key); spanDue(w) >= from && spanDue(w) < to {
			due[key] = true
		}
	}
	return due
}

// visitSlice goes on with a look at sessions, or begins one, and changes some of them.
// It comes to what Scan yields, in order. Of those that were there when the look began,
// and have stayed where they were, none is left out. The end tells what is due next.
func (m *machine) visitSlice() {
	v := &m.visiting
	if v.left == nil {
		v.from = m.rnd.Int64N(8) - 3
		v.to = v.from + m.rnd.Int64N(8)
		v.left = m.dueIn(v.from, v.to)
	}
	var scanned []string
	for l, err := range m.ses.Scan(v.from, v.to, v.after) {
		m.must(err)
		scanned = append(scanned, sessionKey(string(l.Key()), l.Window()))
	}
	now, last, seen := m.dueIn(v.from, v.to), v.after, 0
	next, done, err := m.ses.Visit(v.from, v.to, v.after, &slice{1 + m.rnd.IntN(4), func(l *stores.Live[blob]) {
		key := sessionKey(string(l.Key()), l.Window())
		if seen >= len(scanned) || scanned[seen] != key {
			m.fatal("Visit(%d, %d, %v) comes to %v of %q as number %d, Scan to %q", v.from, v.to, v.after, l.Window(), l.Key(), seen, scanned)
		}
		seen++
		m.same("ses", key, l)
		if !now[key] || l.Order() != spanDue(l.Window()) || order(last, l.Cursor()) > 0 || reflect.DeepEqual(last, l.Cursor()) {
			m.fatal("Visit(%d, %d) comes to %v of %q, due %d, behind %v", v.from, v.to, l.Window(), l.Key(), l.Order(), last)
		}
		last = l.Cursor()
		delete(v.left, key)
		switch m.rnd.IntN(4) {
		case 0:
			m.change("ses", key, l, false, m.ses.Touch, m.ses.Delete)
		case 1:
			m.moveSession(string(l.Key()), l, m.span())
		}
	}})
	m.must(err)
	m.note("ses visit %d to %d: %d of %d, done %v", v.from, v.to, seen, len(scanned), done)
	if !done {
		v.after = last
		return
	}
	if seen != len(scanned) {
		m.fatal("Visit(%d, %d) ends after %d sessions, Scan after %d", v.from, v.to, seen, len(scanned))
	}
	for key := range v.left {
		k, w := splitSession(key)
		m.fatal("Visit(%d, %d) has left out %v of %q", v.from, v.to, w, k)
	}
	want, ok, err := m.ses.Next(v.to)
	if m.must(err); !ok {
		want = window.MaxTime
	}
	if next != want {
		m.fatal("Visit(%d, %d) says that the next one is due at %d, Next says %d", v.from, v.to, next, want)
	}
	m.visiting = visiting{}
}

// order compares the places of two sessions; before the first one is a zero Cursor.
func order(a, b stores.Cursor) int {
	if a.Key == nil {
		return -1
	}
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(string(a.Key), string(b.Key)))
}
