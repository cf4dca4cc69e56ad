package stores_test

import (
	"fmt"
	"math"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// A task counts events by key and minute. It commits once the changelog has
// acknowledged what changed.
func Example() {
	db, err := stores.Open(stores.Config{Engine: stores.NewMemory()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	counts, err := stores.OpenWindowed(db, stores.WindowedConfig[string, int64]{
		Name: "counts", Key: codec.String, Value: codec.Int64,
		New:    func() *int64 { return new(int64) },
		Window: func(start int64) window.Window { return window.Window{Start: start, End: start + 60_000} },
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	for _, at := range []int64{1_000, 2_000, 61_000} {
		key, start := []byte("gpt"), at/60_000*60_000
		l, err := counts.Get(key, start)
		if err == nil && l == nil {
			l, err = counts.Create(key, start)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		*l.Value++
		l.Time = max(l.Time, at)
		counts.Touch(l)
	}

	changes, err := db.Collect()
	if err != nil {
		fmt.Println(err)
		return
	}
	next := map[string]int64{}
	for store, r := range changes.All() {
		key, start, _, _ := codec.SplitWindowKey(r.Key)
		fmt.Printf("to the changelog of %s: %s, window %d, time %d\n", store, key, start, r.Time)
		next[store]++
	}
	if err := db.Commit(changes, next, 0); err != nil {
		fmt.Println(err)
		return
	}

	for l, err := range counts.Scan(0, math.MaxInt64, stores.Cursor{}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s, window %d: %d\n", l.Key(), l.Start(), *l.Value)
	}
	// Output:
	// to the changelog of counts: gpt, window 0, time 2000
	// to the changelog of counts: gpt, window 60000, time 61000
	// gpt, window 0: 2
	// gpt, window 60000: 1
}
