package task_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

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
				top := build(t, func(b *topology.Builder) {
					source(b, "in").EventTime(nil, window.BoundedDelay(0)).GroupByKey(codec.String, codec.Int64).WindowedBy(w).
						Count(topology.Store("counts"), topology.Emit(window.OnTime().Early(time.Hour))).Stream().To("out", codec.String, codec.Int64)
				})
				budget := stores.NewBudget(limit)
				db, err := stores.Open(stores.Config{Engine: stores.NewMemory(), Budget: budget})
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				state, err := task.OpenState(top, 0, db)
				if err != nil {
					t.Fatal(err)
				}
				out := &counter{}
				tk := newTask(t, top, out, func(c *task.Config) { c.State = state })
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
