package task

import (
	"fmt"

	"github.com/millrace/millrace/stores"
)

// Commit is what a commit of a task writes. It is valid until Committed, or
// until the task is closed.
type Commit struct {
	// Offsets are the input offsets to commit to the group, with metadata: those
	// that have moved, and others whose metadata has changed.
	Offsets []Offset
	// Changes are the changelog records, by store, and what the database is
	// to hold.
	Changes *stores.Changes
}

// Offset is a partition's next offset and the metadata that goes with it.
type Offset struct {
	Topic     string
	Partition int32
	Next      int64
	Metadata  string
}

// Dirty reports whether there is something to commit: records that were read,
// state that has changed, punctuators that were called, deletes that the commit
// before has left out, or time that lets something expire.
func (t *Task) Dirty() bool {
	for _, in := range t.inputs {
		if in.next != in.committed {
			return true
		}
	}
	entries, _ := t.db.Dirty()
	return entries > 0 || t.db.Pending() > 0 || t.rt.Punctuated && t.progress.store != nil || t.expiries.awaits()
}

// Upgrading reports whether values of older versions may be left, of which each
// commit upgrades some. A task that ends need not wait for that: who has it next
// goes on.
func (t *Task) Upgrading() bool { return len(t.upgrades.open) > 0 }

// DirtyBytes is roughly how much waits in memory for a commit: what it would
// write to changelogs, and the results that go to a replica after it.
func (t *Task) DirtyBytes() int64 {
	_, bytes := t.db.Dirty()
	return bytes + t.results.bytes
}

// Prepare sends what is due once a commit and collects what the commit is to
// write. No record may be processed until Committed.
func (t *Task) Prepare() (*Commit, error) {
	// What one node sends reaches later ones only. Each is therefore advanced
	// and then asked for its last results, in order: a change that the commit
	// makes durable has been sent by then.
	t.due = false
	for i, n := range t.instance.Stateful {
		done, err := t.advance(i)
		if err != nil {
			return nil, err
		}
		t.due = t.due || !done
		if err := t.firing(n.BeforeCommit); err != nil {
			return nil, err
		}
	}
	if err := t.markers.send(t.now, true); err != nil {
		return nil, err
	}
	if err := t.upgrades.slice(); err != nil {
		return nil, err
	}
	saved, err := t.progress.save(t.inputs, t.instance.Stateful, t.told, t.db)
	if err != nil {
		return nil, fmt.Errorf("task %v: progress: %w", t.cfg.ID, err)
	}
	t.db.BoundTimes(0, t.now.Add(maxFuture-clockSlack).UnixMilli())
	changes, err := t.db.Collect()
	if err != nil {
		return nil, t.unencodable(err)
	}
	c := &Commit{Changes: changes}
	for i, in := range t.inputs {
		// The metadata says which entry of the task's own store counts, and how far
		// time had come. A generator's watermark may have moved by the clock alone.
		in.keeping = in.generated()
		if in.next != in.committed || in.keeping != in.kept || i == 0 && (saved || t.durable != t.kept) {
			c.Offsets = append(c.Offsets, Offset{in.config.Topic, in.config.Partition, in.next, in.metadata().Encode()})
		}
	}
	return c, nil
}

// Positions returns how far all inputs are read, also those that a commit would
// leave out because nothing has changed.
func (t *Task) Positions() []Offset {
	positions := make([]Offset, 0, len(t.inputs))
	for _, in := range t.inputs {
		positions = append(positions, Offset{in.config.Topic, in.config.Partition, in.next, in.metadata().Encode()})
	}
	return positions
}

// Committed writes the state of a commit whose changelog records and offsets
// are safe. next gives, for each store with changes, the changelog offset
// behind its last record.
func (t *Task) Committed(c *Commit, next map[string]int64) error {
	if err := t.db.Commit(c.Changes, next, t.now.UnixMilli()); err != nil {
		return fmt.Errorf("task %v: write state: %w", t.cfg.ID, err)
	}
	t.results.committed(t.db.Version())
	t.upgrades.committed()
	t.expiries.committed()
	t.kept = t.durable
	t.rt.Punctuated = false
	for _, in := range t.inputs {
		in.committed, in.kept = in.next, in.keeping
		if t.cfg.Skips != nil {
			t.cfg.Skips.Passed(in.config.Topic, in.config.Partition, in.next)
		}
	}
	if t.rt.SkipDue != nil || len(t.suspects) > 0 {
		t.rt.SkipDue, t.rt.Verify, t.suspects = nil, nil, nil
		t.cfg.Skips.committed(t.cfg.ID)
	}
	return nil
}
