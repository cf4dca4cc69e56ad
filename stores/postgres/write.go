package postgres

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// unmarked is the mark of a lane of which nothing is written.
const unmarked = int64(window.MinTime)

// Write does what stores.Cold says.
func (t *Tier) Write(ctx context.Context, b stores.ColdBatch) error {
	tb, err := t.table(ctx, b.Lane.Store.Table)
	if err != nil {
		return err
	}
	rows := t.keep(b.Rows)
	if err := t.makeDays(ctx, tb, rows); err != nil {
		return failed("make days of table "+tb.name, err)
	}
	err = pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error { return t.write(ctx, tx, tb, b, rows) })
	return failed(fmt.Sprintf("write %d windows of store %q, partition %d", len(rows), b.Lane.Store.Name, b.Lane.Partition), err)
}

func (t *Tier) write(ctx context.Context, tx pgx.Tx, tb *table, b stores.ColdBatch, rows []stores.ColdRow) error {
	var epoch int64
	const ask = `UPDATE lanes SET mark = greatest(mark, $6)
		WHERE application = $1 AND store = $2 AND partition = $3 AND layout = $4 AND log = $5 RETURNING epoch`
	if err := tx.QueryRow(ctx, ask, append(laneArgs(b.Lane), b.Mark)...).Scan(&epoch); err != nil {
		return fmt.Errorf("its mark: %w", err)
	}
	if len(rows) == 0 {
		return nil
	}
	stage := fmt.Sprintf("CREATE TEMPORARY TABLE IF NOT EXISTS %s (LIKE %s INCLUDING DEFAULTS) ON COMMIT DELETE ROWS", quoted(tb.staging()), quoted(tb.name))
	if _, err := tx.Exec(ctx, stage); err != nil {
		return err
	}
	source := pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) { return tb.values(&b, &rows[i], epoch), nil })
	if _, err := tx.CopyFrom(ctx, pgx.Identifier{"pg_temp", tb.staging()}, tb.columns, source); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, tb.merge())
	return err
}

// values returns what the columns hold of a row.
func (tb *table) values(b *stores.ColdBatch, r *stores.ColdRow, epoch int64) []any {
	values := []any{
		b.Lane.Store.Application, b.Lane.Store.Name, r.Key, timeOf(r.Window.Start), timeOf(r.Window.End),
		keyText(r.Item.Key, r.Key), timeOf(r.Time), r.Sequence, r.Partition, b.Lane.Store.Layout, epoch, b.Position, r.Value,
	}
	if tb.asJSON {
		return append(values, jsonOf(r.Item.Value))
	}
	for _, c := range tb.of.Columns {
		v := c.Value(r.Item)
		switch x := v.(type) {
		case float64:
			if math.IsNaN(x) || math.IsInf(x, 0) {
				v = nil
			}
		case string:
			v = cleanText(x)
		}
		values = append(values, v)
	}
	return values
}

// The times that windows may have, in Unix milliseconds: PostgreSQL's go further,
// and what people's tools read does not.
var (
	firstTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	lastTime  = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
)

func timeOf(ms int64) time.Time { return time.UnixMilli(min(max(ms, firstTime), lastTime)).UTC() }

// keep returns the rows that can be kept and would not be dropped at once. It
// counts the others, and says so once for each reason.
func (t *Tier) keep(rows []stores.ColdRow) []stores.ColdRow {
	oldest := t.oldest().UnixMilli()
	kept := make([]stores.ColdRow, 0, len(rows))
	for _, r := range rows {
		switch {
		case r.Window.Start < firstTime || r.Window.End > lastTime:
			t.foreign.Add(1)
			if t.saidF.CompareAndSwap(false, true) {
				t.log.Warn("a window lies outside of the years 1 to 9999: the cold tier leaves out such windows", "start", window.FormatTime(r.Window.Start))
			}
		case r.Window.Start < oldest:
			t.old.Add(1)
			if t.saidOld.CompareAndSwap(false, true) {
				t.log.Warn("a window is older than the retention: the cold tier leaves out such windows",
					"start", window.FormatTime(r.Window.Start), "retention", t.cfg.Retention)
			}
		case len(r.Key) > MaxKey:
			t.long.Add(1)
			if t.saidLong.CompareAndSwap(false, true) {
				t.log.Warn("a key is too long for PostgreSQL's indexes: the cold tier leaves out windows of such keys, which are gone when they leave the warm tier",
					"bytes", len(r.Key), "limit_bytes", MaxKey, "start", window.FormatTime(r.Window.Start))
			}
		default:
			kept = append(kept, r)
		}
	}
	return kept
}
