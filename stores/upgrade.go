package stores

import (
	"bytes"
	"fmt"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/window"
)

// A store holds values of several versions at once (codec.Versioned): a read
// upgrades, a write stores the newest. Upgrade goes through what is left and marks it
// as changed, so that the next Collect writes it anew: changelog, engine, standbys
// and checkpoints get it as they get any change.

// Bounds of one call of Upgrade: how many entries it reads, how many of them it
// changes, those that it deletes included, and how many bytes these have.
const (
	upgradeReads  = 16 << 10
	upgradeValues = 2 << 10
	upgradeBytes  = 1 << 20
)

// Versions returns which versions of values a store reads and writes. Any goroutine
// may call it once the store is open.
func (db *DB) Versions(store string) (codec.Lineage, error) {
	s := db.byName[store]
	if s == nil {
		return codec.Lineage{}, fmt.Errorf("%w: %q", ErrUnknownStore, store)
	}
	return s.lineage(), nil
}

// Holds reports whether the engine has any entry of a store.
func (db *DB) Holds(store string) (bool, error) {
	s := db.byName[store]
	if s == nil {
		return false, fmt.Errorf("%w: %q", ErrUnknownStore, store)
	}
	it, err := db.engine.Iterate(s.info().span())
	if err != nil {
		return false, s.info().wrap(err)
	}
	defer it.Close()
	return it.Next(), s.info().wrap(it.Err())
}

// Upgrade marks entries of a store as changed that have values of an older version
// than its codec writes. It goes through the entries that are committed, from a
// cursor on, which is nil for the first call, and returns how many it has marked and
// the cursor to go on from, also after a commit; nil at the end. A call does no more
// than a commit can carry. It belongs to the task's goroutine, before Collect.
//
// Entries of an older version that have expired are deleted, as by Sweep, and not
// counted as upgraded. What is deleted already is left as it is: after two more commits
// the engine has nothing older than the codec writes. An error is that of the codec, or
// of the engine; it names the store and the key.
func (db *DB) Upgrade(store string, cursor []byte) (next []byte, upgraded int, err error) {
	s := db.byName[store]
	if s == nil {
		return nil, 0, fmt.Errorf("%w: %q", ErrUnknownStore, store)
	}
	if db.isClosed() {
		return nil, 0, ErrClosed
	}
	if db.collected {
		return nil, 0, s.info().wrap(fmt.Errorf("%w: Upgrade between Collect and Commit", ErrProtocol))
	}
	span := s.info().span()
	if cursor != nil {
		span.Lower = cursor
	}
	it, err := db.engine.Iterate(span)
	if err != nil {
		return nil, 0, s.info().wrap(err)
	}
	defer it.Close()
	read, changed, size := 0, 0, 0
	for it.Next() {
		if read == upgradeReads || changed == upgradeValues || size >= upgradeBytes {
			return bytes.Clone(it.Key()), upgraded, nil
		}
		read++
		marked, deleted, err := upgradeEntry(s, it.Key(), it.Value())
		switch {
		case err != nil:
			return nil, upgraded, s.info().wrap(fmt.Errorf("upgrading its values: %w", err))
		case marked:
			upgraded, changed, size = upgraded+1, changed+1, size+len(it.Value())
		case deleted:
			changed++
		}
	}
	return nil, upgraded, s.info().wrap(it.Err())
}

// upgradeEntry marks an engine's entry as changed if it has a value of an older
// version. One that has expired is deleted instead: reads do not see it, so that it
// cannot be upgraded.
func upgradeEntry(s store, key, value []byte) (marked, deleted bool, err error) {
	oldest, err := s.oldestIn(value)
	if err != nil || oldest == s.lineage().Current {
		return false, false, err
	}
	if e := s.info().expiry; e.expiredValue(value) {
		time, _ := timeIn(value)
		deleted, err = e.take(key, time)
		return false, deleted, err
	}
	marked, err = s.renew(key, value)
	return marked, false, err
}

// oldestInLive returns the oldest version in an engine's value of a live object: that
// of the aggregate, and of what its Firing keeps.
func oldestInLive[A any](c codec.Codec[A], b []byte) (int, error) {
	_, f, value, err := splitLive(b)
	if err != nil {
		return 0, err
	}
	oldest := codec.OldestIn(c, value)
	if kept, _, _, ok := f.Kept(); ok {
		oldest = min(oldest, codec.OldestIn(c, keyBytes(kept)))
	}
	return oldest, nil
}

// renewKept writes the value that f keeps in the version that c writes.
func renewKept[A any](c codec.Codec[A], f *window.Firing) error {
	kept, time, pane, ok := f.Kept()
	if !ok || codec.OldestIn(c, keyBytes(kept)) == codec.LineageOf(c).Current {
		return nil
	}
	v, err := c.Decode([]byte(kept))
	if err != nil {
		return err
	}
	b, err := c.Append(nil, v)
	if err != nil {
		return err
	}
	pane.Retracted = false
	f.Keep(b, time, pane)
	return nil
}

func (h *hot[A]) lineage() codec.Lineage { return codec.LineageOf(h.codec) }

func (h *hot[A]) oldestIn(value []byte) (int, error) { return oldestInLive(h.codec, value) }

// renew marks the object of an engine's entry as changed, unless reads do not see it.
func (h *hot[A]) renew(key, _ []byte) (bool, error) {
	start, inner, err := h.splitKey(key)
	if err != nil || start < h.hidden {
		return false, err
	}
	l, err := h.get(inner, start)
	if l == nil || err != nil {
		return false, err
	}
	if err := renewKept(h.codec, &l.Firing); err != nil {
		return false, fmt.Errorf("what was sent of key %q, window %d: %w", l.key, start, err)
	}
	h.touch(l)
	return true, nil
}

func (s *spans[A]) lineage() codec.Lineage { return codec.LineageOf(s.codec) }

func (s *spans[A]) oldestIn(value []byte) (int, error) { return oldestInLive(s.codec, value) }

// renew marks the object of an engine's entry as changed, unless it was deleted or
// has moved.
func (s *spans[A]) renew(key, _ []byte) (bool, error) {
	if err := s.load(); err != nil {
		return false, err
	}
	inner, w, err := splitSpanKey(key[prefixLen:])
	if err != nil {
		return false, err
	}
	for _, l := range s.spansOf(inner) {
		if l.Window() != w {
			continue
		}
		if err := s.loadValue(l); err != nil {
			return false, err
		}
		if err := renewKept(s.codec, &l.Firing); err != nil {
			return false, fmt.Errorf("what was sent of key %q, window %v: %w", l.key, w, err)
		}
		s.touch(l)
		return true, nil
	}
	return false, nil
}

func (s *keyValueStore[K, V]) lineage() codec.Lineage { return codec.LineageOf(s.value) }

func (s *keyValueStore[K, V]) oldestIn(b []byte) (int, error) {
	_, value, err := splitTime(b)
	return codec.OldestIn(s.value, value), err
}

// renew puts the value of an engine's entry again, unless the overlay has another one.
func (s *keyValueStore[K, V]) renew(key, b []byte) (bool, error) {
	key = bytes.Clone(key[prefixLen:])
	if _, found := s.overlay.Get(kvChange{key: key}); found {
		return false, nil
	}
	time, value, err := splitTime(b)
	if err != nil {
		return false, err
	}
	v, err := s.value.Decode(bytes.Clone(value))
	if err != nil {
		return false, fmt.Errorf("value of key %q: %w", key, err)
	}
	if value, err = s.value.Append([]byte{}, v); err != nil {
		return false, fmt.Errorf("encoding the value of key %q: %w", key, err)
	}
	(*KeyValue[K, V])(s).set(kvChange{key: key, value: value, time: time, dirty: true})
	return true, nil
}
