package topology

import (
	"time"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// DefaultWarmTTL is how long closed windows stay in the warm tier unless
// Tiers.WarmTTL says otherwise.
const DefaultWarmTTL = 7 * 24 * time.Hour

// Tiers says where the closed windows of an aggregate stay: in the warm tier,
// the task's own database, and then, if Cold is set, in the cold tier of the
// application. Queries read both as one store.
type Tiers struct {
	// WarmTTL is how long windows stay in the warm tier after they are closed, on
	// the watermark's scale; window.Windows.Retention can lengthen it. Default:
	// DefaultWarmTTL.
	WarmTTL time.Duration
	// Cold sends windows to the cold tier, which the application is to have
	// (streams.Config.Cold): one that is not written there stays in the warm tier
	// whatever WarmTTL says. The results must not be discarding, since their
	// windows are empty when they are closed, and count windows have no time.
	// Hopping windows are then kept one by one (window.Windows.SeparateWindows).
	//
	// The cold tier has one row of a key and window. If a topic that is not
	// partitioned by the key is grouped without a shuffle (GroupByKey), a key has
	// windows in several partitions: queries show each of them while they are warm,
	// and one of them when they are cold.
	Cold bool
	// Table is where the windows go in the cold tier. Default: the tier's own
	// table, which has the values as JSON.
	Table *stores.ColdTable
}

type tiersOption Tiers

// Tiered gives the closed windows of an aggregate tiers. By default they are
// deleted when window.Windows.Retention is over.
func Tiered(t Tiers) WindowOption { return tiersOption(t) }

func (t tiersOption) windowed(o *options) { o.tiers = (*Tiers)(&t) }

// config is what the store is told.
func (t *Tiers) config() *stores.TierConfig {
	if t == nil {
		return nil
	}
	return &stores.TierConfig{Cold: t.Cold, Table: t.Table}
}

// apply has windows be kept as t says.
func (t *Tiers) apply(w window.Windows) window.Windows {
	if t == nil {
		return w
	}
	ttl := t.WarmTTL
	if ttl == 0 {
		ttl = DefaultWarmTTL
	}
	if t.Cold && w.Kind() == window.HoppingKind {
		w = w.SeparateWindows()
	}
	return w.KeepClosed(ttl)
}

// check notes what does not go together.
func (t *Tiers) check(b *Builder, n *node, w window.Windows, e window.Emit) {
	switch {
	case t == nil:
	case t.WarmTTL < 0 || t.WarmTTL%time.Millisecond != 0:
		b.mistake(n, "tiers: warm TTL %v: use whole milliseconds, at least one, or 0 for %v", t.WarmTTL, DefaultWarmTTL)
	case w.Kind() == window.CountKind:
		b.mistake(n, "tiers: count windows know no time, so that none of them gets old: leave out Tiered")
	case t.Cold && e.Mode() == window.Discarding:
		b.mistake(n, "tiers: a discarding aggregate has nothing left of a window that is closed: use accumulating or retracting results, or leave out Cold")
	case t.Cold && e.UpdatesOnly():
		b.mistake(n, "tiers: an aggregate that sends updates only has no final result, which is what the cold tier takes: use window.OnTime or OnClose, or leave out Cold")
	case !t.Cold && t.Table != nil:
		b.mistake(n, "tiers: a table without Cold is never written")
	case t.Table != nil:
		t.checkTable(b, n)
	}
}

// checkTable notes what is wrong with the table: two stores may share one if they
// fill the same columns.
func (t *Tiers) checkTable(b *Builder, n *node) {
	if err := t.Table.Check(); err != nil {
		b.mistake(n, "tiers: %v", err)
	}
	if first := b.tables[t.Table.Name]; first != nil && !first.SameColumns(t.Table) {
		b.mistake(n, "tiers: table %q has other columns at another store: use another name", t.Table.Name)
		return
	}
	b.tables[t.Table.Name] = t.Table
}

// HasColdTier returns the names of the stores whose windows go to the cold tier,
// in ascending order.
func (t *Topology) HasColdTier() []string {
	var names []string
	for _, s := range t.stores {
		if s.cold {
			names = append(names, s.name)
		}
	}
	return names
}
