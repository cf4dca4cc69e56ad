package changelog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
)

const (
	topic     = "app-last-changelog"
	retention = time.Hour
)

// TestRestoreEqualsTheLogHoweverItIsInterrupted grows a log and has brokers do
// to it what brokers do, while a store is restored in pieces: stopped at any
// point, by cancellation, errors and crashes. A finished restore must have what
// a map has that was told every change.
func TestRestoreEqualsTheLogHoweverItIsInterrupted(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			newWorld(t, seed).run(60)
		})
	}
}

// world is a log, a store that follows it, and what the store must hold.
type world struct {
	t     *testing.T
	rnd   *rand.Rand
	now   time.Time
	log   *changelog.Memory
	truth map[string]string

	fs        *vfs.MemFS
	resources *stores.PebbleResources
	db        *stores.DB
	kv        *stores.KeyValue[string, []byte]
	warnings  bytes.Buffer
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: time.UnixMilli(1e12),
		log: changelog.NewMemory(), truth: map[string]string{},
		fs: vfs.NewCrashableMem(), resources: stores.NewPebbleResources(1<<20, 64, 1),
	}
	w.log.Create(topic, 1)
	t.Cleanup(w.resources.Close)
	w.open()
	t.Cleanup(func() { w.must(w.db.Close()) })
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) open() {
	e, err := stores.OpenPebble(stores.PebbleConfig{Dir: "state", FS: w.fs, Resources: w.resources})
	w.must(err)
	w.db, err = stores.Open(stores.Config{Engine: e})
	w.must(err)
	w.kv, err = stores.OpenKeyValue(w.db, stores.KeyValueConfig[string, []byte]{Name: "last", Key: codec.String, Value: codec.Bytes})
	w.must(err)
}

func (w *world) run(steps int) {
	for range steps {
		switch n := w.rnd.IntN(20); {
		case n < 8:
			w.grow()
		case n < 10:
			w.must(w.log.Gap(topic, 0, 1+w.rnd.Int64N(3)))
		case n < 11:
			w.must(w.log.Compact(topic, 0, false))
		case n < 12:
			w.forgetDeletes()
		case n < 13:
			w.remake()
		case n < 14:
			w.crash()
		case n < 17:
			w.interrupted()
		default:
			w.finished()
		}
	}
	w.finished()
}

func (w *world) grow() {
	for range 1 + w.rnd.IntN(15) {
		r := stores.LogRecord{Key: []byte{byte('a' + w.rnd.IntN(12))}, Time: w.now.UnixMilli()}
		if w.rnd.IntN(3) > 0 {
			r.Value = fmt.Appendf(nil, "%d", w.rnd.IntN(1000))
			w.truth[string(r.Key)] = string(r.Value)
		} else {
			delete(w.truth, string(r.Key))
		}
		w.must(w.log.Append(topic, 0, r))
	}
	w.must(w.log.Flush(w.t.Context()))
}

// forgetDeletes lets the tombstones that are there get old, and removes them.
func (w *world) forgetDeletes() {
	w.must(w.log.Compact(topic, 0, false))
	w.now = w.now.Add(retention + time.Second)
	w.must(w.log.Compact(topic, 0, true))
}

// remake makes the topic anew, shorter than before.
func (w *world) remake() {
	w.log.Create(topic, 1)
	w.truth = map[string]string{}
}

func (w *world) crash() {
	clone := w.fs.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: w.rnd.IntN(101), RNG: rand.New(rand.NewPCG(w.rnd.Uint64(), 2)),
	})
	w.must(w.db.Close())
	w.fs = clone
	w.open()
}

func (w *world) config() changelog.Config {
	return changelog.Config{
		DB: w.db, Store: "last", Log: w.log, Topic: topic,
		Clock:           func() time.Time { w.now = w.now.Add(time.Millisecond); return w.now },
		DeleteRetention: retention,
		ChunkBytes:      1 + w.rnd.IntN(200),
		Logger:          slog.New(slog.NewTextHandler(&w.warnings, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

var errBroker = errors.New("broker is gone")

// interrupted begins a restore and stops it somewhere.
func (w *world) interrupted() {
	cfg := w.config()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	left := w.rnd.IntN(5)
	if w.rnd.IntN(2) == 0 {
		cfg.Progress = func(changelog.Progress) {
			if left--; left < 0 {
				cancel()
			}
		}
	} else {
		w.log.Inject(func(c changelog.Call) changelog.Fault {
			if left--; left < 0 {
				return changelog.Fault{Err: errBroker}
			}
			return changelog.Fault{}
		})
		defer w.log.Inject(nil)
	}
	err := changelog.Restore(ctx, cfg)
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errBroker) {
		w.t.Fatal(err)
	}
	w.now = w.now.Add(time.Duration(w.rnd.Int64N(int64(retention))))
}

// finished restores to the end and compares.
func (w *world) finished() {
	cfg := w.config()
	var last changelog.Progress
	calls := 0
	cfg.Progress = func(p changelog.Progress) {
		if calls > 0 && (p.End != last.End || p.Remaining >= last.Remaining) {
			w.t.Fatalf("progress %+v after %+v", p, last)
		}
		last, calls = p, calls+1
	}
	w.must(changelog.Restore(w.t.Context(), cfg))
	_, end, err := w.log.Bounds(w.t.Context(), topic, 0)
	w.must(err)
	if calls == 0 || last.Remaining != 0 || last.Position != end || last.End != end {
		w.t.Fatalf("progress ends with %+v after %d calls, the log ends at %d", last, calls, end)
	}
	next, _, ok := w.db.Offset("last")
	if !ok || next != end {
		w.t.Fatalf("offset %d, %v after a restore, want %d", next, ok, end)
	}
	w.holdsTruth()
}

func (w *world) holdsTruth() {
	w.t.Helper()
	got := map[string]string{}
	for e, err := range w.kv.All() {
		w.must(err)
		got[e.Key] = string(e.Value)
	}
	if !maps.Equal(got, w.truth) {
		w.t.Fatalf("restored %v, want %v", got, w.truth)
	}
}

func TestRestoreStartsOverWhenTheLogWasTruncatedPastIt(t *testing.T) {
	w := newWorld(t, 1)
	w.grow()
	w.finished()
	w.must(w.log.Append(topic, 0, stores.LogRecord{Key: []byte("gone"), Value: []byte("1")}))
	w.must(w.log.Append(topic, 0, stores.LogRecord{Key: []byte("kept"), Value: []byte("2")}))
	w.must(w.log.Flush(t.Context()))
	_, end, err := w.log.Bounds(t.Context(), topic, 0)
	w.must(err)
	w.must(w.log.Truncate(topic, 0, end-1))
	w.truth = map[string]string{"kept": "2"}
	w.finished()
	if !strings.Contains(w.warnings.String(), "before the log's start") {
		t.Errorf("log says %q, want a warning with the reason", &w.warnings)
	}
}

func TestRestoreStartsOverWhenTheLogIsTruncatedMeanwhile(t *testing.T) {
	w := newWorld(t, 2)
	for range 10 {
		w.grow()
	}
	cfg := w.config()
	cfg.ChunkBytes = 50
	cut := false
	cfg.Progress = func(p changelog.Progress) {
		if p.Position > 0 && !cut {
			cut = true
			w.must(w.log.Truncate(topic, 0, p.Position+5))
		}
	}
	w.must(changelog.Restore(t.Context(), cfg))
	w.truth = map[string]string{}
	for _, r := range w.log.Records(topic, 0) {
		if w.truth[string(r.Key)] = string(r.Value); r.Value == nil {
			delete(w.truth, string(r.Key))
		}
	}
	w.finished()
}

func TestRestoreDoesNotContinueWhatMayHaveMissedDeletes(t *testing.T) {
	w := newWorld(t, 3)
	w.must(w.log.Append(topic, 0, stores.LogRecord{Key: []byte("k"), Value: []byte("1")}))
	w.must(w.log.Flush(t.Context()))
	w.truth["k"] = "1"
	w.finished()
	w.must(w.log.Append(topic, 0, stores.LogRecord{Key: []byte("k")}))
	w.must(w.log.Flush(t.Context()))
	delete(w.truth, "k")
	w.forgetDeletes()
	w.finished()
	if !strings.Contains(w.warnings.String(), "the topic keeps deletes for 1h0m0s") {
		t.Errorf("log says %q, want a warning with the reason", &w.warnings)
	}
}

func TestRestoreKeepsAnIdleStoreFresh(t *testing.T) {
	w := newWorld(t, 4)
	w.grow()
	w.finished()
	for range 4 {
		w.now = w.now.Add(retention / 2)
		w.finished()
	}
	if w.warnings.Len() > 0 {
		t.Errorf("a store that was always up to date was restored whole: %s", &w.warnings)
	}
}

func TestRestoreOfAnUnknownTopicSaysWhich(t *testing.T) {
	w := newWorld(t, 5)
	cfg := w.config()
	cfg.Topic = "other"
	err := changelog.Restore(t.Context(), cfg)
	if !errors.Is(err, changelog.ErrNoTopic) || !strings.Contains(err.Error(), "other/0") {
		t.Errorf("Restore = %v, want ErrNoTopic that names other/0", err)
	}
}

// TestRestoreEndsBeforeAForeignRecord has a record in the middle of the log that
// is none of the store's.
func TestRestoreEndsBeforeAForeignRecord(t *testing.T) {
	w := newWorld(t, 1)
	for i := range 10 {
		w.must(w.log.Append(topic, 0, stores.LogRecord{Key: []byte{byte('a' + i)}, Value: []byte("v"), Time: w.now.UnixMilli()}))
	}
	w.must(w.log.Flush(t.Context()))
	settled := int64(0)
	restore := func(foreign func(changelog.Record) bool) (end, remaining int64) {
		w.must(changelog.Restore(t.Context(), changelog.Config{
			DB: w.db, Store: "last", Log: w.log, Topic: topic, Foreign: foreign, Settled: settled, Clock: func() time.Time { return w.now },
			Progress: func(p changelog.Progress) { end, remaining = p.End, p.Remaining },
		}))
		return end, remaining
	}
	end, remaining := restore(func(r changelog.Record) bool { return r.Offset == 6 })
	if next, _, ok := w.db.Offset("last"); next != 6 || !ok || end != 6 || remaining != 0 {
		t.Errorf("stands at %d (%v), with %d to go to %d; want 6", next, ok, remaining, end)
	}
	for i := range 10 {
		_, ok, err := w.kv.Get(string(rune('a' + i)))
		if err != nil || ok != (i < 6) {
			t.Errorf("record %d: there %v, %v", i, ok, err)
		}
	}
	restore(nil)
	if next, _, _ := w.db.Offset("last"); next != 10 {
		t.Errorf("stands at %d when no record is foreign, want 10", next)
	}
	// A store that has applied a foreign record is restored without it.
	settled = 3
	restore(func(r changelog.Record) bool { return r.Offset == 4 })
	_, fourth, _ := w.kv.Get("d")
	_, foreign, _ := w.kv.Get("e")
	if next, _, _ := w.db.Offset("last"); next != 4 || !fourth || foreign {
		t.Errorf("stands at %d, with its own record: %v, and the foreign one: %v", next, fourth, foreign)
	}
	restore(func(r changelog.Record) bool { return r.Offset == 2 }) // before what is settled
	if next, _, _ := w.db.Offset("last"); next != 10 {
		t.Errorf("stands at %d when no record is foreign behind what is settled, want 10", next)
	}
	// What the log has no more cannot be looked at.
	w.must(w.log.Truncate(topic, 0, 7))
	restore(func(r changelog.Record) bool { return false })
	if next, _, _ := w.db.Offset("last"); next != 10 {
		t.Errorf("stands at %d behind a log that begins after what is settled, want 10", next)
	}
}
