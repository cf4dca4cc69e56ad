package stores_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/llm"
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

// BenchmarkBeyondMemory fills a database with entries in any order, each of which is
// looked for before it is written, in commits of 20,000. What the last million takes
// tells what an entry costs in a state of that size: -benchtime 6000000x.
func BenchmarkBeyondMemory(b *testing.B) {
	const each, last = 20_000, 1_000_000
	r := stores.NewPebbleResources(16<<20, 250, 1)
	defer r.Close()
	e, err := stores.OpenPebble(stores.PebbleConfig{Dir: b.TempDir(), Resources: r})
	check(b, err)
	defer e.Close()
	random := rand.New(rand.NewPCG(1, 2))
	var read []byte
	var late time.Duration
	for done := 0; done < b.N; done += each {
		began := time.Now()
		var batch stores.Batch
		for range min(each, b.N-done) {
			key := fmt.Appendf(nil, "\x00\x01\x00\x00\x01\x9a\xbc\xde\xf0\x12key-%08d", random.IntN(50_000_000))
			if read, _, err = e.Get(read[:0], key); err != nil {
				b.Fatal(err)
			}
			s := llm.NewStats()
			check(b, s.Add(llm.Performance{LatencyMS: 100 + 900*random.ExpFloat64(), PromptTokens: random.Int64N(4000), CompletionTokens: random.Int64N(900)}))
			value, err := llm.StatsCodec.Append([]byte("\x01\x00\x00\x01\x9a\xbc\xde\xf0\x12"), *s)
			check(b, err)
			batch.Set = append(batch.Set, stores.Pair{Key: key, Value: value})
		}
		slices.SortFunc(batch.Set, func(x, y stores.Pair) int { return bytes.Compare(x.Key, y.Key) })
		check(b, e.Apply(&batch))
		if b.N-done <= last {
			late += time.Since(began)
		}
	}
	b.ReportMetric(float64(late.Nanoseconds())/float64(min(b.N, last)), "ns/late-op")
}
