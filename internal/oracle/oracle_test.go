package oracle

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Variables that choose the seeds of TestOracle.
const (
	seedsVariable = "MILLRACE_ORACLE_SEEDS" // how many, 48 by default
	fromVariable  = "MILLRACE_ORACLE_FROM"  // the first; by default 1, or behind the last in the file
	fileVariable  = "MILLRACE_ORACLE_FILE"  // the file that each bunch appends a line to; none by default
)

const (
	// bunch is for how many seeds TestOracle prints a line.
	bunch = 1000
	// most is how many failures are shown in full.
	most = 3
)

// tally counts what happened in the runs of some seeds.
type tally struct {
	seeds, events, results, retracted, dropped     int
	suppressed, ticks                              int
	crashes, restarts, rebalances, inexact, failed int
	seen                                           map[string]int // seeds by combination
}

// header names the columns of a line in the file.
const header = "first,last,seconds,events,results,retracted,dropped,crashes,restarts,rebalances,replayed_twice,failed"

func (t *tally) add(o *tally) {
	t.seeds, t.events, t.results = t.seeds+o.seeds, t.events+o.events, t.results+o.results
	t.retracted, t.dropped, t.crashes = t.retracted+o.retracted, t.dropped+o.dropped, t.crashes+o.crashes
	t.restarts, t.rebalances, t.inexact = t.restarts+o.restarts, t.rebalances+o.rebalances, t.inexact+o.inexact
	t.failed, t.suppressed, t.ticks = t.failed+o.failed, t.suppressed+o.suppressed, t.ticks+o.ticks
	for c, n := range o.seen {
		t.seen[c] += n
	}
}

func (t *tally) String() string {
	return fmt.Sprintf("%d events, %d results compared, %d retracted, %d dropped, %d suppressed, %d ticks; %d crashes, %d restarts, %d rebalances; %d runs replayed from a torn commit; %d failed",
		t.events, t.results, t.retracted, t.dropped, t.suppressed, t.ticks, t.crashes, t.restarts, t.rebalances, t.inexact, t.failed)
}

// TestOracle compares random runs with the model. A seed that failed fails again.
func TestOracle(t *testing.T) {
	file := os.Getenv(fileVariable)
	from := variable(t, fromVariable, behind(t, file))
	seeds := variable(t, seedsVariable, 48)
	total := &tally{seen: map[string]int{}}
	for first := from; first < from+seeds; first += bunch {
		last := min(first+bunch, from+seeds) - 1
		began := time.Now()
		part := runSeeds(t, first, last)
		total.add(part)
		fmt.Printf("seeds %d to %d, %.1f s: %v\n", first, last, time.Since(began).Seconds(), part)
		if file != "" {
			line := fmt.Sprintf("%d,%d,%.1f,%d,%d,%d,%d,%d,%d,%d,%d,%d\n", first, last, time.Since(began).Seconds(), part.events, part.results,
				part.retracted, part.dropped, part.crashes, part.restarts, part.rebalances, part.inexact, part.failed)
			if err := appendLine(file, line); err != nil {
				t.Fatal(err)
			}
		}
		if t.Failed() {
			return
		}
	}
	if total.seeds >= bunch {
		for _, c := range combinations() {
			if total.seen[c.String()] == 0 {
				t.Errorf("no seed had %v", c)
			}
		}
	}
	for what, n := range map[string]int{
		"results": total.results, "retracted": total.retracted, "dropped": total.dropped, "crashes": total.crashes,
		"suppressed results": total.suppressed, "ticks": total.ticks,
		"restarts": total.restarts, "rebalances": total.rebalances, "torn commits": total.inexact,
	} {
		if n == 0 && total.seeds >= 48 {
			t.Errorf("%d seeds, and no %s: the test tests less than it says", total.seeds, what)
		}
	}
}

// runSeeds runs seeds side by side, and reports what fails in their order.
func runSeeds(t *testing.T, first, last uint64) *tally {
	t.Helper()
	total := &tally{seen: map[string]int{}}
	failures := map[uint64]string{}
	var mu sync.Mutex
	var workers sync.WaitGroup
	next := first
	take := func() (seed uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		seed = next
		next++
		return seed, seed <= last
	}
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for {
				seed, ok := take()
				if !ok {
					return
				}
				one, problem := runSeed(seed)
				mu.Lock()
				if total.add(one); problem != "" {
					failures[seed] = problem
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	shown := 0
	for seed := first; seed <= last; seed++ {
		if failures[seed] == "" {
			continue
		}
		if shown++; shown > most {
			t.Errorf("seed %d: %s", seed, failures[seed])
			continue
		}
		t.Errorf("seed %d: %s\n%s", seed, failures[seed], explain(draw(seed)))
	}
	return total
}

// runSeed runs one seed and returns what is wrong, or "".
func runSeed(seed uint64) (*tally, string) {
	k := draw(seed)
	all := combinations()
	one := &tally{seeds: 1, seen: map[string]int{all[seed%uint64(len(all))].String(): 1}}
	h, err := run(k)
	if err != nil {
		one.failed = 1
		return one, err.Error()
	}
	v := check(h)
	one.results, one.retracted, one.dropped = v.results, v.retracted, v.dropped
	one.suppressed, one.ticks = v.suppressed, v.ticks
	one.crashes, one.restarts, one.rebalances = h.crashes, h.restarts, h.moves
	for _, o := range k.ops {
		one.events += len(o.sent)
	}
	if !v.exact {
		one.inexact = 1
	}
	if v.problem != "" {
		one.failed = 1
	}
	return one, v.problem
}

// variable reads a number from the environment.
func variable(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		t.Fatalf("%s=%q: want a number of at least 1", name, text)
	}
	return n
}

// behind returns the seed behind the greatest that a file has a line for; 1 if
// there is no file.
func behind(t *testing.T, file string) uint64 {
	t.Helper()
	if file == "" {
		return 1
	}
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	next := uint64(1)
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		fields := strings.Split(line, ",")
		if i == 0 || len(fields) < 2 {
			continue
		}
		last, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			t.Fatalf("%s:%d: %v", file, i+1, err)
		}
		next = max(next, last+1)
	}
	return next
}

// appendLine appends a line to a file, and the header first if there is none.
func appendLine(file, line string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if at, err := f.Stat(); err == nil && at.Size() == 0 {
		line = header + "\n" + line
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

// TestTheModelIsNoneOfTheEngine: it may take types from the engine, and nothing
// that computes.
func TestTheModelIsNoneOfTheEngine(t *testing.T) {
	allowed := []string{"Window", "Pane", "PaneKind", "MaxTime", "FormatTime", "Unit", "Hour", "Week", "Month",
		"TumblingKind", "HoppingKind", "SlidingKind", "SessionKind", "CalendarKind", "CountKind",
		"EarlyPane", "OnTimePane", "LatePane", "Accumulating", "Discarding", "Retracting", "EachUpdate", "EachCommit", "NoLate", "Marker"}
	for _, file := range []string{"times_test.go", "model_test.go", "place_test.go", "calendar_test.go", "suppress_test.go", "ticks_test.go", "check_test.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range strings.FieldsFunc(string(text), func(r rune) bool { return !(r == '.' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') }) {
			name, ok := strings.CutPrefix(word, "window.")
			if ok && !slices.Contains(allowed, name) && name != strings.ToLower(name) {
				t.Errorf("%s uses window.%s", file, name)
			}
		}
	}
}
