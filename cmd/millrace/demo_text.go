package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/llm"
)

// introduce says what is going to be seen, and what of it is real.
func (d *demo) introduce(total int64) {
	speed := "as fast as possible"
	if d.speed != asFastAsPossible {
		speed = fmt.Sprintf("%g times as fast as they came", d.speed)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s requests of the Azure LLM inference trace 2023 (CC-BY 4.0, Microsoft), %s.\n", thousands(total), speed)
	b.WriteString("Real are arrivals (shifted to end now) and token counts. Models, sessions, latency, price, errors and\n")
	b.WriteString("quality are made up by a model, and so are the events of all other kinds; 5 % come up to a minute late.\n\n")
	fmt.Fprintf(&b, "kafka    %s (inside this process), data in %s\n", strings.Join(d.cluster.Addrs(), ", "), d.dir)
	fmt.Fprintf(&b, "stores   %s/v1/stores, while the demo runs\n", localURL(d.listen))
	fmt.Fprintf(&b, "metrics  %s/metrics\n\n", localURL(d.listen))
	b.WriteString(heading)
	fmt.Fprintln(d.out, b.String())
}

// heading is above the columns of row.
var heading = fmt.Sprintf("%-11s  %-22s  %8s  %6s  %8s  %8s  %8s  %9s  %7s",
	"MODEL", "WINDOW (UTC)", "REQUESTS", "ERRORS", "P50 MS", "P95 MS", "P99 MS", "COST USD", "QUALITY")

// row describes the result of a window in one line.
func row(r llm.Result) string {
	start, end := time.UnixMilli(r.WindowStart).UTC(), time.UnixMilli(r.WindowEnd).UTC()
	quality := "-"
	if q, ok := r.QualityMean.Get(); ok {
		quality = fmt.Sprintf("%.3f", q)
	}
	return fmt.Sprintf("%-11s  %s–%s  %8d  %5.2f%%  %8.0f  %8.0f  %8.0f  %9.4f  %7s",
		r.Key, start.Format("2006-01-02 15:04"), end.Format("15:04"), r.Count, 100*r.ErrorRate,
		r.LatencyMS.P50, r.LatencyMS.P95, r.LatencyMS.P99, r.CostUSD, quality)
}

// thousands writes a number with commas.
func thousands(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
