package streams

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Variables that choose the seeds of the simulation.
const (
	seedsVariable = "MILLRACE_SIM_SEEDS" // how many, 20 by default
	fromVariable  = "MILLRACE_SIM_FROM"  // the first; by default 1, or behind the last of the record
)

const (
	// bunch is for how many seeds the simulation prints a line.
	bunch = 25
	// many seeds are enough for everything to happen at least once.
	many = 200
)

// TestSimulation runs instances through faults that seeds choose, and checks
// that nothing is lost. A seed decides on load and faults, not on the order in
// which goroutines run: one that fails may need several runs to fail again.
func TestSimulation(t *testing.T) { simulateSeeds(t, draw) }

// TestSimulationExactlyOnce is TestSimulation with transactions: whatever happens,
// each window has one final result, the truth.
func TestSimulationExactlyOnce(t *testing.T) { simulateSeeds(t, drawOnce) }

// simulateSeeds runs the plans of the seeds that the environment chooses, several
// at a time, and says every bunch what has happened in it.
func simulateSeeds(t *testing.T, draw func(seed uint64) *plan) {
	guarantee := draw(1).guarantee
	record := openRecord(t, guarantee)
	seeds, from := variable(t, seedsVariable, 20), variable(t, fromVariable, record.next())
	total := &tally{}
	for first := from; first < from+seeds; first += bunch {
		last := min(first+bunch, from+seeds) - 1
		began, part := time.Now(), &tally{}
		var failed atomic.Int64
		t.Run(fmt.Sprintf("seeds %d to %d", first, last), func(t *testing.T) {
			for seed := first; seed <= last; seed++ {
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
					t.Parallel()
					p := draw(seed)
					v := simulate(t, p, false)
					part.merge(v.tally)
					if len(v.problems) > 0 {
						failed.Add(1)
						t.Error(v.report(t.Name(), p))
					}
				})
			}
		})
		total.merge(part)
		record.add(t, first, last-first+1, uint64(failed.Load()))
		took := time.Since(began).Seconds()
		fmt.Printf("%s, seeds %d to %d, %.1f s, %.1f seeds a second, %d failed: %v\n",
			guarantee, first, last, took, float64(last-first+1)/took, failed.Load(), part)
	}
	if never := total.missing(guarantee); seeds >= many && len(never) > 0 {
		t.Errorf("in %d seeds there was never: %v", seeds, never)
	}
}

// TestTheSimulationCatchesAMutant breaks the order of a commit on purpose:
// databases are written before their changelogs. Seeds that cannot tell the
// difference test nothing.
func TestTheSimulationCatchesAMutant(t *testing.T) {
	for seed := range uint64(many) {
		v := simulate(t, draw(seed+1), true)
		if len(v.problems) == 0 {
			continue
		}
		what, _, _ := strings.Cut(v.problems[0], "\n")
		fmt.Printf("seed %d catches state before changelog: %.300s\n", seed+1, what)
		return
	}
	t.Errorf("none of %d seeds noticed that state is written before the changelog", many)
}

// report says all that is known of a seed that failed in a test.
func (v *verdict) report(test string, p *plan) string {
	test, _, _ = strings.Cut(test, "/")
	return fmt.Sprintf("%s\n%v\n%s\nrun it 20 times:\n  %s=1 %s=%d go test ./streams -run '^%s$' -count 20",
		strings.Join(v.problems, "\n"), p, v.log, seedsVariable, fromVariable, p.seed, test)
}

// variable reads a number from the environment.
func variable(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		t.Fatalf("%s=%q: give a number", name, v)
	}
	return n
}
