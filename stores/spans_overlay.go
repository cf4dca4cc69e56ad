package stores

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/tidwall/btree"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/window"
)

// spans is the machinery of a Spans store.
type spans[A any] struct {
	storeInfo
	codec codec.Codec[A]
	make  func() *A
	due   func(window.Window) int64
	size  int64

	// lanes holds every span there is, by key, in order; index holds them by
	// when they are due. Both are read from the engine at first use.
	loaded bool
	lanes  map[string]*lane[A]
	index  *btree.BTreeG[indexed[A]]
	ids    uint64
	// found is what take, which is made once, was given by a search in index.
	found indexed[A]
	take  func(indexed[A]) bool
	// stale counts those that index has under an earlier due time than their own,
	// none of which is before settled: a span that grows with each event is put
	// anew once its old time is asked for, and not at each event.
	stale   int
	settled int64

	changed      []*Live[A] // dirty since the last Collect
	changedBytes int64
	sent         []*Live[A] // what the last Collect encoded
	tombs        map[spanName]spanTomb[A]
	held         int64 // bytes charged to the budget
	buf          []byte
}

// spanPart is what a Live of a Spans store has beside the rest.
type spanPart[A any] struct {
	end  int64
	lane *lane[A]
	// at is the due time, and id the number, that the index has it under. If it is
	// stale, it is due later.
	at    int64
	id    uint64
	stale bool
}

// indexed is an entry of the index.
type indexed[A any] struct {
	at   int64
	key  string
	id   uint64
	live *Live[A]
}

// behind is the place right behind i.
func (i indexed[A]) behind() indexed[A] { return indexed[A]{at: i.at, key: i.key, id: i.id + 1} }

// spanName is what the engine finds a span under.
type spanName struct {
	key string
	w   window.Window
}

func (n spanName) compare(o spanName) int {
	return cmp.Or(cmp.Compare(n.key, o.key), cmp.Compare(n.w.Start, o.w.Start), cmp.Compare(n.w.End, o.w.End))
}

// spanTomb is a deleted span that the engine may still have.
type spanTomb[A any] struct {
	lane    *lane[A]
	time    int64
	born    uint32 // the interval in which it was deleted
	expired bool   // it follows from the watermark, so that nobody has to note it
	// live is what was deleted, whose last value is yet to be written; nil if
	// it has moved.
	live *Live[A]
}

func (s *spans[A]) reset() {
	s.loaded, s.lanes, s.stale, s.settled = false, map[string]*lane[A]{}, 0, window.MinTime
	s.index = btree.NewBTreeGOptions(func(a, b indexed[A]) bool {
		// Reading a key is what takes long: only where the times are equal.
		if a.at != b.at {
			return a.at < b.at
		}
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.id, b.id)) < 0
	}, btree.Options{NoLocks: true})
	s.tombs = map[spanName]spanTomb[A]{}
	s.take = func(i indexed[A]) bool {
		s.found = i
		return false
	}
}

// from returns the first entry of index at or after a place; without a live object
// if there is none.
func (s *spans[A]) from(at indexed[A]) (first indexed[A]) {
	s.index.Ascend(at, s.take)
	first, s.found = s.found, indexed[A]{}
	return first
}

// load reads which spans there are.
func (s *spans[A]) load() error {
	if s.loaded {
		return nil
	}
	it, err := s.db.engine.Iterate(s.span())
	if err != nil {
		return s.wrap(err)
	}
	defer it.Close()
	for it.Next() {
		key, w, err := splitSpanKey(it.Key()[prefixLen:])
		if err != nil {
			return s.wrap(err)
		}
		time, f, _, err := splitLive(it.Value())
		if err != nil {
			return s.wrap(err)
		}
		l := s.add(keyString(key), w)
		l.Time, l.Firing, l.stored = time, f, true
		s.resize(l, -1)
	}
	if err := it.Err(); err != nil {
		return s.wrap(err)
	}
	s.loaded = true
	return nil
}

// add makes an object without a value.
func (s *spans[A]) add(key string, w window.Window) *Live[A] {
	n := s.lanes[key]
	switch {
	case n == nil:
		n = new(lane[A])
		s.lanes[key] = n
	case len(n.spans) > 0:
		key = n.spans[0].key
	}
	both := &struct {
		l Live[A]
		p spanPart[A]
	}{}
	l := &both.l
	l.key, l.start, l.span = key, w.Start, &both.p
	s.ids++
	both.p = spanPart[A]{end: w.End, lane: n, at: s.due(w), id: s.ids}
	l.size = sizeOfSpan(key)
	s.charge(int64(l.size))
	n.enter(l)
	s.index.Set(s.entry(l))
	return l
}

func (s *spans[A]) entry(l *Live[A]) indexed[A] {
	return indexed[A]{at: l.span.at, key: l.key, id: l.span.id, live: l}
}

func (s *spans[A]) charge(n int64) {
	s.held += n
	s.db.budget.add(n)
}

// resize charges for l holding a value of n encoded bytes; none if negative.
// What its Firing keeps is never evicted.
func (s *spans[A]) resize(l *Live[A], n int) {
	size := sizeOfSpan(l.key) + keptSize(l)
	if n >= 0 {
		size += sizeOfLive[A]("", n) - liveOverhead
	}
	s.charge(int64(size - l.size))
	l.size = size
}

// spanOverhead is what a span takes in lanes and index beside a Live.
// TestBudgetOfSpansIsHonest measures it.
const spanOverhead = 178

func sizeOfSpan(key string) int32 { return int32(min(1<<30, liveOverhead+spanOverhead+len(key))) }

func (s *spans[A]) create(key []byte, w window.Window) *Live[A] {
	l := s.add(keyString(key), w)
	l.Value, l.Time = s.make(), s.db.time
	s.resize(l, 0)
	l.stored = s.revive(l)
	s.touch(l)
	return l
}

// revive forgets that l's span was deleted, and reports whether it was.
func (s *spans[A]) revive(l *Live[A]) bool {
	if l.span.lane.tombs == 0 {
		return false
	}
	t, ok := s.tombs[nameOf(l)]
	if ok && t.live != nil {
		t.live.gone = true
	}
	s.exhume(nameOf(l))
	return ok
}

func nameOf[A any](l *Live[A]) spanName { return spanName{l.key, l.Window()} }

// exhume forgets a tomb, if it is there, and the lane of a key that has nothing else.
func (s *spans[A]) exhume(name spanName) {
	t, ok := s.tombs[name]
	if !ok {
		return
	}
	delete(s.tombs, name)
	t.lane.tombs--
	s.abandon(name.key, t.lane)
}

// abandon forgets a lane in which there is nothing.
func (s *spans[A]) abandon(key string, n *lane[A]) {
	if len(n.spans) == 0 && n.tombs == 0 {
		delete(s.lanes, key)
	}
}

func (s *spans[A]) loadValue(l *Live[A]) error {
	if l.Value != nil {
		return nil
	}
	s.buf = appendSpanKey(append(s.buf[:0], s.prefix[:]...), keyBytes(l.key), l.Window())
	b, ok, err := s.db.engine.Get(nil, s.buf)
	if err != nil {
		return s.wrap(err)
	}
	if !ok {
		return s.wrap(fmt.Errorf("%w: the entry of key %q, window %v is gone", ErrCorrupt, l.key, l.Window()))
	}
	a, _, _, err := decodeLive(s.codec, b)
	if err != nil {
		return s.wrap(fmt.Errorf("value of key %q, window %v: %w", l.key, l.Window(), err))
	}
	l.Value = a
	s.resize(l, len(b)-l.Firing.KeptBytes())
	return nil
}

func (s *spans[A]) touch(l *Live[A]) {
	if l.dirty || l.deleted || l.gone {
		return
	}
	l.dirty = true
	s.changed = append(s.changed, l)
	s.changedBytes += int64(l.size)
}

func (s *spans[A]) move(l *Live[A], w window.Window) {
	if w == l.Window() {
		return
	}
	s.bury(l, spanTomb[A]{})
	reorder := w.Start != l.start
	if reorder {
		l.span.lane.leave(l)
	}
	l.start, l.span.end = w.Start, w.End
	if reorder {
		l.span.lane.enter(l)
	}
	l.stored = s.revive(l)
	s.postpone(l)
	s.touch(l)
}

// bury notes that the engine's entry of l's span is to be deleted.
func (s *spans[A]) bury(l *Live[A], t spanTomb[A]) {
	if !l.stored {
		return
	}
	if _, ok := s.tombs[nameOf(l)]; !ok {
		l.span.lane.tombs++
	}
	t.lane, t.time, t.born = l.span.lane, l.Time, s.db.commits
	s.tombs[nameOf(l)] = t
}

func (s *spans[A]) delete(l *Live[A], expired bool) {
	if l.gone || l.deleted {
		return
	}
	s.bury(l, spanTomb[A]{expired: expired, live: l})
	l.span.lane.leave(l)
	s.abandon(l.key, l.span.lane)
	s.unindex(l)
	s.charge(-int64(l.size))
	// Under DeletesDeferred the next commit still writes what it had.
	l.deleted = true
	l.gone = !l.stored || s.db.deletes == DeletesWithCommit
}

// postpone notes that l may be due at another time than index has it under.
func (s *spans[A]) postpone(l *Live[A]) {
	switch due := s.due(l.Window()); {
	case due == l.span.at && !l.span.stale:
	case due < l.span.at || l.span.at < s.settled:
		s.reindex(l)
	case !l.span.stale:
		l.span.stale = true
		s.stale++
	}
}

// reindex puts l where it is due. It gets another number, by which a scan that is
// under way knows that it has moved.
func (s *spans[A]) reindex(l *Live[A]) {
	s.unindex(l)
	s.ids++
	l.span.at, l.span.id = s.due(l.Window()), s.ids
	s.index.Set(s.entry(l))
}

func (s *spans[A]) unindex(l *Live[A]) {
	s.index.Delete(s.entry(l))
	if l.span.stale {
		l.span.stale = false
		s.stale--
	}
}

// settle sees to it that no span stands in index before a time at which it is
// not due.
func (s *spans[A]) settle(before int64) {
	if before <= s.settled {
		return
	}
	for at := (indexed[A]{at: s.settled}); s.stale > 0; {
		next := s.from(at)
		if next.live == nil || next.at >= before {
			break
		}
		at = next.behind()
		if next.live.span.stale {
			s.reindex(next.live)
		}
	}
	if before < window.MaxTime { // a look at all of them is no reason to give up postponing
		s.settled = before
	}
}

// next returns the least time at or after from at which a span is due.
func (s *spans[A]) next(from int64) (due int64, ok bool) {
	s.settle(from)
	for {
		first := s.from(indexed[A]{at: from})
		if first.live == nil {
			return 0, false
		}
		if !first.live.span.stale {
			return first.at, true
		}
		s.reindex(first.live)
	}
}

// anyHeld has visit call with what is not held too.
const anyHeld = 0

// visit calls v with the spans that are due in [from, to), behind a cursor, and are held
// with any of bits, if there are any; next is when the first one after those is due.
func (s *spans[A]) visit(from, to int64, after Cursor, bits uint8, v Visitor[A]) (next int64, done bool, err error) {
	if err := s.load(); err != nil {
		return 0, false, err
	}
	s.settle(to)
	made := s.ids
	at := indexed[A]{at: from}
	if after.Key != nil && after.Start >= from {
		at = indexed[A]{at: after.Start, key: string(after.Key), id: after.id}.behind()
	}
	for {
		i := s.from(at)
		switch {
		case i.live == nil:
			return window.MaxTime, true, nil
		case i.at >= to && i.live.span.stale:
			s.reindex(i.live)
			continue
		case i.at >= to:
			return i.at, true, nil
		}
		at = i.behind()
		if i.id > made || i.live.span.stale || bits != anyHeld && i.live.Held&bits == 0 {
			continue
		}
		if err := s.loadValue(i.live); err != nil {
			return 0, false, err
		}
		if !v.Visit(i.live) {
			return 0, false, nil
		}
	}
}

// yielding is the Visitor of a loop's body.
type yielding[A any] func(*Live[A], error) bool

func (y yielding[A]) Visit(l *Live[A]) (more bool) { return y(l, nil) }

func (s *spans[A]) scan(from, to int64, after Cursor) iter.Seq2[*Live[A], error] {
	return func(yield func(*Live[A], error) bool) {
		if _, _, err := s.visit(from, to, after, anyHeld, yielding[A](yield)); err != nil {
			yield(nil, err)
		}
	}
}

func (s *spans[A]) isDue(t spanTomb[A]) bool {
	return s.db.deletes == DeletesWithCommit || t.born < s.db.commits
}

func (s *spans[A]) dirty() (int, int64) { return len(s.changed), s.changedBytes }
func (s *spans[A]) pending() int        { return len(s.tombs) }

func (s *spans[A]) waiting() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, name := range slices.SortedFunc(maps.Keys(s.tombs), spanName.compare) {
			t := s.tombs[name]
			if !t.expired && !s.isDue(t) && !yield(s.appendLogKey(nil, name.key, name.w)) {
				return
			}
		}
	}
}

func (s *spans[A]) redelete(logKey []byte) error {
	key, w, err := s.splitLogKey(logKey)
	if err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return err
	}
	for _, l := range slices.Clone(s.spansOf(key)) {
		if l.Window() == w {
			s.delete(l, false)
			if t, ok := s.tombs[nameOf(l)]; ok {
				t.born = 0
				s.tombs[nameOf(l)] = t
			}
		}
	}
	return nil
}

// collect encodes the changed objects and adds the deletes that are due.
func (s *spans[A]) collect(c *collector) error {
	for _, l := range s.changed {
		if l.gone {
			continue
		}
		if err := s.put(c, l); err != nil {
			return err
		}
	}
	s.sent, s.changed, s.changedBytes = s.changed, s.sent[:0], 0
	for name, t := range s.tombs {
		if !s.isDue(t) {
			continue
		}
		e := change{time: t.time, delete: true}
		s.keys(c, &e, name.key, name.w)
		c.put(e)
	}
	return nil
}

// keys appends the engine's and the changelog's key of a span to c.
func (s *spans[A]) keys(c *collector, e *change, key string, w window.Window) {
	from := c.begin()
	c.arena = appendSpanKey(append(c.arena, s.prefix[:]...), keyBytes(key), w)
	e.key = c.since(from)
	from = len(c.arena)
	c.arena = s.appendLogKey(c.arena, key, w)
	e.logKey = c.since(from)
}

func (s *spans[A]) put(c *collector, l *Live[A]) error {
	e := change{time: l.Time}
	s.keys(c, &e, l.key, l.Window())
	n, err := appendValue(c, &e, l, s.codec, s)
	if err != nil {
		return err
	}
	c.put(e)
	if !l.deleted {
		s.resize(l, n)
	}
	return nil
}

// check encodes the object of a changelog key, if Collect is to.
func (s *spans[A]) check(logKey []byte) error {
	key, w, err := s.splitLogKey(logKey)
	if err != nil {
		return err
	}
	for _, l := range s.spansOf(key) {
		if l.Window() == w && l.dirty {
			_, err = encodeValue(nil, l, s.codec, s)
		}
	}
	return err
}

// logKeyOf returns the changelog's key of l.
func (s *spans[A]) logKeyOf(l *Live[A]) []byte { return s.appendLogKey(nil, l.key, l.Window()) }

func (s *spans[A]) committed() {
	for _, l := range s.sent {
		l.dirty, l.stored = false, true
	}
	clear(s.sent)
	s.sent = s.sent[:0]
	for name, t := range s.tombs {
		if s.isDue(t) {
			s.exhume(name)
		}
	}
}

func (s *spans[A]) forget() {
	s.charge(-s.held)
	s.reset()
}

// shrink evicts the values of clean objects while the budget is exceeded.
func (s *spans[A]) shrink() (crowded bool) {
	excess, pinned := s.db.budget.excess(s.held), int64(0)
	for _, n := range s.lanes {
		for _, l := range n.spans {
			switch {
			case excess <= 0:
				return false
			case l.dirty || !l.stored || l.Value == nil:
			case l.Held != 0:
				pinned += int64(l.size)
			default:
				before := l.size
				l.Value = nil
				s.resize(l, -1)
				excess -= int64(before - l.size)
			}
		}
	}
	return crowds(pinned, excess)
}

func (s *spans[A]) close() {
	s.charge(-s.held)
	s.db.budget.join(-1)
}

func (s *spans[A]) appendLogKey(dst []byte, key string, w window.Window) []byte {
	if s.size > 0 {
		return codec.AppendWindowKey(dst, keyBytes(key), w.Start, 0)
	}
	return codec.AppendSessionKey(dst, keyBytes(key), w.Start, w.End-1)
}

func (s *spans[A]) splitLogKey(b []byte) (key []byte, w window.Window, err error) {
	if s.size > 0 {
		key, w.Start, _, err = codec.SplitWindowKey(b)
		w.End = w.Start + s.size
	} else {
		key, w.Start, w.End, err = codec.SplitSessionKey(b)
		w.End++
	}
	if err != nil {
		return nil, w, fmt.Errorf("%w: changelog key: %w", ErrCorrupt, err)
	}
	return key, w, nil
}

func (s *spans[A]) fromLog(dst []byte, r LogRecord) ([]byte, int, error) {
	key, w, err := s.splitLogKey(r.Key)
	if err != nil {
		return nil, 0, err
	}
	return liveFromLog(appendSpanKey(append(dst, s.prefix[:]...), key, w), r)
}
