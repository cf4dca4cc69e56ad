package stores

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/tidwall/btree"

	"github.com/millrace/millrace/codec"
)

// KeyValueConfig describes a KeyValue store. The fields mean what those of
// WindowedConfig do.
type KeyValueConfig[K, V any] struct {
	Name   string
	Key    codec.Codec[K]
	Value  codec.Codec[V]
	Layout string
	// TTL is the time to live of an entry: see [Expiry]. It takes whole
	// milliseconds; 0 is for ever. It is no part of the layout.
	TTL time.Duration
}

// KeyValue holds one value a key. Values are encoded when they are put, so that
// what the caller does to one afterwards does not show.
type KeyValue[K, V any] struct {
	storeInfo
	key   codec.Codec[K]
	value codec.Codec[V]

	overlay *btree.BTreeG[kvChange]
	changed int
	size    int64
	tombs   int // deleted entries of overlay
}

// Entry is one entry of a KeyValue store.
type Entry[K, V any] struct {
	Key   K
	Value V
	// Time is the event time of the put, in Unix milliseconds.
	Time int64
}

// kvChange is an entry of the overlay. Its bytes are never changed.
type kvChange struct {
	key     []byte // without the store's prefix
	value   []byte // of the last put; nil if there was none since the last commit
	time    int64  // of the put
	dirty   bool   // changed since the last Collect
	deleted bool
	born    uint32 // the interval in which it was deleted
	gone    int64  // the time of the delete
}

// OpenKeyValue opens or makes a store.
func OpenKeyValue[K, V any](db *DB, cfg KeyValueConfig[K, V]) (*KeyValue[K, V], error) {
	s := &KeyValue[K, V]{
		key: cfg.Key, value: cfg.Value,
		overlay: btree.NewBTreeGOptions(func(a, b kvChange) bool { return bytes.Compare(a.key, b.key) < 0 },
			btree.Options{NoLocks: true}),
	}
	q := &keyQuery[K]{info: &s.storeInfo, key: cfg.Key, value: plainValue(cfg.Value)}
	if err := db.addExpiry((*keyValueStore[K, V])(s), cfg.Name, cfg.TTL); err != nil {
		return nil, err
	}
	if err := db.register((*keyValueStore[K, V])(s), cfg.Name, KeyValueKind, cfg.Layout, q); err != nil {
		return nil, err
	}
	return s, nil
}

// Get returns the value of k; ok is false if there is none.
func (s *KeyValue[K, V]) Get(k K) (v V, ok bool, err error) {
	key, err := s.encodeKey(s.db.scratchKey[:0], k)
	if err != nil {
		return v, false, err
	}
	s.db.scratchKey = key
	if e, found := s.overlay.Get(kvChange{key: key[prefixLen:]}); found {
		if e.deleted || s.expiry.expired(e.time) {
			return v, false, nil
		}
		v, err = s.decode(e.key, e.value)
		return v, err == nil, err
	}
	b, found, err := s.db.engine.Get(nil, key)
	if err != nil || !found {
		return v, false, s.wrap(err)
	}
	time, b, err := splitTime(b)
	if err != nil || s.expiry.expired(time) {
		return v, false, s.wrap(err)
	}
	v, err = s.decode(key[prefixLen:], b)
	return v, err == nil, err
}

// Put sets the value of k, with the DB's time for the changelog: see PutAt.
func (s *KeyValue[K, V]) Put(k K, v V) error { return s.PutAt(k, v, s.db.time) }

// PutAt sets the value of k, with an event time, in Unix milliseconds, for the
// changelog. In a store with a time to live an entry keeps the later of its time and
// that of the one in whose place it is put; the error is ErrExpired if there is none
// and its own is too early.
func (s *KeyValue[K, V]) PutAt(k K, v V, time int64) error {
	_, err := s.PutSized(k, v, time)
	return err
}

// PutSized is PutAt, and returns how many bytes key and value take.
func (s *KeyValue[K, V]) PutSized(k K, v V, time int64) (size int, err error) {
	key, err := s.encodeKey(nil, k)
	if err != nil {
		return 0, err
	}
	value, err := s.value.Append([]byte{}, v)
	if err != nil {
		return 0, s.wrap(fmt.Errorf("encoding the value of key %q: %w", key[prefixLen:], err))
	}
	if s.expiry != nil {
		if time, err = s.timeToPut(key, time); err != nil {
			return 0, err
		}
	}
	key = key[prefixLen:]
	s.set(kvChange{key: key, value: value, time: time, dirty: true})
	return len(key) + len(value), nil
}

// Delete removes k. The tombstone carries the DB's time.
func (s *KeyValue[K, V]) Delete(k K) error {
	key, err := s.encodeKey(nil, k)
	if err != nil {
		return err
	}
	return s.delete(key, s.db.commits)
}

// delete removes an engine's key as of an interval.
func (s *KeyValue[K, V]) delete(key []byte, born uint32) error {
	e, found := s.overlay.Get(kvChange{key: key[prefixLen:]})
	if found && e.deleted {
		return nil
	}
	_, stored, err := s.db.engine.Get(nil, key)
	if err != nil {
		return s.wrap(err)
	}
	if !stored {
		// Neither the engine nor the log has ever heard of it.
		if found {
			s.overlay.Delete(e)
			s.uncount(e)
		}
		return nil
	}
	e.key, e.gone, e.deleted, e.born = key[prefixLen:], s.db.time, true, born
	if s.db.deletes == DeletesWithCommit {
		e.value = nil
	}
	e.dirty = true
	s.set(e)
	return nil
}

// set puts e into the overlay in place of what it has of its key.
func (s *KeyValue[K, V]) set(e kvChange) {
	old, found := s.overlay.Set(e)
	if found {
		s.uncount(old)
	}
	if e.dirty {
		s.changed++
		s.size += int64(len(e.key) + len(e.value))
	}
	if e.deleted {
		s.tombs++
	}
}

func (s *KeyValue[K, V]) uncount(e kvChange) {
	if e.dirty {
		s.changed--
		s.size -= int64(len(e.key) + len(e.value))
	}
	if e.deleted {
		s.tombs--
	}
}

// All yields all entries in ascending order of encoded keys.
func (s *KeyValue[K, V]) All() iter.Seq2[Entry[K, V], error] { return s.Range(nil, nil) }

// Range yields the entries with from <= key < to, in ascending order of encoded
// keys. A nil bound is none. The iteration is a snapshot of the moment at which
// it begins: the loop's body may put and delete.
func (s *KeyValue[K, V]) Range(from, to *K) iter.Seq2[Entry[K, V], error] {
	return func(yield func(Entry[K, V], error) bool) {
		span := s.span()
		var err error
		if from != nil {
			span.Lower, err = s.encodeKey(nil, *from)
		}
		if to != nil && err == nil {
			span.Upper, err = s.encodeKey(nil, *to)
		}
		if err == nil && bytes.Compare(span.Lower, span.Upper) < 0 {
			err = s.walk(span, func(e Entry[K, V]) bool { return yield(e, nil) })
		}
		if err != nil {
			yield(Entry[K, V]{}, err)
		}
	}
}

// walk merges the overlay and the engine.
func (s *KeyValue[K, V]) walk(span Span, visit func(Entry[K, V]) bool) error {
	it, err := s.db.engine.Iterate(span)
	if err != nil {
		return s.wrap(err)
	}
	defer it.Close()
	over := s.overlay.Copy().Iter()
	defer over.Release()
	inOverlay := over.Seek(kvChange{key: span.Lower[prefixLen:]})
	inEngine := it.Next()
	for {
		if inOverlay && !bytes.Equal(span.Upper, s.upper[:]) {
			inOverlay = bytes.Compare(over.Item().key, span.Upper[prefixLen:]) < 0
		}
		if !inOverlay && !inEngine {
			return s.wrap(it.Err())
		}
		order := -1
		if inEngine {
			order = 1
			if inOverlay {
				order = bytes.Compare(over.Item().key, it.Key()[prefixLen:])
			}
		}
		var key, value []byte
		var time int64
		hidden := false
		if order <= 0 {
			e := over.Item()
			key, value, time, hidden = e.key, e.value, e.time, e.deleted || s.expiry.expired(e.time)
			inOverlay = over.Next()
		} else if hidden = s.expiry.expiredValue(it.Value()); !hidden {
			key = bytes.Clone(it.Key()[prefixLen:])
			if time, value, err = splitTime(it.Value()); err != nil {
				return s.wrap(err)
			}
			value = append([]byte{}, value...)
		}
		if order >= 0 {
			inEngine = it.Next()
		}
		if hidden {
			continue
		}
		e := Entry[K, V]{Time: time}
		if e.Key, err = s.key.Decode(key); err != nil {
			return s.wrap(fmt.Errorf("key %q: %w", key, err))
		}
		if e.Value, err = s.decode(key, value); err != nil {
			return err
		}
		if !visit(e) {
			return nil
		}
	}
}

// encodeKey appends the engine's key of k to dst.
func (s *KeyValue[K, V]) encodeKey(dst []byte, k K) ([]byte, error) {
	key, err := s.key.Append(append(dst, s.prefix[:]...), k)
	if err != nil {
		return nil, s.wrap(fmt.Errorf("encoding key %v: %w", k, err))
	}
	return key, nil
}

func (s *KeyValue[K, V]) decode(key, value []byte) (V, error) {
	v, err := s.value.Decode(value)
	if err != nil {
		return v, s.wrap(fmt.Errorf("value of key %q: %w", key, err))
	}
	return v, nil
}

// keyValueStore is the DB's side of a KeyValue.
type keyValueStore[K, V any] KeyValue[K, V]

func (s *keyValueStore[K, V]) due(e kvChange) bool {
	return s.db.deletes == DeletesWithCommit || e.born < s.db.commits
}

func (s *keyValueStore[K, V]) collect(c *collector) error {
	s.overlay.Scan(func(e kvChange) bool {
		due := e.deleted && s.due(e)
		if !due && e.value == nil {
			return true
		}
		x := change{time: e.time, delete: due}
		from := c.begin()
		c.arena = append(append(c.arena, s.prefix[:]...), e.key...)
		x.key = c.since(from)
		x.logKey = c.since(from + prefixLen)
		if due {
			x.time = e.gone
		} else {
			s.expiry.wrote(e.time)
			from = len(c.arena)
			c.arena = binary.BigEndian.AppendUint64(c.arena, uint64(e.time))
			c.arena = append(c.arena, e.value...)
			x.value = c.since(from)
			x.log = c.since(from + timeLen)
			if s.db.outside(e.time) {
				from = len(c.arena)
				c.arena = appendTimeHeader(c.arena, noFiring(), e.time)
				x.header = c.since(from)
			}
		}
		c.put(x)
		return true
	})
	s.changed, s.size = 0, 0
	return nil
}

func (s *keyValueStore[K, V]) committed() {
	var kept []kvChange
	if s.tombs > 0 {
		s.overlay.Scan(func(e kvChange) bool {
			if e.deleted && !s.due(e) {
				e.value, e.dirty = nil, false
				kept = append(kept, e)
			}
			return true
		})
	}
	s.overlay.Clear()
	for _, e := range kept {
		s.overlay.Set(e)
	}
	s.changed, s.size, s.tombs = 0, 0, len(kept)
}

func (s *keyValueStore[K, V]) dirty() (int, int64) { return s.changed, s.size }
func (s *keyValueStore[K, V]) pending() int        { return s.tombs }
func (s *keyValueStore[K, V]) forget()             { s.overlay.Clear(); s.tombs = 0 }
func (s *keyValueStore[K, V]) shrink() bool        { return false }
func (s *keyValueStore[K, V]) close()              {}

func (s *keyValueStore[K, V]) waiting() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if s.tombs == 0 {
			return
		}
		s.overlay.Scan(func(e kvChange) bool { return !e.deleted || s.due(e) || yield(e.key) })
	}
}

func (s *keyValueStore[K, V]) redelete(key []byte) error {
	return (*KeyValue[K, V])(s).delete(append(s.prefix[:], key...), 0)
}

// check finds nothing wrong: values are encoded when they are put.
func (s *keyValueStore[K, V]) check([]byte) error { return nil }

func (s *keyValueStore[K, V]) fromLog(dst []byte, r LogRecord) ([]byte, int, error) {
	dst = append(append(dst, s.prefix[:]...), r.Key...)
	split := len(dst)
	if r.Value == nil {
		return dst, split, nil
	}
	_, time, err := r.parseHeader()
	if err != nil {
		return nil, 0, err
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(time))
	return append(dst, r.Value...), split, nil
}

// Meta is a small store of a task's own: watermarks, cursors.
type Meta = KeyValue[string, []byte]

// OpenMeta opens or makes the store that a task keeps about itself.
func OpenMeta(db *DB, name string) (*Meta, error) {
	return OpenKeyValue(db, KeyValueConfig[string, []byte]{
		Name: name, Key: codec.String, Value: codec.Bytes, Layout: "meta",
	})
}
