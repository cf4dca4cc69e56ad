package task

import (
	"fmt"
	"slices"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// expiries are the stores with a time to live. Their clocks are the input watermarks of
// the nodes that use them as of the last commit: set by New from what was committed, and
// by Committed. See stores.Expiry for why they are not ahead of that.
type expiries struct {
	task *Task
	list []expiry
}

// expiry is that of a store, and the nodes whose watermarks are its clock.
type expiry struct {
	*stores.Expiry
	store string
	names []string // of the nodes that use it
	nodes []int    // their indexes in Instance.Stateful
}

// begin sets the clocks from what was committed: the watermark of each node. While that
// of a node is not known, as one that is new or has another name, nothing has expired
// before the first commit. It comes before any user code.
func (x *expiries) begin(t *Task, m *memory) {
	x.task = t
	for _, s := range t.cfg.Topology.SubTopologies()[t.cfg.ID.Sub].Expiring() {
		e := expiry{Expiry: t.db.Expiry(s.Store), store: s.Store, names: s.Nodes}
		clock := window.MaxTime
		for _, name := range s.Nodes {
			clock = min(clock, m.toldOf(name))
		}
		e.SetClock(clock)
		x.list = append(x.list, e)
	}
}

// composed finds the nodes.
func (x *expiries) composed() {
	for i := range x.list {
		e := &x.list[i]
		for j, n := range x.task.instance.Stateful {
			if slices.Contains(e.names, n.Name) {
				e.nodes = append(e.nodes, j)
			}
		}
	}
}

// reached is the least input watermark of the nodes that use a store.
func (x *expiries) reached(e *expiry) int64 {
	w := window.MaxTime
	for _, i := range e.nodes {
		w = min(w, x.task.told[i])
	}
	return w
}

// awaits reports whether entries have expired by watermarks that are yet to be
// committed, so that a task without anything else to commit is to do so.
func (x *expiries) awaits() bool {
	for i := range x.list {
		if e := &x.list[i]; e.Awaits(x.reached(e)) {
			return true
		}
	}
	return false
}

// committed counts what a commit has deleted, and moves the clocks to what it has made
// safe.
func (x *expiries) committed() {
	for i := range x.list {
		e := &x.list[i]
		if n := e.Gone(); n > 0 {
			x.task.cfg.Observer.Expired(e.store, n)
		}
		e.SetClock(x.reached(e))
	}
}

// sweep deletes what has expired in a part of each store, and reports whether there
// is more to do.
func (x *expiries) sweep() (more bool, err error) {
	for _, e := range x.list {
		_, again, err := e.Sweep()
		if err != nil {
			return false, fmt.Errorf("task %v: deleting what has expired: %w", x.task.cfg.ID, err)
		}
		more = more || again
	}
	return more, nil
}
