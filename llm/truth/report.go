package truth

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/llm"
)

// The tolerances, relative to the true value. Each has room for rounding.
const (
	meanTolerance       = 1e-9
	percentileTolerance = 0.01
)

// Report is the outcome of a comparison.
type Report struct {
	// Events is how many were added: Final of them are in final results, by the
	// results' own counts, Dropped were dropped, and Open are in windows that
	// have no final result.
	Events, Final, Dropped, Open int64
	// Windows is how many final results were compared.
	Windows int
	// Differences are ordered by window, then by model.
	Differences []Difference
}

// Difference is one thing in which a result is wrong.
type Difference struct {
	Model       string
	WindowStart int64 // Unix milliseconds
	// Field is the result's field, or empty for what concerns the whole result;
	// then Problem says it.
	Field   string
	Problem string
	// Want is the truth and Got what the result says.
	Want, Got float64
}

// String returns the difference as a line.
func (d Difference) String() string {
	what := d.Problem
	if d.Field != "" {
		what = fmt.Sprintf("%s is %v, want %v", d.Field, d.Got, d.Want)
		if d.Want != 0 {
			what += fmt.Sprintf(" (%+.3g %%)", 100*(d.Got-d.Want)/d.Want)
		}
	}
	return fmt.Sprintf("%s %s: %s", time.UnixMilli(d.WindowStart).UTC().Format(time.RFC3339), d.Model, what)
}

// Equal says that nothing differs and that every event is accounted for.
func (r Report) Equal() bool {
	return len(r.Differences) == 0 && r.Events == r.Final+r.Dropped+r.Open
}

// maxListed is how many differences String lists.
const maxListed = 20

// String returns the account in one line, and the first differences below it.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d events in = %d in final windows + %d dropped + %d open; direct computation: ",
		r.Events, r.Final, r.Dropped, r.Open)
	if r.Equal() {
		b.WriteString("equal")
		return b.String()
	}
	b.WriteString("differs")
	for i, d := range r.Differences {
		if i == maxListed {
			fmt.Fprintf(&b, "\n  and %d more", len(r.Differences)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %v", d)
	}
	if len(r.Differences) == 0 {
		fmt.Fprintf(&b, "\n  the parts add up to %d", r.Final+r.Dropped+r.Open)
	}
	return b.String()
}

// Compare checks the final ones among the results; the others may be there too.
// If there are several for one model and window, as after a restart at least
// once, the last one counts.
func (t *Truth) Compare(results iter.Seq[llm.Result]) Report {
	report := Report{Events: t.events, Dropped: t.dropped}
	final := map[key]llm.Result{}
	for r := range results {
		if r.Final && !r.Retracted {
			final[key{r.Key, r.WindowStart}] = r
		}
	}
	report.Windows = len(final)
	for k, g := range t.windows {
		c := comparison{key: k, report: &report}
		want, valid := g.expected()
		got, done := final[k]
		delete(final, k)
		report.Final += got.Count
		switch {
		case !valid:
			c.problem("events were dropped that were never sent")
		case !done:
			report.Open += want.count
		default:
			c.result(t.size, &want, &got)
		}
	}
	for k, r := range final {
		report.Final += r.Count
		c := comparison{key: k, report: &report}
		c.problem(fmt.Sprintf("a result of %d events where none was sent", r.Count))
	}
	slices.SortStableFunc(report.Differences, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.WindowStart, b.WindowStart), cmp.Compare(a.Model, b.Model))
	})
	return report
}

// comparison adds what it finds to a report.
type comparison struct {
	key    key
	report *Report
}

func (c *comparison) problem(what string) {
	c.report.Differences = append(c.report.Differences,
		Difference{Model: c.key.model, WindowStart: c.key.start, Problem: what})
}

func (c *comparison) result(size int64, want *tally, got *llm.Result) {
	c.exact("window_end", c.key.start+size, got.WindowEnd)
	c.exact("count", want.count, got.Count)
	c.exact("errors", want.errors, got.Errors)
	c.exact("prompt_tokens", want.prompt, got.PromptTokens)
	c.exact("completion_tokens", want.completion, got.CompletionTokens)
	c.near("cost_usd", sum(want.costs), got.CostUSD, meanTolerance)
	quality, judged := got.QualityMean.Get()
	if judged != (len(want.qualities) > 0) {
		c.problem(fmt.Sprintf("quality_mean is %v, where %d events have a quality", got.QualityMean, len(want.qualities)))
	} else if judged {
		c.near("quality_mean", sum(want.qualities)/float64(len(want.qualities)), quality, meanTolerance)
	}
	if want.count == 0 {
		return
	}
	n := float64(want.count)
	l := got.LatencyMS
	c.near("error_rate", float64(want.errors)/n, got.ErrorRate, meanTolerance)
	c.near("latency_ms.mean", sum(want.latencies)/n, l.Mean, meanTolerance)
	c.near("latency_ms.p50", percentile(want.latencies, 0.50), l.P50, percentileTolerance)
	c.near("latency_ms.p95", percentile(want.latencies, 0.95), l.P95, percentileTolerance)
	c.near("latency_ms.p99", percentile(want.latencies, 0.99), l.P99, percentileTolerance)
	c.near("latency_ms.max", want.latencies[len(want.latencies)-1], l.Max, meanTolerance)
}

func (c *comparison) exact(field string, want, got int64) {
	if want != got {
		c.differs(field, float64(want), float64(got))
	}
}

func (c *comparison) near(field string, want, got, tolerance float64) {
	// Written so that NaN is far from everything.
	if !(math.Abs(got-want) <= tolerance*math.Abs(want)) {
		c.differs(field, want, got)
	}
}

func (c *comparison) differs(field string, want, got float64) {
	c.report.Differences = append(c.report.Differences,
		Difference{Model: c.key.model, WindowStart: c.key.start, Field: field, Want: want, Got: got})
}
