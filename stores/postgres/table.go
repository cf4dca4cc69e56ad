package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/millrace/millrace/stores"
)

//go:embed migrations/*.sql
var migrations embed.FS

// ownTable is where rows go that have no table of their application's.
const ownTable = "windows"

// table is a table that is there.
type table struct {
	name string
	// columns are those that rows are copied to; key are those of the primary key.
	columns []string
	of      *stores.ColdTable // nil for the tier's own
	asJSON  bool
	// days are the days that have a partition, as far as this process knows.
	days map[string]bool
}

var keyColumns = []string{"application", "store", "key_bytes", "window_start", "window_end"}

func newTable(c *stores.ColdTable) *table {
	t := &table{name: ownTable, asJSON: true, days: map[string]bool{}}
	t.columns = append(slices.Clone(keyColumns), "key", "event_time", "sequence", "partition", "layout", "epoch", "position", "bytes")
	if c == nil {
		t.columns = append(t.columns, "value")
		return t
	}
	t.name, t.asJSON, t.of = c.Name, false, c
	for _, column := range c.Columns {
		t.columns = append(t.columns, column.Name)
	}
	return t
}

// is returns an error if c says something else of the table.
func (tb *table) is(c *stores.ColdTable) error {
	if (c == nil) != (tb.of == nil) || c != nil && !c.SameColumns(tb.of) {
		return fmt.Errorf("%w: table %q: two stores have it with different columns: give one of them another table", stores.ErrCold, tb.name)
	}
	return nil
}

// quoted returns names as they stand in statements.
func quoted(names ...string) string {
	for i, n := range names {
		names[i] = pgx.Identifier{n}.Sanitize()
	}
	return strings.Join(names, ", ")
}

// table returns the table of c, which it makes if this process has not seen it.
func (t *Tier) table(ctx context.Context, c *stores.ColdTable) (*table, error) {
	name := ownTable
	if c != nil {
		name = c.Name
	}
	if known := (*t.known.Load())[name]; known != nil {
		return known, known.is(c)
	}
	if c != nil {
		if err := c.Check(); err != nil {
			return nil, err
		}
	}
	if err := t.take(ctx); err != nil {
		return nil, err
	}
	defer t.release()
	if known := t.tables[name]; known != nil {
		return known, known.is(c)
	}
	if err := t.migrate(ctx, c); err != nil {
		return nil, failed(fmt.Sprintf("make table %s.%s", t.cfg.Schema, name), err)
	}
	made := newTable(c)
	if err := t.findDays(ctx, made); err != nil {
		return nil, err
	}
	t.tables[name] = made
	copied := maps.Clone(t.tables)
	t.known.Store(&copied)
	return made, nil
}

// take gets the token of whoever makes tables and days, and release gives it back.
func (t *Tier) take(ctx context.Context) error {
	select {
	case t.ready <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *Tier) release() { <-t.ready }

// migrate makes the tier's own tables, and c if it is not nil, under a lock that
// other instances wait for.
func (t *Tier) migrate(ctx context.Context, c *stores.ColdTable) error {
	conn, err := t.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1, hashtext($2))", migrationLock, t.cfg.Schema); err != nil {
		return err
	}
	defer unlock(ctx, conn.Conn(), migrationLock, t.cfg.Schema)
	var there bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", t.cfg.Schema).Scan(&there); err != nil {
		return err
	}
	if !there {
		if _, err := conn.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{t.cfg.Schema}.Sanitize()); err != nil {
			return err
		}
	}
	own, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if err := t.up(ctx, "schema_version", own); err != nil || c == nil || c.Migrations == nil {
		return err
	}
	return t.up(ctx, c.Name+"_version", c.Migrations)
}

// up runs the migrations of a folder that were not run yet.
func (t *Tier) up(ctx context.Context, versions string, from fs.FS) error {
	db := stdlib.OpenDBFromPool(t.pool)
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, db, from,
		goose.WithTableName(versions), goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	results, err := p.Up(ctx)
	for _, r := range results {
		t.log.Info("the cold tier's tables were changed", "schema", t.cfg.Schema, "migration", r.Source.Path, "took", r.Duration)
	}
	return err
}

// staging is the name of the temporary table that rows are copied to.
func (tb *table) staging() string { return "staging_" + tb.name }

// merge is the statement that moves rows from the temporary table to the table.
func (tb *table) merge() string {
	var set []string
	for _, c := range tb.columns[len(keyColumns):] {
		set = append(set, fmt.Sprintf("%s = excluded.%[1]s", quoted(c)))
	}
	columns := quoted(slices.Clone(tb.columns)...)
	return fmt.Sprintf(`INSERT INTO %s AS old (%s) SELECT %s FROM pg_temp.%s
		ON CONFLICT (%s) DO UPDATE SET %s, written_at = now()
		WHERE (old.epoch, old.position) <= (excluded.epoch, excluded.position)`,
		quoted(tb.name), columns, columns, quoted(tb.staging()), strings.Join(keyColumns, ", "), strings.Join(set, ", "))
}
