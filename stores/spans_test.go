package stores_test

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

func openSpans(t *testing.T, cfg stores.Config) (*stores.DB, *stores.Spans[string, int64]) {
	t.Helper()
	db, err := stores.Open(cfg)
	check(t, err)
	s, err := stores.OpenSpans(db, stores.SpansConfig[string, int64]{
		Name: "spans", Key: codec.String, Value: codec.Int64, New: func() *int64 { return new(int64) },
		Due: func(w window.Window) int64 { return w.End },
	})
	check(t, err)
	return db, s
}

func commitAll(t *testing.T, db *stores.DB) {
	t.Helper()
	c, err := db.Collect()
	check(t, err)
	check(t, db.Commit(c, nil, 0))
}

// TestBudgetOfSpansIsHonest compares what the budget says of spans, one a key,
// with what the heap grows by.
func TestBudgetOfSpansIsHonest(t *testing.T) {
	const n = 50_000
	budget := stores.NewBudget(math.MaxInt64)
	db, s := openSpans(t, stores.Config{Budget: budget, Engine: discard{stores.NewMemory()}})
	defer db.Close()
	before := heap()
	for i := range int64(n) {
		_, err := s.Create(fmt.Appendf(nil, "some-model-%06d", i), window.Window{Start: i, End: i + 10})
		check(t, err)
	}
	for i := range int64(3) {
		// Small commits let go of what the large one has grown.
		commitAll(t, db)
		_, err := s.Create([]byte("one more"), window.Window{Start: i, End: i + 10})
		check(t, err)
	}
	grown, said := heap()-before, budget.Used()
	t.Logf("%d spans: the heap grew by %d bytes each, the budget says %d", n, grown/n, said/n)
	if said < grown*2/3 || said > grown*3/2 {
		t.Errorf("budget %d bytes, heap %d: off by more than half", said, grown)
	}
	runtime.KeepAlive(s)
}

// TestBudgetCountsWhatIsKept: the value that was sent last stays in memory, so that
// it can be taken back, and the budget knows it before and after a restart.
func TestBudgetCountsWhatIsKept(t *testing.T) {
	const n, kept = 100, 5000
	engine := stores.NewMemory()
	budget := stores.NewBudget(1)
	db, s := openSpans(t, stores.Config{Budget: budget, Engine: engine})
	for i := range int64(n) {
		l, err := s.Create([]byte("k"), window.Window{Start: i, End: i + 1})
		check(t, err)
		l.Firing.Keep(make([]byte, kept), i, window.Pane{Kind: window.EarlyPane})
	}
	commitAll(t, db)
	if used := budget.Used(); used < n*kept {
		t.Errorf("%d values of %d bytes are kept, the budget says %d", n, kept, used)
	}
	again := stores.NewBudget(1)
	db, s = openSpans(t, stores.Config{Budget: again, Engine: engine})
	if _, err := s.Of([]byte("k")); err != nil || again.Used() < n*kept {
		t.Errorf("read again, the budget says %d: %v", again.Used(), err)
	}
	check(t, db.Close())
	if again.Used() != 0 {
		t.Errorf("%d bytes are charged for a database that is closed", again.Used())
	}
}

// TestDeletedSpansAreLetGo: nothing of them stays in memory, neither beside others of
// their key nor where they were the last.
func TestDeletedSpansAreLetGo(t *testing.T) {
	const n, kept = 1000, 20_000
	for _, others := range []bool{true, false} {
		db, s := openSpans(t, stores.Config{Engine: discard{stores.NewMemory()}})
		commitAll(t, db)
		before := heap()
		for i := range int64(n) {
			key := fmt.Append(nil, i)
			l, err := s.Create(key, window.Window{Start: 0, End: 10})
			check(t, err)
			l.Firing.Keep(make([]byte, kept), i, window.Pane{Kind: window.EarlyPane})
			if others {
				_, err := s.Create(key, window.Window{Start: 20, End: 30})
				check(t, err)
			}
		}
		commitAll(t, db)
		_, err := s.DropBefore(11)
		check(t, err)
		for range 3 {
			commitAll(t, db)
		}
		if grown := heap() - before; grown > n*kept/10 {
			t.Errorf("others of the same keys: %v: %d spans that kept %d bytes each are deleted, and %d bytes are taken", others, n, kept, grown)
		}
		runtime.KeepAlive(s)
		check(t, db.Close())
	}
}

// TestSpansAreReadAgain: values that the budget has evicted are there when they
// are asked for, by key and by time.
func TestSpansAreReadAgain(t *testing.T) {
	db, s := openSpans(t, stores.Config{Budget: stores.NewBudget(1), Engine: stores.NewMemory()})
	defer db.Close()
	for i := range int64(100) {
		l, err := s.Create(fmt.Append(nil, i%10), window.Window{Start: i, End: i + 1})
		check(t, err)
		*l.Value = i
	}
	commitAll(t, db)
	lane, err := s.Of([]byte("3"))
	check(t, err)
	if len(lane) != 10 || lane[0].Value != nil {
		t.Fatalf("%d spans of a key, the first with value %v; want 10 without values", len(lane), lane[0].Value)
	}
	check(t, s.Load(lane[0]))
	if *lane[0].Value != 3 {
		t.Errorf("value %d, want 3", *lane[0].Value)
	}
	next := int64(0)
	for l, err := range s.Scan(window.MinTime, window.MaxTime, stores.Cursor{}) {
		check(t, err)
		if *l.Value != next || l.Order() != next+1 {
			t.Errorf("%v, due %d, has value %d; want %d", l.Window(), l.Order(), *l.Value, next)
		}
		next++
	}
	if next != 100 {
		t.Errorf("%d spans, want 100", next)
	}
}

// TestASpanThatGrowsIsPutAnewOnceItsTimeHasCome: a session grows with each of its
// events, and time moves with each event too. Its place among those that are due,
// which its cursor tells, changes once its old one is asked for.
func TestASpanThatGrowsIsPutAnewOnceItsTimeHasCome(t *testing.T) {
	db, s := openSpans(t, stores.Config{Engine: stores.NewMemory()})
	defer db.Close()
	grows, err := s.Create([]byte("grows"), window.Window{Start: 0, End: 100})
	check(t, err)
	due := map[string]int64{}
	places, place := 0, ""
	for now := range int64(1000) {
		s.Move(grows, window.Window{Start: 0, End: 100 + now})
		_, err := s.Create(fmt.Appendf(nil, "%d", now), window.Window{Start: now, End: now + 1})
		check(t, err)
		for l, err := range s.Scan(now, now+1, stores.Cursor{}) {
			check(t, err)
			due[string(l.Key())] = now
		}
		if next, ok, err := s.Next(now + 1); err != nil || !ok || next != now+1 {
			t.Fatalf("at %d the next span is due at %d, %v, %v", now, next, ok, err)
		}
		if at := fmt.Sprint(grows.Cursor()); at != place {
			places, place = places+1, at
		}
	}
	if _, ok := due["grows"]; ok || len(due) != 999 {
		t.Errorf("%d spans were due, want 999 and not the one that grows", len(due))
	}
	if places > 12 {
		t.Errorf("the span that grows had %d places; want one for each time it was due", places)
	}
	for l, err := range s.Scan(1000, window.MaxTime, stores.Cursor{}) {
		check(t, err)
		due[string(l.Key())] = l.Order()
	}
	if due["grows"] != 1099 || due["999"] != 1000 {
		t.Errorf("the spans that are left are due at %d and %d, want 1099 and 1000", due["grows"], due["999"])
	}
}
