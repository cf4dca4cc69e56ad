package live

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// resolution is what the values of a sample are rounded to.
const resolution = 10 * time.Microsecond

// Distribution is a sample of times, in units of 10 µs. The zero value is an empty
// one. It is not safe for use by several goroutines.
type Distribution struct {
	counts map[time.Duration]int64
	n      int64
}

// Add adds a time.
func (d *Distribution) Add(v time.Duration) { d.add(v.Round(resolution), 1) }

// Merge adds all times of another sample.
func (d *Distribution) Merge(from *Distribution) {
	for v, n := range from.counts {
		d.add(v, n)
	}
}

func (d *Distribution) add(v time.Duration, n int64) {
	if d.counts == nil {
		d.counts = map[time.Duration]int64{}
	}
	d.counts[v] += n
	d.n += n
}

// Len returns how many times there are.
func (d *Distribution) Len() int64 { return d.n }

// At returns the time that a share of all do not exceed: the nearest rank; 0 of an
// empty sample.
func (d *Distribution) At(share float64) time.Duration {
	rank := max(int64(share*float64(d.n)+0.999999), 1)
	for _, v := range d.sorted() {
		if rank -= d.counts[v]; rank <= 0 {
			return v
		}
	}
	return 0
}

// sorted returns the different times, in ascending order.
func (d *Distribution) sorted() []time.Duration { return slices.Sorted(maps.Keys(d.counts)) }

// String returns its percentiles.
func (d *Distribution) String() string {
	return fmt.Sprintf("p50 %v, p90 %v, p99 %v, max %v", d.At(0.5), d.At(0.9), d.At(0.99), d.At(1))
}

// MarshalText writes the sample as words such as "7.25:12": twelve times of 7.25 ms.
func (d *Distribution) MarshalText() ([]byte, error) {
	var text []byte
	for i, v := range d.sorted() {
		if i > 0 {
			text = append(text, ' ')
		}
		text = strconv.AppendFloat(text, float64(v/resolution)/100, 'f', -1, 64)
		text = append(text, ':')
		text = strconv.AppendInt(text, d.counts[v], 10)
	}
	return text, nil
}

// UnmarshalText reads what MarshalText has written.
func (d *Distribution) UnmarshalText(text []byte) error {
	*d = Distribution{}
	for word := range strings.FieldsSeq(string(text)) {
		value, count, _ := strings.Cut(word, ":")
		ms, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("live: %q is no time of a sample: want milliseconds:count", word)
		}
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil || n < 1 {
			return fmt.Errorf("live: %q is no time of a sample: want milliseconds:count", word)
		}
		d.add(time.Duration(ms*float64(time.Millisecond)).Round(resolution), n)
	}
	return nil
}

// bounds are the upper ends of a histogram's bars, in milliseconds.
var bounds = [...]int64{2, 5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000}

// Histogram prints the sample in bars.
func (d *Distribution) Histogram(w io.Writer) {
	var bars [len(bounds) + 1]int64
	for v, n := range d.counts {
		i := 0
		for i < len(bounds) && v > time.Duration(bounds[i])*time.Millisecond {
			i++
		}
		bars[i] += n
	}
	first, last := 0, len(bars)-1
	for first < last && bars[first] == 0 {
		first++
	}
	for last > first && bars[last] == 0 {
		last--
	}
	const width = 50
	most := max(slices.Max(bars[:]), 1)
	for i := first; i <= last; i++ {
		label := "more"
		if i < len(bounds) {
			label = fmt.Sprintf("to %d ms", bounds[i])
		}
		fmt.Fprintf(w, "  %10s %7d %s\n", label, bars[i], strings.Repeat("#", int((bars[i]*width+most-1)/most)))
	}
}
