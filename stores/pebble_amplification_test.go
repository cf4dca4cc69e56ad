package stores

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// TestCompactionsOfStateBeyondMemory counts what compactions write and what filters
// take where keys come in any order and are more than the memtables hold by far.
func TestCompactionsOfStateBeyondMemory(t *testing.T) {
	e := openInMemory(t, 2<<20, 100)
	random := rand.New(rand.NewPCG(1, 1))
	const batches, each = 100, 2000
	for range batches {
		var b Batch
		for range each {
			key := binary.BigEndian.AppendUint64(make([]byte, 12, 20), random.Uint64())
			value := binary.BigEndian.AppendUint64(make([]byte, 40, 48), random.Uint64())
			b.Set = append(b.Set, Pair{Key: key, Value: value})
		}
		if err := errors.Join(e.Apply(&b), e.Flush()); err != nil {
			t.Fatal(err)
		}
		for e.db.Metrics().Compact.NumInProgress > 0 {
			runtime.Gosched()
		}
	}
	m := e.db.Metrics()
	total := m.Total()
	written := float64(total.TableBytesFlushed+total.TableBytesCompacted) / float64(total.TableBytesFlushed)
	levels, err := e.db.SSTables(pebble.WithProperties())
	if err != nil {
		t.Fatal(err)
	}
	var filters, keys uint64
	for _, table := range levels[len(levels)-1] {
		filters += table.Properties.FilterSize
		keys += table.Properties.NumEntries
	}
	if keys < batches*each/2 {
		t.Fatalf("%d keys are in the lowest level: the test shows nothing", keys)
	}
	bits := 8 * float64(filters) / float64(keys)
	t.Logf("%.1f times written; %.1f bits of filter for each of %d keys in the lowest level", written, bits, keys)
	if written > 6 || bits > 6 {
		t.Errorf("%.1f times written, want 6 or fewer; %.1f bits of filter a key, want 6 or fewer", written, bits)
	}
}
