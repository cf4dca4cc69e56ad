package processors

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/tidwall/btree"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// Finals passes on the final results of windows and nothing else.
func Finals[K, A any](next Forward[K, A]) Forward[K, A] {
	return func(r *Record[K, A]) error {
		if !r.Pane.Final {
			return nil
		}
		return next(r)
	}
}

// SuppressConfig says what a buffer of results does. I is what tells entries apart:
// the key, or the key and the window.
type SuppressConfig[K, A, I any] struct {
	// Limit is for how much event time, in milliseconds, an entry waits.
	Limit int64
	// MaxRecords and MaxBytes bound the buffer; 0 for no bound.
	MaxRecords, MaxBytes int64
	// Strict stops the instance when the buffer is full. Otherwise the earliest
	// entry is sent before its time.
	Strict bool

	ID    codec.Codec[I]
	Of    func(K, window.Window) I
	Parts func(I) (K, window.Window)
	Store *stores.KeyValue[I, Held[A]]
	Next  Forward[K, A]
}

// Suppress holds the results of an aggregate back until they have waited for some
// event time, and sends the last one of each key, or of each key and window.
//
// An entry's place is that of its first result: a later one takes the result's place
// but not the entry's, so that what changes all the time is sent nonetheless. A
// result that takes back one that is held removes that; one that takes back what was
// sent waits with the result that follows it, and goes out first.
//
// The entries are in a store. Which there are, and when they are due, is also kept
// in memory.
type Suppress[K, A, I any] struct {
	rt     *Runtime
	node   *Node
	c      SuppressConfig[K, A, I]
	before Stateful

	order *btree.BTreeG[waiting]
	byID  map[string]waiting
	bytes int64

	// w is how far the node before has been advanced, output the watermark of
	// what is sent.
	w, output int64
	id        []byte
	out       Record[K, A]
}

// waiting is an entry of the buffer without its results.
type waiting struct {
	time int64
	id   string
	size int64
	// result and retraction say what the entry has.
	result, retraction bool
}

// NewSuppress returns the node; its Process is the edge into it.
func NewSuppress[K, A, I any](rt *Runtime, n *Node, c SuppressConfig[K, A, I]) *Suppress[K, A, I] {
	return &Suppress[K, A, I]{
		rt: rt, node: n, c: c, w: window.MinTime, output: window.MinTime, byID: map[string]waiting{},
		order: btree.NewBTreeGOptions(func(a, b waiting) bool {
			return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.id, b.id)) < 0
		}, btree.Options{NoLocks: true}),
	}
}

// Follow notes the aggregate.
func (s *Suppress[K, A, I]) Follow(before Stateful) { s.before = before }

// Restore finds what is in the store.
func (s *Suppress[K, A, I]) Restore(w int64) error {
	s.w = w
	for e, err := range s.c.Store.All() {
		if err != nil {
			return err
		}
		id, err := s.c.ID.Append(nil, e.Key)
		if err != nil {
			return s.node.fail(fmt.Errorf("stored key: %w", err))
		}
		s.enter(waiting{
			time: e.Value.Time, id: string(id), size: int64(len(id) + e.Value.size),
			result: e.Value.Result != nil, retraction: e.Value.Retraction != nil,
		})
	}
	return nil
}

// enter notes an entry, and leave forgets it.
func (s *Suppress[K, A, I]) enter(x waiting) {
	s.byID[x.id] = x
	s.order.Set(x)
	s.bytes += x.size
	s.rt.Observer.Buffered(s.node.Name, 1, x.size)
}

func (s *Suppress[K, A, I]) leave(x waiting) {
	delete(s.byID, x.id)
	s.order.Delete(x)
	s.bytes -= x.size
	s.rt.Observer.Buffered(s.node.Name, -1, -x.size)
}

// due reports whether what came at a time has waited for long enough.
func (s *Suppress[K, A, I]) due(at int64) bool {
	return s.w == window.MaxTime || at <= s.w && s.w != window.MinTime && uint64(s.w)-uint64(at) >= uint64(s.c.Limit)
}

// Process takes a result, or passes it on if nothing of it has to wait.
func (s *Suppress[K, A, I]) Process(r *Record[K, A]) error {
	s.rt.Node = s.node
	id := s.c.Of(r.Key, r.Window)
	var err error
	if s.id, err = s.c.ID.Append(s.id[:0], id); err != nil {
		return s.node.fail(fmt.Errorf("key: %w", err))
	}
	x, found := s.byID[string(s.id)]
	if !found && s.due(r.Time) {
		return s.c.Next(r)
	}
	s.rt.Touched = true
	h := Held[A]{Time: r.Time}
	if found {
		// The values are needed only if one of them stays.
		if x.retraction {
			if h, _, err = s.c.Store.Get(id); err != nil {
				return s.node.fail(err)
			}
		}
		h.Time = min(x.time, r.Time)
	} else {
		x.id = string(s.id)
	}
	result := &HeldResult[A]{Value: r.Value, Time: r.Time, Pane: r.Pane, Headers: r.Headers}
	switch {
	case !r.Pane.Retracted:
		h.Result = result
	case x.result:
		h.Result = nil
	case !x.retraction:
		h.Retraction = result
	}
	if err := s.put(id, x, found, h); err != nil {
		return err
	}
	return s.bound()
}

// put writes an entry and notes where it is.
func (s *Suppress[K, A, I]) put(id I, x waiting, found bool, h Held[A]) error {
	size, err := s.c.Store.PutSized(id, h, h.Time)
	if err != nil {
		return s.node.fail(err)
	}
	if found {
		s.leave(x)
	}
	s.enter(waiting{time: h.Time, id: x.id, size: int64(size), result: h.Result != nil, retraction: h.Retraction != nil})
	return nil
}

// bound keeps the buffer within its bounds.
func (s *Suppress[K, A, I]) bound() error {
	for s.full() {
		if s.c.Strict {
			return fmt.Errorf("node %q (%s): %w: it holds %d records of %d bytes, and may hold %s: raise the bound, or leave out ShutDownWhenFull to send the earliest before its time",
				s.node.Name, s.node.Where, ErrBufferFull, s.order.Len(), s.bytes, s.c.bounds())
		}
		first, _ := s.order.Min()
		if err := s.release(first); err != nil {
			return err
		}
	}
	return nil
}

func (s *Suppress[K, A, I]) full() bool {
	return s.c.MaxRecords > 0 && int64(s.order.Len()) > s.c.MaxRecords || s.c.MaxBytes > 0 && s.bytes > s.c.MaxBytes
}

// bounds describes the bounds for people.
func (c *SuppressConfig[K, A, I]) bounds() string {
	switch {
	case c.MaxBytes == 0:
		return fmt.Sprintf("%d records", c.MaxRecords)
	case c.MaxRecords == 0:
		return fmt.Sprintf("%d bytes", c.MaxBytes)
	}
	return fmt.Sprintf("%d records and %d bytes", c.MaxRecords, c.MaxBytes)
}

// release removes an entry and sends what it has.
func (s *Suppress[K, A, I]) release(x waiting) error {
	id, err := s.c.ID.Decode([]byte(x.id))
	if err != nil {
		return s.node.fail(fmt.Errorf("stored key: %w", err))
	}
	h, ok, err := s.c.Store.Get(id)
	if err == nil && !ok {
		err = fmt.Errorf("%w: a buffer has lost key %q", stores.ErrCorrupt, x.id)
	}
	if err == nil {
		err = s.c.Store.Delete(id)
	}
	if err != nil {
		return s.node.fail(err)
	}
	s.leave(x)
	key, w := s.c.Parts(id)
	err = s.rt.sendDue(s.node.Name, []byte(x.id), w.Start, func() error {
		for _, r := range [...]*HeldResult[A]{h.Retraction, h.Result} {
			if r == nil {
				continue
			}
			s.out = Record[K, A]{Key: key, Value: r.Value, Time: r.Time, Headers: r.Headers, Window: w, Pane: r.Pane}
			if err := s.c.Next(&s.out); err != nil {
				return err
			}
		}
		return nil
	})
	s.rt.Node = s.node
	return err
}

// Advance sends what has waited for long enough, in the order of times and keys.
func (s *Suppress[K, A, I]) Advance(w int64) (bool, error) {
	s.rt.Node = s.node
	s.w = max(s.w, w)
	for range slice {
		first, ok := s.order.Min()
		if !ok || !s.due(first.time) {
			return true, nil
		}
		if err := s.release(first); err != nil {
			return false, err
		}
	}
	return false, nil
}

// Output returns the watermark of the results: that of the aggregate's, or the time
// of the first one that is held.
func (s *Suppress[K, A, I]) Output() int64 {
	w := int64(math.MaxInt64)
	if s.before != nil {
		w = s.before.Output()
	}
	if first, ok := s.order.Min(); ok {
		w = min(w, first.time)
	}
	s.output = max(s.output, w)
	return s.output
}

// Tick does nothing: results wait for event time.
func (s *Suppress[K, A, I]) Tick(time.Time) error { return nil }

// BeforeCommit does nothing.
func (s *Suppress[K, A, I]) BeforeCommit() error { return nil }

// Close forgets the entries.
func (s *Suppress[K, A, I]) Close() error {
	s.rt.Observer.Buffered(s.node.Name, -int64(s.order.Len()), -s.bytes)
	s.order.Clear()
	clear(s.byID)
	s.bytes = 0
	return nil
}
