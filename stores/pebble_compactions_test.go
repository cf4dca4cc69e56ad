package stores

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestCompactionsWaitForARestore: none rewrites tables of a restore while more come,
// one takes all of them when the restore is over, and one comes before that when they
// are many.
func TestCompactionsWaitForARestore(t *testing.T) {
	for name, test := range map[string]struct {
		ingests   int
		meanwhile bool
	}{
		"few":  {ingests: restoredRuns - 1},
		"many": {ingests: restoredRuns + 2, meanwhile: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := openInMemory(t, 2<<20, 100)
				random := rand.New(rand.NewPCG(1, 1))
				for range test.ingests {
					ingestRun(t, e, random)
					time.Sleep(restoredPause / 2)
				}
				// The first table overlaps with none, and is ingested into a lower level.
				if runs := storeRuns(t, e); (runs < test.ingests-1) != test.meanwhile || runs > restoredRuns {
					t.Errorf("%d of %d tables are left during the restore", runs, test.ingests)
				}
				time.Sleep(restoredPause)
				synctest.Wait()
				if runs := storeRuns(t, e); runs >= topmostRuns {
					t.Errorf("%d tables are left after the restore", runs)
				}
			})
		})
	}
}

// ingestRun ingests tables over the whole of a store and over the database's own keys,
// as DB.Ingest does.
func ingestRun(t *testing.T, e *pebbleEngine, random *rand.Rand) {
	t.Helper()
	pairs := []Pair{{Key: []byte(formatKey), Value: []byte("v")}, {Key: []byte(offsetKey), Value: []byte("v")}}
	for i := range uint32(100) {
		key := binary.BigEndian.AppendUint32([]byte("store"), i<<16+uint32(random.IntN(1<<16)))
		pairs = append(pairs, Pair{Key: key, Value: []byte("v")})
	}
	if err := e.Ingest(context.Background(), pairs); err != nil {
		t.Fatal(err)
	}
}

// TestOnlyCompactionsOfAStoreTakeWhatWasRestored: the database's own keys come down
// first, and what waits beneath them waits still.
func TestOnlyCompactionsOfAStoreTakeWhatWasRestored(t *testing.T) {
	tables := func(level int, greatest string) pebble.CompactionInfo {
		table := pebble.TableInfo{Largest: pebble.InternalKey{UserKey: []byte(greatest)}}
		return pebble.CompactionInfo{Input: []pebble.LevelInfo{{Level: level, Tables: []pebble.TableInfo{table}}, {Level: level + 1}}}
	}
	s := newScheduler(nil)
	s.ingesting()
	for _, info := range []pebble.CompactionInfo{tables(0, offsetKey), tables(5, "store")} {
		if s.compacting(info); s.runs != 1 {
			t.Errorf("%d runs wait after %v", s.runs, info)
		}
	}
	if s.compacting(tables(0, "store")); s.runs != 0 {
		t.Errorf("%d runs wait, want none", s.runs)
	}
}

// storeRuns returns how many tables of a store are in the topmost level.
func storeRuns(t *testing.T, e *pebbleEngine) int {
	t.Helper()
	levels, err := e.db.SSTables()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, table := range levels[0] {
		if !strings.HasPrefix(string(table.Largest.UserKey), ownPrefix) {
			n++
		}
	}
	return n
}

// TestAWriteThatWaitsForACompactionGetsIt, also while a restore is under way: one that
// follows a changelog writes a little and ingests a lot by turns.
func TestAWriteThatWaitsForACompactionGetsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := openInMemory(t, 2<<20, 100)
		random := rand.New(rand.NewPCG(1, 1))
		began := time.Now()
		for range 100 {
			if err := e.Apply(&Batch{Set: []Pair{{Key: []byte(offsetKey), Value: []byte("v")}}}); err != nil {
				t.Fatal(err)
			}
			ingestRun(t, e, random)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("100 chunks took %v", took)
		}
	})
}

// TestADatabaseClosesWhileCompactionsWait: closing neither waits for the end of a
// restore nor leaves a goroutine.
func TestADatabaseClosesWhileCompactionsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewPebbleResources(2<<20, 100, 1)
		defer r.Close()
		opened, err := OpenPebble(PebbleConfig{Dir: "state", FS: vfs.NewMem(), Resources: r})
		if err != nil {
			t.Fatal(err)
		}
		e, random := opened.(*pebbleEngine), rand.New(rand.NewPCG(1, 1))
		for range 2 * topmostRuns {
			ingestRun(t, e, random)
		}
		began := time.Now()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("closing took %v", took)
		}
	})
}
