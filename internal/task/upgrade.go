package task

import (
	"errors"
	"fmt"
	"slices"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
)

// upgrades brings what the task's stores hold to the newest version of values
// (codec.Versioned), in the background: a slice each commit. Where it has come to is
// in the values themselves, so that it can begin anew at any time; values that are
// done are passed over. What is kept, in the shape of the topology in the task's own
// store, is the oldest version that may be left: it goes up when the pass is over and
// two more commits are done, since what was deleted meanwhile is in the database for
// so long (stores.DB.Upgrade), and since at least once the task's own store can be
// ahead of the others by a commit.
type upgrades struct {
	task *Task
	// open are the stores that may hold older values, or of which the next commit says
	// that they hold none.
	open []*upgrading
}

// upgrading is a store whose values are not known to be of the newest version.
type upgrading struct {
	store   string
	current int
	next    []byte // where the pass goes on; nil at its beginning
	slice   int    // values that the commit under way upgrades
	values  int64  // upgraded by commits since the task was made
	// ended: the pass is over, since so many commits. noted: the next commit says
	// that nothing older is left.
	ended, noted bool
	commits      int
}

// settling is how many commits it takes from the end of a pass, that of its last
// slice included, until what is noted cannot be ahead of what is so.
const settling = 2

// begin finds the stores that may hold older values. One that was written by an older
// program and is empty is done with the next commit, and the log says so: whoever wants
// to remove a step waits for the line of each task.
func (u *upgrades) begin(t *Task) error {
	u.task = t
	for _, store := range t.cfg.Topology.SubTopologies()[t.cfg.ID.Sub].Stores {
		versions, err := t.db.Versions(store)
		if err != nil {
			return err
		}
		oldest := t.progress.oldestOf(store)
		if oldest >= versions.Current {
			continue
		}
		holds, err := t.db.Holds(store)
		if err != nil {
			return err
		}
		if !holds {
			known := t.progress.knows(store)
			t.progress.note(store, versions.Current)
			if known {
				u.add(&upgrading{store: store, current: versions.Current, ended: true, noted: true})
			}
			continue
		}
		t.cfg.Logger.Info("upgrading values in the background", "task", t.cfg.ID, "store", store, "from_version", oldest, "to_version", versions.Current)
		u.add(&upgrading{store: store, current: versions.Current})
	}
	return nil
}

// add takes a store into account.
func (u *upgrades) add(s *upgrading) {
	u.task.cfg.Observer.Upgrading(s.store, 1)
	u.open = append(u.open, s)
}

// slice does the part of a commit, before it collects changes.
func (u *upgrades) slice() error {
	for _, s := range u.open {
		if s.ended {
			if s.commits >= settling && !s.noted {
				s.noted = true
				u.task.progress.note(s.store, s.current)
			}
			continue
		}
		return u.task.guarded(func() error { return u.advance(s) }) // the others have their turn in the next commits
	}
	return nil
}

// advance upgrades some values of a store.
func (u *upgrades) advance(s *upgrading) error {
	next, n, err := u.task.db.Upgrade(s.store, s.next)
	switch {
	case errors.Is(err, codec.ErrUpgrade):
		return fmt.Errorf("task %v: %w. The value is as it was: mend the step, or run the program that wrote it", u.task.cfg.ID, err)
	case err != nil:
		return fmt.Errorf("task %v: %w", u.task.cfg.ID, err)
	}
	s.next, s.ended, s.slice = next, next == nil, n
	return nil
}

// committed notes that a commit is done. What it has upgraded counts only now: if one
// fails the task is made anew, and upgrades the same values again.
func (u *upgrades) committed() {
	u.open = slices.DeleteFunc(u.open, func(s *upgrading) bool {
		if s.slice > 0 {
			u.task.cfg.Observer.Upgraded(s.store, s.slice)
			s.values, s.slice = s.values+int64(s.slice), 0
		}
		if s.noted {
			u.task.cfg.Logger.Info("all values are of the newest version: this task needs no older steps any more", "task", u.task.cfg.ID, "store", s.store,
				"version", s.current, "upgraded", s.values)
			u.task.cfg.Observer.Upgrading(s.store, -1)
			return true
		}
		if s.ended {
			s.commits++
		}
		return false
	})
}

// close takes the stores out of account that are not done.
func (u *upgrades) close() {
	for _, s := range u.open {
		u.task.cfg.Observer.Upgrading(s.store, -1)
	}
	u.open = nil
}

// oldestOf returns the oldest version that the values of a store may be of, as far as
// the task's own store is restored: the first, if it knows nothing of the store.
func (p *progress) oldestOf(store string) int {
	if oldest, ok := p.oldest[store]; ok {
		return oldest
	}
	return 1
}

// knows reports whether an earlier run has noted anything of a store.
func (p *progress) knows(store string) bool {
	_, ok := p.oldest[store]
	return ok
}

// note keeps, from the next commit on, that a store holds nothing older than a version.
func (p *progress) note(store string, oldest int) {
	if p.oldest == nil {
		p.oldest = map[string]int{}
	}
	p.oldest[store] = oldest
}

// noteAll takes over what a stored shape says of the versions that are left.
func (p *progress) noteAll(stored topology.SubShape) {
	p.oldest = map[string]int{}
	for _, st := range stored.Stores {
		oldest, _ := st.Versions()
		p.note(st.Name, oldest)
	}
}
