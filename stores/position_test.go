package stores_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// TestPositionResumesAPage goes on behind the position of each item in turn and
// must read exactly the rest.
func TestPositionResumesAPage(t *testing.T) {
	db, err := stores.Open(stores.Config{Engine: stores.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	kv, err := stores.OpenKeyValue(db, stores.KeyValueConfig[string, int64]{Name: "kv", Key: codec.String, Value: codec.Int64})
	if err != nil {
		t.Fatal(err)
	}
	win, err := stores.OpenWindowed(db, stores.WindowedConfig[string, int64]{
		Name: "win", Key: codec.String, Value: codec.Int64, New: func() *int64 { return new(int64) },
		Window: func(s int64) window.Window { return window.Window{Start: s, End: s + 10} },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range []string{"", "a", "a\x00", "ab", "b", "\xff"} {
		if err := kv.Put(k, int64(i)); err != nil {
			t.Fatal(err)
		}
		for _, start := range []int64{-10, 0, 10} {
			if _, err := win.Create([]byte(k), start); err != nil {
				t.Fatal(err)
			}
		}
	}
	c, err := db.Collect()
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(c, nil, 0); err != nil {
		t.Fatal(err)
	}
	v, err := db.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for name, want := range map[string]int{"kv": 6, "win": 18} {
		q, err := db.Queryable(name)
		if err != nil {
			t.Fatal(err)
		}
		read := func(cursor []byte) []string {
			var page stores.Page
			var err error
			if q.Kind() == stores.WindowedKind {
				page, err = q.Windows(v, stores.WindowsQuery{From: window.MinTime, To: window.MaxTime, Limit: 100, Cursor: cursor})
			} else {
				page, err = q.Range(v, stores.RangeQuery{Limit: 100, Cursor: cursor})
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.IsSortedFunc(page.Items, func(a, b stores.Item) int { return bytes.Compare(a.Position, b.Position) }) {
				t.Fatalf("%s: positions are not in order", name)
			}
			var all []string
			for _, i := range page.Items {
				all = append(all, string(i.Position))
			}
			return all
		}
		all := read(nil)
		if len(all) != want {
			t.Fatalf("%s: %d items, want %d", name, len(all), want)
		}
		for i, p := range all {
			if rest := read(append([]byte(p), 0)); !slices.Equal(rest, all[i+1:]) {
				t.Errorf("%s: behind item %d: %s, want %s", name, i, fmt.Sprintf("%q", rest), fmt.Sprintf("%q", all[i+1:]))
			}
		}
	}
}
