package stores

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

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
				if n := e.db.Metrics().Compact.Count; (n > 0) != test.meanwhile {
					t.Errorf("%d compactions during the restore", n)
				}
				time.Sleep(restoredPause)
				synctest.Wait()
				m := e.db.Metrics()
				if runs := m.Levels[0].Sublevels; m.Compact.Count == 0 || runs >= topmostRuns {
					t.Errorf("%d compactions after the restore, and %d runs are left", m.Compact.Count, runs)
				}
			})
		})
	}
}

// ingestRun ingests a table over the whole of a store.
func ingestRun(t *testing.T, e *pebbleEngine, random *rand.Rand) {
	t.Helper()
	var pairs []Pair
	for i := range uint32(100) {
		key := binary.BigEndian.AppendUint32(make([]byte, 12), i<<16+uint32(random.IntN(1<<16)))
		pairs = append(pairs, Pair{Key: key, Value: []byte("v")})
	}
	if err := e.Ingest(context.Background(), pairs); err != nil {
		t.Fatal(err)
	}
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
