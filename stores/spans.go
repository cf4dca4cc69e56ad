package stores

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/window"
)

// SpansConfig describes a Spans store.
type SpansConfig[K, A any] struct {
	Name string
	// Key reads and writes keys; only queries use it.
	Key codec.Codec[K]
	// Value reads and writes aggregates.
	Value codec.Codec[A]
	// New makes the aggregate of a span that has none.
	New func() *A
	// Due returns a span's place in the order of Scan.
	Due func(window.Window) int64
	// Size is the length of all spans, in milliseconds, and changelog keys are
	// those of Kafka Streams' windows. If it is 0 the spans are sessions, with
	// Kafka Streams' session keys.
	Size int64
	// Layout and Tiers are as in WindowedConfig.
	Layout string
	Tiers  *TierConfig
}

// Spans holds aggregates of windows that the events themselves bound, sessions
// and sliding windows, as live objects. Unlike those of a Windowed, entries are
// found by key first: Of returns all spans of a key. A span may move, which
// changes what it is found under but not the object. Scan goes through the spans
// of all keys in the order in which they are due.
//
// Which spans there are is kept in memory, some 400 bytes each, and read from
// the engine when the store is first used; their values are evicted as the
// budget says.
type Spans[K, A any] struct {
	s    spans[A]
	tier *Tier
}

// OpenSpans opens or makes a store.
func OpenSpans[K, A any](db *DB, cfg SpansConfig[K, A]) (*Spans[K, A], error) {
	s := new(Spans[K, A])
	q := &spansQuery[K]{keyQuery: keyQuery[K]{info: &s.s.storeInfo, key: cfg.Key, value: aggregateValue(cfg.Value)}, due: cfg.Due}
	if err := db.register(&s.s, cfg.Name, WindowedKind, cfg.Layout, q); err != nil {
		return nil, err
	}
	s.s.codec, s.s.make, s.s.due, s.s.size = cfg.Value, cfg.New, cfg.Due, cfg.Size
	s.s.reset()
	s.tier = newTier(cfg.Tiers, cfg.Layout, q)
	db.addTier(s.tier)
	db.budget.join(1)
	return s, nil
}

// Name returns the store's name.
func (s *Spans[K, A]) Name() string { return s.s.name }

// Tier returns what the store tells the cold tier, or nil if it has none.
func (s *Spans[K, A]) Tier() *Tier { return s.tier }

// Of returns the spans of a key in ascending order of start; those of one start, of
// which Move can make several, are in no order. The slice is the store's, and good
// until a span is created, moved or deleted; the values of its objects may be nil until
// Load. If the key has been looked up before, Of does not allocate.
func (s *Spans[K, A]) Of(key []byte) ([]*Live[A], error) {
	if err := s.s.load(); err != nil {
		return nil, err
	}
	return s.s.spansOf(key), nil
}

// Load makes sure that the value of l is in memory.
func (s *Spans[K, A]) Load(l *Live[A]) error { return s.s.loadValue(l) }

// Create makes a new aggregate for a span that is not there, and marks it
// changed. Its Time is that of the DB.
func (s *Spans[K, A]) Create(key []byte, w window.Window) (*Live[A], error) {
	if err := s.s.load(); err != nil {
		return nil, err
	}
	return s.s.create(key, w), nil
}

// Copy returns an aggregate that is equal to one and shares nothing with it.
func (s *Spans[K, A]) Copy(a *A) (*A, error) {
	b, err := s.s.codec.Append(nil, *a)
	if err != nil {
		return nil, s.s.wrap(err)
	}
	again, err := s.s.codec.Decode(b)
	return &again, s.s.wrap(err)
}

// Touch marks l as changed.
func (s *Spans[K, A]) Touch(l *Live[A]) { s.s.touch(l) }

// Move gives l another span, and marks it changed.
func (s *Spans[K, A]) Move(l *Live[A], w window.Window) { s.s.move(l, w) }

// Delete removes one aggregate.
func (s *Spans[K, A]) Delete(l *Live[A]) { s.s.delete(l, false) }

// Scan yields the aggregates whose spans are due in [from, to), in the order of
// that and of their keys, beginning after a cursor. To go on later, also after a
// commit, hand in the Cursor of the last object that was yielded.
//
// The loop's body may change anything; what it creates or moves is not yielded.
// It must not call Collect or Commit.
func (s *Spans[K, A]) Scan(from, to int64, after Cursor) iter.Seq2[*Live[A], error] {
	return s.s.scan(from, to, after)
}

// Visit calls v with what Scan yields, which may do what a loop's body may. If it
// comes to the end, done is set, and next is the least time at or after to at which a
// span is due, window.MaxTime if there is none.
func (s *Spans[K, A]) Visit(from, to int64, after Cursor, v Visitor[A]) (next int64, done bool, err error) {
	return s.s.visit(from, to, after, anyHeld, v)
}

// VisitHeld is Visit of those aggregates alone whose Held has any of bits. It reads no
// values from the engine; next may be an earlier time than that of the next of them.
func (s *Spans[K, A]) VisitHeld(from, to int64, after Cursor, bits uint8, v Visitor[A]) (next int64, done bool, err error) {
	return s.s.visit(from, to, after, bits, v)
}

// Next returns the least time at or after from at which a span is due; ok is
// false if there is none.
func (s *Spans[K, A]) Next(from int64) (due int64, ok bool, err error) {
	if err := s.s.load(); err != nil {
		return 0, false, err
	}
	due, ok = s.s.next(from)
	return due, ok, nil
}

// DropBefore deletes all spans that are due before a time, and returns how many
// there were.
func (s *Spans[K, A]) DropBefore(due int64) (n int, err error) {
	if err := s.s.load(); err != nil {
		return 0, err
	}
	s.s.settle(due)
	for {
		first := s.s.from(indexed[A]{at: window.MinTime})
		if first.live == nil || first.at >= due {
			return n, nil
		}
		s.s.delete(first.live, true)
		n++
	}
}

// spansQuery answers queries about a Spans store.
type spansQuery[K any] struct {
	keyQuery[K]
	due func(window.Window) int64
}

func (q *spansQuery[K]) Get(*View, []byte) (Item, bool, error) {
	return Item{}, false, q.info.wrap(fmt.Errorf("%w: it has windows: ask for the windows of the key", ErrQuery))
}

func (q *spansQuery[K]) Range(*View, RangeQuery) (Page, error) {
	return Page{}, q.info.wrap(fmt.Errorf("%w: it has windows: ask for them by time, or for those of a key", ErrQuery))
}

// Windows returns spans in the order of the bytes of their keys and of their
// starts: a query without a key reads the whole store.
func (q *spansQuery[K]) Windows(v *View, w WindowsQuery) (Page, error) {
	span := q.info.span()
	if w.Key != nil {
		span.Lower = appendEscaped(q.info.prefix[:prefixLen:prefixLen], w.Key)
		span.Upper = successor(span.Lower)
	}
	if w.Cursor != nil && bytes.Compare(w.Cursor, span.Lower[prefixLen:]) > 0 {
		span.Lower = append(q.info.prefix[:prefixLen:prefixLen], w.Cursor...)
	}
	var page Page
	err := scanView(v.ctx, v.snapshot, span, func(key, value []byte) (bool, error) {
		key = key[prefixLen:]
		inner, x, err := splitSpanKey(key)
		if err != nil {
			return false, err
		}
		if x.Start < w.From || x.Start >= w.To {
			return true, nil
		}
		if len(page.Items) == max(1, w.Limit) {
			page.Next = bytes.Clone(key)
			return false, nil
		}
		item, err := q.item(inner, value)
		item.Window, item.Position = &x, bytes.Clone(key)
		page.Items = append(page.Items, item)
		return true, err
	})
	return page, q.info.wrap(err)
}

// The engine's key of a span is the escaped key, the start and the end. Escaping
// makes no key the beginning of another one, so that those of one key lie
// together.

// appendEscaped appends key, with each zero byte followed by 0xff, and its end,
// a zero byte and a one.
func appendEscaped(dst, key []byte) []byte {
	for {
		i := bytes.IndexByte(key, 0)
		if i < 0 {
			return append(append(dst, key...), 0, 1)
		}
		dst = append(append(dst, key[:i+1]...), 0xff)
		key = key[i+1:]
	}
}

func appendSpanKey(dst, key []byte, w window.Window) []byte {
	dst = appendEscaped(dst, key)
	dst = binary.BigEndian.AppendUint64(dst, uint64(w.Start)^(1<<63))
	return binary.BigEndian.AppendUint64(dst, uint64(w.End)^(1<<63))
}

// splitSpanKey takes apart what appendSpanKey made. The key does not alias b.
func splitSpanKey(b []byte) (key []byte, w window.Window, err error) {
	bad := fmt.Errorf("%w: key %x has no span", ErrCorrupt, b)
	n := len(b) - 18
	if n < 0 || b[n] != 0 || b[n+1] != 1 {
		return nil, w, bad
	}
	key = make([]byte, 0, n)
	for rest := b[:n]; ; {
		i := bytes.IndexByte(rest, 0)
		if i < 0 {
			key = append(key, rest...)
			break
		}
		if i+1 == len(rest) || rest[i+1] != 0xff {
			return nil, w, bad
		}
		key, rest = append(key, rest[:i+1]...), rest[i+2:]
	}
	w.Start = int64(binary.BigEndian.Uint64(b[n+2:]) ^ (1 << 63))
	w.End = int64(binary.BigEndian.Uint64(b[n+10:]) ^ (1 << 63))
	return key, w, nil
}

// spansOf returns the spans of a key.
func (s *spans[A]) spansOf(key []byte) []*Live[A] {
	if n := s.lanes[string(key)]; n != nil {
		return n.spans
	}
	return nil
}

// laneOrder sorts the spans of one key.
func laneOrder[A any](a, b *Live[A]) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.span.end, b.span.end))
}

// lane holds the spans of one key.
type lane[A any] struct {
	spans []*Live[A]  // in order of start: a move that changes the end alone leaves them
	one   [1]*Live[A] // room for as many as most keys have
	// tombs is how many deleted spans of the key the engine may still have.
	tombs int
}

// enter puts l among the spans of its key, and leave takes it out.
func (n *lane[A]) enter(l *Live[A]) {
	if n.spans == nil {
		n.spans = n.one[:0]
	}
	i, _ := slices.BinarySearchFunc(n.spans, l, laneOrder[A])
	n.spans = slices.Insert(n.spans, i, l)
	if len(n.spans) > len(n.one) {
		n.one[0] = nil // they are elsewhere now
	}
}

func (n *lane[A]) leave(l *Live[A]) {
	i := slices.Index(n.spans, l)
	n.spans = slices.Delete(n.spans, i, i+1)
}
