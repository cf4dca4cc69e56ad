package task

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// ColdConfig is what a ColdWriter is made of.
type ColdConfig struct {
	Cold        stores.Cold
	Application string
	Now         func() time.Time
	// BatchRows and BatchBytes bound what is written at a time, and what is held in
	// memory meanwhile. Defaults: 2,000 rows, 4 MiB.
	BatchRows  int
	BatchBytes int64
	// Rest is how much longer than a scan of a store that stands by key the time
	// until the next one is. Default: none.
	Rest int
	// Timeout bounds each call of the cold tier. Default: 30 s.
	Timeout time.Duration
	// Changed, if not nil, is called when the backlog may have changed, by Pass.
	Changed func()
	// Wrote, if not nil, is told of each batch that was written.
	Wrote func(rows int, took time.Duration)
	// Step, if not nil, is called before and after each write; tests stop there.
	Step func(ColdStep) error
}

// ColdStep is a moment in the writing of a batch.
type ColdStep int

// The steps.
const (
	// BeforeColdWrite: a batch is read, and not written.
	BeforeColdWrite ColdStep = iota
	// AfterColdWrite: it is written, and the task does not know it.
	AfterColdWrite
)

// ColdWriter writes the closed windows of tasks to a cold tier. One goroutine
// calls its methods, which wait for the tier and never make a task wait; any may
// call Backlog.
type ColdWriter struct {
	cfg   ColdConfig
	lanes map[laneName]*coldLane // the goroutine's

	mu      sync.Mutex // guards backlog; never held across a wait
	backlog map[laneName]ColdBacklog
}

// laneName tells lanes apart within an application.
type laneName struct {
	task  processors.TaskID
	store string
}

// ColdBacklog is what waits in the warm tier for the cold one.
type ColdBacklog struct {
	Windows, Bytes int64
	// Behind is the event time between what is closed and what is written.
	Behind time.Duration
}

// coldLane is a lane whose mark is known.
type coldLane struct {
	tier *stores.Tier
	log  string
	// counted is the place up to which closed windows are in the backlog's
	// figures.
	counted int64
	waiting ColdBacklog
	// marked is set when the tier has told its mark.
	marked bool
	// notBefore is when a store that stands by key may be read whole again to be
	// written, and countAfter to be counted.
	notBefore, countAfter time.Time
}

// NewColdWriter returns a writer without lanes.
func NewColdWriter(cfg ColdConfig) *ColdWriter {
	if cfg.BatchRows <= 0 {
		cfg.BatchRows = 2000
	}
	if cfg.BatchBytes <= 0 {
		cfg.BatchBytes = 4 << 20
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.Wrote == nil {
		cfg.Wrote = func(int, time.Duration) {}
	}
	if cfg.Step == nil {
		cfg.Step = func(ColdStep) error { return nil }
	}
	return &ColdWriter{cfg: cfg, lanes: map[laneName]*coldLane{}, backlog: map[laneName]ColdBacklog{}}
}

// Pass writes what is closed of a running task, whose database is db. An error
// wraps ErrColdTier if the cold tier is to blame, and the task's own database
// otherwise; what was not written then still waits, and is counted.
func (w *ColdWriter) Pass(ctx context.Context, id processors.TaskID, db *stores.DB) error {
	var errs []error
	for _, tier := range db.Tiers() {
		if err := w.passTier(ctx, id, db, tier); err != nil {
			errs = append(errs, fmt.Errorf("task %v, store %q: %w", id, tier.Name(), err))
		}
	}
	return errors.Join(errs...)
}

// ErrColdTier is wrapped by the errors that the cold tier returned.
var ErrColdTier = errors.New("cold tier")

func (w *ColdWriter) passTier(ctx context.Context, id processors.TaskID, db *stores.DB, tier *stores.Tier) error {
	closed := tier.Closed()
	if closed == window.MinTime {
		return nil
	}
	name := laneName{id, tier.Name()}
	l, lane := w.laneOf(name, db, tier)
	err := w.write(ctx, db, name, l, lane, closed)
	if err != nil && ctx.Err() == nil {
		err = errors.Join(err, w.count(ctx, db, l, closed))
	}
	w.note(name, l, closed)
	return err
}

// laneOf returns the lane of a task's store, a new one if the task has another
// database, or that another changelog.
func (w *ColdWriter) laneOf(name laneName, db *stores.DB, tier *stores.Tier) (*coldLane, stores.ColdLane) {
	log := db.LogID(tier.Name())
	l := w.lanes[name]
	if l == nil || l.tier != tier || l.log != log {
		l = &coldLane{tier: tier, log: log, counted: window.MinTime}
		w.lanes[name] = l
		tier.SetWritten(window.MinTime)
	}
	return l, stores.ColdLane{Store: tier.Store(w.cfg.Application), Partition: name.task.Partition, Log: log}
}

// Count counts what a task has that waits, for the times when Pass is of no use.
func (w *ColdWriter) Count(ctx context.Context, id processors.TaskID, db *stores.DB) error {
	var errs []error
	for _, tier := range db.Tiers() {
		if closed := tier.Closed(); closed != window.MinTime {
			name := laneName{id, tier.Name()}
			l, _ := w.laneOf(name, db, tier)
			errs = append(errs, w.count(ctx, db, l, closed))
			w.note(name, l, closed)
		}
	}
	return errors.Join(errs...)
}

// Finish writes what the end of a bounded run has closed. It moves no mark: a
// later run goes on behind the events, and some of these windows' neighbours are
// yet to come.
func (w *ColdWriter) Finish(ctx context.Context, id processors.TaskID, db *stores.DB) error {
	for _, tier := range db.Tiers() {
		l, lane := w.laneOf(laneName{id, tier.Name()}, db, tier)
		if !l.marked { // nothing was closed before the end
			if _, err := w.mark(ctx, lane, window.MaxTime); err != nil {
				return fmt.Errorf("task %v, store %q: %w", id, tier.Name(), err)
			}
		}
		scan := w.scan(max(tier.Closed(), window.MinTime), window.MaxTime)
		for {
			position, part, err := read(ctx, db, tier, scan)
			if err != nil {
				return err
			}
			if part.Mark = window.MinTime; len(part.Rows) > 0 {
				if err := w.writePart(ctx, lane, position, part); err != nil {
					return fmt.Errorf("task %v, store %q: %w", id, tier.Name(), err)
				}
			}
			if part.Next == nil {
				break
			}
			scan.After = part.Next
		}
	}
	return nil
}

func (w *ColdWriter) scan(from, to int64) stores.ClosedScan {
	return stores.ClosedScan{From: from, To: to, MaxRows: w.cfg.BatchRows, MaxBytes: w.cfg.BatchBytes}
}

// write writes what is closed and not written. The mark is lowered to what is closed
// now: with a greater lateness than before some windows may be open again, and they
// are to be written when they are closed, by this owner or a later one.
func (w *ColdWriter) write(ctx context.Context, db *stores.DB, name laneName, l *coldLane, lane stores.ColdLane, closed int64) error {
	if !l.marked {
		mark, err := w.mark(ctx, lane, closed)
		if err != nil {
			return err
		}
		l.marked = true
		l.counted = max(l.counted, mark)
		l.tier.SetWritten(mark)
	}
	if l.tier.Written() >= closed || w.cfg.Now().Before(l.notBefore) {
		return nil
	}
	if err := w.count(ctx, db, l, closed); err != nil {
		return err
	}
	began := w.cfg.Now()
	scan := w.scan(l.tier.Written(), closed)
	for {
		position, part, err := read(ctx, db, l.tier, scan)
		if err != nil {
			return err
		}
		if len(part.Rows) > 0 || scan.After != nil {
			if err := w.writePart(ctx, lane, position, part); err != nil {
				return err
			}
		}
		l.tier.SetWritten(max(l.tier.Written(), part.Mark))
		l.waiting.Windows = max(0, l.waiting.Windows-int64(len(part.Rows)))
		l.waiting.Bytes = max(0, l.waiting.Bytes-part.Bytes)
		w.note(name, l, closed)
		if part.Next == nil {
			break
		}
		scan.After = part.Next
	}
	l.waiting, l.counted, l.notBefore = ColdBacklog{}, closed, w.rest(l, began)
	return nil
}

// mark asks the cold tier for the lane's mark, which a lane must have before it is
// written, and has it be no greater than atMost.
func (w *ColdWriter) mark(ctx context.Context, lane stores.ColdLane, atMost int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	mark, err := w.cfg.Cold.Mark(ctx, lane, atMost)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrColdTier, err)
	}
	return mark, nil
}

// read reads a part without holding the view any longer: a database that is
// closed waits for its views. The position is that of a state no newer than the
// view's.
func read(ctx context.Context, db *stores.DB, tier *stores.Tier, scan stores.ClosedScan) (position int64, part stores.ClosedPart, err error) {
	position, _, _ = db.Offset(tier.Name())
	v, err := db.View(ctx)
	if err != nil {
		return 0, part, err
	}
	part, err = tier.ReadClosed(v, scan)
	return position, part, errors.Join(err, v.Close())
}

// writePart writes a part.
func (w *ColdWriter) writePart(ctx context.Context, lane stores.ColdLane, position int64, part stores.ClosedPart) error {
	for i := range part.Rows {
		part.Rows[i].Partition = lane.Partition
	}
	if err := w.cfg.Step(BeforeColdWrite); err != nil {
		return err
	}
	began := w.cfg.Now()
	bounded, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	if err := w.cfg.Cold.Write(bounded, stores.ColdBatch{Lane: lane, Rows: part.Rows, Position: position, Mark: part.Mark}); err != nil {
		return fmt.Errorf("%w: %w", ErrColdTier, err)
	}
	w.cfg.Wrote(len(part.Rows), w.cfg.Now().Sub(began))
	return w.cfg.Step(AfterColdWrite)
}

// count adds what was closed since the last time to the backlog.
func (w *ColdWriter) count(ctx context.Context, db *stores.DB, l *coldLane, closed int64) error {
	from, began := max(l.counted, l.tier.Written()), w.cfg.Now()
	if from >= closed || began.Before(l.countAfter) {
		return nil
	}
	v, err := db.View(ctx)
	if err != nil {
		return err
	}
	windows, bytes, err := l.tier.CountClosed(v, from, closed)
	if err = errors.Join(err, v.Close()); err != nil {
		return err
	}
	l.waiting.Windows, l.waiting.Bytes = l.waiting.Windows+windows, l.waiting.Bytes+bytes
	l.counted, l.countAfter = closed, w.rest(l, began)
	return nil
}

// rest returns until when a store that was read from began on is left alone.
func (w *ColdWriter) rest(l *coldLane, began time.Time) time.Time {
	if !l.tier.ByKey() {
		return time.Time{}
	}
	now := w.cfg.Now()
	return now.Add(time.Duration(w.cfg.Rest) * now.Sub(began))
}

// note publishes a lane's backlog.
func (w *ColdWriter) note(name laneName, l *coldLane, closed int64) {
	b := l.waiting
	if b.Windows > 0 {
		if from := l.tier.Written(); from > window.MinTime {
			b.Behind = time.Duration(max(0, closed-from)) * time.Millisecond
		}
	}
	w.mu.Lock()
	w.backlog[name] = b
	w.mu.Unlock()
	w.cfg.Changed()
}

// Keep forgets the tasks that run here no more.
func (w *ColdWriter) Keep(runs func(processors.TaskID) bool) {
	gone := func(name laneName) bool { return !runs(name.task) }
	maps.DeleteFunc(w.lanes, func(name laneName, _ *coldLane) bool { return gone(name) })
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.backlog, func(name laneName, _ ColdBacklog) bool { return gone(name) })
}

// Backlog returns what waits, over all tasks. Behind is that of the task that is
// furthest behind.
func (w *ColdWriter) Backlog() (b ColdBacklog) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, lane := range w.backlog {
		b.Windows, b.Bytes, b.Behind = b.Windows+lane.Windows, b.Bytes+lane.Bytes, max(b.Behind, lane.Behind)
	}
	return b
}
