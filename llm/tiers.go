package llm

import (
	"embed"
	"io/fs"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

//go:embed cold/*.sql
var coldFiles embed.FS

// ColdTableName is the table of closed windows of performance in the cold tier.
const ColdTableName = "model_stats"

// StatsTable is that table: a row for each model and window, with what a Result
// says of it in columns of their own, and views over them. The windows of the
// other kinds go to the tier's own table, as JSON.
func StatsTable() *stores.ColdTable {
	files, err := fs.Sub(coldFiles, "cold")
	if err != nil {
		return nil // only a path that is none is refused
	}
	column := func(name string, of func(*Result) any) stores.ColdColumn {
		return stores.ColdColumn{Name: name, Value: func(i stores.Item) any {
			s, ok := i.Value.(*Stats)
			if !ok {
				return nil
			}
			r := NewResult("", window.Window{}, window.Pane{}, s)
			return of(&r)
		}}
	}
	return &stores.ColdTable{Name: ColdTableName, Migrations: files, Columns: []stores.ColdColumn{
		column("count", func(r *Result) any { return r.Count }),
		column("errors", func(r *Result) any { return r.Errors }),
		column("error_rate", func(r *Result) any { return r.ErrorRate }),
		column("prompt_tokens", func(r *Result) any { return r.PromptTokens }),
		column("completion_tokens", func(r *Result) any { return r.CompletionTokens }),
		column("cost_usd", func(r *Result) any { return r.CostUSD }),
		column("quality_mean", func(r *Result) any {
			if q, ok := r.QualityMean.Get(); ok {
				return q
			}
			return nil
		}),
		column("latency_mean_ms", func(r *Result) any { return r.LatencyMS.Mean }),
		column("latency_p50_ms", func(r *Result) any { return r.LatencyMS.P50 }),
		column("latency_p95_ms", func(r *Result) any { return r.LatencyMS.P95 }),
		column("latency_p99_ms", func(r *Result) any { return r.LatencyMS.P99 }),
		column("latency_max_ms", func(r *Result) any { return r.LatencyMS.Max }),
	}}
}

// tiered returns the option that gives the statistics their tiers, and none if the
// configuration names none.
func (a *application) tiered(table *stores.ColdTable) []topology.WindowOption {
	if !a.Cold && a.WarmTTL == 0 {
		return nil
	}
	t := topology.Tiers{WarmTTL: a.WarmTTL, Cold: a.Cold}
	if a.Cold {
		t.Table = table
	}
	return []topology.WindowOption{topology.Tiered(t)}
}
