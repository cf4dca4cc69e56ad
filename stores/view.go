package stores

import (
	"context"
	"slices"
	"sync"
)

// View is the committed state of a DB at one moment, for a query on another
// goroutine. It holds up DB.Close until it is closed. Several goroutines may
// read it at once.
type View struct {
	snapshot Snapshot
	bounds   []int64 // DB.bounds, as of a commit that the snapshot has
	ctx      context.Context
	cancel   context.CancelFunc
	stop     func() bool
	release  func() error
}

// View returns the state as of the last commit. Its context ends with ctx, and
// when the DB begins to close; reads then return the context's error. The
// caller closes it. After DB.Close it returns ErrClosed.
func (db *DB) View(ctx context.Context) (*View, error) {
	db.mu.Lock()
	if db.closing {
		db.mu.Unlock()
		return nil, ErrClosed
	}
	db.views++
	// Before the snapshot: by a later clock than its own an entry would be missing that
	// was renewed meanwhile.
	bounds := slices.Clone(db.bounds)
	db.mu.Unlock()
	snapshot, err := db.engine.Snapshot()
	if err != nil {
		db.viewClosed()
		return nil, err
	}
	v := &View{snapshot: snapshot, bounds: bounds}
	v.ctx, v.cancel = context.WithCancel(ctx)
	v.stop = context.AfterFunc(db.ctx, v.cancel)
	v.release = sync.OnceValue(func() error {
		v.stop()
		v.cancel()
		err := snapshot.Close()
		db.viewClosed()
		return err
	})
	return v, nil
}

// Context ends when the query is to stop.
func (v *View) Context() context.Context { return v.ctx }

// expired reports whether an engine's value of a store has expired.
func (v *View) expired(i *storeInfo, value []byte) bool {
	e := i.expiry
	return e != nil && e.place < len(v.bounds) && endedBefore(value, v.bounds[e.place])
}

// Close releases the view. It may be called more than once.
func (v *View) Close() error { return v.release() }

func (db *DB) viewClosed() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.views--
	if db.closing && db.views == 0 {
		close(db.drained)
	}
}
