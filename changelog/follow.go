package changelog

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Limits of following a log.
const (
	// leastRetry and mostRetry are how long a follower waits after a failure of
	// the log before it begins again.
	leastRetry = time.Second
	mostRetry  = 30 * time.Second
	// idInterval is how often a follower asks whether the topic is still the one
	// that it has read.
	idInterval = time.Minute
)

// errBehind has a follower begin again: it was away for longer than the log
// keeps deletes.
var errBehind = errors.New("the store was behind for longer than the topic keeps deletes")

// errAnew has a follower begin again: its topic was deleted and made anew.
var errAnew = errors.New("the topic was made anew")

// Follow brings a store up to date as Restore does, and keeps it so until ctx
// ends, when it returns nil. Progress is told whenever something was applied, and
// whenever the end of the log has moved.
//
// It never gives up on the log: whatever is wrong with that is logged once and
// tried again, with growing waits. A log that was truncated past the store's
// position or made anew, and a store that was behind for longer than the log
// keeps deletes, are restored whole. An error is about the store.
func Follow(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	wait := leastRetry
	var told string
	for {
		f := &follower{restore: restore{Config: cfg}, well: func() {
			if told != "" {
				cfg.Logger.Info("a changelog is followed again", "store", cfg.Store, "topic", cfg.Topic, "partition", cfg.Partition)
			}
			told, wait = "", leastRetry
		}}
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if _, ofLog := errors.AsType[*logError](err); !ofLog {
			return fmt.Errorf("changelog: following store %q from %s/%d: %w", cfg.Store, cfg.Topic, cfg.Partition, err)
		}
		if err.Error() != told {
			told = err.Error()
			cfg.Logger.Warn("a changelog cannot be followed for now", "store", cfg.Store, "topic", cfg.Topic,
				"partition", cfg.Partition, "error", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		wait = min(2*wait, mostRetry)
	}
}

// logError is a failure of the log, not of the store.
type logError struct{ err error }

func (e *logError) Error() string { return e.err.Error() }
func (e *logError) Unwrap() error { return e.err }

// follower is one attempt of Follow.
type follower struct {
	restore
	// well is called when the log has answered.
	well func()
	// caught is set when the end was reached once: from then on the store has
	// everything as of the time known.
	caught  bool
	checked time.Time // when the topic was last looked at
}

func (f *follower) follow(ctx context.Context) error {
	f.began = f.Clock()
	start, end, err := f.Log.Bounds(ctx, f.Topic, f.Partition)
	if err != nil {
		return &logError{err}
	}
	f.end = end
	if f.log, err = f.Log.LogID(ctx, f.Topic); err != nil {
		return &logError{err}
	}
	f.checked = f.began
	if err := f.inTurn(ctx, func() error { return f.choose(ctx, start) }); err != nil {
		return err
	}
	f.report()
	feed, err := f.Log.Open(f.Topic, f.Partition, f.position, f.ChunkBytes)
	if err != nil {
		return &logError{err}
	}
	defer feed.Close()
	for {
		if err := f.next(ctx, feed); err != nil {
			return err
		}
	}
}

// inTurn runs what writes to the store when it is its turn.
func (f *follower) inTurn(ctx context.Context, write func() error) error {
	done, err := f.Turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	return write()
}

// next reads and applies one chunk.
func (f *follower) next(ctx context.Context, feed Feed) error {
	asked := f.Clock()
	if asked.Sub(f.checked) >= idInterval {
		if err := f.checkTopic(ctx); err != nil {
			return err
		}
		f.checked = asked
	}
	c, err := feed.Read(ctx)
	if err != nil {
		return &logError{err}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f.well()
	moved := c.End > f.end
	f.end = max(f.end, c.End)
	if c.Next > f.position && f.caught && asked.Sub(time.UnixMilli(f.known)) > f.DeleteRetention {
		return &logError{errBehind}
	}
	known := f.known
	if c.End >= 0 && c.Next >= c.End {
		known, f.caught = asked.UnixMilli(), true
	}
	if c.Next > f.position {
		if err := f.inTurn(ctx, func() error { return f.apply(ctx, c, known) }); err != nil {
			return err
		}
		f.report()
		return nil
	}
	// Nothing to apply: note from time to time that the position still holds.
	f.known = known
	if _, noted, _ := f.DB.Offset(f.Store); time.UnixMilli(known).Sub(time.UnixMilli(noted)) > f.DeleteRetention/4 {
		if err := f.inTurn(ctx, func() error { return f.DB.Replay(ctx, f.Store, nil, f.position, known) }); err != nil {
			return err
		}
	}
	if moved {
		f.report()
	}
	return nil
}

// checkTopic fails if the topic is another one than that which was read.
func (f *follower) checkTopic(ctx context.Context) error {
	id, err := f.Log.LogID(ctx, f.Topic)
	if err != nil {
		return &logError{err}
	}
	if id != "" && f.log != "" && id != f.log {
		return &logError{errAnew}
	}
	return nil
}
