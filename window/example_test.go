package window_test

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/window"
)

// Example follows one key through a window of five minutes that takes events up
// to two minutes late.
func Example() {
	windows := window.Tumbling(5 * time.Minute).AllowedLateness(2 * time.Minute)
	rule := window.OnTime().Late(window.EachUpdate).Rule(windows)

	clock := window.NewPartitionClock(window.BoundedDelay(time.Minute).IdleAfter(5 * time.Minute))
	task := window.NewTracker(clock)

	w := windows.Assign(at("12:03").UnixMilli(), nil)[0]
	fmt.Println("12:03 is in", window.FormatTime(w.Start), "to", window.FormatTime(w.End))

	var firing window.Firing
	for _, event := range []string{"12:03", "12:06", "12:04", "12:08"} {
		t := at(event).UnixMilli()
		if moved, err := clock.Observe(t, t); err != nil {
			fmt.Println(err)
		} else if moved {
			task.Moved(0)
		}
		if w.Contains(t) && windows.Complete(w, task.Watermark()) {
			show(firing.Update(rule))
		}
		if windows.Complete(w, task.Watermark()) {
			show(firing.OnTime(rule))
		}
		if windows.Closed(w, task.Watermark()) {
			show(firing.Close(rule))
		}
	}
	// Output:
	// 12:03 is in 2026-06-01T12:00:00.000Z to 2026-06-01T12:05:00.000Z
	// result 0: on_time
	// result 1: late
	// result 2: late, final
}

func show(p window.Pane, ok bool) {
	switch {
	case ok && p.Final:
		fmt.Printf("result %d: %v, final\n", p.Sequence, p.Kind)
	case ok:
		fmt.Printf("result %d: %v\n", p.Sequence, p.Kind)
	}
}

func at(clock string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", "2026-06-01 "+clock)
	if err != nil {
		panic(err)
	}
	return t
}

func ExampleWindows_ClosedBefore() {
	windows := window.Tumbling(time.Minute).AllowedLateness(10 * time.Second)
	fmt.Println("windows that start before", windows.ClosedBefore(130_000), "are closed")
	// Output: windows that start before 60001 are closed
}

func ExampleUpstreams() {
	u := window.NewUpstreams([]window.Upstream{{SubTopology: 0, Task: 0}, {SubTopology: 0, Task: 1}})
	for _, m := range []window.Marker{
		{Task: 0, Tasks: 2, Generation: 1, Watermark: 5000},
		{Task: 1, Tasks: 2, Generation: 1, Watermark: 3000},
	} {
		decoded, err := window.DecodeMarker(m.Append(nil))
		if err != nil {
			fmt.Println(err)
			return
		}
		if _, err := u.Observe(decoded); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(window.FormatTime(u.Watermark()))
	}
	// Output:
	// -infinity
	// 1970-01-01T00:00:03.000Z
}

// ExamplePunctuated takes the watermark from the events that end an hour. The
// type of the values is found from the function.
func ExamplePunctuated() {
	type reading struct {
		Meter    string
		HourEnds int64 // 0 unless it is the last of its hour
	}
	s := window.Punctuated(func(r reading) (int64, bool) {
		return r.HourEnds, r.HourEnds != 0
	}).IdleAfter(10 * time.Minute)
	fmt.Println(s)
	g, err := window.NewGenerator[reading](s, window.MinTime)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range []reading{{Meter: "a"}, {Meter: "a", HourEnds: at("13:00").UnixMilli()}} {
		fmt.Println(window.FormatTime(g.Event(r, at("12:59").UnixMilli(), at("13:01").UnixMilli())))
	}
	// Output:
	// punctuated, idle after 10m0s
	// -infinity
	// 2026-06-01T13:00:00.000Z
}
