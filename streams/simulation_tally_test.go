package streams

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// tally counts the faults that had an effect, and what followed from them.
type tally struct {
	mu sync.Mutex
	of map[kind]int
}

// What follows from faults.
const (
	generations kind = "generations"
	lost        kind = "expelled"
	thrownAway  kind = "thrown away"
	unfinished  kind = "stopped without a commit"
	mended      kind = "changelogs mended"
	states      kind = "disks with state"
	repeated    kind = "seeds that count twice"
	promoted    kind = "standbys promoted"
	moved       kind = "warm-ups moved"
	added       kind = "workers added"
	removed     kind = "workers removed"
)

// logged is how an instance logs what follows.
var logged = map[kind]string{
	lost:       "expelled from the group",
	thrownAway: "throwing tasks away",
	unfinished: "stopped without a last commit",
	mended:     "overwriting it",
	promoted:   "state=promoted warm_up=false",
	moved:      "state=promoted warm_up=true",
	added:      "worker added",
	removed:    "worker removed",
}

// columns are what a line of figures shows, in order.
var columns = []kind{
	join, leave, crash, crashAt, stuck, moveLeaders, moveGroup, cut, slow, throttle, refuse, crews, added, removed,
	generations, lost, thrownAway, unfinished, mended, states, repeated, promoted, moved,
}

// crashedAt is a crash at a step of a commit.
func crashedAt(step string) kind { return crashAt + ": " + kind(step) }

func (t *tally) add(k kind, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of = map[kind]int{}
	}
	t.of[k] += n
}

// merge adds the figures of o, to which nobody adds any more.
func (t *tally) merge(o *tally) {
	for k, n := range o.of {
		t.add(k, n)
	}
}

// missing returns what never happened, of what can under a guarantee.
func (t *tally) missing(g Guarantee) []kind {
	wanted := slices.Clone(columns)
	at := steps
	if g == ExactlyOnce {
		at = exactlyOnceSteps
		wanted = slices.DeleteFunc(wanted, func(k kind) bool { return k == mended || k == repeated })
	}
	for _, step := range at {
		wanted = append(wanted, crashedAt(step))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(wanted, func(k kind) bool { return t.of[k] > 0 })
}

func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var parts []string
	for _, k := range columns {
		parts = append(parts, fmt.Sprint(k, " ", t.of[k]))
	}
	return strings.Join(parts, ", ")
}
