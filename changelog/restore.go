package changelog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/millrace/millrace/stores"
)

// Config says what Restore brings up to date, and from where.
type Config struct {
	DB    *stores.DB
	Store string

	Log       Reader
	Topic     string
	Partition int32

	// Clock returns the wall-clock time. Required.
	Clock func() time.Time
	// DeleteRetention is for how long the topic keeps tombstones. Default:
	// DefaultDeleteRetention.
	DeleteRetention time.Duration
	// ChunkBytes is how much is read and applied at a time. Default: 4 MiB.
	ChunkBytes int
	// Progress is called at the start and after each chunk, on the goroutine
	// that called Restore. Default: none.
	Progress func(Progress)
	// Foreign reports whether a record is none of the store's: the restore ends
	// before it, and the store's offset says so. Default: no record is.
	Foreign func(Record) bool
	// Settled is an offset before which no record is Foreign. A store that has
	// applied more, because it has followed the log, is restored whole if a
	// foreign record is among that. Default: nothing that was applied is looked
	// at.
	Settled int64
	// Logger hears of restores from the log's start. Default: none.
	Logger *slog.Logger
	// Turn is called by Follow before it writes to the DB, and waits until that
	// may be; done is called after it. It keeps what follows several stores of one
	// DB from writing at once, and out of the way of more urgent work. Default:
	// no waiting.
	Turn func(ctx context.Context) (done func(), err error)
}

// withDefaults returns c with what is not set filled in.
func (c Config) withDefaults() Config {
	if c.DeleteRetention <= 0 {
		c.DeleteRetention = DefaultDeleteRetention
	}
	if c.ChunkBytes <= 0 {
		c.ChunkBytes = defaultChunk
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Foreign == nil {
		c.Foreign = func(Record) bool { return false }
	}
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	if c.Turn == nil {
		c.Turn = func(context.Context) (func(), error) { return func() {}, nil }
	}
	return c
}

// Progress is how far a restore has come.
type Progress struct {
	Store     string
	Topic     string
	Partition int32
	// Position is the next offset to apply, and End where the restore ends.
	Position, End int64
	// Remaining is at least how far it is to go: End less Position. With
	// compaction there are fewer records than offsets.
	Remaining int64
	// Records counts what was applied.
	Records int64
}

// defaultChunk: a chunk takes several times its bytes while it is applied, and all
// tasks of an instance are restored at once. Larger ones cost the collector more than
// the smaller number of tables saves.
const defaultChunk = 4 << 20

// restarts is how often one Restore begins again because the log lost the
// records that it was about to read.
const restarts = 5

// Restore brings a store up to the end that the log has when Restore begins. It
// goes on from the store's offset, if what the log holds still follows from
// there; else it says so to the logger and restores the store whole. It can be
// stopped at any point, by ctx or a crash, and called again: each chunk is
// applied in one step with its offset.
//
// One Restore runs for a store at a time; several stores of one DB may be
// restored at once. Nobody else uses the store meanwhile.
//
// A store is restored whole if its offset is
//   - missing: it never had one;
//   - of another topic of that name, beyond the log's end, or before its start:
//     the topic was made anew, or truncated;
//   - older than DeleteRetention: the log may have forgotten deletes that the
//     store has not seen.
func Restore(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	r := &restore{Config: cfg}
	err := r.run(ctx)
	for n := 0; n < restarts && errors.Is(err, ErrOutOfRange); n++ {
		r.Logger.Warn("changelog lost the records that a restore was about to read: beginning again",
			"store", r.Store, "topic", r.Topic, "partition", r.Partition, "error", err)
		err = r.run(ctx)
	}
	if err != nil {
		return fmt.Errorf("changelog: restoring store %q from %s/%d: %w", cfg.Store, cfg.Topic, cfg.Partition, err)
	}
	return nil
}

// restore is one Restore.
type restore struct {
	Config
	began    time.Time
	log      string // id of the topic, or ""
	position int64
	end      int64
	// known is the time at which the store is known to hold everything before
	// its position, in Unix milliseconds. While a store catches up that time is
	// the old one: of what it has, something may have been deleted since.
	known   int64
	records int64
	// batch is memory for the records of a chunk.
	batch []stores.LogRecord
}

func (r *restore) run(ctx context.Context) error {
	// Before the bounds are read: a delete that the log forgets must be one
	// that was written after this moment.
	r.began = r.Clock()
	start, end, err := r.Log.Bounds(ctx, r.Topic, r.Partition)
	if err != nil {
		return err
	}
	r.end = end
	if r.log, err = r.Log.LogID(ctx, r.Topic); err != nil {
		return err
	}
	if err := r.choose(ctx, start); err != nil {
		return err
	}
	r.report()
	if r.position >= r.end {
		return nil
	}
	feed, err := r.Log.Open(r.Topic, r.Partition, r.position, r.ChunkBytes)
	if err != nil {
		return err
	}
	defer feed.Close()
	for r.position < r.end {
		if err := r.chunk(ctx, feed); err != nil {
			return err
		}
		r.report()
	}
	return nil
}

// choose decides where to begin.
func (r *restore) choose(ctx context.Context, start int64) error {
	next, appliedAt, ok := r.DB.Offset(r.Store)
	reason := r.wholeReason(next, appliedAt, ok, start)
	if reason == "" {
		foreign, err := r.holdsForeign(ctx, start, next)
		if err != nil {
			return err
		}
		if foreign {
			reason = "it holds what another process has written behind the last commit"
		}
	}
	if reason == "" {
		r.DB.SetLogID(r.Store, r.log)
		r.position, r.known = next, appliedAt
		if next == r.end && r.began.Sub(time.UnixMilli(appliedAt)) > r.DeleteRetention/4 {
			// Nothing to read: note that the position still holds.
			return r.DB.Ingest(ctx, r.Store, nil, next, r.began.UnixMilli())
		}
		return nil
	}
	level := slog.LevelWarn
	if !ok {
		level = slog.LevelInfo
	}
	r.Logger.Log(ctx, level, "restoring a store from its changelog's start", "store", r.Store,
		"topic", r.Topic, "partition", r.Partition, "reason", reason,
		"position", next, "start", start, "end", r.end)
	if err := r.DB.Clear(r.Store); err != nil {
		return err
	}
	r.DB.SetLogID(r.Store, r.log)
	r.position, r.known = start, r.began.UnixMilli()
	if r.position == r.end {
		return r.DB.Ingest(ctx, r.Store, nil, r.position, r.known)
	}
	return nil
}

// wholeReason says why the store must be restored whole, or nothing.
func (r *restore) wholeReason(next, appliedAt int64, ok bool, start int64) string {
	if !ok {
		return "it has no position"
	}
	at := Position{Next: next, AppliedAt: appliedAt, Log: r.DB.LogID(r.Store)}
	return WholeReason(at, Bounds{Start: start, End: r.end, Log: r.log}, r.began, r.DeleteRetention)
}

// Position is where a store stands in its log.
type Position struct {
	// Next is the offset to apply next, and AppliedAt the time in Unix
	// milliseconds at which the store was known to hold everything before it.
	Next, AppliedAt int64
	// Log is the id of the log, or "" if that is not known.
	Log string
}

// Bounds are those of a log, with its id.
type Bounds struct {
	Start, End int64
	Log        string
}

// WholeReason says why a store that stands at a position cannot go on from there,
// so that it must be restored whole from a log that keeps deletes for
// deleteRetention; "" if it can. It holds for local state and for checkpoints.
func WholeReason(at Position, b Bounds, now time.Time, deleteRetention time.Duration) string {
	age := now.Sub(time.UnixMilli(at.AppliedAt))
	switch {
	case at.Log != "" && b.Log != "" && at.Log != b.Log:
		return "its position is in another topic of that name: the topic was made anew"
	case at.Next > b.End:
		return "its position is beyond the log's end: the topic was made anew or truncated"
	case at.Next < b.Start:
		return "its position is before the log's start: the log was truncated past it"
	case age > deleteRetention:
		return fmt.Sprintf("its position is %v old, and the topic keeps deletes for %v", age.Round(time.Second), deleteRetention)
	}
	return ""
}

// holdsForeign reports whether a store at position next has applied a foreign
// record, as far as the log still has them.
func (r *restore) holdsForeign(ctx context.Context, start, next int64) (bool, error) {
	from := max(r.Settled, start)
	if r.Settled <= 0 || from >= next {
		return false, nil
	}
	feed, err := r.Log.Open(r.Topic, r.Partition, from, r.ChunkBytes)
	if err != nil {
		return false, err
	}
	defer feed.Close()
	for at := from; at < next; {
		c, err := feed.Read(ctx)
		if err != nil {
			return false, err
		}
		for _, rec := range c.Records {
			if rec.Offset < next && r.Foreign(rec) {
				return true, nil
			}
		}
		at = max(at, c.Next)
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
	return false, nil
}

// chunk reads and applies one chunk.
func (r *restore) chunk(ctx context.Context, feed Feed) error {
	c, err := feed.Read(ctx)
	if err != nil {
		return err
	}
	if c.Next <= r.position {
		// An open transaction holds the end back, or the broker is slow.
		return ctx.Err()
	}
	r.batch = slices.Grow(r.batch[:0], len(c.Records))
	for _, rec := range c.Records {
		if r.Foreign(rec) {
			c.Next, r.end = rec.Offset, rec.Offset
			break
		}
		r.batch = append(r.batch, rec.LogRecord)
	}
	known := r.known
	if c.Next >= r.end {
		known = r.began.UnixMilli()
	}
	if err := r.DB.Ingest(ctx, r.Store, r.batch, c.Next, known); err != nil {
		return err
	}
	r.position = c.Next
	r.records += int64(len(r.batch))
	clear(r.batch) // they hold what the broker sent
	return nil
}

// apply applies a chunk of a log that is followed: many are small.
func (r *restore) apply(ctx context.Context, c Chunk, known int64) error {
	if err := r.DB.Replay(ctx, r.Store, c.records(), c.Next, known); err != nil {
		return err
	}
	r.position, r.known = c.Next, known
	r.records += int64(len(c.Records))
	return nil
}

func (c Chunk) records() []stores.LogRecord {
	records := make([]stores.LogRecord, len(c.Records))
	for i := range c.Records {
		records[i] = c.Records[i].LogRecord
	}
	return records
}

func (r *restore) report() {
	r.Progress(Progress{
		Store: r.Store, Topic: r.Topic, Partition: r.Partition,
		Position: r.position, End: r.end, Remaining: max(0, r.end-r.position), Records: r.records,
	})
}
