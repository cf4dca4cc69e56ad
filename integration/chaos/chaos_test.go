//go:build integration

package chaos

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/millrace/millrace/streams"
)

// TestChaos runs the seed MILLRACE_CHAOS_SEED until MILLRACE_CHAOS_FAULTS faults
// were seen; MILLRACE_CHAOS_GUARANTEE says under which guarantee. Without, it runs
// exactly once with eleven faults, one of each kind, and at least once with four,
// on the same brokers.
func TestChaos(t *testing.T) {
	seed := setting(t, "MILLRACE_CHAOS_SEED", 1)
	k, dir := environment(t)
	for _, p := range plans(t, uint64(seed)) {
		t.Run(string(p.guarantee), func(t *testing.T) { k.run(t, p, dir) })
	}
}

// plans returns what TestChaos runs.
func plans(t *testing.T, seed uint64) []plan {
	t.Helper()
	limit := time.Duration(setting(t, "MILLRACE_CHAOS_SECONDS", 0)) * time.Second
	n := setting(t, "MILLRACE_CHAOS_FAULTS", 0)
	guarantee := streams.Guarantee(os.Getenv("MILLRACE_CHAOS_GUARANTEE"))
	switch {
	case guarantee != "":
		return []plan{{seed: seed, faults: max(n, 1), guarantee: guarantee, limit: limit}}
	case n > 0:
		return []plan{{seed: seed, faults: n, guarantee: streams.ExactlyOnce, limit: limit}}
	}
	return []plan{
		{seed: seed, faults: 11, guarantee: streams.ExactlyOnce},
		{seed: seed, faults: 4, guarantee: streams.AtLeastOnce},
	}
}

// setting reads a number from the environment.
func setting(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s=%q: it is a number, 0 or more", name, text)
	}
	return n
}

// run runs a plan in a folder of its own, which stays if it fails.
func (e *world) run(t *testing.T, p plan, dir string) {
	t.Helper()
	own, err := os.MkdirTemp(dir, fmt.Sprintf("%s-%d-", p.guarantee, p.seed))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d, %s, %d faults", p.seed, p.guarantee, p.faults)
	r := newRun(t, p, own, e.kafka, e.mesh)
	if err := r.all(); err != nil {
		r.keep(err)
		t.Errorf("seed %d: %v\neverything is in %s; again: make chaos SEED=%d FAULTS=%d GUARANTEE=%s", p.seed, err, own, p.seed, p.faults, p.guarantee)
		return
	}
	n := r.total(r.seen)
	t.Logf("%s, seed %d: %d faults seen in %v, %d not seen", p.guarantee, p.seed, n, time.Since(r.log.began).Round(time.Second), r.total(r.unseen))
	for _, kind := range slices.Sorted(maps.Keys(r.seen)) {
		t.Logf("  %-16s %d", kind, r.seen[kind])
	}
	if n < p.faults && p.limit == 0 {
		t.Errorf("only %d of %d faults were seen", n, p.faults)
	}
}
