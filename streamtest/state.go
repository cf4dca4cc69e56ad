package streamtest

import (
	"reflect"
	"time"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// Store reads the committed state of a store, over all partitions.
type Store struct {
	d    *Driver
	name string
}

// Store returns a handle for reading a store. It fails if the topology has no
// such store.
func (d *Driver) Store(name string) *Store {
	d.helper()
	for _, sub := range d.plan.Subs {
		for _, s := range sub.Stores {
			if s == name {
				return &Store{d, name}
			}
		}
	}
	d.fail("the topology has no store %q", name)
	return &Store{d, name}
}

// Entry is one entry of a store.
type Entry[K, V any] struct {
	Key   K
	Value V
	// Window is set in a store of windows, in Unix milliseconds.
	Window window.Window
	// Time is the greatest event time in Value.
	Time time.Time
	// Final is true if the window's final result was sent.
	Final     bool
	Partition int32
}

// Entries returns all entries of a store: by partition, then by window start and
// key. It fails if the store holds other types.
func Entries[K, V any](s *Store) []Entry[K, V] {
	s.d.helper()
	var entries []Entry[K, V]
	for _, r := range s.d.tasks {
		if _, err := r.db.Queryable(s.name); err != nil {
			continue
		}
		items, err := s.items(r.db)
		if err != nil {
			s.d.fail("store %q: %w", s.name, err)
			return nil
		}
		for _, item := range items {
			key, isKey := item.Key.(K)
			value, isValue := valueOf[V](item.Value)
			if !isKey || !isValue {
				s.d.fail("store %q holds keys %T and values %T", s.name, item.Key, item.Value)
				return nil
			}
			e := Entry[K, V]{Key: key, Value: value, Time: time.UnixMilli(item.Time).UTC(), Final: item.Final, Partition: r.id.Partition}
			if item.Window != nil {
				e.Window = *item.Window
			}
			entries = append(entries, e)
		}
	}
	return entries
}

// valueOf returns the value in an item: aggregates come as pointers.
func valueOf[V any](item any) (v V, ok bool) {
	if p, is := item.(*V); is {
		return *p, true
	}
	v, ok = item.(V)
	return v, ok
}

// items returns everything that the store holds in one task.
func (s *Store) items(db *stores.DB) ([]stores.Item, error) {
	q, err := db.Queryable(s.name)
	if err != nil {
		return nil, err
	}
	v, err := db.View(background())
	if err != nil {
		return nil, err
	}
	defer v.Close()
	var items []stores.Item
	var cursor []byte
	const limit = 1000
	for {
		var page stores.Page
		if q.Kind() == stores.WindowedKind {
			page, err = q.Windows(v, stores.WindowsQuery{From: window.MinTime, To: window.MaxTime, Limit: limit, Cursor: cursor})
		} else {
			page, err = q.Range(v, stores.RangeQuery{Limit: limit, Cursor: cursor})
		}
		if err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if page.Next == nil {
			return items, nil
		}
		cursor = page.Next
	}
}

// Get returns the value of a key in a store without windows.
func Get[V, K any](s *Store, key K) (v V, ok bool) {
	s.d.helper()
	for _, e := range Entries[K, V](s) {
		if reflect.DeepEqual(e.Key, key) {
			return e.Value, true
		}
	}
	return v, false
}

// GetWindow returns the value of a key in the window that begins at start.
func GetWindow[V, K any](s *Store, key K, start time.Time) (v V, ok bool) {
	s.d.helper()
	for _, e := range Entries[K, V](s) {
		if e.Window.Start == start.UnixMilli() && reflect.DeepEqual(e.Key, key) {
			return e.Value, true
		}
	}
	return v, false
}
