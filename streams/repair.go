package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
)

// Local state can be found corrupt when it is opened, or only when a damaged block
// is read. Either way it is thrown away and restored from the changelogs, which
// have all of it. If what is restored is found corrupt again, it is not the disk:
// the instance then stops and says so, and does not repair for ever.

// corruptError is an error of one task whose state is corrupt.
type corruptError struct {
	task processors.TaskID
	err  error
}

func (e *corruptError) Error() string { return e.err.Error() }
func (e *corruptError) Unwrap() error { return e.err }

// blame notes whose state is corrupt, if that is what err is about.
func (w *worker) blame(id processors.TaskID, err error) error {
	if errors.Is(err, stores.ErrCorrupt) {
		return &corruptError{id, err}
	}
	return err
}

// repairPause is how soon after a repair the same state may not be found corrupt
// again: it is then not the disk that is to blame.
const repairPause = 10 * time.Minute

// spoil has the state of the task that err is about removed before it is opened
// again. It returns an error if that was done a moment ago.
func (in *Instance) spoil(e *corruptError) error {
	now := time.Now()
	in.mu.Lock()
	h := in.tasks[e.task]
	again := h != nil && !h.repaired.IsZero() && now.Sub(h.repaired) < repairPause
	if h != nil {
		h.spoilt, h.repaired = true, now
	}
	in.mu.Unlock()
	if again {
		return fmt.Errorf("%w; the state was restored from its changelogs a moment ago, so they hold what this program cannot read: go back to the program that wrote them, or 'millrace reset'", e)
	}
	in.log.Error("local state is corrupt: restoring it from the changelogs", "task", e.task.String(), "error", e.err)
	return nil
}

// damaged takes note of damage that was found in the state of a task that is open,
// on any goroutine. Its worker closes it when it gets to it.
func (in *Instance) damaged(h *holding, err error) {
	in.mu.Lock()
	h.spoilt = true
	in.mu.Unlock()
	h.worker.post(func(context.Context) error {
		if r := h.worker.tasks[h.id]; r == nil || r.holding != h {
			return nil // it is not there yet, and looks itself
		}
		return h.damage(in, err)
	})
}

// damage returns an error if the task's state was found to be damaged since it
// was opened.
func (h *holding) damage(in *Instance, err error) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !h.spoilt {
		return nil
	}
	return &corruptError{h.id, cmp.Or(err, stores.ErrCorrupt)}
}

// removeSpoilt removes the state of a task that was found corrupt.
func (in *Instance) removeSpoilt(h *holding) error {
	in.mu.Lock()
	spoilt := h.spoilt
	h.spoilt = false
	in.mu.Unlock()
	if !spoilt {
		return nil
	}
	in.metrics.repairs.WithLabelValues("corrupt").Inc()
	return in.storage.Remove(h.id)
}
