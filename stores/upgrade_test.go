package stores_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// What the stores of these tests hold: a number, then a text, then a text in
// brackets. The second version counts how often it has upgraded one.
func numbers() codec.Codec[string] { return textual{} }

func texts(upgrades *int) codec.Codec[string] {
	return codec.Versioned(2, codec.Codec[string](codec.String), firstStep(upgrades))
}

func bracketed(steps ...codec.Step) codec.Codec[string] {
	return codec.Versioned(3, codec.Codec[string](codec.String), steps...)
}

func firstStep(upgrades *int) codec.Step {
	return codec.From(1, codec.Codec[int64](codec.Int64), func(n int64) (string, error) {
		*upgrades++
		if n == 13 {
			return "", errors.New("13 has no text")
		}
		return fmt.Sprint(n), nil
	})
}

func secondStep() codec.Step {
	return codec.From(2, codec.Codec[string](codec.String), func(s string) (string, error) { return "[" + s + "]", nil })
}

// textual writes the text of a number as the number.
type textual struct{}

func (textual) Append(dst []byte, s string) ([]byte, error) {
	var n int64
	_, err := fmt.Sscan(s, &n)
	if err != nil {
		return dst, err
	}
	return codec.Int64.Append(dst, n)
}

func (textual) Decode(b []byte) (string, error) {
	n, err := codec.Int64.Decode(b)
	return fmt.Sprint(n), err
}

// shelf is a DB with a store of each kind, all with values of one codec.
type shelf struct {
	t   *testing.T
	db  *stores.DB
	kv  *stores.KeyValue[string, string]
	agg *stores.Aggregates[string, string]
	win *stores.Windowed[string, string]
	ses *stores.Spans[string, string]
}

var shelfStores = []string{"kv", "agg", "win", "ses"}

func openShelf(t *testing.T, engine stores.Engine, deletes stores.DeletePolicy, c codec.Codec[string]) *shelf {
	t.Helper()
	db, err := stores.Open(stores.Config{Engine: engine, Deletes: deletes})
	check(t, err)
	s := &shelf{t: t, db: db}
	s.kv, err = stores.OpenKeyValue(db, stores.KeyValueConfig[string, string]{Name: "kv", Key: codec.String, Value: c})
	check(t, err)
	fresh := func() *string { return new(string) }
	s.agg, err = stores.OpenAggregates(db, stores.AggregatesConfig[string, string]{Name: "agg", Key: codec.String, Value: c, New: fresh})
	check(t, err)
	s.win, err = stores.OpenWindowed(db, stores.WindowedConfig[string, string]{
		Name: "win", Key: codec.String, Value: c, New: fresh,
		Window: func(s int64) window.Window { return window.Window{Start: s, End: s + 10} },
	})
	check(t, err)
	s.ses, err = stores.OpenSpans(db, stores.SpansConfig[string, string]{
		Name: "ses", Key: codec.String, Value: c, New: fresh, Due: func(w window.Window) int64 { return w.End },
	})
	check(t, err)
	return s
}

// put writes the text of n into all stores, under a key and a window of n; sessions
// keep it as what was sent too.
func (s *shelf) put(n int, c codec.Codec[string]) {
	s.t.Helper()
	key, at, text := fmt.Sprintf("key-%04d", n%7), int64(n)*100, fmt.Sprint(n)
	check(s.t, s.kv.PutAt(fmt.Sprintf("key-%04d", n), text, at))
	set := func(l *stores.Live[string], err error) *stores.Live[string] {
		check(s.t, err)
		*l.Value, l.Time = text, at
		return l
	}
	set(s.agg.Create(fmt.Appendf(nil, "key-%04d", n)))
	set(s.win.Create([]byte(key), at))
	l := set(s.ses.Create([]byte(key), window.Window{Start: at, End: at + 50}))
	sent, err := c.Append(nil, text)
	check(s.t, err)
	l.Firing.Keep(sent, at, window.Pane{Kind: window.EarlyPane, Sequence: 3})
}

// commit commits, and keeps what goes to the log.
func (s *shelf) commit(log map[string]stores.LogRecord) {
	s.t.Helper()
	c, err := s.db.Collect()
	check(s.t, err)
	next := map[string]int64{}
	for store, r := range c.All() {
		next[store]++
		k := store + "/" + string(r.Key)
		if r.Value == nil {
			delete(log, k)
			continue
		}
		log[k] = stores.LogRecord{
			Key: append([]byte{}, r.Key...), Value: append([]byte{}, r.Value...), Header: append([]byte(nil), r.Header...), Time: r.Time,
		}
	}
	check(s.t, s.db.Commit(c, next, 0))
}

// pass upgrades everything, a slice each commit, and lets deletes go out.
func (s *shelf) pass(log map[string]stores.LogRecord) (upgraded int) {
	s.t.Helper()
	for _, store := range shelfStores {
		var next []byte
		for first := true; first || next != nil; first = false {
			var n int
			var err error
			next, n, err = s.db.Upgrade(store, next)
			check(s.t, err)
			upgraded += n
			s.commit(log)
		}
	}
	s.commit(log)
	return upgraded
}

// content returns what all stores hold, by store, key and window.
func (s *shelf) content() map[string]string {
	s.t.Helper()
	v, err := s.db.View(context.Background())
	check(s.t, err)
	defer v.Close()
	all := map[string]string{}
	for _, q := range s.db.Queryables() {
		page, err := q.Range(v, stores.RangeQuery{Limit: math.MaxInt})
		if errors.Is(err, stores.ErrQuery) {
			page, err = q.Windows(v, stores.WindowsQuery{From: window.MinTime, To: window.MaxTime, Limit: math.MaxInt})
		}
		check(s.t, err)
		for _, item := range page.Items {
			value := item.Value
			if p, ok := value.(*string); ok {
				value = *p
			}
			all[fmt.Sprint(q.Name(), " ", item.Key, " ", item.Window)] = fmt.Sprint(value, " at ", item.Time)
		}
	}
	return all
}

// TestUpgradeLeavesNothingOld writes values of the first version, reads and changes
// them with a program of the third, upgrades them meanwhile, and reads all with a
// program that has no steps: from the engine, and restored from the log.
func TestUpgradeLeavesNothingOld(t *testing.T) {
	for name, policy := range map[string]stores.DeletePolicy{"deferred": stores.DeletesDeferred, "with commit": stores.DeletesWithCommit} {
		t.Run(name, func(t *testing.T) {
			upgrades := 0
			cfg := stores.PebbleConfig{Dir: "state", FS: vfs.NewMem(), Resources: resources(t)}
			open := func(c codec.Codec[string]) *shelf {
				engine, err := stores.OpenPebble(cfg)
				check(t, err)
				return openShelf(t, engine, policy, c)
			}
			log := map[string]stores.LogRecord{}
			const n = 40
			s := open(numbers())
			for i := range n {
				s.put(100+i, numbers())
			}
			s.commit(log)
			check(t, s.db.Close())

			// The second version changes a few, so that three versions are there.
			s = open(texts(&upgrades))
			for i := range 5 {
				s.put(100+i, texts(&upgrades))
			}
			s.commit(log)
			check(t, s.db.Close())
			before := maps.Clone(log)

			third := bracketed(firstStep(&upgrades), secondStep())
			s = open(third)
			want := s.content()
			if len(want) != 4*n || want["kv key-0107 <nil>"] != "[107] at 10700" || want["agg key-0101 <nil>"] != "[101] at 10100" {
				t.Fatalf("%d entries, %q", len(want), want["kv key-0107 <nil>"])
			}
			// What was just written, and what is deleted, is not upgraded.
			check(t, s.kv.PutAt("key-0110", "new", 5))
			want["kv key-0110 <nil>"] = "new at 5"
			check(t, s.kv.Delete("key-0111"))
			delete(want, "kv key-0111 <nil>")
			l, err := s.agg.Get([]byte("key-0112"))
			check(t, err)
			s.agg.Delete(l)
			delete(want, "agg key-0112 <nil>")
			gone, err := s.win.DropBefore(10_500)
			check(t, err)
			if gone != 5 {
				t.Fatalf("dropped %d windows", gone)
			}
			maps.DeleteFunc(want, func(k, v string) bool {
				return strings.HasPrefix(k, "win ") && v < "[105] at 10500"
			})
			spans, err := s.ses.Of([]byte("key-0000"))
			check(t, err)
			s.ses.Delete(spans[0])
			if upgraded := s.pass(log); upgraded != 4*n-3-gone-1 {
				t.Errorf("%d values upgraded, want %d", upgraded, 4*n-3-gone-1)
			}
			if again := s.pass(log); again != 0 {
				t.Errorf("a second pass has upgraded %d", again)
			}
			got := s.content()
			for k := range got {
				if _, ok := want[k]; !ok {
					t.Errorf("%s is back", k)
				}
			}
			if len(got) != len(want)-1 { // the session
				t.Errorf("%d entries, want %d", len(got), len(want)-1)
			}
			for k, v := range got {
				if v != want[k] {
					t.Errorf("%s: %s, want %s", k, v, want[k])
				}
			}
			check(t, s.db.Close())

			s = open(bracketed())
			if bare := s.content(); !maps.Equal(bare, got) {
				t.Errorf("without steps %d entries read, want %d", len(bare), len(got))
			}
			check(t, s.db.Close())
			restored := openShelf(t, stores.NewMemory(), policy, bracketed())
			byStore := map[string][]stores.LogRecord{}
			for k, r := range log {
				store, _, _ := strings.Cut(k, "/")
				byStore[store] = append(byStore[store], r)
				if old := before[k]; old.Time != r.Time && k != "kv/key-0110" {
					t.Errorf("%s has time %d, and had %d before", k, r.Time, old.Time)
				}
			}
			for store, records := range byStore {
				check(t, restored.db.Ingest(context.Background(), store, records, int64(len(records)), 0))
			}
			if again := restored.content(); !maps.Equal(again, got) {
				t.Errorf("restored from the log: %d entries, want %d", len(again), len(got))
			}
			// What was sent of a session is of the newest version as well.
			spans, err = restored.ses.Of([]byte("key-0003"))
			check(t, err)
			for _, l := range spans {
				check(t, restored.ses.Load(l))
				kept, _, pane, ok := l.Firing.Kept()
				text, err := bracketed().Decode([]byte(kept))
				if !ok || err != nil || text != *l.Value || pane.Kind != window.EarlyPane || pane.Sequence != 3 {
					t.Errorf("kept %q, %v, %+v, want %q", text, err, pane, *l.Value)
				}
			}
			check(t, restored.db.Close())
		})
	}
}

// TestASliceOfAnUpgradeIsBounded: it ends before it has done all, and the next one
// goes on behind it.
func TestASliceOfAnUpgradeIsBounded(t *testing.T) {
	upgrades := 0
	cfg := stores.PebbleConfig{Dir: "state", FS: vfs.NewMem(), Resources: resources(t)}
	engine, err := stores.OpenPebble(cfg)
	check(t, err)
	s := openShelf(t, engine, stores.DeletesDeferred, numbers())
	const n = 5000
	for i := range n {
		check(t, s.kv.PutAt(fmt.Sprint("key-", 10_000+i), fmt.Sprint(i+100), int64(i)))
	}
	log := map[string]stores.LogRecord{}
	s.commit(log)
	check(t, s.db.Close())
	engine, err = stores.OpenPebble(cfg)
	check(t, err)
	s = openShelf(t, engine, stores.DeletesDeferred, texts(&upgrades))
	slices, total := 0, 0
	for next, first := []byte(nil), true; first || next != nil; first = false {
		var done int
		next, done, err = s.db.Upgrade("kv", next)
		check(t, err)
		if dirty, _ := s.db.Dirty(); dirty != done || done > 2<<10 {
			t.Fatalf("%d entries are dirty, %d upgraded", dirty, done)
		}
		total += done
		slices++
		s.commit(log)
	}
	if slices != 3 || total != n || upgrades != n {
		t.Errorf("%d values in %d slices, %d upgrades, want %d in 3", total, slices, upgrades, n)
	}
	check(t, s.db.Close())
}

// TestAnUpgradeThatCannotBeNamesStoreAndKey: a step is missing, the program is too
// old, or a step fails. Nothing is changed.
func TestAnUpgradeThatCannotBeNamesStoreAndKey(t *testing.T) {
	upgrades := 0
	for name, c := range map[string]struct {
		wrote, reads codec.Codec[string]
		text         int
		is           error
		part         string
	}{
		"step is missing":   {numbers(), bracketed(secondStep()), 100, codec.ErrVersion, "the steps from version 1 on"},
		"program is older":  {bracketed(), texts(&upgrades), 100, codec.ErrVersion, "a newer one"},
		"step has failed":   {numbers(), texts(&upgrades), 13, codec.ErrUpgrade, "13 has no text"},
		"program before it": {texts(&upgrades), numbers(), 100, codec.ErrDecode, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := stores.PebbleConfig{Dir: "state", FS: vfs.NewMem(), Resources: resources(t)}
			engine, err := stores.OpenPebble(cfg)
			check(t, err)
			s := openShelf(t, engine, stores.DeletesDeferred, c.wrote)
			s.put(c.text, c.wrote)
			s.commit(map[string]stores.LogRecord{})
			want := s.content()
			check(t, s.db.Close())
			engine, err = stores.OpenPebble(cfg)
			check(t, err)
			s = openShelf(t, engine, stores.DeletesDeferred, c.reads)
			refused := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.part) || !strings.Contains(err.Error(), "store \"") || !strings.Contains(err.Error(), `"key-`) {
					t.Errorf("%s: error %v, want %v, store and key", what, err, c.is)
				}
			}
			if c.is != codec.ErrDecode { // a codec without versions has nothing to upgrade
				for _, store := range shelfStores {
					_, n, err := s.db.Upgrade(store, nil)
					refused("upgrade of "+store, err)
					if dirty, _ := s.db.Dirty(); n != 0 || dirty != 0 {
						t.Errorf("%d upgraded, %d dirty", n, dirty)
					}
				}
			}
			key := fmt.Sprintf("key-%04d", c.text)
			_, _, err = s.kv.Get(key)
			refused("get", err)
			_, err = s.agg.Get([]byte(key))
			refused("aggregate", err)
			check(t, s.db.Close())
			engine, err = stores.OpenPebble(cfg)
			check(t, err)
			s = openShelf(t, engine, stores.DeletesDeferred, c.wrote)
			if got := s.content(); !maps.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
			check(t, s.db.Close())
		})
	}
}

// TestANewerFormatIsRefused: what a later program has written stays as it is.
func TestANewerFormatIsRefused(t *testing.T) {
	engine := stores.NewMemory()
	check(t, engine.Apply(&stores.Batch{Set: []stores.Pair{{Key: []byte("\x00\x00\x00\x00f"), Value: []byte{2}}}}))
	_, err := stores.Open(stores.Config{Engine: engine})
	if !errors.Is(err, stores.ErrLayout) || !strings.Contains(err.Error(), "a newer program") {
		t.Errorf("error %v", err)
	}
}
