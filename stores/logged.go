package stores

import (
	"fmt"

	"github.com/millrace/millrace/window"
)

// LogRecord returns the changelog record that stands for what the engine holds
// under the key of a changelog record: a tombstone if it holds nothing. It shows
// the state as of the last Commit and allocates: it is for mending a changelog
// that somebody else has written to. It belongs to the task's goroutine.
func (db *DB) LogRecord(store string, logKey []byte) (LogRecord, error) {
	r := LogRecord{Key: logKey, Time: db.time}
	if db.isClosed() {
		return r, ErrClosed
	}
	s := db.byName[store]
	if s == nil {
		return r, fmt.Errorf("%w: %q", ErrUnknownStore, store)
	}
	key, _, err := s.fromLog(nil, r)
	if err != nil {
		return r, s.info().wrap(err)
	}
	value, ok, err := db.engine.Get(nil, key)
	if err != nil || !ok {
		return r, s.info().wrap(err)
	}
	if r.Time, value, err = splitTime(value); err != nil {
		return r, s.info().wrap(err)
	}
	firing := noFiring()
	if s.info().kind != KeyValueKind {
		_, n, err := window.DecodeFiring(value)
		if err != nil {
			return r, s.info().wrap(fmt.Errorf("%w: %w", ErrCorrupt, err))
		}
		r.Header, firing, value = value[:n:n], value[:n:n], value[n:]
	}
	if db.outside(r.Time) {
		r.Header = appendTimeHeader(nil, firing, r.Time)
	}
	r.Value = value
	return r, nil
}
