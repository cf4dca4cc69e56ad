package streams

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// visits counts events by key, for a minute after the last one. Time follows the clock
// while nothing comes.
func visits(t testing.TB) *topology.Topology {
	t.Helper()
	b := topology.New("visits")
	topology.Source(b, "events", codec.String, codec.String).
		EventTime(eventTime, window.BoundedDelay(time.Second).IdleAfter(5*time.Second).AdvanceWhenIdle(2*time.Second)).
		GroupByKey(codec.String, codec.String).Count(topology.Store("visits"), topology.TTL(time.Minute))
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// visitsIn returns what a query of a database sees.
func visitsIn(t testing.TB, db *stores.DB) map[string]int64 {
	t.Helper()
	v, err := db.View(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	q, err := db.Queryable("visits")
	if err != nil {
		t.Fatal(err)
	}
	p, err := q.Range(v, stores.RangeQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int64{}
	for _, i := range p.Items {
		all[i.Key.(string)] = *i.Value.(*int64)
	}
	return all
}

// TestKeysExpireEverywhere: for queries of the owner at once, in its copy with the
// tombstones, and for whoever takes over.
func TestKeysExpireEverywhere(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		t.Run(string(guarantee), func(t *testing.T) {
			inWorld(t, 3, map[string]int32{"events": 1}, func(w *world) {
				w.guarantee = guarantee
				top, registry := visits(t), prometheus.NewRegistry()
				a := w.start("a", newDisk(), top, func(c *Config) { with(1)(c); c.Metrics = registry })
				w.settled(1, a)
				b := w.start("b", newDisk(), top, with(1))
				w.settled(1, a, b)
				owned := func(p *process) map[string]int64 {
					t.Helper()
					db, _, ok := p.in.DB(TaskID{})
					if !ok {
						t.Fatalf("%s does not run the task", p.name)
					}
					return visitsIn(t, db)
				}
				expect := func(what string, got, want map[string]int64) {
					t.Helper()
					if !maps.Equal(got, want) {
						t.Errorf("%s: %v, want %v", what, got, want)
					}
				}
				owner, copied := a, b
				if _, _, ok := a.in.DB(TaskID{}); !ok {
					t.Fatal("the task has moved")
				}

				begin := time.Now()
				for i := range 5 {
					w.write(count(0, fmt.Sprint("k", i), begin))
				}
				w.pass(30 * time.Second)
				w.write(count(0, "k0", time.Now()))
				w.pass(2 * time.Second)
				w.until("the copy has caught up", func() bool { return caughtUp(copied) == 1 })
				expect("after 30 s", owned(owner), map[string]int64{"k0": 2, "k1": 1, "k2": 1, "k3": 1, "k4": 1})

				w.pass(40 * time.Second)
				expect("after a minute and some", owned(owner), map[string]int64{"k0": 2})
				db, _, ok := copied.in.StandbyDB(TaskID{})
				if !ok {
					t.Fatal("there is no copy")
				}
				expect("in the copy", visitsIn(t, db), map[string]int64{"k0": 2})
				if n := valueOf(t, registry, "millrace_expired_entries_total"); n != 4 {
					t.Errorf("%v entries have expired by the metric, want 4", n)
				}

				owner.kill()
				w.settled(1, copied)
				expect("after a takeover", owned(copied), map[string]int64{"k0": 2})
				w.write(count(0, "k1", time.Now()))
				w.pass(3 * time.Second)
				expect("with a key that begins anew", owned(copied), map[string]int64{"k0": 2, "k1": 1})
				w.pass(2 * time.Minute)
				expect("at the end", owned(copied), map[string]int64{})
				copied.stop()
				alive := map[string]bool{}
				for _, r := range w.read("visits-visits-changelog") {
					if alive[string(r.Key)] = true; r.Value == nil {
						delete(alive, string(r.Key))
					}
				}
				if len(alive) != 0 {
					t.Errorf("the changelog still has %v", alive)
				}
			})
		})
	}
}
