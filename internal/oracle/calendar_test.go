package oracle

import (
	"slices"
	"sync"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"github.com/millrace/millrace/window"
)

// calendar returns the calendar window that holds t. It walks through the days
// around t a quarter of an hour at a time, which is the least by which a zone has
// changed its clock since 1970, and takes down when each date is seen first.
func (k *kase) calendar(t int64) window.Window {
	begins := begin(k.w.zone, k.w.unit, t)
	i, found := slices.BinarySearch(begins, t)
	if !found {
		i--
	}
	x := window.Window{Start: begins[i], End: begins[i+1]}
	if k.w.unit == window.Hour {
		x.Start += (t - x.Start) / 3_600_000 * 3_600_000
		x.End = min(x.End, x.Start+3_600_000)
	}
	return x
}

// walked holds walks that were made before: by zone, unit and month.
var walked sync.Map

type walk struct {
	zone string
	unit window.Unit
	near int64
}

// begin returns when the days, weeks or months around t begin.
func begin(zone string, unit window.Unit, t int64) []int64 {
	const day = 24 * 60 * 60 * 1000
	near := t / (30 * day)
	w := walk{zone, unit, near}
	if found, ok := walked.Load(w); ok {
		return found.([]int64)
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	var begins []int64
	var latest time.Time
	for at := (near - 3) * 30 * day; at < (near+4)*30*day; at += 15 * 60 * 1000 {
		y, m, d := time.UnixMilli(at).In(loc).Date()
		date := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
		if !latest.IsZero() && !date.After(latest) {
			continue
		}
		first := latest.IsZero()
		latest = date
		switch {
		case first, unit == window.Week && date.Weekday() != time.Monday, unit == window.Month && d != 1:
			continue
		}
		begins = append(begins, at)
	}
	walked.Store(w, begins)
	return begins
}
