package stores

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// PebbleConfig describes one Pebble database.
type PebbleConfig struct {
	// Dir is the database's folder; it is made if need be.
	Dir string
	// FS is the file system. Default: the operating system's.
	FS vfs.FS
	// Resources are shared by all databases of a process. Required.
	Resources *PebbleResources
	// Logger gets Pebble's messages. Default: none.
	Logger *slog.Logger
	// OnFailure is called once if the database cannot go on: a disk that is
	// full, a file that cannot be written (ErrDead), or one that holds something
	// else than was written (ErrCorrupt). It runs on any goroutine, with locks
	// of Pebble's and the engine's held: it must not block nor call the engine.
	OnFailure func(error)
	// readOnly opens a database that is there, and writes nothing.
	readOnly bool
}

// PebbleResources are what the databases of one process share.
type PebbleResources struct {
	cache    *pebble.Cache
	files    *pebble.FileCache
	memtable uint64

	mu       sync.Mutex // guards what follows
	most     int64      // the cache's size when nothing is reserved
	reserved int64
}

// Sizes of a database. Memtables come out of the shared cache, and what they leave
// should hold the filters: one that does not fit is read from the disk as a whole, for
// one key.
const (
	maxMemtable  = 8 << 20
	minMemtable  = 256 << 10
	memtables    = 2       // of one database that is busy
	blockBytes   = 4 << 10 // single reads are what there are most of
	tableBytes   = 1 << 20 // in the topmost level, and twice as much in each below
	bloomBits    = 10      // of a hundred keys that are not there, one costs a block
	lowestBits   = 5       // one of eight does; but nine of ten keys are in the lowest level
	lowest       = 6       // that level
	ingestFolder = "ingest"

	// Keys come in any order, so that a compaction of the topmost level rewrites all of
	// the one below it. That is to be small, and what comes down at once large: of each
	// written byte compactions made nine to eleven, and 27 by Pebble's defaults.
	belowTopmost = 8 // memtables that fit into that level
	topmostRuns  = 4 // flushes that come down at once
)

// NewPebbleResources returns the resources for about tasks databases that
// together use cacheBytes for blocks and memtables, and keep openFiles files
// open. Close releases them. With cgo they are C's memory, and glibc makes no further
// arenas for the process from here on.
func NewPebbleResources(cacheBytes int64, openFiles, tasks int) *PebbleResources {
	oneArena()
	share := uint64(max(0, cacheBytes)) / 4 / memtables / uint64(max(1, tasks))
	return &PebbleResources{
		cache:    pebble.NewCache(max(cacheBytes, 1<<20)),
		files:    pebble.NewFileCache(1, max(openFiles, 16)),
		memtable: min(maxMemtable, max(minMemtable, share)),
		most:     max(cacheBytes, 1<<20),
	}
}

// ResizeCache makes the shared cache hold at most so many bytes, memtables
// included, but no more than it was made for. What is beyond that is given back at
// once. Any goroutine may call it until Close.
func (r *PebbleResources) ResizeCache(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	want := r.most - max(0, min(bytes, r.most))
	r.cache.Reserve(int(want - r.reserved))
	r.reserved = want
}

// CacheBytes returns what the shared block cache holds. Memtables are counted by
// their databases.
func (r *PebbleResources) CacheBytes() int64 { return r.cache.Size() }

// Close releases the resources. The databases are closed before.
func (r *PebbleResources) Close() {
	r.files.Unref()
	r.cache.Unref()
}

// pebbleEngine is an Engine over a Pebble database without a write-ahead log:
// the changelog is the log.
type pebbleEngine struct {
	cfg         PebbleConfig
	db          *pebble.DB
	lock        *pebble.Lock
	options     *pebble.Options
	compactions *scheduler
	finder      finder
	files       atomic.Int64          // numbers the files to ingest
	open        atomic.Bool           // from then on a failed table ends the database
	rot         atomic.Pointer[error] // why the files cannot be trusted, once known

	once sync.Once
	dead chan struct{} // closed after err is set
	err  error
}

// OpenPebble opens or makes a database. Errors say the folder and wrap ErrInUse,
// ErrReadOnly or ErrCorrupt where they fit. State that is corrupt is removed
// with RemovePebble, and restored from the changelog.
func OpenPebble(cfg PebbleConfig) (Engine, error) {
	cfg = cfg.withDefaults()
	e := &pebbleEngine{cfg: cfg, dead: make(chan struct{})}
	e.compactions = newScheduler(e.dead)
	if err := cfg.lockFolder(&e.lock); err != nil {
		return nil, err
	}
	e.options = e.newOptions()
	err := e.guard(func() (err error) {
		if !cfg.readOnly {
			if err = e.emptyIngestFolder(); err != nil {
				return err
			}
		}
		e.db, err = pebble.Open(cfg.Dir, e.options)
		return err
	})
	if err != nil {
		e.compactions.end()
		if e.failure() == nil {
			err = errors.Join(err, e.lock.Close())
		}
		return nil, cfg.explainOpen(err)
	}
	e.open.Store(true)
	if e.rot.Load() != nil {
		return nil, e.Close()
	}
	return e, nil
}

// RemovePebble removes a database that is not open, with its folder.
func RemovePebble(cfg PebbleConfig) error {
	cfg = cfg.withDefaults()
	if info, err := cfg.FS.Stat(cfg.Dir); err == nil && !info.IsDir() {
		return cfg.FS.Remove(cfg.Dir)
	}
	var lock *pebble.Lock
	if err := cfg.lockFolder(&lock); err != nil {
		return err
	}
	// On some systems a folder with an open file cannot be removed.
	if err := lock.Close(); err != nil {
		return cfg.explain(err)
	}
	if err := cfg.FS.RemoveAll(cfg.Dir); err != nil {
		return cfg.explain(err)
	}
	return nil
}

func (c PebbleConfig) withDefaults() PebbleConfig {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.OnFailure == nil {
		c.OnFailure = func(error) {}
	}
	return c
}

// lockFolder makes the folder and locks it.
func (c PebbleConfig) lockFolder(lock **pebble.Lock) error {
	if info, err := c.FS.Stat(c.Dir); err == nil && !info.IsDir() {
		return fmt.Errorf("%w: %s is a file and no folder", ErrCorrupt, c.Dir)
	}
	if err := c.FS.MkdirAll(c.Dir, 0o755); err != nil {
		return c.explain(err)
	}
	l, err := pebble.LockDirectory(c.Dir, c.FS)
	if err != nil {
		if err := c.explain(err); errors.Is(err, ErrReadOnly) {
			return err
		}
		return fmt.Errorf("%w: %s: another process or task holds it: stop that, or choose another folder: %w",
			ErrInUse, c.Dir, err)
	}
	*lock = l
	return nil
}

// explain says which folder err is about, and wraps the sentinel that fits.
func (c PebbleConfig) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %s: give this process write access, or choose another folder: %w",
			ErrReadOnly, c.Dir, err)
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, c.Dir, err)
	}
	return fmt.Errorf("stores: state folder %s: %w", c.Dir, err)
}

func (e *pebbleEngine) newOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                          tableFS{FS: e.cfg.FS, engine: e, armed: &e.open},
		Lock:                        e.lock,
		Cache:                       e.cfg.Resources.cache,
		FileCache:                   e.cfg.Resources.files,
		FormatMajorVersion:          pebble.FormatNewest,
		DisableWAL:                  true,
		ReadOnly:                    e.cfg.readOnly,
		ErrorIfNotExists:            e.cfg.readOnly,
		MemTableSize:                e.cfg.Resources.memtable,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2 * topmostRuns, // Pebble compacts from half of it
		L0StopWritesThreshold:       8 * topmostRuns,
		LBaseMaxBytes:               belowTopmost * int64(e.cfg.Resources.memtable),
		Logger:                      (*pebbleLogger)(e),
		EventListener:               &pebble.EventListener{BackgroundError: e.backgroundError, DataCorruption: e.dataCorruption},
	}
	// An ingest that overlaps with a memtable waits for its flush. Otherwise it
	// would join the memtables and, without a write-ahead log, not be durable.
	o.Experimental.DisableIngestAsFlushable = func() bool { return true }
	for i := range o.Levels {
		o.Levels[i].BlockSize = blockBytes
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	o.Levels[lowest].FilterPolicy = bloom.FilterPolicy(lowestBits)
	o.TargetFileSizes[0] = tableBytes
	e.compactions.listen(o.EventListener)
	o.Experimental.CompactionScheduler = e.compactions
	o.EnsureDefaults()
	return o
}

// fail marks the database dead and ends the goroutine, which is one of Pebble's
// or of guard's: Pebble is not to go on. Its deferred calls give its locks back,
// so that readers in flight come to an end.
func (e *pebbleEngine) fail(err error) {
	e.die(err)
	runtime.Goexit()
}

// die marks the database dead. The first cause counts.
func (e *pebbleEngine) die(err error) {
	e.once.Do(func() {
		e.err = fmt.Errorf("%w: %s: %w", ErrDead, e.cfg.Dir, err)
		close(e.dead)
		e.cfg.Logger.Error("state database failed", "dir", e.cfg.Dir, "error", err)
		e.cfg.OnFailure(e.err)
	})
}

// failure returns why the database is dead, or nil.
func (e *pebbleEngine) failure() error {
	select {
	case <-e.dead:
		return e.err
	default:
		return nil
	}
}

// backgroundError hears of flushes and compactions that failed, on the goroutine
// that did them. Pebble would try them again at once, for ever.
func (e *pebbleEngine) backgroundError(err error) {
	switch {
	case errors.Is(err, pebble.ErrCancelledCompaction):
	case pebble.IsCorruptionError(err):
		e.corrupted(err)
	default:
		e.fail(err)
	}
}

// guard does f, which calls into Pebble, unless the database cannot go on.
func (e *pebbleEngine) guard(f func() error) error {
	if rot := e.rot.Load(); rot != nil {
		return *rot
	}
	return e.judge(e.call(f))
}

// call runs f, which calls into Pebble, on a goroutine of its own: if Pebble
// hits a fatal error there, only that goroutine ends.
func (e *pebbleEngine) call(f func() error) error {
	if err := e.failure(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-e.dead:
		return e.err
	}
}

func (e *pebbleEngine) Get(dst, key []byte) ([]byte, bool, error) {
	value, ok, err := e.finder.find(e.db, dst, key)
	return value, ok, e.judge(err)
}

func (e *pebbleEngine) Iterate(s Span) (Iterator, error) { return e.iterate(e.db, s) }

func (e *pebbleEngine) Snapshot() (Snapshot, error) {
	var s *pebble.Snapshot
	err := e.guard(func() error {
		s = e.db.NewSnapshot()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return pebbleSnapshot{e, s}, nil
}

func (e *pebbleEngine) Apply(b *Batch) error {
	return e.guard(func() error {
		batch := e.db.NewBatch()
		defer batch.Close()
		for _, s := range b.Clear {
			if err := batch.DeleteRange(s.Lower, s.Upper, nil); err != nil {
				return err
			}
		}
		for _, p := range b.Set {
			var err error
			if p.Value == nil {
				err = batch.Delete(p.Key, nil)
			} else {
				err = batch.Set(p.Key, p.Value, nil)
			}
			if err != nil {
				return err
			}
		}
		return errors.Join(batch.Commit(pebble.NoSync), e.finder.drop())
	})
}

func (e *pebbleEngine) Ingest(ctx context.Context, entries []Pair) error {
	return e.guard(func() error { return e.ingest(ctx, entries) })
}

func (e *pebbleEngine) Flush() error { return e.guard(e.flush) }

// flush also lets go of what the finder pins: no write may come for long.
func (e *pebbleEngine) flush() error { return errors.Join(e.db.Flush(), e.finder.drop()) }

func (e *pebbleEngine) Metrics() EngineMetrics {
	var m EngineMetrics
	// A database that failed has no figures to give.
	_ = e.call(func() error {
		p := e.db.Metrics()
		m = EngineMetrics{
			DiskBytes:   int64(p.DiskSpaceUsage()),
			MemoryBytes: int64(p.MemTable.Size),
			Flushes:     p.Flush.Count,
			Compactions: p.Compact.Count,
		}
		return nil
	})
	return m
}

// Close flushes, because without a write-ahead log what is in the memtable
// would be lost, and closes the database. One that has failed cannot be closed:
// its memory stays, and its folder stays locked, until the process ends. One that
// is corrupt is closed without a flush: its files are of no use.
func (e *pebbleEngine) Close() error {
	var flushed error
	if !e.cfg.readOnly {
		flushed = e.guard(e.db.Flush)
	}
	if e.failure() != nil {
		return flushed
	}
	closed := e.call(func() error { return errors.Join(e.finder.drop(), e.db.Close()) })
	if e.failure() != nil {
		return closed
	}
	return errors.Join(flushed, closed, e.lock.Close())
}

// pebbleLogger hands Pebble's messages on.
type pebbleLogger pebbleEngine

func (l *pebbleLogger) Infof(format string, args ...any) {
	l.cfg.Logger.Debug(fmt.Sprintf(format, args...), "dir", l.cfg.Dir)
}

func (l *pebbleLogger) Errorf(format string, args ...any) {
	l.cfg.Logger.Error(fmt.Sprintf(format, args...), "dir", l.cfg.Dir)
}

// Fatalf never returns to Pebble, whose state is undefined from here on.
func (l *pebbleLogger) Fatalf(format string, args ...any) {
	(*pebbleEngine)(l).fail(fatalError(format, args))
}

// fatalError keeps the errors among args for errors.Is.
func fatalError(format string, args []any) error {
	text := fmt.Sprintf(format, args...)
	for _, a := range args {
		if err, ok := a.(error); ok {
			return &pebbleError{text: text, cause: err}
		}
	}
	return errors.New(text)
}

type pebbleError struct {
	text  string
	cause error
}

func (e *pebbleError) Error() string { return e.text }
func (e *pebbleError) Unwrap() error { return e.cause }
