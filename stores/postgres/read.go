package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// Read does what stores.Cold says.
func (t *Tier) Read(ctx context.Context, q stores.ColdQuery) ([]stores.ColdRow, error) {
	tb, err := t.table(ctx, q.Store.Table)
	if err != nil {
		return nil, err
	}
	text, args := statement(tb, q)
	rows, err := t.pool.Query(ctx, text, args...)
	if err != nil {
		return nil, failed("read "+tb.name, err)
	}
	found, err := pgx.CollectRows(rows, scanRow)
	return found, failed("read "+tb.name, err)
}

func statement(tb *table, q stores.ColdQuery) (text string, args []any) {
	var b strings.Builder
	arg := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	fmt.Fprintf(&b, "SELECT key_bytes, window_start, window_end, bytes, event_time, sequence, partition FROM %s", quoted(tb.name))
	fmt.Fprintf(&b, " WHERE application = %s AND store = %s AND layout = %s AND partition = ANY(%s)",
		arg(q.Store.Application), arg(q.Store.Name), arg(q.Store.Layout), arg(q.Partitions))
	fmt.Fprintf(&b, " AND window_start >= %s AND window_start < %s", arg(timeOf(q.From)), arg(timeOf(q.To)))
	if q.Key != nil {
		fmt.Fprintf(&b, " AND key_bytes = %s", arg(q.Key))
	}
	order := "window_start, key_bytes, partition"
	if q.ByKey {
		order = "key_bytes, window_start, window_end, partition"
	}
	if a := q.After; a != nil {
		start, key, partition := arg(timeOf(a.Window.Start)), arg(a.Key), arg(a.Partition)
		values := []string{start, key, partition}
		if q.ByKey {
			values = []string{key, start, arg(timeOf(a.Window.End)), partition}
		}
		fmt.Fprintf(&b, " AND (%s) > (%s)", order, strings.Join(values, ", "))
	}
	fmt.Fprintf(&b, " ORDER BY %s LIMIT %s", order, arg(q.Limit))
	return b.String(), args
}

func scanRow(row pgx.CollectableRow) (stores.ColdRow, error) {
	var r stores.ColdRow
	var start, end, at time.Time
	err := row.Scan(&r.Key, &start, &end, &r.Value, &at, &r.Sequence, &r.Partition)
	r.Window, r.Time = window.Window{Start: start.UnixMilli(), End: end.UnixMilli()}, at.UnixMilli()
	return r, err
}
