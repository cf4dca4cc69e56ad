package task_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// hourly is a task that counts by key in windows, with early results each hour,
// its database, and what it sends.
func hourly(t *testing.T, w window.Windows, budget *stores.Budget) (*task.Task, *stores.DB, *counter) {
	t.Helper()
	top := build(t, func(b *topology.Builder) {
		source(b, "in").EventTime(nil, window.BoundedDelay(0)).GroupByKey(codec.String, codec.Int64).WindowedBy(w).
			Count(topology.Store("counts"), topology.Emit(window.OnTime().Early(time.Hour))).Stream().To("out", codec.String, codec.Int64)
	})
	db, err := stores.Open(stores.Config{Engine: stores.NewMemory(), Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	state, err := task.OpenState(top, 0, db)
	if err != nil {
		t.Fatal(err)
	}
	out := &counter{}
	tk := newTask(t, top, out, func(c *task.Config) { c.State = state })
	t.Cleanup(func() {
		if err := errors.Join(tk.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return tk, db, out
}

// TestEarlyResultsDoNotWaitWhereMemoryIsShort: objects whose early results wait for
// the clock cannot be evicted, so that more of them than the budget has room for
// are sent with a commit, and evicted with it.
func TestEarlyResultsDoNotWaitWhereMemoryIsShort(t *testing.T) {
	const keys = 5000
	for name, w := range map[string]window.Windows{
		"tumbling": window.Tumbling(time.Hour), "panes": window.Hopping(2 * time.Hour).Every(time.Hour), "sessions": window.Session(time.Hour),
	} {
		for limit, crowded := range map[int64]bool{64 << 10: true, 1 << 30: false} {
			t.Run(fmt.Sprintf("%s of %d KiB", name, limit>>10), func(t *testing.T) {
				tk, db, out := hourly(t, w, stores.NewBudget(limit))
				for i := range int64(keys) {
					if err := tk.Inputs()[0].Process(fetched(i, fmt.Sprint("key-", i), 5)); err != nil {
						t.Fatal(err)
					}
				}
				commit(t, tk)
				if out.sent != 0 || db.Crowded() != crowded {
					t.Fatalf("%d early results before their time, and memory is short: %v, want %v", out.sent, db.Crowded(), crowded)
				}
				if err := tk.Inputs()[0].Process(fetched(keys, "one more", 5)); err != nil {
					t.Fatal(err)
				}
				commit(t, tk)
				sent := out.sent > 0
				if sent != crowded || db.Crowded() {
					t.Errorf("%d early results, with memory short: %v; afterwards it is short: %v", out.sent, crowded, db.Crowded())
				}
			})
		}
	}
}

// TestACommitShowsWhatASliceHasLeft: of 5,000 early results that are due, 4,096 go at
// once, and memory is short before the others have gone.
func TestACommitShowsWhatASliceHasLeft(t *testing.T) {
	const keys, slice = 5000, 4096
	budget := stores.NewBudget(1 << 30)
	tk, db, out := hourly(t, window.Tumbling(3*time.Hour), budget)
	process := func(from, to int64) {
		t.Helper()
		for i := from; i < to; i++ {
			if err := tk.Inputs()[0].Process(fetched(i, fmt.Sprint("key-", i), 5)); err != nil {
				t.Fatal(err)
			}
		}
	}
	tick := func(at time.Duration) {
		t.Helper()
		if _, err := tk.Tick(time.UnixMilli(0).Add(at)); err != nil {
			t.Fatal(err)
		}
	}
	tick(0)
	process(0, keys)
	commit(t, tk)
	tick(time.Hour)
	if out.sent != slice {
		t.Fatalf("%d early results in one slice, want %d", out.sent, slice)
	}
	budget.SetLimit(0)
	process(keys, keys+1)
	commit(t, tk)
	if !db.Crowded() {
		t.Fatal("memory is not short")
	}
	process(keys+1, keys+2)
	commit(t, tk)
	if out.sent != keys+2 {
		t.Errorf("%d early results, want %d", out.sent, keys+2)
	}
}
