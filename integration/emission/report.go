package emission

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/millrace/millrace/integration/live"
)

// Report is what a case has come to.
type Report struct {
	Case Case
	// Events is how many the input has. Rate is how many arrived a second, Least and
	// Greatest in single ones.
	Events          int64
	Rate            float64
	Least, Greatest int64
	// Wanted is the rate of the load.
	Wanted int64
	// Windows is how many were complete, Missing of how many of them no final result
	// came, Wrong how many came with another count than the input has, or twice.
	Windows, Missing, Wrong int
	// Counted are the events in the complete windows.
	Counted int64
	// behind is by how much events arrived later than their turn, latency how long
	// the results of windows took that were complete behind the warm-up.
	behind, latency live.Distribution
}

func newReport(c Case, l Load, a *arrivals, complete []windowID, windows map[windowID]result, from time.Time) *Report {
	r := &Report{Case: c, Events: a.pace.Events, Wanted: l.Rate, Windows: len(complete), behind: a.behind}
	r.Least, r.Greatest, r.Rate = a.pace.Rate()
	for _, id := range complete {
		w := windows[id]
		switch {
		case w.finals == 0:
			r.Missing++
			continue
		case w.finals > 1, w.count != a.counts[id]:
			r.Wrong++
		}
		r.Counted += w.count
		at, _ := a.completed(id, c.Repartition)
		if appended := time.UnixMilli(at); appended.After(from) {
			r.latency.Add(w.arrived.Sub(appended))
		}
	}
	return r
}

// Percentile returns the latency that a share of the results do not exceed.
func (r *Report) Percentile(share float64) time.Duration { return r.latency.At(share) }

// Write prints the report.
func (r *Report) Write(w io.Writer) {
	fmt.Fprintf(w, "%v\n", r.Case)
	fmt.Fprintf(w, "  arrived: %d events, %.0f a second, in single seconds %d to %d; behind their turn %v\n",
		r.Events, r.Rate, r.Least, r.Greatest, &r.behind)
	fmt.Fprintf(w, "  windows: %d complete, with %d events; %d without a final result, %d with a wrong one\n", r.Windows, r.Counted, r.Missing, r.Wrong)
	r.latency.Histogram(w)
	fmt.Fprintf(w, "  emission: %v, of %d results\n", &r.latency, r.latency.Len())
}

// What Check finds.
var (
	// ErrIncomplete: a complete window has no final result, or a wrong one.
	ErrIncomplete = errors.New("emission: not every event is in a final window")
	// ErrRate: the generator did not hold its rate.
	ErrRate = errors.New("emission: the generator has not held its rate")
)

// Check returns an error unless every complete window has a right final result.
func (r *Report) Check() error {
	if r.Windows == 0 || r.Missing > 0 || r.Wrong > 0 {
		return fmt.Errorf("%w: %v: of %d windows %d are missing and %d wrong", ErrIncomplete, r.Case, r.Windows, r.Missing, r.Wrong)
	}
	return nil
}

// CheckRate returns an error unless events arrived at 99 % of their rate.
func (r *Report) CheckRate() error {
	if r.Rate < 0.99*float64(r.Wanted) {
		return fmt.Errorf("%w: %v: %.0f a second, want %d", ErrRate, r.Case, r.Rate, r.Wanted)
	}
	return nil
}
