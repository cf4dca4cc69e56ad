package streamtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// Cold is a cold tier in memory. Several drivers, and instances, may share one.
type Cold struct {
	mu     sync.Mutex // guards what follows; never held across a fault
	rows   map[coldKey]coldRow
	marks  map[coldLane]coldMark
	epochs int64
	writes int
	fault  func(ctx context.Context, call ColdCall, done bool) error
}

// ColdCall is a call of a cold tier, for faults.
type ColdCall string

// The calls.
const (
	ColdMark   ColdCall = "mark"
	ColdWrite  ColdCall = "write"
	ColdRead   ColdCall = "read"
	ColdHealth ColdCall = "health"
)

// coldKey is what there is one row of.
type coldKey struct {
	application, store, key string
	window                  window.Window
}

type coldRow struct {
	stores.ColdRow
	layout          string
	epoch, position int64
}

type coldLane struct {
	application, store, layout, log string
	partition                       int32
}

// coldMark is how far a lane is written. The lane that was asked for later has the
// greater epoch.
type coldMark struct{ epoch, order int64 }

// NewCold returns an empty tier.
func NewCold() *Cold {
	return &Cold{rows: map[coldKey]coldRow{}, marks: map[coldLane]coldMark{}}
}

// Fault has each call ask f before it does anything, and again when it is done. An
// error is what the call returns: of the second time, though it has had its
// effect. A nil f ends that.
func (c *Cold) Fault(f func(ctx context.Context, call ColdCall, done bool) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = f
}

// Writes returns how many calls of Write have had an effect.
func (c *Cold) Writes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes
}

// Len returns how many rows a store has, over all layouts.
func (c *Cold) Len(store string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for k := range c.rows {
		if k.store == store {
			n++
		}
	}
	return n
}

// call runs f between the two faults.
func (c *Cold) call(ctx context.Context, call ColdCall, f func() error) error {
	c.mu.Lock()
	fault := c.fault
	c.mu.Unlock()
	if fault == nil {
		fault = func(ctx context.Context, _ ColdCall, _ bool) error { return ctx.Err() }
	}
	if err := fault(ctx, call, false); err != nil {
		return err
	}
	c.mu.Lock()
	err := f()
	c.mu.Unlock()
	return errors.Join(err, fault(ctx, call, true))
}

func laneOf(l stores.ColdLane) coldLane {
	return coldLane{l.Store.Application, l.Store.Name, l.Store.Layout, l.Log, l.Partition}
}

// Mark does what stores.Cold says.
func (c *Cold) Mark(ctx context.Context, l stores.ColdLane, atMost int64) (order int64, err error) {
	err = c.call(ctx, ColdMark, func() error {
		m, ok := c.marks[laneOf(l)]
		if !ok {
			c.epochs++
			m = coldMark{epoch: c.epochs, order: window.MinTime}
		}
		m.order = min(m.order, atMost)
		c.marks[laneOf(l)] = m
		order = m.order
		return nil
	})
	return order, err
}

// Write does what stores.Cold says.
func (c *Cold) Write(ctx context.Context, b stores.ColdBatch) error {
	return c.call(ctx, ColdWrite, func() error {
		m, ok := c.marks[laneOf(b.Lane)]
		if !ok {
			return fmt.Errorf("streamtest: a write to a lane of log %q that was not asked for its mark", b.Lane.Log)
		}
		for _, r := range b.Rows {
			s := b.Lane.Store
			k := coldKey{s.Application, s.Name, string(r.Key), r.Window}
			old, there := c.rows[k]
			if there && (old.epoch > m.epoch || old.epoch == m.epoch && old.position > b.Position) {
				continue
			}
			r.Key, r.Value, r.Item = bytes.Clone(r.Key), bytes.Clone(r.Value), stores.Item{}
			c.rows[k] = coldRow{ColdRow: r, layout: s.Layout, epoch: m.epoch, position: b.Position}
		}
		m.order = max(m.order, b.Mark)
		c.marks[laneOf(b.Lane)] = m
		c.writes++
		return nil
	})
}

// Read does what stores.Cold says.
func (c *Cold) Read(ctx context.Context, q stores.ColdQuery) (rows []stores.ColdRow, err error) {
	place := func(r stores.ColdRow) stores.ColdPlace {
		return stores.ColdPlace{Key: r.Key, Window: r.Window, Partition: r.Partition}
	}
	err = c.call(ctx, ColdRead, func() error {
		for _, k := range slices.SortedFunc(maps.Keys(c.rows), func(a, b coldKey) int {
			return place(c.rows[a].ColdRow).Compare(place(c.rows[b].ColdRow), q.ByKey)
		}) {
			r := c.rows[k].ColdRow
			switch {
			case k.application != q.Store.Application, k.store != q.Store.Name, c.rows[k].layout != q.Store.Layout,
				!slices.Contains(q.Partitions, r.Partition), q.Key != nil && !bytes.Equal(q.Key, r.Key),
				r.Window.Start < q.From, r.Window.Start >= q.To,
				q.After != nil && place(r).Compare(*q.After, q.ByKey) <= 0:
				continue
			}
			if rows = append(rows, r); len(rows) == q.Limit {
				break
			}
		}
		return nil
	})
	return rows, err
}

// Health does what stores.Cold says.
func (c *Cold) Health(ctx context.Context) error {
	return c.call(ctx, ColdHealth, func() error { return nil })
}

// ColdTier gives the application a cold tier. What is closed is written there
// after each commit of the instance that has closed it, if the tier takes it.
func ColdTier(c stores.Cold) Option { return func(cfg *config) { cfg.cold = c } }

// ColdRows bounds the rows of a batch that is written to the cold tier. Default:
// 2,000.
func ColdRows(n int) Option { return func(cfg *config) { cfg.coldRows = n } }

// errCrashed ends a pass over the tasks of an instance that has crashed.
var errCrashed = errors.New("streamtest: crashed")

// writeCold writes what is closed of an instance's tasks to the cold tier. That
// it fails is no error of the driver's: what waits is tried again with the next
// commit.
func (d *Driver) writeCold(in *instance) {
	if d.cfg.cold == nil || d.err != nil {
		return
	}
	tasks := d.of(in)
	d.makeColdWriter(in)
	in.cold.Keep(func(id processors.TaskID) bool {
		return slices.ContainsFunc(tasks, func(r *running) bool { return r.id == id })
	})
	for _, r := range tasks {
		err := in.cold.Pass(background(), r.id, r.db)
		if errors.Is(err, errCrashed) {
			return
		}
		if err != nil && !errors.Is(err, task.ErrColdTier) {
			d.stop(err)
			return
		}
	}
}

func (d *Driver) makeColdWriter(in *instance) {
	if in.cold != nil {
		return
	}
	in.cold = task.NewColdWriter(task.ColdConfig{
		Cold: d.cfg.cold, Application: d.cfg.application, Now: d.Now, BatchRows: d.cfg.coldRows,
		Step: func(s task.ColdStep) error {
			if d.at(in, BeforeCold+Step(s)) {
				return errCrashed
			}
			return nil
		},
	})
}

// finishCold writes what the end of a bounded run has closed. It returns false if
// an instance has crashed meanwhile.
func (d *Driver) finishCold() bool {
	if d.cfg.cold == nil {
		return true
	}
	for _, r := range d.tasks {
		d.makeColdWriter(r.owner)
		err := r.owner.cold.Finish(background(), r.id, r.db)
		if errors.Is(err, errCrashed) {
			return false
		}
		if err != nil && !errors.Is(err, task.ErrColdTier) {
			d.stop(err)
		}
	}
	return true
}

// ColdBacklog returns how many closed windows wait for the cold tier.
func (d *Driver) ColdBacklog() (windows int64) {
	for _, in := range d.instances {
		if in.cold != nil {
			windows += in.cold.Backlog().Windows
		}
	}
	return windows
}
