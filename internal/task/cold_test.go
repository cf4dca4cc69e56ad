package task_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/window"
)

// lookedAt is an engine that counts its snapshots.
type lookedAt struct {
	stores.Engine
	times int
}

func (e *lookedAt) Snapshot() (stores.Snapshot, error) {
	e.times++
	return e.Engine.Snapshot()
}

// owner has a database with windows of 10 ms that stand by key.
type owner struct {
	t      *testing.T
	engine *lookedAt
	db     *stores.DB
	spans  *stores.Spans[string, int64]
	writer *task.ColdWriter
}

func newOwner(t *testing.T, cold stores.Cold, now func() time.Time) *owner {
	t.Helper()
	o := &owner{t: t, engine: &lookedAt{Engine: stores.NewMemory()}}
	var err error
	o.db, err = stores.Open(stores.Config{Engine: o.engine})
	o.check(err)
	t.Cleanup(func() { o.db.Close() })
	o.spans, err = stores.OpenSpans(o.db, stores.SpansConfig[string, int64]{
		Name: "spans", Key: codec.String, Value: codec.Int64, New: func() *int64 { return new(int64) },
		Due: func(w window.Window) int64 { return w.End }, Tiers: &stores.TierConfig{Cold: true},
	})
	o.check(err)
	o.writer = task.NewColdWriter(task.ColdConfig{Cold: cold, Application: "app", Now: now, Rest: 10})
	return o
}

func (o *owner) check(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

// end commits the final results of windows by their ends, and that all before
// closed are closed.
func (o *owner) end(closed int64, ends ...int64) {
	o.t.Helper()
	for _, end := range ends {
		l, err := o.spans.Create([]byte("k"), window.Window{Start: end - 10, End: end})
		o.check(err)
		l.Firing.Close(window.Rule{})
		o.spans.Touch(l)
	}
	o.spans.Tier().Offer(closed, 0)
	c, err := o.db.Collect()
	o.check(err)
	o.check(o.db.Commit(c, nil, 0))
}

func (o *owner) pass() error { return o.writer.Pass(o.t.Context(), processors.TaskID{}, o.db) }

// TestAMarkComesDownToWhatIsClosed: where lateness has grown, a window below the old
// mark opens again and is written by the owner after the next one.
func TestAMarkComesDownToWhatIsClosed(t *testing.T) {
	cold := streamtest.NewCold()
	first := newOwner(t, cold, time.Now)
	first.end(101, 10, 20, 100)
	first.check(first.pass())
	if n, mark := cold.Len("spans"), first.spans.Tier().Written(); n != 3 || mark != 101 {
		t.Fatalf("%d windows are cold, up to %d", n, mark)
	}
	late := newOwner(t, cold, time.Now)
	late.end(51, 10, 20)
	late.check(late.pass())
	if mark := late.spans.Tier().Written(); mark != 51 {
		t.Errorf("the next owner takes %d for written, and only 51 is closed", mark)
	}
	last := newOwner(t, cold, time.Now)
	last.end(101, 10, 20, 70, 100)
	last.check(last.pass())
	if n, mark := cold.Len("spans"), last.spans.Tier().Written(); n != 4 || mark != 101 {
		t.Errorf("%d windows are cold, want 4; up to %d", n, mark)
	}
}

// TestWhileTheTierIsAwayAStoreByKeyIsSeldomRead: a scan of one that took a second
// is followed by ten of rest, and what was closed meanwhile is counted then.
func TestWhileTheTierIsAwayAStoreByKeyIsSeldomRead(t *testing.T) {
	cold, away := streamtest.NewCold(), true
	cold.Fault(func(context.Context, streamtest.ColdCall, bool) error {
		if away {
			return errors.New("away on purpose")
		}
		return nil
	})
	now := time.Unix(0, 0)
	o := newOwner(t, cold, func() time.Time { now = now.Add(time.Second); return now })
	count := func() int {
		before := o.engine.times
		o.check(o.writer.Count(t.Context(), processors.TaskID{}, o.db))
		return o.engine.times - before
	}
	o.end(11, 10)
	if n := count(); n != 1 {
		t.Errorf("the first time it was read %d times", n)
	}
	o.end(21, 20)
	if n := count(); n != 0 || o.writer.Backlog().Windows != 1 {
		t.Errorf("at once it was read %d times, and %d windows wait", n, o.writer.Backlog().Windows)
	}
	now = now.Add(time.Minute)
	if n := count(); n != 1 || o.writer.Backlog().Windows != 2 {
		t.Errorf("after a rest it was read %d times, and %d windows wait", n, o.writer.Backlog().Windows)
	}
	away = false
	o.check(o.pass())
	if n := cold.Len("spans"); n != 2 || o.writer.Backlog().Windows != 0 {
		t.Errorf("%d windows are cold", n)
	}
}
