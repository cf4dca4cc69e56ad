//go:build integration

package cold_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

// TestTheTableOfPerformance has a Result's numbers in columns, and views that add
// them up.
func TestTheTableOfPerformance(t *testing.T) {
	p := servers.NewPostgres(t)
	tier := openTier(t, p, nil)
	l := lane("a", 0)
	l.Store.Name, l.Store.Table = llm.StatsStore, llm.StatsTable()
	at := time.Now().UTC().Truncate(time.Hour)
	var rows []stores.ColdRow
	for i := range 3 {
		s := llm.NewStats()
		for n := range 10 * (i + 1) {
			e := llm.Performance{LatencyMS: 100, PromptTokens: 7, CompletionTokens: 3, Error: n == 0, CostUSD: llm.Some(0.5)}
			if i == 0 {
				e.Quality = llm.Some(0.25)
			}
			if err := s.Add(e); err != nil {
				t.Fatal(err)
			}
		}
		w := window.Window{Start: at.Add(-time.Duration(i) * time.Hour).UnixMilli(), End: at.Add(-time.Duration(i-1) * time.Hour).UnixMilli()}
		b, err := llm.StatsCodec.Append(nil, *s)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, stores.ColdRow{Key: []byte("chat"), Window: w, Value: b, Time: w.Start, Item: stores.Item{Key: "chat", Value: s, Window: &w}})
	}
	write(t, tier, l, 1, 1, rows...)
	want(t, "rows", ask(t, p, `SELECT key, count, errors, prompt_tokens, cost_usd, quality_mean IS NULL, round(latency_p95_ms), latency_max_ms
		FROM millrace.model_stats ORDER BY window_start DESC`),
		[]string{"chat 10 1 70 5 false 100 100", "chat 20 1 140 10 true 100 100", "chat 30 1 210 15 true 100 100"})
	want(t, "the last 24 hours", ask(t, p, `SELECT model, count::bigint, errors::bigint, error_rate, cost_usd, latency_mean_ms FROM millrace.model_last_24h`),
		[]string{"chat 60 3 0.05 30 100"})
	want(t, "cost", ask(t, p, `SELECT model, sum(cost_usd), sum(count)::bigint FROM millrace.model_cost_by_day GROUP BY model`), []string{"chat 30 60"})

	// Another size of windows over the same events counts instead, not as well.
	other, w := lane("b", 0), window.Window{Start: at.Add(-2 * time.Hour).UnixMilli(), End: at.Add(2 * time.Hour).UnixMilli()}
	other.Store = l.Store
	other.Store.Layout = "other"
	again := rows[2]
	again.Window = w
	write(t, tier, other, 1, 1, again)
	want(t, "the last 24 hours in other windows", ask(t, p, `SELECT model, count::bigint FROM millrace.model_last_24h`), []string{"chat 30"})
	want(t, "cost in other windows", ask(t, p, `SELECT model, sum(cost_usd), sum(count)::bigint FROM millrace.model_cost_by_day GROUP BY model`), []string{"chat 15 30"})
	read, err := tier.Read(t.Context(), stores.ColdQuery{Store: l.Store, Partitions: []int32{0}, From: window.MinTime, To: window.MaxTime, Limit: 10})
	if err != nil || len(read) != 3 || fmt.Sprint(read[2].Value) != fmt.Sprint(rows[0].Value) {
		t.Errorf("read %d rows, %v", len(read), err)
	}
}
