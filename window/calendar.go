package window

import (
	"archive/zip"
	_ "embed" // for the zones
	"fmt"
	"io"
	"strings"
	"time"
)

// Unit is a unit of the calendar.
type Unit uint8

// The units of Calendar.
const (
	Hour Unit = iota + 1
	Day
	Week
	Month
)

// unitNames are the names of the units in descriptions and layouts.
var unitNames = [...]string{Hour: "hour", Day: "day", Week: "week", Month: "month"}

// String returns the unit's name, as in "day".
func (u Unit) String() string {
	if u >= Hour && int(u) < len(unitNames) {
		return unitNames[u]
	}
	return fmt.Sprintf("Unit(%d)", uint8(u))
}

// ZoneVersion is the release of the IANA time zone database that calendar
// windows go by. It is part of their layout: state is not read with other rules
// than those it was written with.
const ZoneVersion = "2025c"

// zoneArchive is lib/time/zoneinfo.zip of the Go distribution, at ZoneVersion. A
// machine's own database would give each machine windows of its own.
//
//go:embed zoneinfo.zip
var zoneArchive string

// calendar is the unit and the zone of calendar windows.
type calendar struct {
	unit Unit
	name string
	zone *time.Location // nil if the name is unknown
}

func newCalendar(unit Unit, zone string) calendar {
	c := calendar{unit: unit, name: zone}
	if loc, err := loadZone(zone); err == nil {
		c.zone = loc
	}
	return c
}

// loadZone reads a zone from the archive.
func loadZone(name string) (*time.Location, error) {
	archive, err := zip.NewReader(strings.NewReader(zoneArchive), int64(len(zoneArchive)))
	if err != nil {
		return nil, err
	}
	f, err := archive.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return time.LoadLocationFromTZData(name, data)
}

func (c calendar) validate(m *mistakes) {
	m.unless(c.unit >= Hour && c.unit <= Month, "calendar unit %d: want Hour, Day, Week or Month", uint8(c.unit))
	m.unless(c.zone != nil, "time zone %q: not in the IANA database %s; names are like %q or %q", c.name, ZoneVersion, "Europe/Berlin", "UTC")
}

// String returns unit and zone, as in "day Europe/Berlin".
func (c calendar) String() string { return c.unit.String() + " " + c.name }

func (c calendar) layout() string {
	return fmt.Sprintf("unit=%v zone=%s rules=%s", c.unit, c.name, ZoneVersion)
}

// longest returns the greatest length of a window in milliseconds. Days of
// change are up to a day longer.
func (c calendar) longest() int64 {
	const day = 24 * 60 * 60 * 1000
	switch c.unit {
	case Hour:
		return day / 24
	case Day:
		return 2 * day
	case Week:
		return 8 * day
	}
	return 32 * day
}

// calendarRange is how close to the ends of the range of times there are no
// calendar windows any more.
const calendarRange = 40 * 24 * 60 * 60 * 1000

// at returns the window that contains t.
func (c calendar) at(t int64) (Window, bool) {
	if c.zone == nil || t < MinTime+calendarRange || t > MaxTime-calendarRange {
		return Window{}, false
	}
	// A date may begin, be left again because the clock goes back over
	// midnight, and come again: the window of the next date then holds t.
	d := c.first(dateOf(t, c.zone))
	for next := c.next(d); ; next = c.next(d) {
		if c.begin(next) > t {
			break
		}
		d = next
	}
	begin := c.begin(d)
	x := Window{Start: begin, End: begin}
	for next := c.next(d); x.End <= x.Start; next = c.next(next) {
		// A zone that crosses the date line leaves a date out.
		x.End = c.begin(next)
	}
	if c.unit == Hour {
		const hour = 60 * 60 * 1000
		x.Start += (t - x.Start) / hour * hour
		x.End = min(x.End, x.Start+hour)
	}
	return x, true
}

// startOf returns the start of the window that holds the watermark, or the
// watermark itself at the ends of the range.
func (c calendar) startOf(watermark int64) int64 {
	switch x, ok := c.at(watermark); {
	case ok:
		return x.Start
	case watermark < 0:
		return MinTime
	}
	return watermark
}

// date is a day of the proleptic Gregorian calendar, as midnight UTC.
type date struct{ time.Time }

func dateOf(t int64, zone *time.Location) date {
	y, m, d := time.UnixMilli(t).In(zone).Date()
	return date{time.Date(y, m, d, 0, 0, 0, 0, time.UTC)}
}

// first returns the first date of the unit that d lies in.
func (c calendar) first(d date) date {
	switch c.unit {
	case Week:
		return date{d.AddDate(0, 0, -(int(d.Weekday())+6)%7)}
	case Month:
		return date{d.AddDate(0, 0, 1-d.Day())}
	}
	return d
}

// next returns the first date of the unit after the one that begins with d.
func (c calendar) next(d date) date {
	switch c.unit {
	case Week:
		return date{d.AddDate(0, 0, 7)}
	case Month:
		return date{d.AddDate(0, 1, 0)}
	}
	return date{d.AddDate(0, 0, 1)}
}

// begin returns the first instant, in Unix milliseconds, at which the local date
// is d or later.
func (c calendar) begin(d date) int64 {
	// No zone is, or was, a day away from UTC.
	at := d.Add(-24 * time.Hour).In(c.zone)
	for {
		_, offset := at.Zone()
		midnight := d.Add(-time.Duration(offset) * time.Second)
		_, end := at.ZoneBounds()
		if !end.IsZero() && !end.After(at) {
			// Beyond its tables package time ends a rule on the 365th day of each
			// year, also of those that have one more.
			end = at.Add(24 * time.Hour)
		}
		if end.IsZero() || midnight.Before(end) {
			if midnight.Before(at) {
				// It was later than midnight when the zone's rule began.
				return at.UnixMilli()
			}
			return midnight.UnixMilli()
		}
		at = end
	}
}
