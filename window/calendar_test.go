package window

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// instant returns a time in Unix milliseconds.
func instant(t testing.TB, text string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}

func TestCalendarInAwkwardZones(t *testing.T) {
	for _, c := range []struct {
		name             string
		unit             Unit
		zone, at         string
		wantFrom, wantTo string
	}{
		// Lord Howe's summer time is half an hour.
		{"a day that is half an hour shorter", Day, "Australia/Lord_Howe", "2025-10-05T00:00:00Z", "2025-10-04T13:30:00Z", "2025-10-05T13:00:00Z"},
		{"a day that is half an hour longer", Day, "Australia/Lord_Howe", "2025-04-06T00:00:00Z", "2025-04-05T13:00:00Z", "2025-04-06T13:30:00Z"},
		{"hours go on through the change", Hour, "Australia/Lord_Howe", "2025-10-04T15:45:00Z", "2025-10-04T15:30:00Z", "2025-10-04T16:30:00Z"},
		{"the last hour is what is left", Hour, "Australia/Lord_Howe", "2025-10-05T12:59:59Z", "2025-10-05T12:30:00Z", "2025-10-05T13:00:00Z"},
		// In Sao Paulo the clock went from 00:00 to 01:00.
		{"a day without midnight", Day, "America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"},
		{"before it", Day, "America/Sao_Paulo", "2018-11-04T02:59:59Z", "2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z"},
		{"a day whose last hour comes twice", Day, "America/Sao_Paulo", "2019-02-17T02:30:00Z", "2019-02-16T02:00:00Z", "2019-02-17T03:00:00Z"},
		{"a month with both", Month, "America/Sao_Paulo", "2018-11-30T00:00:00Z", "2018-11-01T03:00:00Z", "2018-12-01T02:00:00Z"},
		{"weeks begin on Mondays", Week, "America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-10-29T03:00:00Z", "2018-11-05T02:00:00Z"},
		// St. John's went back from 00:01 to 23:01 of the day before.
		{"midnight comes twice", Day, "America/St_Johns", "2005-10-30T03:15:00Z", "2005-10-30T02:30:00Z", "2005-10-31T03:30:00Z"},
		{"before the first midnight", Day, "America/St_Johns", "2005-10-30T02:29:59Z", "2005-10-29T02:30:00Z", "2005-10-30T02:30:00Z"},
		// Samoa left out 30 December 2011.
		{"before a date that is left out", Day, "Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},
		{"after it", Day, "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},
		{"before 1970", Month, "UTC", "1969-12-31T23:59:59Z", "1969-12-01T00:00:00Z", "1970-01-01T00:00:00Z"},
		{"a leap year", Month, "UTC", "2024-02-29T12:00:00Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"},
	} {
		w := Calendar(c.unit, c.zone)
		if err := w.Validate(); err != nil {
			t.Fatal(err)
		}
		got := w.Assign(instant(t, c.at), nil)
		want := Window{instant(t, c.wantFrom), instant(t, c.wantTo)}
		if len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v of %s in %s is %v, want %v", c.name, c.unit, c.at, c.zone, got, want)
		}
	}
}

// TestCalendarPartitionsTime walks through years of zones that change in every
// way: windows follow each other without gap, their bounds are those of the
// predicates, and each time between finds the same window.
func TestCalendarPartitionsTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom([]string{
			"Australia/Lord_Howe", "America/Sao_Paulo", "America/St_Johns", "Pacific/Apia", "Africa/Monrovia", "Europe/Dublin", "UTC",
		}).Draw(t, "zone")
		unit := rapid.SampledFrom([]Unit{Hour, Day, Week, Month}).Draw(t, "unit")
		w := Calendar(unit, zone).AllowedLateness(time.Duration(rapid.Int64Range(0, 100_000_000).Draw(t, "lateness")) * time.Millisecond)
		at := rapid.Int64Range(-3_000_000_000_000, 3_000_000_000_000).Draw(t, "time")
		for range 5 {
			windows := w.Assign(at, nil)
			if len(windows) != 1 || !windows[0].Contains(at) {
				t.Fatalf("%v: %d in %v", w, at, windows)
			}
			x := windows[0]
			if length := x.End - x.Start; length > w.SizeMillis() {
				t.Fatalf("%v: %v is %d ms long", w, x, length)
			}
			inside := rapid.Int64Range(x.Start, x.End-1).Draw(t, "inside")
			if again := w.Assign(inside, nil); len(again) != 1 || again[0] != x || w.At(x.Start) != x {
				t.Fatalf("%v: %d in %v, but %d in %v", w, at, x, inside, again)
			}
			watermark := rapid.Int64Range(x.Start-1000, x.End+200_000_000).Draw(t, "watermark")
			if got, want := x.Start < w.CompleteBefore(watermark), w.Complete(x, watermark); got != want {
				t.Fatalf("%v: %v is complete at %d: %v; by the bound: %v", w, x, watermark, want, got)
			}
			if got, want := x.Start < w.ClosedBefore(watermark), w.Closed(x, watermark); got != want {
				t.Fatalf("%v: %v is closed at %d: %v; by the bound: %v", w, x, watermark, want, got)
			}
			if got, want := x.Start < w.ExpiredBefore(watermark), w.Expired(x, watermark); got != want {
				t.Fatalf("%v: %v is expired at %d: %v; by the bound: %v", w, x, watermark, want, got)
			}
			at = x.End
		}
	})
}

// Beyond the zone's table, the last day of a leap year is one that package time
// forgets.
func TestCalendarAtTheEndOfLeapYears(t *testing.T) {
	for _, c := range []struct {
		unit               Unit
		zone, at, from, to string
	}{
		{Day, "America/St_Johns", "2040-12-31T12:00:00Z", "2040-12-31T03:30:00Z", "2041-01-01T03:30:00Z"},
		{Day, "Australia/Lord_Howe", "2064-12-31T12:00:00Z", "2064-12-30T13:00:00Z", "2064-12-31T13:00:00Z"},
		{Month, "Europe/Berlin", "2044-12-31T12:00:00Z", "2044-11-30T23:00:00Z", "2044-12-31T23:00:00Z"},
	} {
		got := Calendar(c.unit, c.zone).At(instant(t, c.at))
		if want := (Window{instant(t, c.from), instant(t, c.to)}); got != want {
			t.Errorf("%v of %s in %s: %v, want %v", c.unit, c.at, c.zone, got, want)
		}
	}
}

func TestCalendarAtTheEndsOfTime(t *testing.T) {
	w := Calendar(Day, "UTC")
	for _, at := range []int64{MinTime, MinTime + 1, MaxTime - 1, MaxTime} {
		if got := w.Assign(at, nil); got != nil {
			t.Errorf("%d in %v, want no window", at, got)
		}
	}
	if w.CompleteBefore(MaxTime) != MaxTime || w.CompleteBefore(MinTime) != MinTime {
		t.Errorf("bounds %d and %d", w.CompleteBefore(MaxTime), w.CompleteBefore(MinTime))
	}
}

func BenchmarkCalendarAssign(b *testing.B) {
	w := Calendar(Day, "America/Sao_Paulo")
	var dst []Window
	b.ReportAllocs()
	at := instant(b, "2018-11-04T12:00:00Z")
	for b.Loop() {
		dst = w.Assign(at, dst[:0])
	}
}
