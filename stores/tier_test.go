package stores_test

import (
	"testing"

	"github.com/millrace/millrace/stores"
)

// hookedEngine calls applied when a batch is in the engine.
type hookedEngine struct {
	stores.Engine
	applied func()
}

func (e *hookedEngine) Apply(b *stores.Batch) error {
	err := e.Engine.Apply(b)
	if e.applied != nil {
		e.applied()
	}
	return err
}

// TestAViewWithoutAWindowKnowsThatItIsGone: as soon as a batch that deletes is
// applied, though the commit is not over, the bound says to ask the cold tier.
func TestAViewWithoutAWindowKnowsThatItIsGone(t *testing.T) {
	engine := &hookedEngine{Engine: stores.NewMemory()}
	db, err := stores.Open(stores.Config{Engine: engine, Deletes: stores.DeletesWithCommit})
	check(t, err)
	defer db.Close()
	cfg := windowedConfig("tumbling 10")
	cfg.Tiers = &stores.TierConfig{Cold: true}
	k := &kit{db: db}
	k.win, err = stores.OpenWindowed(db, cfg)
	check(t, err)
	for start := int64(0); start < 100; start += 10 {
		k.add(t, "k", start, 1)
	}
	tier := db.Tier("win")
	tier.Offer(100, 0)
	k.commit(t)

	_, err = k.win.DropBefore(50)
	check(t, err)
	tier.Offer(100, 50)
	asked := 0
	engine.applied = func() {
		asked++
		if tier.Dropped() != 50 {
			t.Errorf("windows before 50 are gone, and the bound is %d", tier.Dropped())
		}
	}
	k.commit(t)
	if asked != 1 {
		t.Errorf("%d batches, want 1", asked)
	}
}
