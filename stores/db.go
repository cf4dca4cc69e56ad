package stores

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/millrace/millrace/codec"
)

// Config is what a DB is made of.
type Config struct {
	// Engine holds the committed state. The DB owns it from Open on, also
	// when Open fails.
	Engine Engine
	// Deletes says when deletes go out. Default: DeletesDeferred.
	Deletes DeletePolicy
	// Budget bounds the live objects. Default: no bound.
	Budget *Budget
}

// DB is the state of one task: its stores, each under a prefix of four bytes,
// over one engine. See the contract at the top of stores.go for who calls what.
type DB struct {
	engine  Engine
	deletes DeletePolicy
	budget  *Budget

	// The task's goroutine owns these.
	stores     []store
	byName     map[string]store
	from, to   int64   // the bounds of the log's times
	time       int64   // event time of the record in work, for changelog records
	commits    uint32  // number of the interval between commits, from 1
	changes    Changes // reused from commit to commit, as is batchBuf
	batchBuf   Batch
	collected  bool // Collect was called, Commit not yet
	crowded    bool // too much is held for the budget
	scratchKey []byte

	mu      sync.Mutex // guards what follows; never held across a wait or I/O
	offsets map[string]offset
	logs    map[string]string // by store: which log the offset is of
	layouts map[[prefixLen]byte]layout
	queries map[string]Queryable
	tiers   []*Tier
	bounds  []int64 // of the stores with a time to live, by Expiry.place
	closing bool
	views   int
	drained chan struct{} // made by Close, closed when the last view goes
	ctx     context.Context
	cancel  context.CancelFunc
}

// store is what a DB knows of each of its stores.
type store interface {
	info() *storeInfo

	// collect adds what is to be written, in ascending order of engine keys.
	collect(c *collector) error
	// dirty returns how many entries have changed since the last Collect or
	// Commit, and roughly how many bytes they will take.
	dirty() (entries int, bytes int64)
	// pending returns how many deletes wait for a commit to come.
	pending() int
	// waiting yields the changelog keys of the single deletes that the next
	// Collect leaves out.
	waiting() iter.Seq[[]byte]
	// redelete deletes a changelog key; it goes out with the next commit.
	redelete(key []byte) error
	// check encodes what is live under a changelog key, as Collect would.
	check(key []byte) error
	// committed drops what Collect gathered: the engine has it now.
	committed()
	// forget drops clean objects: the engine's entries have changed.
	forget()
	// shrink evicts clean objects until the budget is kept, and reports whether it
	// could not, because too many are held.
	shrink() (crowded bool)
	// close gives the budget back.
	close()
	// fromLog appends the engine's key and value of a changelog record to dst.
	// The value begins at split; a tombstone ends there.
	fromLog(dst []byte, r LogRecord) (out []byte, split int, err error)
	// lineage tells the versions of values, oldestIn the oldest version in an
	// engine's value, and renew marks an engine's entry as changed, so that it is
	// written in the newest; false if reads do not see it. See DB.Upgrade.
	lineage() codec.Lineage
	oldestIn(value []byte) (int, error)
	renew(key, value []byte) (bool, error)
}

// storeInfo is the part that all stores have in common.
type storeInfo struct {
	name   string
	kind   Kind
	prefix [prefixLen]byte
	upper  [prefixLen]byte
	db     *DB
	expiry *Expiry // nil if entries live for ever
}

func (i *storeInfo) info() *storeInfo { return i }

func (i *storeInfo) span() Span { return Span{Lower: i.prefix[:], Upper: i.upper[:]} }

// wrap says in which store err happened.
func (i *storeInfo) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("store %q: %w", i.name, err)
}

// offset is a store's place in its changelog.
type offset struct {
	next, appliedAt int64
	log             string
}

// layout is what the engine remembers of a store.
type layout struct {
	name, kind, tag string
	stored          bool // the engine has it
}

// The keys of the DB itself begin with a prefix that no store gets.
const (
	prefixLen     = 4
	formatVersion = 1
	offsetLen     = 16 // of an offset without its log

	ownPrefix = "\x00\x00\x00\x00"
	formatKey = ownPrefix + "f"
	layoutKey = ownPrefix + "l" // + the store's prefix: kind, tag, name
	offsetKey = ownPrefix + "o" // + the store's prefix: next, applied at, log
)

// Open opens the state in an engine. Errors wrap ErrLayout, ErrCorrupt or what
// the engine returns; the engine is then closed.
func Open(cfg Config) (*DB, error) {
	ctx, cancel := context.WithCancel(context.Background())
	db := &DB{
		engine: cfg.Engine, deletes: cfg.Deletes, budget: cfg.Budget,
		byName:  make(map[string]store),
		commits: 1,
		from:    math.MinInt64, to: math.MaxInt64,
		offsets: make(map[string]offset),
		logs:    make(map[string]string),
		layouts: make(map[[prefixLen]byte]layout),
		queries: make(map[string]Queryable),
		ctx:     ctx, cancel: cancel,
	}
	if err := db.load(); err != nil {
		cancel()
		return nil, errors.Join(err, cfg.Engine.Close())
	}
	return db, nil
}

// load reads the DB's own keys.
func (db *DB) load() error {
	it, err := db.engine.Iterate(Span{Lower: []byte(formatKey), Upper: []byte{0, 0, 0, 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	offsets := make(map[[prefixLen]byte]offset)
	for it.Next() {
		key, value := it.Key(), it.Value()
		switch rest := key[len(formatKey):]; {
		case string(key) == formatKey:
			if v, n := binary.Uvarint(value); n <= 0 || v != formatVersion {
				return formatError(v)
			}
		case bytes.HasPrefix(key, []byte(layoutKey)) && len(rest) == prefixLen:
			parts := bytes.SplitN(value, []byte{0}, 3)
			if len(parts) != 3 {
				return fmt.Errorf("%w: layout entry %q", ErrCorrupt, value)
			}
			db.layouts[[prefixLen]byte(rest)] = layout{
				kind: string(parts[0]), tag: string(parts[1]), name: string(parts[2]), stored: true,
			}
		case bytes.HasPrefix(key, []byte(offsetKey)) && len(rest) == prefixLen && len(value) >= offsetLen:
			offsets[[prefixLen]byte(rest)] = offset{
				next:      int64(binary.BigEndian.Uint64(value)),
				appliedAt: int64(binary.BigEndian.Uint64(value[8:])),
				log:       string(value[offsetLen:]),
			}
		default:
			return fmt.Errorf("%w: entry %q of the database itself", ErrCorrupt, key)
		}
	}
	for prefix, o := range offsets {
		l, ok := db.layouts[prefix]
		if !ok {
			return fmt.Errorf("%w: an offset of a store without layout, prefix %x", ErrCorrupt, prefix)
		}
		db.offsets[l.name] = o
		db.logs[l.name] = o.log
	}
	return it.Err()
}

// formatError says what to do about a database of another format.
func formatError(v uint64) error {
	if v > formatVersion {
		return fmt.Errorf("%w: format version %d, and this program knows %d: a newer program has written it, and nothing was changed: run that one, or remove the state folder to restore it from the changelog",
			ErrLayout, v, formatVersion)
	}
	return fmt.Errorf("%w: format version %d, this program knows %d: reset the state folder to restore it from the changelog",
		ErrLayout, v, formatVersion)
}

// register gives s its prefix and makes it part of the DB. tag tells layouts of
// one kind apart.
func (db *DB) register(s store, name string, kind Kind, tag string, q Queryable) error {
	if name == "" || bytes.IndexByte([]byte(name), 0) >= 0 || bytes.IndexByte([]byte(tag), 0) >= 0 {
		return fmt.Errorf("%w: name %q, layout %q: a name is not empty and neither has a zero byte", ErrName, name, tag)
	}
	if _, ok := db.byName[name]; ok {
		return fmt.Errorf("%w: %q is taken", ErrName, name)
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	sum := h.Sum32()
	if sum == 0 || sum == 1<<32-1 {
		return fmt.Errorf("%w: the prefix of %q is reserved: choose another name", ErrName, name)
	}
	i := s.info()
	i.name, i.kind, i.db = name, kind, db
	binary.BigEndian.PutUint32(i.prefix[:], sum)
	binary.BigEndian.PutUint32(i.upper[:], sum+1)

	db.mu.Lock()
	defer db.mu.Unlock()
	l, ok := db.layouts[i.prefix]
	switch {
	case ok && l.name != name:
		return fmt.Errorf("%w: the prefix of %q is that of store %q: choose another name", ErrName, name, l.name)
	case ok && (l.kind != string(kind) || l.tag != tag):
		return fmt.Errorf("%w: store %q is %s with layout %q in the state folder, and %s with layout %q in the program: reset the store, or give it a new name",
			ErrLayout, name, l.kind, l.tag, kind, tag)
	case !ok:
		db.layouts[i.prefix] = layout{name: name, kind: string(kind), tag: tag}
	}
	db.stores = append(db.stores, s)
	slices.SortFunc(db.stores, func(a, b store) int {
		return bytes.Compare(a.info().prefix[:], b.info().prefix[:])
	})
	db.byName[name] = s
	db.queries[name] = q
	return nil
}

// SetTime sets the event time, in Unix milliseconds, that puts and deletes
// without a time of their own carry into the changelog. The task calls it
// before it hands a record to user code.
func (db *DB) SetTime(ms int64) { db.time = ms }

// Time returns what SetTime set.
func (db *DB) Time() int64 { return db.time }

// Offset returns the changelog position that a store stands at: the next
// offset to apply, and the wall-clock time, in Unix milliseconds, at which the
// store was known to hold everything before it. ok is false for a store that
// never got any; offset 0 is an offset. Any goroutine may call it.
func (db *DB) Offset(store string) (next, appliedAt int64, ok bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	o, ok := db.offsets[store]
	return o.next, o.appliedAt, ok
}

// LogID returns which log the offset of a store is of, as SetLogID was told, or
// "" if that is not known. Any goroutine may call it.
func (db *DB) LogID(store string) string {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.logs[store]
}

// SetLogID says which log the offsets of a store are of from now on, such as the
// id of the topic: a topic that is made anew has the same name and offsets that
// mean something else. It is written along with the next offset. Any goroutine
// may call it.
func (db *DB) SetLogID(store, id string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.logs[store] = id
}

// Names returns the names of the open stores in ascending order. It belongs to
// the task's goroutine.
func (db *DB) Names() []string { return slices.Sorted(maps.Keys(db.byName)) }

// Dirty returns how many entries have changed since the last Commit, and
// roughly how many bytes they will take in the changelog. A task that nears
// its bound commits early.
func (db *DB) Dirty() (entries int, bytes int64) {
	for _, s := range db.stores {
		n, b := s.dirty()
		entries, bytes = entries+n, bytes+b
	}
	return entries, bytes
}

// Pending returns how many deletes wait for a commit after the next. A task
// that has none of it and nothing dirty need not commit.
func (db *DB) Pending() (deletes int) {
	for _, s := range db.stores {
		deletes += s.pending()
	}
	return deletes
}

// Shrink evicts clean live objects while the budget is exceeded, as Commit
// does. It is for a task that has nothing to commit.
func (db *DB) Shrink() {
	db.crowded = false
	for _, s := range db.stores {
		db.crowded = s.shrink() || db.crowded
	}
}

// Crowded reports whether the last Commit or Shrink could not keep to the budget,
// since too many objects that could be evicted are held ([Live.Held]). Whoever holds
// them should let go.
func (db *DB) Crowded() bool { return db.crowded }

// Flush makes everything committed durable. A crash after it loses nothing
// that was committed before.
func (db *DB) Flush() error { return db.engine.Flush() }

// Metrics returns figures of the engine. Any goroutine may call it while the
// DB is open.
func (db *DB) Metrics() EngineMetrics { return db.engine.Metrics() }

// Close drops the overlay, refuses new views, cancels those in use, waits until
// they are closed, and closes the engine, which flushes it. What was not
// committed is gone. A second call returns ErrClosed.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closing {
		db.mu.Unlock()
		return ErrClosed
	}
	db.closing = true
	db.drained = make(chan struct{})
	if db.views == 0 {
		close(db.drained)
	}
	db.mu.Unlock()
	db.cancel()
	<-db.drained
	for _, s := range db.stores {
		s.close()
	}
	return db.engine.Close()
}

// isClosed reports whether Close was called.
func (db *DB) isClosed() bool { return db.ctx.Err() != nil }
