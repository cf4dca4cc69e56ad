package stores_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// TestTimesToLiveByChance compares random changes, deletes, commits, sweeps, restores
// and crashes in the middle of a commit with a plain map that knows when each entry
// ends.
func TestTimesToLiveByChance(t *testing.T) {
	for _, policy := range []stores.DeletePolicy{stores.DeletesDeferred, stores.DeletesWithCommit} {
		for seed := range *seeds {
			liveByChance(t, policy, uint64(seed))
		}
	}
}

// lives are stores that random things are done to, and the map that they are compared
// with.
type lives struct {
	*mortal
	policy   stores.DeletePolicy
	rnd      *rand.Rand
	engine   stores.Engine
	budget   *stores.Budget
	seed     uint64
	step     int64
	clock, w int64 // as of the last commit, and as of now
	model    map[string]life
	since    []func() // what was done since the last commit, for a replay
	// leaving are the keys that were deleted since the last commit, if the next one
	// leaves their deletes out: queries see them until the one after that.
	leaving map[string]bool
}

type life struct{ value, time int64 }

func (l *lives) fatal(format string, args ...any) {
	l.t.Helper()
	l.t.Fatalf("policy %d, seed %d, step %d: %s", l.policy, l.seed, l.step, fmt.Sprintf(format, args...))
}

// config has the stores over a new engine, or over the one that is there.
func (l *lives) config(anew bool) stores.Config {
	if anew {
		l.engine = stores.NewMemory()
	}
	return stores.Config{Engine: unclosed{l.engine}, Deletes: l.policy, Budget: l.budget}
}

func (l *lives) over(time int64) bool { return l.clock != window.MinTime && time <= l.clock-ttl }

// alive returns what there is by the model, which loses the rest.
func (l *lives) alive() map[string]int64 {
	all := map[string]int64{}
	for key, x := range l.model {
		if l.over(x.time) {
			delete(l.model, key)
			continue
		}
		all[key] = x.value
	}
	return all
}

func (l *lives) randomPut() {
	key, value, at := fmt.Sprint(l.rnd.IntN(8)), l.step, l.w-int64(l.rnd.IntN(2*ttl))
	old, there := l.model[key]
	took := l.put(key, value, at)
	if want := there || !l.over(at); took != want {
		l.fatal("a record of %d at clock %d: taken %v, want %v", at, l.clock, took, want)
	}
	if took {
		l.model[key] = life{value, at}
		if there {
			l.model[key] = life{value, max(at, old.time)}
		}
		delete(l.leaving, key)
	}
	// A replay may find a later value of the key, and then takes what was too late.
	l.since = append(l.since, func() { l.putEach(key, value, at) })
}

func (l *lives) randomDelete() {
	key := fmt.Sprint(l.rnd.IntN(8))
	l.delete(key)
	delete(l.model, key)
	l.leaving[key] = l.policy == stores.DeletesDeferred
	l.since = append(l.since, func() { l.delete(key) })
}

func (l *lives) commitAndCompare() {
	l.commit(l.w)
	l.clock = l.w
	v := l.view()
	defer v.Close()
	for _, s := range mortalStores {
		got := l.queried(s, v)
		maps.DeleteFunc(got, func(key string, _ int64) bool { return l.leaving[key] })
		if want := l.alive(); !maps.Equal(got, want) {
			l.fatal("%s: queries see %v, want %v", s, got, want)
		}
	}
	l.safe()
}

// safe notes that what was done so far is never done again.
func (l *lives) safe() {
	l.since = nil
	clear(l.leaving)
}

// crash ends the process between Collect and Commit. The log may have nothing of the
// commit, all of it together with the input's offset, or, where a delete waits for the
// offset, some of it; then what came since the commit before comes again.
func (l *lives) crash() {
	kinds := 2
	if l.policy == stores.DeletesDeferred {
		kinds = 3
	}
	deletes := l.db.AppendDeletes(nil)
	switch l.rnd.IntN(kinds) {
	case 0:
		l.collect(func(string) bool { return false })
	case 1:
		l.collect(func(string) bool { return true })
		l.deletes, l.clock = deletes, l.w
		l.safe()
	case 2:
		some := l.rnd.Uint64()
		l.collect(func(key string) bool { return some>>(key[0]-'0')&1 == 0 })
	}
	l.mortal = l.restarted(l.config(false), l.clock)
	for _, again := range l.since {
		again()
	}
}

func (l *lives) run() {
	l.alive()
	l.w += int64(l.rnd.IntN(3))
	switch n := l.rnd.IntN(24); {
	case n < 11:
		l.randomPut()
	case n < 13:
		l.randomDelete()
	case n < 16:
		for _, e := range l.clocks {
			_, _, err := e.Sweep()
			check(l.t, err)
		}
	case n < 21:
		l.commitAndCompare()
	case n < 23:
		l.crash()
	default: // a restore of the whole log
		if l.rnd.IntN(2) == 0 {
			l.sweep()
		}
		l.commitAndCompare()
		l.mortal = l.restarted(l.config(true), l.clock)
	}
	if got := l.seen(); !maps.Equal(got, l.alive()) {
		l.fatal("%v, want %v at clock %d", got, l.alive(), l.clock)
	}
}

func liveByChance(t *testing.T, policy stores.DeletePolicy, seed uint64) {
	l := &lives{
		policy: policy, seed: seed, rnd: rand.New(rand.NewPCG(seed, uint64(policy))),
		model: map[string]life{}, leaving: map[string]bool{}, clock: window.MinTime, w: 1000,
	}
	l.budget = stores.NewBudget([]int64{0, 2 << 10, 1 << 30}[l.rnd.IntN(3)])
	l.mortal = openMortal(t, l.config(true))
	for l.step = range 400 {
		l.run()
	}
	l.commit(l.w + 10*ttl)
	l.sweep()
	l.commit(l.w + 10*ttl)
	for _, s := range mortalStores {
		if left := replay(l.log[s]); len(left) != 0 {
			t.Errorf("seed %d: the log of %s still has %v", seed, s, left)
		}
	}
	if n := l.db.Pending(); n != 0 {
		t.Errorf("seed %d: %d deletes wait", seed, n)
	}
	check(t, l.db.Close())
	if used := l.budget.Used(); used != 0 {
		t.Errorf("seed %d: the budget holds %d bytes after Close", seed, used)
	}
}
