package stores_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// panes opens a store of windows of 30 in panes of 10, and returns its database.
func panes(t *testing.T) (*stores.DB, *stores.Windowed[string, int64]) {
	t.Helper()
	db, err := stores.Open(stores.Config{Engine: stores.NewMemory()})
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	cfg := windowedConfig("panes")
	cfg.Panes = &stores.Panes[int64]{Size: 30, Advance: 10, Merge: func(into, from *int64) error {
		*into += *from
		return nil
	}}
	w, err := stores.OpenWindowed(db, cfg)
	check(t, err)
	return db, w
}

func pane(t *testing.T, w *stores.Windowed[string, int64], start, value int64, marks window.Marks) *stores.Live[int64] {
	t.Helper()
	l, err := w.Create([]byte("k"), start)
	check(t, err)
	*l.Value, l.Time = value, start+1
	l.Firing.Mark(marks)
	return l
}

// TestPanesMergeIntoWindows: for the operator and for queries, which leave out
// what can no longer be read.
func TestPanesMergeIntoWindows(t *testing.T) {
	db, w := panes(t)
	pane(t, w, -10, 1, window.EntryUnreadable)
	pane(t, w, 0, 2, 0)
	last := pane(t, w, 10, 0, window.EntryEmpty)
	pane(t, w, 20, 40, 0)
	value, at, events, err := w.Merged(last)
	if err != nil || *value != 3 || at != 1 || !events {
		t.Errorf("merged %d of time %d, events %v, %v; want 1 and 2", *value, at, events, err)
	}
	if got := w.WindowOf(10); got != (window.Window{Start: -10, End: 20}) || w.Panes() != 3 {
		t.Errorf("the entry at 10 stands for %v, of %d panes", got, w.Panes())
	}
	c, err := db.Collect()
	check(t, err)
	check(t, db.Commit(c, nil, 0))
	v, err := db.View(context.Background())
	check(t, err)
	defer v.Close()
	q, err := db.Queryable("win")
	check(t, err)
	for _, c := range []struct {
		query stores.WindowsQuery
		want  []string
	}{
		{stores.WindowsQuery{From: window.MinTime, To: window.MaxTime, Limit: 9}, []string{"[-20, 10) 3 at 1", "[-10, 20) 3 at 1", "[0, 30) 42 at 21"}},
		{stores.WindowsQuery{Key: []byte("k"), From: -10, To: 0, Limit: 9}, []string{"[-10, 20) 3 at 1"}},
	} {
		page, err := q.Windows(v, c.query)
		check(t, err)
		var got []string
		for _, i := range page.Items {
			got = append(got, fmt.Sprintf("%v %d at %d", *i.Window, *i.Value.(*int64), i.Time))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("windows from %d to %d: %q, want %q", c.query.From, c.query.To, got, c.want)
		}
	}
}

// TestPanesAndWindowsAreNotMixed: what a changelog holds in the other form is
// refused, that of Kafka Streams included; tombstones have no form.
func TestPanesAndWindowsAreNotMixed(t *testing.T) {
	key := codec.AppendWindowKey(nil, []byte("k"), 0, 0)
	value, err := codec.Int64.Append(nil, 7)
	check(t, err)
	var f window.Firing
	whole := window.AppendFiring(nil, f)
	f.Mark(window.EntryPane)
	header := window.AppendFiring(nil, f)
	paned, _ := panes(t)
	plain := newKit(t, stores.Config{}).db
	defer plain.Close()
	for _, c := range []struct {
		name   string
		db     *stores.DB
		record stores.LogRecord
		want   error
	}{
		{"a pane for panes", paned, stores.LogRecord{Key: key, Value: value, Header: header}, nil},
		{"a window for panes", paned, stores.LogRecord{Key: key, Value: value, Header: whole}, stores.ErrLayout},
		{"Kafka Streams' window for panes", paned, stores.LogRecord{Key: key, Value: value}, stores.ErrLayout},
		{"a tombstone for panes", paned, stores.LogRecord{Key: key}, nil},
		{"a pane for windows", plain, stores.LogRecord{Key: key, Value: value, Header: header}, stores.ErrLayout},
		{"a window for windows", plain, stores.LogRecord{Key: key, Value: value}, nil},
	} {
		err := c.db.Ingest(context.Background(), "win", []stores.LogRecord{c.record}, 1, 0)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
