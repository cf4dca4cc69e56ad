package stores

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/window"
)

// Queryable answers queries about one store, without its types, from committed
// state. It is safe for use by several goroutines at once.
type Queryable interface {
	Name() string
	Kind() Kind

	// ParseKey returns the encoded key that text stands for. Errors say what
	// is expected.
	ParseKey(text string) ([]byte, error)

	// Get returns the value of an encoded key. A store of windows has none
	// without a window: it returns ErrQuery.
	Get(v *View, key []byte) (item Item, ok bool, err error)

	// Range returns a page of the entries with encoded keys in [From, To).
	// Stores of windows return ErrQuery.
	Range(v *View, q RangeQuery) (Page, error)

	// Windows returns a page of the windows that start in [From, To), of one
	// key or, in ascending order of start and key, of all. Stores without
	// windows return ErrQuery.
	Windows(v *View, q WindowsQuery) (Page, error)
}

// RangeQuery asks for entries by key. Nil bounds are none.
type RangeQuery struct {
	From, To []byte
	// Limit is the greatest number of items of the page; at least 1.
	Limit int
	// Cursor is that of the page before, or nil. Any Position will do: the page
	// begins at the first item that has it or a later one.
	Cursor []byte
}

// WindowsQuery asks for windows by time.
type WindowsQuery struct {
	// Key is an encoded key, or nil for all keys.
	Key []byte
	// From and To bound the starts of the windows, in Unix milliseconds.
	From, To int64
	// Limit and Cursor are as in RangeQuery.
	Limit  int
	Cursor []byte
}

// Item is one answer. It marshals to JSON if the store's values do.
type Item struct {
	Key any
	// Window is nil for stores without windows.
	Window *window.Window
	Value  any
	// Time is the greatest event time in Value, in Unix milliseconds.
	Time int64
	// Final is true if nothing will change the value of the window any more.
	Final bool
	// Position is where the item stands in its store, for pages: their items
	// are in ascending order of its bytes, and so can pages of several tasks
	// be merged. Get leaves it nil.
	Position []byte
}

// Page is one part of a longer answer.
type Page struct {
	Items []Item
	// Next is the cursor of the next page, or nil if this is the last. It is
	// opaque, and good for the same query against any copy of the store.
	Next []byte
}

// Queryable returns the store of that name for queries. Any goroutine may call
// it.
func (db *DB) Queryable(name string) (Queryable, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	q, ok := db.queries[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnknownStore, name)
	}
	return q, nil
}

// Queryables returns all stores for queries, in ascending order of names. Any
// goroutine may call it.
func (db *DB) Queryables() []Queryable {
	db.mu.Lock()
	defer db.mu.Unlock()
	all := make([]Queryable, 0, len(db.queries))
	for _, name := range slices.Sorted(maps.Keys(db.queries)) {
		all = append(all, db.queries[name])
	}
	return all
}

// valueOf turns an engine's value into an Item without key. It copies value if
// the Item would alias it.
type valueOf func(value []byte) (Item, error)

func plainValue[V any](c codec.Codec[V]) valueOf {
	return func(b []byte) (Item, error) {
		time, value, err := splitTime(b)
		if err != nil {
			return Item{}, err
		}
		v, err := c.Decode(append([]byte{}, value...))
		return Item{Value: v, Time: time}, err
	}
}

func aggregateValue[A any](c codec.Codec[A]) valueOf {
	return func(b []byte) (Item, error) {
		a, time, f, err := decodeLive(c, b)
		if err != nil {
			return Item{}, err
		}
		return Item{Value: a, Time: time, Final: f.Final()}, nil
	}
}

// checkEvery is after how many entries a query looks at its context.
const checkEvery = 64

// keyQuery answers for stores without windows.
type keyQuery[K any] struct {
	info  *storeInfo
	key   codec.Codec[K]
	value valueOf
}

func (q *keyQuery[K]) Name() string                         { return q.info.name }
func (q *keyQuery[K]) Kind() Kind                           { return q.info.kind }
func (q *keyQuery[K]) ParseKey(text string) ([]byte, error) { return codec.ParseKey(q.key, text) }

func (q *keyQuery[K]) Get(v *View, key []byte) (Item, bool, error) {
	if err := v.ctx.Err(); err != nil {
		return Item{}, false, err
	}
	b, ok, err := v.snapshot.Get(nil, append(q.info.prefix[:], key...))
	if err != nil || !ok || v.expired(q.info, b) {
		return Item{}, false, q.info.wrap(err)
	}
	item, err := q.item(key, b)
	return item, err == nil, err
}

func (q *keyQuery[K]) item(key, value []byte) (Item, error) {
	item, err := q.value(value)
	if err != nil {
		return Item{}, q.info.wrap(fmt.Errorf("value of key %q: %w", key, err))
	}
	k, err := q.key.Decode(append([]byte{}, key...))
	if err != nil {
		return Item{}, q.info.wrap(fmt.Errorf("key %q: %w", key, err))
	}
	item.Key = k
	return item, nil
}

func (q *keyQuery[K]) Range(v *View, r RangeQuery) (Page, error) {
	span := q.info.span()
	from := r.From
	if r.Cursor != nil && bytes.Compare(r.Cursor, from) > 0 {
		from = r.Cursor
	}
	span.Lower = append(q.info.prefix[:], from...)
	if r.To != nil {
		span.Upper = append(q.info.prefix[:], r.To...)
	}
	var page Page
	err := scanView(v.ctx, v.snapshot, span, func(key, value []byte) (bool, error) {
		if v.expired(q.info, value) {
			return true, nil
		}
		key = key[prefixLen:]
		if len(page.Items) == max(1, r.Limit) {
			page.Next = append([]byte{}, key...)
			return false, nil
		}
		item, err := q.item(key, value)
		item.Position = bytes.Clone(key)
		page.Items = append(page.Items, item)
		return true, err
	})
	return page, q.info.wrap(err)
}

func (q *keyQuery[K]) Windows(*View, WindowsQuery) (Page, error) {
	return Page{}, q.info.wrap(fmt.Errorf("%w: it has no windows", ErrQuery))
}

// scanView calls visit for each entry of span until it returns false.
func scanView(ctx context.Context, r Reader, span Span, visit func(key, value []byte) (bool, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if bytes.Compare(span.Lower, span.Upper) >= 0 {
		return nil
	}
	it, err := r.Iterate(span)
	if err != nil {
		return err
	}
	defer it.Close()
	for n := 1; it.Next(); n++ {
		if n%checkEvery == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		more, err := visit(it.Key(), it.Value())
		if err != nil || !more {
			return err
		}
	}
	return it.Err()
}

// windowedQuery answers for stores of windows.
type windowedQuery[K, A any] struct {
	keyQuery[K]
	window func(start int64) window.Window
	// shift is how far before an entry its window begins. merge, if not nil,
	// returns the value of the window that an entry stands for.
	shift int64
	merge func(v *View, key []byte, start int64) (Item, error)
}

func (q *windowedQuery[K, A]) Get(*View, []byte) (Item, bool, error) {
	return Item{}, false, q.info.wrap(fmt.Errorf("%w: it has windows: ask for the windows of the key", ErrQuery))
}

func (q *windowedQuery[K, A]) Range(*View, RangeQuery) (Page, error) {
	return Page{}, q.info.wrap(fmt.Errorf("%w: it has windows: ask for them by time, or for those of a key", ErrQuery))
}

func (q *windowedQuery[K, A]) Windows(v *View, w WindowsQuery) (Page, error) {
	from := q.startKey(w.From)
	if w.Cursor != nil && bytes.Compare(w.Cursor, from[prefixLen:]) > 0 {
		from = append(q.info.prefix[:], w.Cursor...)
	}
	span := Span{Lower: from, Upper: q.startKey(w.To)}
	if w.Key != nil {
		return q.windowsOfKey(v, w, span)
	}
	var page Page
	err := scanView(v.ctx, v.snapshot, span, func(key, value []byte) (bool, error) {
		return q.add(v, &page, w.Limit, key, value)
	})
	return page, q.info.wrap(err)
}

// windowsOfKey seeks from window to window: entries are in the order of starts.
func (q *windowedQuery[K, A]) windowsOfKey(v *View, w WindowsQuery, span Span) (Page, error) {
	var page Page
	if bytes.Compare(span.Lower, span.Upper) >= 0 {
		return page, v.ctx.Err()
	}
	it, err := v.snapshot.Iterate(span)
	if err != nil {
		return page, q.info.wrap(err)
	}
	defer it.Close()
	const startLen = prefixLen + 8
	ok := it.Next()
	for n := 0; ok; n++ {
		if n%checkEvery == 0 && v.ctx.Err() != nil {
			return page, v.ctx.Err()
		}
		if len(it.Key()) < startLen {
			return page, q.info.wrap(fmt.Errorf("%w: key %x has no window", ErrCorrupt, it.Key()))
		}
		start := bytes.Clone(it.Key()[:startLen])
		want := append(start[:startLen:startLen], w.Key...)
		if order := bytes.Compare(it.Key(), want); order < 0 {
			ok = it.Seek(want)
			continue
		} else if order == 0 {
			more, err := q.add(v, &page, w.Limit, it.Key(), it.Value())
			if err != nil || !more {
				return page, q.info.wrap(err)
			}
		}
		next := successor(start)
		if next == nil || bytes.Compare(next, span.Upper) >= 0 {
			break
		}
		ok = it.Seek(next)
	}
	return page, q.info.wrap(it.Err())
}

// successor returns the least key after all that begin with prefix, or nil.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != math.MaxUint8 {
			next := bytes.Clone(prefix[:i+1])
			next[i]++
			return next
		}
	}
	return nil
}

// add appends an entry to the page, or its key as the cursor if the page is
// full.
func (q *windowedQuery[K, A]) add(v *View, page *Page, limit int, key, value []byte) (bool, error) {
	key = key[prefixLen:]
	if q.merge != nil {
		if _, f, _, err := splitLive(value); err != nil || f.Has(window.EntryUnreadable) {
			return true, err
		}
	}
	if len(page.Items) == max(1, limit) {
		page.Next = bytes.Clone(key)
		return false, nil
	}
	if len(key) < 8 {
		return false, fmt.Errorf("%w: key %x has no window", ErrCorrupt, key)
	}
	item, err := q.item(key[8:], value)
	if err != nil {
		return false, err
	}
	start := int64(binary.BigEndian.Uint64(key) ^ (1 << 63))
	if q.merge != nil {
		whole, err := q.merge(v, key[8:], start)
		if err != nil {
			return false, err
		}
		item.Value, item.Time = whole.Value, whole.Time
	}
	w := q.window(start)
	item.Window, item.Position = &w, bytes.Clone(key)
	page.Items = append(page.Items, item)
	return true, nil
}

// startKey returns the least engine key of the windows that begin at start.
func (q *windowedQuery[K, A]) startKey(start int64) []byte {
	if start > math.MinInt64 && start < math.MaxInt64-q.shift {
		start += q.shift
	}
	return binary.BigEndian.AppendUint64(q.info.prefix[:len(q.info.prefix):prefixLen], uint64(start)^(1<<63))
}
