package streams

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
)

// A task that is opened here, to run or as a copy, begins from what is on the disk
// or from a checkpoint, whichever leaves less of the changelogs to read. The
// checkpoint is put where the state on the disk would be, and the restore then
// finds it there: what holds for local state holds for it too. Its owner has found
// the committed offsets before, and the ends of the changelogs come after.

// Limits of beginning from a checkpoint.
const (
	// lookPatience is how long a task waits for the list of its checkpoints, and
	// awayAfter how long the store takes to fail if other tasks are to be spared
	// that for an interval.
	lookPatience = 15 * time.Second
	awayAfter    = time.Second
	// fetchTries is how often a checkpoint is fetched that the store did not give
	// whole, and fetchPause the wait before the second time, which doubles.
	fetchTries, fetchPause = 3, time.Second
	// mostCandidates is how many checkpoints are looked at.
	mostCandidates = 16
	// recordWorth is how many bytes of a checkpoint take as long to fetch as a
	// record of a changelog to restore. Local state that can be gone on from is
	// kept unless a checkpoint saves more than its own size.
	recordWorth = 256
)

// Reasons for which a checkpoint is not used.
const (
	fallbackDamaged      = "damaged"
	fallbackNewer        = "newer"
	fallbackOutdated     = "outdated"
	fallbackIncompatible = "incompatible"
	fallbackUnreachable  = "unreachable"
)

// openNewest opens a task's database as openDB does, from a checkpoint if that is
// ahead of what is on the disk. Whatever is wrong with checkpoints is logged and
// counted, and the changelogs are left.
func (in *Instance) openNewest(ctx context.Context, id TaskID, corrupt func()) (*stores.DB, *task.State, error) {
	db, state, err := in.openDB(id, corrupt)
	if err != nil {
		return nil, nil, err
	}
	return in.fromCheckpoint(ctx, id, db, state, corrupt)
}

// fromCheckpoint returns a task's open database, or in its place one that begins from a
// checkpoint which is ahead of it: also that of a copy that was promoted before it
// had any. After an error none is open.
func (in *Instance) fromCheckpoint(ctx context.Context, id TaskID, db *stores.DB, state *task.State, corrupt func()) (*stores.DB, *task.State, error) {
	c := in.checkpoints
	if c == nil || c.distrustOf(id) != 0 {
		return db, state, nil
	}
	began := time.Now()
	m := c.fetchBest(ctx, id, db)
	if m == nil {
		return db, state, nil
	}
	if err := in.closed(id, db.Close()); err != nil {
		c.removeArriving(id)
		return nil, nil, err
	}
	if c.distrustOf(id) != 0 { // since it was closed
		c.removeArriving(id)
		return in.openDB(id, corrupt)
	}
	if err := installCheckpoint(c.folders, id); err != nil {
		return nil, nil, err
	}
	db, state, err := in.openDB(id, corrupt)
	if errors.Is(err, stores.ErrCorrupt) || errors.Is(err, stores.ErrLayout) {
		c.fallback(id, fallbackDamaged, err)
		if err := in.storage.Remove(id); err != nil {
			return nil, nil, err
		}
		return in.openDB(id, corrupt)
	}
	if err == nil {
		in.metrics.checkpointRestores.Inc()
		in.log.Info("state begins from a checkpoint", "task", id.String(), "made", time.UnixMilli(m.Created).UTC().Format(time.RFC3339),
			"bytes", m.Bytes(), "files", len(m.Files), "took", time.Since(began).Round(time.Millisecond))
		c.tell(id, CheckpointRestored)
	}
	return db, state, err
}

// fallback notes that a checkpoint is not used, or none can be.
func (c *checkpoints) fallback(id TaskID, reason string, err error) {
	c.in.metrics.checkpointFallbacks.WithLabelValues(reason).Inc()
	c.in.log.Warn("a checkpoint is not used: the one before is tried, or the changelogs are read", "task", id.String(), "reason", reason, "error", err)
}

// errAway is told of tasks that do not ask a store which has just let others wait.
var errAway = errors.New("the store did not answer others a moment ago")

// unreachable notes that a task has no checkpoint because the store failed, which
// it was asked for at a time.
func (c *checkpoints) unreachable(id TaskID, asked time.Time, err error) {
	c.fallback(id, fallbackUnreachable, err)
	if time.Since(asked) < awayAfter {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = time.Now()
}

// isAway reports whether the store has let a task wait in vain within an interval.
func (c *checkpoints) isAway() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.away.IsZero() && time.Since(c.away) < c.in.cfg.Checkpoints.Interval
}

// lacking reports whether so much of the changelogs is to be read with what is on
// the disk that the store is to be asked. It is not for a task that is opened again,
// as after a failed commit, or whose copy here was promoted: those do not depend on
// a store that may be slow. What is wrong with the changelogs is for the restore to
// say.
func (c *checkpoints) lacking(ctx context.Context, id TaskID, db *stores.DB) bool {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	restores, err := c.restores(ctx, id, db)
	return err == nil && worthAsking(restores, db.Metrics().DiskBytes)
}

// worthAsking decides about a task with so many bytes on the disk. Of each log there
// may be a control record behind the last commit. A checkpoint of much the same
// state is about as large as that, and saves at most what is behind.
func worthAsking(restores []restoring, bytes int64) bool {
	behind := -int64(len(restores))
	for _, r := range restores {
		behind += r.bounds.End - r.local
	}
	return behind > 0 && (!someLocal(restores) || behind >= bytes/recordWorth)
}

// someLocal reports whether there is state on the disk that can be gone on from.
func someLocal(restores []restoring) bool {
	return slices.ContainsFunc(restores, func(r restoring) bool { return r.local > r.bounds.Start })
}

// fetchBest writes the checkpoint that leaves least of the changelogs to read,
// and less than the open database does, to the folder beside the task's. It
// returns nil if there is none.
func (c *checkpoints) fetchBest(ctx context.Context, id TaskID, db *stores.DB) *changelog.Manifest {
	if len(c.in.currentPlan().Subs[id.Sub].Changelogs()) == 0 {
		return nil
	}
	if !c.lacking(ctx, id, db) {
		return nil
	}
	if c.isAway() {
		c.fallback(id, fallbackUnreachable, errAway)
		return nil
	}
	tried := map[string]bool{}
	// One may be removed because it is not among the newest any more while it is
	// fetched: then there are newer ones, and they are looked for.
	for {
		asked := time.Now()
		found, err := c.candidates(ctx, id, db, tried)
		if err != nil {
			if ctx.Err() == nil {
				c.unreachable(id, asked, err)
			}
			return nil
		}
		if len(found) == 0 {
			return nil
		}
		best := found[0]
		tried[best.made.Key] = true
		switch err := c.fetch(ctx, id, best.manifest); {
		case err == nil:
			return best.manifest
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, changelog.ErrDamaged):
			c.fallback(id, fallbackDamaged, err)
		default:
			c.unreachable(id, asked, err)
			return nil
		}
	}
}

// fetch fetches a checkpoint, trying again if the store fails. After an error
// nothing of it is left.
func (c *checkpoints) fetch(ctx context.Context, id TaskID, m *changelog.Manifest) error {
	pause := fetchPause
	for try := 1; ; try++ {
		err := fetchWhole(ctx, c.set, m, c.folders.FS(), c.folders.Folder(id)+arrivingEnding)
		if err == nil {
			return nil
		}
		if try == fetchTries || ctx.Err() != nil || errors.Is(err, changelog.ErrDamaged) {
			c.removeArriving(id)
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			c.removeArriving(id)
			return ctx.Err()
		case <-timer.C:
		}
		pause *= 2
	}
}

// removeArriving removes what was fetched of a checkpoint that is not used.
func (c *checkpoints) removeArriving(id TaskID) {
	dir := c.folders.Folder(id) + arrivingEnding
	if err := c.folders.FS().RemoveAll(dir); err != nil {
		c.in.log.Warn("a folder of a checkpoint that is not used cannot be removed", "dir", dir, "error", err)
	}
}

// candidate is a checkpoint that can be gone on from.
type candidate struct {
	made     changelog.Checkpoint
	manifest *changelog.Manifest
	// saves is how many changelog offsets it spares the restore, beside what is on
	// the disk.
	saves int64
}

// candidates returns the checkpoints that are worth beginning from, the best first.
func (c *checkpoints) candidates(ctx context.Context, id TaskID, db *stores.DB, tried map[string]bool) ([]candidate, error) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	all, err := c.set.List(ctx, id.String())
	if err != nil || len(all) == 0 {
		return nil, err
	}
	restores, err := c.restores(ctx, id, db)
	if err != nil {
		return nil, err
	}
	local := someLocal(restores)
	var found []candidate
	for _, made := range all[:min(len(all), mostCandidates)] {
		if tried[made.Key] {
			continue
		}
		m, err := c.set.Read(ctx, made)
		reason := ""
		var saves int64
		switch {
		case errors.Is(err, changelog.ErrDamaged):
			reason = fallbackDamaged
		case errors.Is(err, changelog.ErrNewer):
			reason = fallbackNewer
		case err != nil:
			return nil, err
		default:
			if err = c.fits(id, db, m); err != nil {
				reason = fallbackIncompatible
			} else if saves, err = c.saves(restores, m); err != nil {
				reason = fallbackOutdated
			}
		}
		if reason != "" {
			tried[made.Key] = true
			c.fallback(id, reason, err)
			continue
		}
		if saves > 0 && !(local && saves < m.Bytes()/recordWorth) {
			found = append(found, candidate{made, m, saves})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(b.saves, a.saves) })
	return found, nil
}

// restoring is where a restore of a store would begin with what is on the disk.
type restoring struct {
	store     string
	bounds    changelog.Bounds
	retention time.Duration
	local     int64
}

func (c *checkpoints) restores(ctx context.Context, id TaskID, db *stores.DB) (all []restoring, err error) {
	for _, store := range c.in.currentPlan().Subs[id.Sub].Changelogs() {
		topic := changelog.TopicName(c.in.cfg.Application, store)
		r := restoring{store: store, retention: c.in.deleteRetention(topic)}
		if r.bounds.Start, r.bounds.End, err = c.in.reader.Bounds(ctx, topic, id.Partition); err != nil {
			return nil, err
		}
		if r.bounds.Log, err = c.in.reader.LogID(ctx, topic); err != nil {
			return nil, err
		}
		r.local = r.bounds.Start
		if next, appliedAt, ok := db.Offset(store); ok {
			at := changelog.Position{Next: next, AppliedAt: appliedAt, Log: db.LogID(store)}
			if c.whole(r, at) == "" {
				r.local = next
			}
		}
		all = append(all, r)
	}
	return all, nil
}

// whole says why a store at a position must be restored whole, or nothing.
func (c *checkpoints) whole(r restoring, at changelog.Position) string {
	return changelog.WholeReason(at, r.bounds, c.in.cfg.Clock(), cmp.Or(r.retention, changelog.DefaultDeleteRetention))
}

// saves returns how many offsets a checkpoint spares the restores. The error says
// why none of its stores can be gone on from.
func (c *checkpoints) saves(restores []restoring, m *changelog.Manifest) (sum int64, err error) {
	usable := false
	for _, r := range restores {
		from := r.bounds.Start
		if i := slices.IndexFunc(m.Stores, func(s changelog.ManifestStore) bool { return s.Name == r.store }); i >= 0 {
			if why := c.whole(r, m.Stores[i].Position()); why == "" {
				from, usable = m.Stores[i].Next, true
			} else {
				err = errors.Join(err, fmt.Errorf("store %q: %s", r.store, why))
			}
		}
		sum += from - r.local
	}
	if usable {
		return sum, nil
	}
	return 0, cmp.Or(err, errors.New("it has none of the task's stores"))
}

// fits returns why a checkpoint is none of this topology's, or nil.
func (c *checkpoints) fits(id TaskID, db *stores.DB, m *changelog.Manifest) error {
	if len(m.Shape) > 0 {
		var shape topology.SubShape
		if err := json.Unmarshal(m.Shape, &shape); err != nil {
			return err
		}
		sub := c.in.currentPlan().Subs[id.Sub].SubTopology
		if err := sub.CheckState(shape); err != nil {
			return err
		}
	}
	for _, own := range db.States() {
		for _, s := range m.Stores {
			if s.Name == own.Name && (s.Kind != own.Kind || s.Layout != own.Layout) {
				return fmt.Errorf("%w: store %q is %s with layout %q there, and %s with layout %q here", stores.ErrLayout, s.Name, s.Kind, s.Layout, own.Kind, own.Layout)
			}
		}
	}
	return nil
}
