package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/millrace/millrace/stores"
)

const (
	day = 24 * time.Hour
	// ahead is how far ahead of the clock a window may start and get a partition.
	// What is further ahead goes to the default one: broken clocks would have a
	// partition made for each day that they name.
	ahead = 366 * day
	// prepared is how many days from now on have partitions before they are needed.
	prepared = 2
	// lockPatience is how long a change of the partitions waits for queries.
	lockPatience = "5s"
)

// maintainInterval is how often days are made and dropped.
const maintainInterval = time.Hour

// oldest returns the start of the first day that is kept.
func (t *Tier) oldest() time.Time {
	if t.cfg.Retention < 0 {
		return time.UnixMilli(firstTime).UTC()
	}
	return t.cfg.Clock().UTC().Add(-t.cfg.Retention).Truncate(day)
}

// dayName names the partition of a day.
func (tb *table) dayName(d time.Time) string { return tb.name + "_" + d.Format("20060102") }

// defaultName names the partition of what has no day.
func (tb *table) defaultName() string { return tb.name + "_default" }

// dayOf returns the day that a partition is of.
func (tb *table) dayOf(partition string) (time.Time, bool) {
	text, ok := strings.CutPrefix(partition, tb.name+"_")
	d, err := time.Parse("20060102", text)
	return d, ok && err == nil
}

// findDays reads which partitions there are.
func (t *Tier) findDays(ctx context.Context, tb *table) error {
	rows, err := t.pool.Query(ctx, `SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = $1::regclass`, quoted(tb.name))
	if err != nil {
		return failed("list the days of table "+tb.name, err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return failed("list the days of table "+tb.name, err)
	}
	tb.days = map[string]bool{}
	for _, name := range names {
		tb.days[name] = true
	}
	return nil
}

// makeDays makes the partitions that rows need. Another process may have dropped
// one meanwhile: only one whose rows are older than the retention, which are left
// out.
func (t *Tier) makeDays(ctx context.Context, tb *table, rows []stores.ColdRow) error {
	limit := t.cfg.Clock().Add(ahead)
	var days []time.Time
	for _, r := range rows {
		if d := timeOf(r.Window.Start).Truncate(day); !d.After(limit) {
			days = append(days, d)
		}
	}
	slices.SortFunc(days, time.Time.Compare)
	return t.make(ctx, tb, slices.CompactFunc(days, time.Time.Equal))
}

func (t *Tier) make(ctx context.Context, tb *table, days []time.Time) error {
	if len(days) == 0 {
		return nil
	}
	if err := t.take(ctx); err != nil {
		return err
	}
	defer t.release()
	for _, d := range days {
		if tb.days[tb.dayName(d)] {
			continue
		}
		if err := t.makeDay(ctx, tb, d); err != nil {
			return err
		}
		tb.days[tb.dayName(d)] = true
	}
	return nil
}

// makeDay makes the partition of a day, and moves there what the default one has
// of it. One instance does that at a time.
func (t *Tier) makeDay(ctx context.Context, tb *table, d time.Time) error {
	name := tb.dayName(d)
	return pgx.BeginFunc(ctx, t.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1, hashtext($2))", migrationLock, t.cfg.Schema); err != nil {
			return err
		}
		var there bool
		if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", pgx.Identifier{t.cfg.Schema, name}.Sanitize()).Scan(&there); err != nil || there {
			return err
		}
		from, to := d.Format(time.RFC3339), d.Add(day).Format(time.RFC3339)
		for _, s := range []string{
			"SET LOCAL lock_timeout = '" + lockPatience + "'",
			fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS)", quoted(name), quoted(tb.name)),
			fmt.Sprintf("WITH moved AS (DELETE FROM %s WHERE window_start >= '%s' AND window_start < '%s' RETURNING *) INSERT INTO %s SELECT * FROM moved",
				quoted(tb.defaultName()), from, to, quoted(name)),
			fmt.Sprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')", quoted(tb.name), quoted(name), from, to),
		} {
			if _, err := tx.Exec(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// maintain makes days before they are needed and drops old ones, until ctx ends.
func (t *Tier) maintain(ctx context.Context) {
	defer close(t.done)
	ticker := time.NewTicker(maintainInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if _, err := t.Maintain(ctx); err != nil && ctx.Err() == nil {
			t.log.Warn("the cold tier's days were not looked after: that is tried again", "in", maintainInterval, "error", err)
		}
	}
}

// Maintain makes the partitions of the next days and drops those whose windows
// have all started before the retention, of the tables that this tier has used.
// It returns the names of what it has dropped: nothing, if another instance is at
// it. The tier calls it once an hour.
func (t *Tier) Maintain(ctx context.Context) (dropped []string, err error) {
	today := t.cfg.Clock().UTC().Truncate(day)
	for _, tb := range *t.known.Load() {
		var days []time.Time
		for i := range prepared + 1 {
			days = append(days, today.Add(time.Duration(i)*day))
		}
		if err := t.make(ctx, tb, days); err != nil {
			return dropped, failed("make days of table "+tb.name, err)
		}
		if t.cfg.Retention < 0 {
			continue
		}
		some, err := t.dropDays(ctx, tb)
		dropped = append(dropped, some...)
		if err != nil {
			return dropped, failed("drop days of table "+tb.name, err)
		}
	}
	return dropped, nil
}

// dropDays drops the old days of a table, each in a transaction of its own, so that
// the table is locked for a moment only.
func (t *Tier) dropDays(ctx context.Context, tb *table) (dropped []string, err error) {
	if err := t.take(ctx); err != nil {
		return nil, err
	}
	defer t.release()
	conn, err := t.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	var mine bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, hashtext($2))", retentionLock, t.cfg.Schema).Scan(&mine); err != nil || !mine {
		return nil, err
	}
	defer unlock(ctx, conn.Conn(), retentionLock, t.cfg.Schema)
	if err := t.findDays(ctx, tb); err != nil {
		return nil, err
	}
	oldest := t.oldest()
	for name := range tb.days {
		d, ok := tb.dayOf(name)
		if !ok || !d.Before(oldest) {
			continue
		}
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+lockPatience+"'"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "DROP TABLE "+quoted(name))
			return err
		})
		if err != nil {
			return dropped, err
		}
		delete(tb.days, name)
		dropped = append(dropped, name)
		t.log.Info("a day of the cold tier was dropped: its retention is over", "table", name)
	}
	_, err = conn.Exec(ctx, "DELETE FROM "+quoted(tb.defaultName())+" WHERE window_start < $1", oldest)
	slices.Sort(dropped)
	return dropped, err
}
