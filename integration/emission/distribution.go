package emission

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// distribution is a sample of durations.
type distribution struct {
	values []time.Duration
	sorted bool
}

func (d *distribution) add(v time.Duration) {
	d.values = append(d.values, v)
	d.sorted = false
}

// at returns the value that a share of all do not exceed: the nearest rank; 0 of an
// empty sample.
func (d *distribution) at(share float64) time.Duration {
	n := len(d.values)
	if n == 0 {
		return 0
	}
	if !d.sorted {
		slices.Sort(d.values)
		d.sorted = true
	}
	rank := int(share*float64(n)+0.999999) - 1
	return d.values[min(max(rank, 0), n-1)]
}

// String returns its percentiles.
func (d *distribution) String() string {
	return fmt.Sprintf("p50 %v, p90 %v, p99 %v, max %v", d.at(0.5), d.at(0.9), d.at(0.99), d.at(1))
}

// bounds are the upper ends of a histogram's bars, in milliseconds.
var bounds = [...]int64{2, 5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000}

// histogram prints the sample in bars.
func (d *distribution) histogram(w io.Writer) {
	var bars [len(bounds) + 1]int
	for _, v := range d.values {
		i := 0
		for i < len(bounds) && v > time.Duration(bounds[i])*time.Millisecond {
			i++
		}
		bars[i]++
	}
	first, last := 0, len(bars)-1
	for first < last && bars[first] == 0 {
		first++
	}
	for last > first && bars[last] == 0 {
		last--
	}
	const width = 50
	most := slices.Max(bars[:])
	for i := first; i <= last; i++ {
		label := "more"
		if i < len(bounds) {
			label = fmt.Sprintf("to %d ms", bounds[i])
		}
		fmt.Fprintf(w, "  %10s %6d %s\n", label, bars[i], strings.Repeat("#", (bars[i]*width+most-1)/max(most, 1)))
	}
}
