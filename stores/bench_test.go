package stores_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/millrace/millrace/stores"
)

// engines of the benchmarks.
var engines = map[string]func(testing.TB) stores.Engine{
	"memory": func(testing.TB) stores.Engine { return stores.NewMemory() },
	"pebble": func(b testing.TB) stores.Engine {
		r := stores.NewPebbleResources(64<<20, 64, 1)
		b.Cleanup(r.Close)
		e, err := stores.OpenPebble(stores.PebbleConfig{Dir: b.TempDir(), Resources: r})
		check(b, err)
		return e
	},
}

func BenchmarkHotHit(b *testing.B) {
	k := newKit(b, stores.Config{})
	defer k.db.Close()
	keys := make([][]byte, 1000)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "model-%d", i)
		k.add(b, string(keys[i]), 0, 1)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		l, err := k.win.Get(keys[i%len(keys)], 0)
		if err != nil {
			b.Fatal(err)
		}
		*l.Value++
		k.win.Touch(l)
		i++
	}
}

// BenchmarkCommit measures a commit per changed object.
func BenchmarkCommit(b *testing.B) {
	const n = 10_000
	for name, engine := range engines {
		b.Run(name, func(b *testing.B) {
			k := newKit(b, stores.Config{Engine: engine(b)})
			keys := make([][]byte, n)
			for i := range keys {
				keys[i] = fmt.Append(nil, "model-", i)
				k.add(b, string(keys[i]), 0, 1)
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, key := range keys {
					l, err := k.win.Get(key, 0)
					if err != nil {
						b.Fatal(err)
					}
					*l.Value++
					k.win.Touch(l)
				}
				k.commit(b)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/object")
			check(b, k.db.Close())
		})
	}
}

func BenchmarkCreateNewWindows(b *testing.B) {
	for name, engine := range engines {
		b.Run(name, func(b *testing.B) {
			k := newKit(b, stores.Config{Engine: engine(b)})
			k.add(b, "a", -10, 1)
			k.commit(b)
			b.ReportAllocs()
			i := int64(0)
			for b.Loop() {
				k.add(b, fmt.Sprint("model-", i%100), i/100*10, 1)
				if i++; i%10_000 == 0 {
					k.commit(b)
					if _, err := k.win.DropBefore(i/100*10 - 500); err != nil {
						b.Fatal(err)
					}
				}
			}
			check(b, k.db.Close())
		})
	}
}

func BenchmarkScan(b *testing.B) {
	const n = 100_000
	for _, cold := range []bool{false, true} {
		b.Run(fmt.Sprintf("cold=%v", cold), func(b *testing.B) {
			budget := stores.NewBudget(math.MaxInt64)
			k := newKit(b, stores.Config{Engine: engines["pebble"](b), Budget: budget})
			for i := range int64(n) {
				k.add(b, fmt.Sprint("model-", i), 0, 1)
			}
			if cold {
				budget.SetLimit(0)
			}
			k.commit(b)
			for b.Loop() {
				for _, err := range k.win.Scan(0, 10, stores.Cursor{}) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/object")
			check(b, k.db.Close())
		})
	}
}

func BenchmarkIngest(b *testing.B) {
	const n = 100_000
	records := make([]stores.LogRecord, n)
	for i := range records {
		records[i] = stores.LogRecord{Key: fmt.Appendf(nil, "key-%08d", i*7919%n), Value: make([]byte, 8)}
	}
	for name, engine := range engines {
		b.Run(name, func(b *testing.B) {
			k := newKit(b, stores.Config{Engine: engine(b)})
			for b.Loop() {
				check(b, k.db.Ingest(context.Background(), "kv", records, n, 0))
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "records/s")
			check(b, k.db.Close())
		})
	}
}
