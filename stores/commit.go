package stores

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
)

// Changes is what one commit writes: to the changelog, record by record, and
// to the engine, in one batch. It belongs to the DB and is valid until Commit
// or Close; so are the bytes of its records.
type Changes struct {
	arena  []byte
	list   []change
	stores []storeChanges
	bytes  int64
}

// change is one entry. The bytes are in the arena.
type change struct {
	key    piece // the engine's key
	logKey piece
	value  piece // the engine's value; empty for a delete
	log    piece // the changelog's value
	header piece
	time   int64
	delete bool
	// covered: the delete is part of a span that is cleared.
	covered bool
}

// piece is a run of bytes of the arena.
type piece struct{ from, to uint32 }

func (p piece) len() int { return int(p.to - p.from) }

type storeChanges struct {
	name     string
	from, to int
	clear    []Span
}

// Len returns the number of records.
func (c *Changes) Len() int { return len(c.list) }

// Bytes returns the size of all keys, values and headers of the records.
func (c *Changes) Bytes() int64 { return c.bytes }

// All yields each record with the name of its store: store by store, each in
// ascending order of the store's keys.
func (c *Changes) All() iter.Seq2[string, LogRecord] {
	return func(yield func(string, LogRecord) bool) {
		for _, s := range c.stores {
			for i := s.from; i < s.to; i++ {
				if !yield(s.name, c.record(i)) {
					return
				}
			}
		}
	}
}

// Records yields the records of one store in ascending order of its keys.
func (c *Changes) Records(store string) iter.Seq[LogRecord] {
	return func(yield func(LogRecord) bool) {
		for _, s := range c.stores {
			if s.name != store {
				continue
			}
			for i := s.from; i < s.to; i++ {
				if !yield(c.record(i)) {
					return
				}
			}
		}
	}
}

func (c *Changes) record(i int) LogRecord {
	e := &c.list[i]
	r := LogRecord{Key: c.at(e.logKey), Time: e.time}
	if !e.delete {
		r.Value = c.at(e.log)
		if e.header != (piece{}) {
			r.Header = c.at(e.header)
		}
	}
	return r
}

func (c *Changes) at(p piece) []byte { return c.arena[p.from:p.to:p.to] }

func (c *Changes) reset() {
	c.arena, c.list, c.stores, c.bytes = reuse(c.arena), reuse(c.list), c.stores[:0], 0
}

// reuse returns s without elements, or nothing if it has become much too large.
func reuse[T any](s []T) []T {
	const small = 1 << 10
	if cap(s) > small && len(s) < cap(s)/4 {
		return nil
	}
	clear(s)
	return s[:0]
}

// collector fills a Changes for one store.
type collector struct {
	*Changes
	from  int
	clear []Span
}

// begin starts an entry at the end of the arena.
func (c *collector) begin() int { return len(c.arena) }

// since returns what was appended to the arena from an index on.
func (c *collector) since(from int) piece {
	return piece{from: uint32(from), to: uint32(len(c.arena))}
}

// put adds an entry whose engine key and value were just appended to the arena.
func (c *collector) put(e change) {
	c.list = append(c.list, e)
}

// finish sorts the store's entries and drops all but one of each key: a put wins
// over a delete, and the later one over the earlier.
func (c *collector) finish(name string) {
	l := c.list[c.from:]
	byKey := func(a, b change) int {
		if r := bytes.Compare(c.at(a.key), c.at(b.key)); r != 0 {
			return r
		}
		switch {
		case a.delete == b.delete:
			return cmp.Compare(b.key.from, a.key.from)
		case a.delete:
			return 1
		}
		return -1
	}
	if !slices.IsSortedFunc(l, byKey) {
		slices.SortFunc(l, byKey)
	}
	l = slices.CompactFunc(l, func(a, b change) bool { return bytes.Equal(c.at(a.key), c.at(b.key)) })
	c.list = c.list[:c.from+len(l)]
	for i := range l {
		e := &l[i]
		c.bytes += int64(e.logKey.len() + e.log.len() + e.header.len())
	}
	if len(l) > 0 || len(c.clear) > 0 {
		c.stores = append(c.stores, storeChanges{name: name, from: c.from, to: len(c.list), clear: c.clear})
	}
}

// Collect encodes each changed object once and gathers the puts and the deletes
// that are due. Until Commit nothing may be changed. After an error the DB is
// of no use but to be closed. If a codec has failed it is an EncodeError.
func (db *DB) Collect() (*Changes, error) {
	if db.isClosed() {
		return nil, ErrClosed
	}
	if db.collected {
		return nil, fmt.Errorf("%w: Collect before the Commit of the last one", ErrProtocol)
	}
	db.collected = true
	c := &db.changes
	c.reset()
	for _, s := range db.stores {
		col := collector{Changes: c, from: len(c.list)}
		if err := s.collect(&col); err != nil {
			return nil, s.info().wrap(err)
		}
		if len(c.arena) > math.MaxUint32 {
			return nil, fmt.Errorf("%w: more than 4 GiB changed since the last commit: commit more often", ErrProtocol)
		}
		col.finish(s.info().name)
	}
	return c, nil
}

// Check encodes the aggregate under a changelog key as Collect would, if it has
// changed since the last Commit, and returns an EncodeError if that fails. It is
// for finding out which change of an aggregate Collect cannot encode.
func (db *DB) Check(store string, key []byte) error {
	s := db.byName[store]
	if s == nil {
		return fmt.Errorf("%w: %q", ErrUnknownStore, store)
	}
	return s.info().wrap(s.check(key))
}

// Commit writes c and the changelog offsets to the engine in one atomic batch;
// after it the overlay is clean. next holds, by store name, the offset after
// the last record that the log has acknowledged; a store without new records
// may be left out. appliedAt is the wall-clock time in Unix milliseconds.
//
// The caller calls it once the log has acknowledged every record of c, and,
// where input offsets are committed apart, these too. If anything before it
// failed or is uncertain, it closes the DB instead.
func (db *DB) Commit(c *Changes, next map[string]int64, appliedAt int64) error {
	if db.isClosed() {
		return ErrClosed
	}
	if !db.collected || c != &db.changes {
		return fmt.Errorf("%w: Commit without Collect", ErrProtocol)
	}
	if n, _ := db.Dirty(); n > 0 {
		return fmt.Errorf("%w: %d entries changed between Collect and Commit", ErrProtocol, n)
	}
	b, err := db.batch(c, next, appliedAt)
	if err != nil {
		return err
	}
	for _, t := range db.tiers { // only opening stores changes the list
		t.leaving()
	}
	if len(b.Set) > 0 || len(b.Clear) > 0 {
		if err := db.engine.Apply(b); err != nil {
			return err
		}
	}
	db.applied(next, appliedAt)
	db.collected = false
	for _, s := range db.stores {
		s.committed()
		s.info().expiry.committed()
	}
	for _, t := range db.tiers {
		t.committed()
	}
	db.commits++
	db.Shrink()
	return nil
}

// batch returns the engine's batch of c: the DB's own keys come first, because
// their prefix is the least.
func (db *DB) batch(c *Changes, next map[string]int64, appliedAt int64) (*Batch, error) {
	b := &db.batchBuf
	b.Clear, b.Set = reuse(b.Clear), reuse(b.Set)
	for name := range next {
		if db.byName[name] == nil {
			return nil, fmt.Errorf("%w: %q has an offset", ErrUnknownStore, name)
		}
	}
	if len(next) > 0 || len(c.stores) > 0 {
		b.Set = append(b.Set, db.layoutPairs(db.stores, false)...)
	}
	for _, s := range db.stores {
		if n, ok := next[s.info().name]; ok {
			b.Set = append(b.Set, s.info().offsetPair(n, appliedAt))
		}
	}
	for _, s := range c.stores {
		b.Clear = append(b.Clear, s.clear...)
		for i := s.from; i < s.to; i++ {
			switch e := &c.list[i]; {
			case !e.delete:
				b.Set = append(b.Set, Pair{Key: c.at(e.key), Value: c.at(e.value)})
			case !e.covered:
				b.Set = append(b.Set, Pair{Key: c.at(e.key)})
			}
		}
	}
	return b, nil
}

// layoutPairs returns the entries of the layouts of some stores, and that of the
// format: of those that the engine does not have yet or, again, of all.
func (db *DB) layoutPairs(of []store, again bool) []Pair {
	db.mu.Lock()
	defer db.mu.Unlock()
	var pairs []Pair
	for _, s := range of {
		l := db.layouts[s.info().prefix]
		if l.stored && !again {
			continue
		}
		if len(pairs) == 0 {
			pairs = append(pairs, Pair{Key: []byte(formatKey), Value: binary.AppendUvarint(nil, formatVersion)})
		}
		value := append([]byte(l.kind), 0)
		value = append(append(value, l.tag...), 0)
		pairs = append(pairs, Pair{
			Key:   append([]byte(layoutKey), s.info().prefix[:]...),
			Value: append(value, l.name...),
		})
	}
	return pairs
}

// layoutsStored notes that the engine has the layouts of some stores.
func (db *DB) layoutsStored(of []store) {
	for _, s := range of {
		l := db.layouts[s.info().prefix]
		l.stored = true
		db.layouts[s.info().prefix] = l
	}
}

func (i *storeInfo) offsetPair(next, appliedAt int64) Pair {
	value := binary.BigEndian.AppendUint64(nil, uint64(next))
	value = binary.BigEndian.AppendUint64(value, uint64(appliedAt))
	return Pair{
		Key:   append([]byte(offsetKey), i.prefix[:]...),
		Value: append(value, i.db.LogID(i.name)...),
	}
}

// applied notes what a batch has written of the DB's own keys.
func (db *DB) applied(next map[string]int64, appliedAt int64) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if len(next) > 0 || len(db.changes.stores) > 0 {
		db.layoutsStored(db.stores)
	}
	for name, n := range next {
		db.offsets[name] = offset{next: n, appliedAt: appliedAt}
	}
}

// Affirm notes that stores held everything before their offsets at a later time
// than is known: nothing came since. It may be lost in a crash. Changes that are
// not committed stay so.
func (db *DB) Affirm(names []string, appliedAt int64) error {
	if db.isClosed() {
		return ErrClosed
	}
	noted := map[string]offset{}
	b := &Batch{}
	for _, name := range names {
		s := db.byName[name]
		next, _, ok := db.Offset(name)
		if s == nil || !ok {
			return fmt.Errorf("%w: %q, or it has no offset", ErrUnknownStore, name)
		}
		b.Set = append(b.Set, s.info().offsetPair(next, appliedAt))
		noted[name] = offset{next: next, appliedAt: appliedAt}
	}
	if err := db.engine.Apply(b); err != nil {
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	maps.Copy(db.offsets, noted)
	return nil
}

// Ingest applies a chunk of the changelog of one store: the last record of each
// key wins, and next becomes the store's offset, all in one atomic and durable
// write. appliedAt is as for Commit. The store must have no uncommitted
// changes. Chunks of different stores may be ingested at the same time.
func (db *DB) Ingest(ctx context.Context, name string, records []LogRecord, next, appliedAt int64) error {
	s, err := db.forRestore(name)
	if err != nil {
		return err
	}
	err = db.restore(s, records, next, appliedAt, func(pairs []Pair) error { return db.engine.Ingest(ctx, pairs) })
	return s.info().wrap(err)
}

// restore writes records and the offset behind them to the engine.
func (db *DB) restore(s store, records []LogRecord, next, appliedAt int64, write func([]Pair) error) error {
	r := sorters.Get().(*sorter)
	// What was ingested can outlive a batch that was applied before it, so it
	// carries the layout even if such a batch did.
	own := append(db.layoutPairs([]store{s}, true), s.info().offsetPair(next, appliedAt))
	pairs, err := r.pairsOf(s, own, records)
	if err != nil {
		return err
	}
	if err := write(pairs); err != nil {
		return err
	}
	r.release()
	db.restored(s, &offset{next: next, appliedAt: appliedAt})
	return nil
}

// Replay is Ingest for a store that follows its changelog: a few records are
// written as a commit would, without a file of their own, and may be lost in a
// crash together with their offset. Nothing else is written to the DB meanwhile.
func (db *DB) Replay(ctx context.Context, name string, records []LogRecord, next, appliedAt int64) error {
	if len(records) > replayed {
		return db.Ingest(ctx, name, records, next, appliedAt)
	}
	s, err := db.forRestore(name)
	if err != nil {
		return err
	}
	err = db.restore(s, records, next, appliedAt, func(pairs []Pair) error { return db.engine.Apply(&Batch{Set: pairs}) })
	return s.info().wrap(err)
}

// replayed is how many records Replay writes as a batch, at most.
const replayed = 4096

// Clear removes all entries of one store and its offset, for a restore from the
// log's start. The store must have no uncommitted changes.
func (db *DB) Clear(name string) error {
	s, err := db.forRestore(name)
	if err != nil {
		return err
	}
	b := &Batch{
		Clear: []Span{s.info().span()},
		Set:   []Pair{{Key: s.info().offsetPair(0, 0).Key}},
	}
	if err := db.engine.Apply(b); err != nil {
		return s.info().wrap(err)
	}
	db.restored(s, nil)
	return nil
}

// forRestore returns the store if it can be written from its changelog.
func (db *DB) forRestore(name string) (store, error) {
	if db.isClosed() {
		return nil, ErrClosed
	}
	s := db.byName[name]
	if s == nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknownStore, name)
	}
	if n, _ := s.dirty(); n > 0 || db.collected {
		return nil, fmt.Errorf("%w: store %q has uncommitted changes", ErrProtocol, name)
	}
	return s, nil
}

// restored notes that the engine's entries of s have changed. Without an offset
// the store has none any more.
func (db *DB) restored(s store, o *offset) {
	s.forget()
	s.info().expiry.forget()
	db.mu.Lock()
	defer db.mu.Unlock()
	if o == nil {
		delete(db.offsets, s.info().name)
		delete(db.logs, s.info().name)
		return
	}
	db.layoutsStored([]store{s})
	db.offsets[s.info().name] = *o
}
