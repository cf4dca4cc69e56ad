package changelog

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Pruned is what Prune has removed, or would.
type Pruned struct {
	Checkpoints []Checkpoint
	Files       int
	Bytes       int64
}

// Prune removes the checkpoints of a task behind the newest Keep, and the files
// that none of those left refers to and that are older than Grace. Checkpoints of
// changelogs that are no more, since topics were made anew, and damaged ones do
// not count among the newest; they go when they are older than Grace. With dry it
// only says what it would remove.
//
// It may run while others upload, restore and prune. An error leaves some of what
// was to go.
func (c *Checkpoints) Prune(ctx context.Context, task string, dry bool) (Pruned, error) {
	var gone Pruned
	all, err := c.List(ctx, task)
	if err != nil {
		return gone, err
	}
	p := &pruning{set: c, before: c.Clock().Add(-c.Grace), refers: map[string]bool{}, decided: map[string]bool{}}
	for _, made := range all {
		p.decided[made.Key] = true
		keep, err := p.keep(ctx, made, current(all))
		if err != nil {
			return gone, err
		}
		if !keep {
			gone.Checkpoints = append(gone.Checkpoints, made)
		}
	}
	if !dry {
		for _, made := range gone.Checkpoints {
			if err := c.delete(ctx, made.Key); err != nil {
				return gone, err
			}
		}
	}
	blobs, err := c.list(ctx, folderOf(c.Application, task)+"files/")
	if err != nil {
		return gone, err
	}
	// What came meanwhile counts too.
	if all, err = c.List(ctx, task); err != nil {
		return gone, err
	}
	for _, made := range all {
		if p.decided[made.Key] {
			continue
		}
		if err := p.note(ctx, made); err != nil && !errors.Is(err, ErrDamaged) {
			return gone, err
		}
	}
	for _, b := range blobs {
		hash, ok := hashOf(c.Application, b.Key)
		if !ok || p.newer || p.refers[hash] || !b.Modified.Before(p.before) {
			continue
		}
		gone.Files++
		gone.Bytes += b.Size
		if dry {
			continue
		}
		if err := c.delete(ctx, b.Key); err != nil {
			return gone, err
		}
	}
	return gone, nil
}

// current returns which logs count: those of the checkpoint that was made last.
func current(all []Checkpoint) string {
	latest := slices.MaxFunc(all, func(a, b Checkpoint) int { return a.Created.Compare(b.Created) })
	return latest.Logs
}

// pruning is one Prune.
type pruning struct {
	set    *Checkpoints
	before time.Time // what is older may go
	kept   int
	refers map[string]bool
	// decided are the keys of the manifests that were looked at.
	decided map[string]bool
	// newer is set if there is a manifest that cannot be read: whatever it refers
	// to stays.
	newer bool
}

// keep decides about the next older checkpoint.
func (p *pruning) keep(ctx context.Context, made Checkpoint, logs string) (bool, error) {
	old := made.Modified.Before(p.before)
	counts := made.Logs == logs
	if counts && p.kept >= p.set.Keep || !counts && old {
		return false, nil
	}
	switch err := p.note(ctx, made); {
	case errors.Is(err, ErrDamaged):
		return !old, nil
	case err != nil:
		return false, err
	}
	if counts {
		p.kept++
	}
	return true, nil
}

// note notes what a checkpoint refers to.
func (p *pruning) note(ctx context.Context, made Checkpoint) error {
	m, err := p.set.Read(ctx, made)
	if errors.Is(err, ErrNewer) {
		p.newer = true
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range m.Files {
		p.refers[f.Hash] = true
	}
	return nil
}

func (c *Checkpoints) delete(ctx context.Context, key string) error {
	ctx, cancel := timeout(ctx, 0)
	defer cancel()
	return c.Store.Delete(ctx, key)
}
