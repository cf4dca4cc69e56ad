//go:build integration

package cold_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/stores/postgres"
	"github.com/millrace/millrace/window"
)

const day = 24 * time.Hour

// openTier opens a tier on a server and closes it with the test.
func openTier(t testing.TB, p *servers.Postgres, change func(*postgres.Config)) *postgres.Tier {
	t.Helper()
	cfg := postgres.Config{URL: p.URL(), Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if change != nil {
		change(&cfg)
	}
	tier, err := postgres.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tier.Close)
	return tier
}

// ask returns the rows of a statement as text.
func ask(t testing.TB, p *servers.Postgres, statement string, args ...any) (rows []string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	found, err := conn.Query(t.Context(), statement, args...)
	if err != nil {
		t.Fatal(err)
	}
	rows, err = pgx.CollectRows(found, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		return strings.TrimSpace(fmt.Sprintln(values...)), err
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func lane(log string, partition int32) stores.ColdLane {
	return stores.ColdLane{Store: stores.ColdStore{Application: "app", Name: "counts", Layout: "hours"}, Partition: partition, Log: log}
}

// rowAt is a window of an hour.
func rowAt(key string, start time.Time, value string) stores.ColdRow {
	w := window.Window{Start: start.UnixMilli(), End: start.Add(time.Hour).UnixMilli()}
	return stores.ColdRow{
		Key: []byte(key), Window: w, Value: []byte(value), Time: w.Start + 1, Sequence: 3,
		Item: stores.Item{Key: key, Value: map[string]any{"is": value}, Window: &w},
	}
}

// odd is a window whose value is some JSON.
func odd(key string, start time.Time, value string) stores.ColdRow {
	r := rowAt(key, start, value)
	r.Item.Value = json.RawMessage(value)
	return r
}

// noise is a window of a key of n bytes that no compression makes shorter.
func noise(n int, start time.Time) stores.ColdRow {
	r := rowAt("noise", start, "noise")
	r.Key = make([]byte, n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range r.Key {
		r.Key[i] = byte(rng.Uint32())
	}
	return r
}

func write(t testing.TB, tier *postgres.Tier, l stores.ColdLane, position, mark int64, rows ...stores.ColdRow) {
	t.Helper()
	if _, err := tier.Mark(t.Context(), l, window.MaxTime); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		rows[i].Partition = l.Partition
	}
	if err := tier.Write(t.Context(), stores.ColdBatch{Lane: l, Rows: rows, Position: position, Mark: mark}); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, tier *postgres.Tier, change func(*stores.ColdQuery)) (found []string) {
	t.Helper()
	q := stores.ColdQuery{Store: lane("", 0).Store, Partitions: []int32{0, 1}, From: window.MinTime, To: window.MaxTime, Limit: 100}
	if change != nil {
		change(&q)
	}
	rows, err := tier.Read(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		found = append(found, fmt.Sprintf("%s %s %s", time.UnixMilli(r.Window.Start).UTC().Format("0102T15"), r.Key, r.Value))
	}
	return found
}

func want(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// TestRows: what comes again changes nothing, what is newer goes before, and writes
// only raise marks.
func TestRows(t *testing.T) {
	p := servers.NewPostgres(t)
	tier := openTier(t, p, nil)
	at := time.Now().UTC().Truncate(day).Add(-3 * day)
	name := at.Format("0102")

	// Several at once make the tables.
	done := make(chan error)
	for range 4 {
		other := openTier(t, p, nil)
		go func() {
			_, err := other.Mark(t.Context(), lane("a", 0), window.MaxTime)
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}

	write(t, tier, lane("a", 0), 10, 100, rowAt("x", at, "x1"), rowAt("y", at.Add(time.Hour), "y1"))
	write(t, tier, lane("a", 1), 7, 50, rowAt("z", at, "z1"))
	want(t, "rows", read(t, tier, nil), []string{name + "T00 x x1", name + "T00 z z1", name + "T01 y y1"})
	write(t, tier, lane("a", 0), 10, 90, rowAt("x", at, "x1"))
	write(t, tier, lane("a", 0), 9, 90, rowAt("x", at, "older"))
	want(t, "rows after an older write", read(t, tier, nil), []string{name + "T00 x x1", name + "T00 z z1", name + "T01 y y1"})
	write(t, tier, lane("a", 0), 11, window.MinTime, rowAt("x", at, "newer"))
	if mark, err := tier.Mark(t.Context(), lane("a", 0), window.MaxTime); mark != 100 || err != nil {
		t.Errorf("mark %d, %v; want 100", mark, err)
	}
	for _, atMost := range []int64{60, 70} {
		if mark, err := tier.Mark(t.Context(), lane("a", 0), atMost); mark != 60 || err != nil {
			t.Errorf("mark at most %d: %d, %v; want 60", atMost, mark, err)
		}
	}
	// A changelog that was made anew counts from 0 again, and is the later one. That
	// one of the old ones still writes does not change that.
	write(t, tier, lane("b", 0), 1, 5, rowAt("x", at, "of b"))
	write(t, tier, lane("a", 0), 99, 100, rowAt("x", at, "of a"))
	want(t, "rows of a new log", read(t, tier, nil), []string{name + "T00 x of b", name + "T00 z z1", name + "T01 y y1"})

	want(t, "of one key", read(t, tier, func(q *stores.ColdQuery) { q.Key = []byte("y") }), []string{name + "T01 y y1"})
	want(t, "of one partition", read(t, tier, func(q *stores.ColdQuery) { q.Partitions = []int32{1} }), []string{name + "T00 z z1"})
	want(t, "of a time", read(t, tier, func(q *stores.ColdQuery) { q.From = at.UnixMilli() + 1 }), []string{name + "T01 y y1"})
	want(t, "of another layout", read(t, tier, func(q *stores.ColdQuery) { q.Store.Layout = "days" }), nil)
	after := stores.ColdPlace{Key: []byte("x"), Window: window.Window{Start: at.UnixMilli(), End: at.UnixMilli()}}
	want(t, "behind x", read(t, tier, func(q *stores.ColdQuery) { q.After = &after }), []string{name + "T00 z z1", name + "T01 y y1"})
	after.Window.End += time.Hour.Milliseconds()
	want(t, "behind x by key", read(t, tier, func(q *stores.ColdQuery) { q.After, q.ByKey = &after, true }), []string{name + "T01 y y1", name + "T00 z z1"})

	want(t, "what people see", ask(t, p, "SELECT key, window_start, value->>'is', sequence FROM millrace.windows WHERE key = 'z'"),
		[]string{fmt.Sprint("z ", at, " z1 3")})
	want(t, "days", ask(t, p, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'millrace.windows'::regclass AND inhrelid::regclass::text LIKE $1", "%"+at.Format("20060102")),
		[]string{"1"})
}

// TestAwkwardRows are written as well as PostgreSQL can say them, or left out and
// counted, and hold nothing up.
func TestAwkwardRows(t *testing.T) {
	p := servers.NewPostgres(t)
	tier := openTier(t, p, nil)
	now := time.Now().UTC().Truncate(day)
	zero := rowAt("nul\x00\xff", now, "a\x00b")
	far := rowAt("far", now.Add(2*365*day), "far")
	write(t, tier, lane("a", 0), 1, 1, zero, far, rowAt("old", now.Add(-91*day), "old"),
		rowAt("beyond", time.UnixMilli(1<<55), "beyond"), rowAt("plain", now, "plain"),
		noise(postgres.MaxKey+1, now), noise(postgres.MaxKey, now), odd("surrogate", now, `{"a":"\ud800"}`), odd("number", now, `1e200000`))
	want(t, "keys and values", ask(t, p, "SELECT key, value IS NULL, bytes = '\\x610062' FROM millrace.windows ORDER BY key"),
		[]string{"far false false", "noise false false", "nul\uFFFD true true", "number true false", "plain false false", "surrogate true false"})
	if old, outside, long := tier.Skipped(); old != 1 || outside != 1 || long != 1 {
		t.Errorf("skipped %d old ones, %d outside and %d long ones, want one each", old, outside, long)
	}
	rows, err := tier.Read(t.Context(), stores.ColdQuery{Store: lane("", 0).Store, Partitions: []int32{0}, Key: zero.Key, From: window.MinTime, To: window.MaxTime, Limit: 2})
	if err != nil || len(rows) != 1 || string(rows[0].Value) != "a\x00b" || rows[0].Window != zero.Window || rows[0].Time != zero.Time || rows[0].Sequence != 3 {
		t.Errorf("read %+v, %v", rows, err)
	}
	want(t, "the default partition", ask(t, p, "SELECT key FROM millrace.windows_default"), []string{"far"})

	// Two years later what lies there gets its day.
	later := openTier(t, p, func(c *postgres.Config) {
		c.Clock = func() time.Time { return now.Add(2 * 365 * day) }
		c.Retention = -1
	})
	write(t, later, lane("a", 0), 2, 2, rowAt("near", now.Add(2*365*day), "near"))
	want(t, "the default partition later", ask(t, p, "SELECT key FROM millrace.windows_default"), nil)
	want(t, "its day", ask(t, p, "SELECT key FROM millrace.windows_"+now.Add(2*365*day).Format("20060102")+" ORDER BY key"), []string{"far", "near"})
}

// TestRetention drops whole days, by one instance at a time.
func TestRetention(t *testing.T) {
	p := servers.NewPostgres(t)
	now := time.Now().UTC()
	clock := now
	tier := openTier(t, p, func(c *postgres.Config) {
		c.Retention, c.Clock = 10*day, func() time.Time { return clock }
	})
	today := now.Truncate(day)
	for i := range 10 {
		write(t, tier, lane("a", 0), int64(i), int64(i), rowAt("k", today.Add(-time.Duration(i)*day), fmt.Sprint(i)))
	}
	if dropped, err := tier.Maintain(t.Context()); err != nil || len(dropped) > 0 {
		t.Errorf("dropped %q, %v; want nothing", dropped, err)
	}
	clock = clock.Add(5 * day)
	conn, err := pgx.Connect(t.Context(), p.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock(x'6d696c72'::int, hashtext('millrace'))"); err != nil {
		t.Fatal(err)
	}
	if dropped, err := tier.Maintain(t.Context()); err != nil || len(dropped) > 0 {
		t.Errorf("while another one is at it: dropped %q, %v", dropped, err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_unlock(x'6d696c72'::int, hashtext('millrace'))"); err != nil {
		t.Fatal(err)
	}
	dropped, err := tier.Maintain(t.Context())
	if err != nil || len(dropped) != 4 {
		t.Errorf("dropped %q, %v; want 4 days", dropped, err)
	}
	if n := len(read(t, tier, nil)); n != 6 {
		t.Errorf("%d rows left, want 6", n)
	}
	t.Logf("dropped %q", dropped)
}

// TestTables of an application's own: typed columns, and a migration that comes
// later.
func TestTables(t *testing.T) {
	p := servers.NewPostgres(t)
	create := `-- +goose Up
CREATE TABLE sizes (LIKE windows INCLUDING DEFAULTS, size bigint, share double precision, PRIMARY KEY (application, store, key_bytes, window_start, window_end))
	PARTITION BY RANGE (window_start);
ALTER TABLE sizes DROP COLUMN value;
CREATE TABLE sizes_default PARTITION OF sizes DEFAULT;
`
	table := &stores.ColdTable{
		Name: "sizes", Migrations: fstest.MapFS{"0001_sizes.sql": {Data: []byte(create)}},
		Columns: []stores.ColdColumn{
			{Name: "size", Value: func(i stores.Item) any { return int64(len(i.Value.(map[string]any)["is"].(string))) }},
			{Name: "share", Value: func(stores.Item) any { var zero float64; return zero / zero }},
		},
	}
	at := time.Now().UTC().Truncate(time.Hour)
	l := lane("a", 0)
	l.Store.Table = table
	write(t, openTier(t, p, nil), l, 1, 1, rowAt("k", at, "three"))
	want(t, "rows", ask(t, p, "SELECT key, size, share IS NULL FROM millrace.sizes"), []string{"k 5 true"})

	next := *table
	next.Migrations = fstest.MapFS{"0001_sizes.sql": {Data: []byte(create)},
		"0002_view.sql": {Data: []byte("-- +goose Up\nALTER TABLE sizes ADD COLUMN double bigint;\nCREATE VIEW big AS SELECT key FROM sizes WHERE double > 8;\n")}}
	next.Columns = append(slices.Clone(table.Columns), stores.ColdColumn{Name: "double", Value: func(i stores.Item) any { return int64(10) }})
	l.Store.Table = &next
	write(t, openTier(t, p, nil), l, 2, 2, rowAt("k", at, "three"))
	want(t, "the view", ask(t, p, "SELECT key FROM millrace.big"), []string{"k"})
	if rows := read(t, openTier(t, p, nil), func(q *stores.ColdQuery) { q.Store.Table = &next }); len(rows) != 1 {
		t.Errorf("rows %q", rows)
	}
}

// TestAServerThatIsNotThere gives errors that say so, and never a password; when
// it is there the same tier works.
func TestAServerThatIsNotThere(t *testing.T) {
	p := servers.NewPostgres(t)
	p.Down()
	tier := openTier(t, p, func(c *postgres.Config) { c.Password = "not-to-be-seen" })
	_, err := tier.Mark(t.Context(), lane("a", 0), window.MaxTime)
	if err == nil || strings.Contains(err.Error(), "not-to-be-seen") || tier.Health(t.Context()) == nil {
		t.Fatalf("error %v", err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, tier, lane("a", 0), 1, 1, rowAt("k", time.Now(), "v"))
	if _, err := postgres.Open(postgres.Config{URL: "postgres://me:not-to-be-seen@h:port/x"}); err == nil || strings.Contains(err.Error(), "not-to-be-seen") {
		t.Errorf("error %v", err)
	}
}
