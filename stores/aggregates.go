package stores

import (
	"bytes"
	"iter"
	"time"

	"github.com/millrace/millrace/codec"
)

// AggregatesConfig describes an Aggregates store. The fields mean what those of
// WindowedConfig do.
type AggregatesConfig[K, A any] struct {
	Name   string
	Key    codec.Codec[K]
	Value  codec.Codec[A]
	New    func() *A
	Layout string
	// TTL is the time to live of an aggregate: see [Expiry]. It takes whole
	// milliseconds; 0 is for ever. It is no part of the layout.
	TTL time.Duration
}

// Aggregates holds one aggregate a key as live objects, without windows. Keys
// are handed in encoded, and the changelog has them as they are.
type Aggregates[K, A any] struct {
	hot hot[A]
}

// OpenAggregates opens or makes a store.
func OpenAggregates[K, A any](db *DB, cfg AggregatesConfig[K, A]) (*Aggregates[K, A], error) {
	a := new(Aggregates[K, A])
	s := &aggregatesStore[A]{hot: &a.hot}
	q := &keyQuery[K]{info: &a.hot.storeInfo, key: cfg.Key, value: aggregateValue(cfg.Value)}
	if err := db.addExpiry(s, cfg.Name, cfg.TTL); err != nil {
		return nil, err
	}
	if err := db.register(s, cfg.Name, AggregateKind, cfg.Layout, q); err != nil {
		return nil, err
	}
	a.hot.init(db, cfg.Value, cfg.New, false)
	return a, a.hot.probe()
}

// Name returns the store's name.
func (a *Aggregates[K, A]) Name() string { return a.hot.name }

// Get returns the live aggregate of a key, or nil if there is none. It does not
// keep key. If the object is live already, Get does not allocate.
func (a *Aggregates[K, A]) Get(key []byte) (*Live[A], error) { return a.hot.get(key, 0) }

// Create makes a new aggregate for a key for which Get returned nil, and marks
// it changed. Its Time is that of the DB. An aggregate that is there is
// replaced.
func (a *Aggregates[K, A]) Create(key []byte) (*Live[A], error) { return a.hot.create(key, 0) }

// Expired reports whether an aggregate of that time, in Unix milliseconds, would be
// gone as soon as it is made, since its time to live is over.
func (a *Aggregates[K, A]) Expired(time int64) bool { return a.hot.expiry.expired(time) }

// Touch marks l as changed.
func (a *Aggregates[K, A]) Touch(l *Live[A]) { a.hot.touch(l) }

// Delete removes one aggregate.
func (a *Aggregates[K, A]) Delete(l *Live[A]) { a.hot.delete(l) }

// Range yields the aggregates with encoded keys in [from, to) in ascending
// order. A nil from or to is no bound. What Windowed.Scan says of the loop's
// body holds here too.
func (a *Aggregates[K, A]) Range(from, to []byte) iter.Seq2[*Live[A], error] {
	all := a.hot.walk(position{key: bytes.Clone(from)}, 1)
	if to == nil {
		return all
	}
	return func(yield func(*Live[A], error) bool) {
		for l, err := range all {
			if err == nil && l.key >= string(to) {
				return
			}
			if !yield(l, err) {
				return
			}
		}
	}
}

// aggregatesStore is the DB's side of an Aggregates.
type aggregatesStore[A any] struct{ *hot[A] }

func (s *aggregatesStore[A]) fromLog(dst []byte, r LogRecord) ([]byte, int, error) {
	return liveFromLog(append(append(dst, s.prefix[:]...), r.Key...), r)
}
