package truth

import (
	"cmp"
	"fmt"
	"iter"
	"math/big"
	"slices"

	"github.com/millrace/millrace/llm"
)

// ledger holds events of a kind by key and window.
type ledger[V comparable] struct {
	events, dropped int64
	groups          map[key]*entries[V]
}

// entries are the events of a key and window, and of them those that were
// dropped.
type entries[V comparable] struct{ all, dropped []V }

// kept returns the events that are in the window; false if more was dropped than
// added.
func (e *entries[V]) kept() ([]V, bool) {
	out := map[V]int{}
	for _, v := range e.dropped {
		out[v]++
	}
	var kept []V
	for _, v := range e.all {
		if out[v] > 0 {
			out[v]--
			continue
		}
		kept = append(kept, v)
	}
	return kept, len(kept) == len(e.all)-len(e.dropped)
}

func newLedger[V comparable]() ledger[V] { return ledger[V]{groups: map[key]*entries[V]{}} }

func (l *ledger[V]) group(name string, start int64) *entries[V] {
	k := key{string([]byte(name)), start} // a name may alias a whole batch of records
	if l.groups[k] == nil {
		l.groups[k] = &entries[V]{}
	}
	return l.groups[k]
}

func (l *ledger[V]) add(name string, start int64, v V) {
	l.events++
	e := l.group(name, start)
	e.all = append(e.all, v)
}

func (l *ledger[V]) drop(name string, start int64, v V) {
	l.dropped++
	e := l.group(name, start)
	e.dropped = append(e.dropped, v)
}

// floor returns the greatest multiple of size that is not above at.
func floor(at, size int64) int64 {
	into := at % size
	if into < 0 {
		into += size
	}
	return at - into
}

// compare checks the final ones among the results; of several for one key and
// window the last one counts. place and count return what a result says of
// these, and check looks at the rest.
func compare[V comparable, R any](l *ledger[V], results iter.Seq[R], place func(*R) (llm.Place, int64), check func(c *comparison, want []V, got *R)) Report {
	report := Report{Events: l.events, Dropped: l.dropped}
	final := map[key]R{}
	for r := range results {
		if at, _ := place(&r); at.Final && !at.Retracted {
			final[key{at.Key, at.WindowStart}] = r
		}
	}
	report.Windows = len(final)
	for k, e := range l.groups {
		c := comparison{key: k, report: &report}
		want, valid := e.kept()
		got, done := final[k]
		delete(final, k)
		if done {
			_, count := place(&got)
			report.Final += count
			c.exact("count", int64(len(want)), count)
		}
		switch {
		case !valid:
			c.problem("events were dropped that were never sent")
		case !done:
			report.Open += int64(len(want))
		case len(want) == 0:
			c.problem("it is final, and all of its events were dropped")
		default:
			check(&c, want, &got)
		}
	}
	for k, r := range final {
		_, count := place(&r)
		report.Final += count
		c := comparison{key: k, report: &report}
		c.problem(fmt.Sprintf("a result of %d events where none was sent", count))
	}
	slices.SortStableFunc(report.Differences, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.WindowStart, b.WindowStart), cmp.Compare(a.Model, b.Model))
	})
	return report
}

// same wants a number, or its absence, bit for bit.
func (c *comparison) same(field string, want float64, there bool, got llm.Optional[float64]) {
	v, ok := got.Get()
	switch {
	case ok != there:
		c.problem(fmt.Sprintf("%s is %v, want it to be there: %v", field, got, there))
	case ok && v != want:
		c.differs(field, want, v)
	}
}

// about wants a number within a tolerance, relative to the true one.
func (c *comparison) about(field string, want float64, got llm.Optional[float64], tolerance float64) {
	v, ok := got.Get()
	if !ok {
		c.problem(field + " is absent")
		return
	}
	c.near(field, want, v, tolerance)
}

// meanOf returns the mean of some values: the fraction, rounded once.
func meanOf(values []float64) float64 {
	sum := new(big.Rat)
	for _, v := range values {
		sum.Add(sum, new(big.Rat).SetFloat64(v))
	}
	mean, _ := sum.Quo(sum, new(big.Rat).SetInt64(int64(max(len(values), 1)))).Float64()
	return mean
}

// pick returns a number of each event.
func pick[V any](events []V, of func(*V) float64) []float64 {
	values := make([]float64, len(events))
	for i := range events {
		values[i] = of(&events[i])
	}
	return values
}

// tally counts events by a name of each.
func tallyOf[V any](events []V, of func(*V) string) map[string]int64 {
	counts := map[string]int64{}
	for i := range events {
		counts[of(&events[i])]++
	}
	return counts
}

// counts wants the same counts by name.
func (c *comparison) counts(field string, want map[string]int64, got []llm.Count) {
	if len(want) != len(got) {
		c.problem(fmt.Sprintf("%s has %d names, want %d", field, len(got), len(want)))
		return
	}
	for _, of := range got {
		c.exact(field+"."+of.Name, want[of.Name], of.Count)
	}
}
