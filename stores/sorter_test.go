package stores_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
)

// TestARestoreKeepsTheLastRecordOfEachKey, whatever keys have in common: some begin
// with all of another, or end in zeros.
func TestARestoreKeepsTheLastRecordOfEachKey(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		e, err := stores.OpenPebble(stores.PebbleConfig{Dir: "state", FS: vfs.NewMem(), Resources: resources(t)})
		check(t, err)
		db, err := stores.Open(stores.Config{Engine: e})
		check(t, err)
		kv, err := stores.OpenKeyValue(db, stores.KeyValueConfig[[]byte, []byte]{Name: "kv", Key: codec.Bytes, Value: codec.Bytes})
		check(t, err)
		common := bytes.Repeat([]byte("x"), random.IntN(12))
		want := map[string]string{}
		for next := int64(1); next <= 3; next++ {
			var records []stores.LogRecord
			for range random.IntN(300) {
				key := bytes.Clone(common)
				for range random.IntN(12) {
					key = append(key, byte(random.IntN(2)))
				}
				r := stores.LogRecord{Key: key}
				delete(want, string(key))
				if random.IntN(4) > 0 {
					r.Value = fmt.Append(nil, random.IntN(1000))
					want[string(key)] = string(r.Value)
				}
				records = append(records, r)
			}
			check(t, db.Ingest(context.Background(), "kv", records, next, 0))
		}
		got := map[string]string{}
		for e, err := range kv.All() {
			check(t, err)
			got[string(e.Key)] = string(e.Value)
		}
		if !maps.Equal(got, want) {
			t.Fatalf("seed %d: %d entries, want %d: %q, want %q", seed, len(got), len(want), got, want)
		}
		check(t, db.Close())
	}
}

// keepingEngine fails to ingest, and goes on with the entries.
type keepingEngine struct {
	stores.Engine
	kept []stores.Pair
	told string // what they were
}

var errKept = errors.New("it is under way still")

func (e *keepingEngine) Ingest(_ context.Context, entries []stores.Pair) error {
	e.kept, e.told = entries, fmt.Sprintf("%q", entries)
	return errKept
}

// TestAnEngineThatFailsKeepsWhatItWasGiven: a database that dies is left while its
// goroutine writes tables, and another restore must not have that memory.
func TestAnEngineThatFailsKeepsWhatItWasGiven(t *testing.T) {
	ingest := func(e stores.Engine, value string) error {
		db, err := stores.Open(stores.Config{Engine: e})
		check(t, err)
		_, err = stores.OpenKeyValue(db, stores.KeyValueConfig[string, []byte]{Name: "kv", Key: codec.String, Value: codec.Bytes})
		check(t, err)
		return db.Ingest(t.Context(), "kv", []stores.LogRecord{{Key: []byte("k"), Value: []byte(value)}}, 1, 0)
	}
	e := &keepingEngine{Engine: stores.NewMemory()}
	if err := ingest(e, "first"); !errors.Is(err, errKept) {
		t.Fatalf("error %v", err)
	}
	check(t, ingest(stores.NewMemory(), "other"))
	if got := fmt.Sprintf("%q", e.kept); got != e.told {
		t.Errorf("it has\n%s\nand was given\n%s", got, e.told)
	}
}
