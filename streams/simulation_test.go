package streams

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Variables that choose the seeds of TestSimulation.
const (
	seedsVariable = "MILLRACE_SIM_SEEDS" // how many, 20 by default
	fromVariable  = "MILLRACE_SIM_FROM"  // the first, 1 by default
)

const (
	// bunch is for how many seeds TestSimulation prints a line.
	bunch = 25
	// many seeds are enough for everything to happen at least once.
	many = 200
)

// TestSimulation runs instances through faults that seeds choose, and checks
// that nothing is lost. A seed decides on load and faults, not on the order in
// which goroutines run: one that fails may need several runs to fail again.
func TestSimulation(t *testing.T) {
	seeds, from := variable(t, seedsVariable, 20), variable(t, fromVariable, 1)
	total := &tally{}
	for first := from; first < from+seeds; first += bunch {
		last := min(first+bunch, from+seeds) - 1
		began, part := time.Now(), &tally{}
		t.Run(fmt.Sprintf("seeds %d to %d", first, last), func(t *testing.T) {
			for seed := first; seed <= last; seed++ {
				t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
					t.Parallel()
					p := draw(seed)
					v := simulate(t, p, false)
					part.merge(v.tally)
					if len(v.problems) > 0 {
						t.Error(v.report(p))
					}
				})
			}
		})
		total.merge(part)
		fmt.Printf("seeds %d to %d, %.1f s: %v\n", first, last, time.Since(began).Seconds(), part)
	}
	if never := total.missing(); seeds >= many && len(never) > 0 {
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

// report says all that is known of a seed that failed.
func (v *verdict) report(p *plan) string {
	return fmt.Sprintf("%s\n%v\n%s\nrun it 20 times:\n  %s=1 %s=%d go test ./streams -run '^TestSimulation$' -count 20",
		strings.Join(v.problems, "\n"), p, v.log, seedsVariable, fromVariable, p.seed)
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
