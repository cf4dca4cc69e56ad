package emission

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/integration/live"
	"github.com/millrace/millrace/streams"
)

func small() Load {
	l := DefaultLoad()
	l.Rate, l.Window, l.Disorder = 1000, 100*time.Millisecond, 200*time.Millisecond
	return l
}

// TestWhenWindowsAreComplete: the watermark is 200 ms behind, so that an event at
// 1300 completes the window that ends at 1100.
func TestWhenWindowsAreComplete(t *testing.T) {
	a := newArrivals(small())
	for p := range int32(live.Partitions) {
		for _, e := range []struct{ at, appended int64 }{
			{1010, 5000}, {1299, 5001}, {1250, 5002}, {1300, 5003 + 10*int64(p)}, {1350, 5100}, {1520, 5200},
		} {
			a.add(p, "m"+string(rune('0'+p)), e.at, e.appended)
		}
	}
	for _, c := range []struct {
		id          windowID
		repartition bool
		want        int64
	}{
		{windowID{"m0", 1000}, false, 5003}, {windowID{"m2", 1000}, false, 5023}, {windowID{"m0", 1000}, true, 5033},
		{windowID{"m1", 1200}, false, 5200}, {windowID{"m1", 1200}, true, 5200},
	} {
		if got, ok := a.completed(c.id, c.repartition); !ok || got != c.want {
			t.Errorf("%+v: complete at %d, %v", c, got, ok)
		}
	}
	if at, ok := a.completed(windowID{"m0", 1300}, false); ok {
		t.Errorf("a window that ends at 1400 is complete at %d", at)
	}
	delete(a.ends[3], 1100)
	if _, ok := a.completed(windowID{"m0", 1000}, true); ok {
		t.Error("a window is complete for which one partition has not come far enough")
	}
	if n := a.counts[windowID{"m0", 1200}]; n != 2 {
		t.Errorf("%d events in a window, want 2", n)
	}
}

func TestTheReportFindsWhatIsWrong(t *testing.T) {
	a := newArrivals(small())
	for i := range int64(5000) {
		a.add(int32(i%live.Partitions), "m", 10_000+i, 20_000+i)
	}
	var complete []windowID
	for id := range a.counts {
		if _, ok := a.completed(id, true); ok {
			complete = append(complete, id)
		}
	}
	all := func() map[windowID]result {
		windows := map[windowID]result{}
		for _, id := range complete {
			at, _ := a.completed(id, true)
			windows[id] = result{arrived: time.UnixMilli(at + 7), count: a.counts[id], finals: 1}
		}
		return windows
	}
	c := Case{streams.AtLeastOnce, true}
	report := func(spoil func(map[windowID]result)) *Report {
		windows := all()
		spoil(windows)
		return newReport(c, small(), a, complete, windows, time.UnixMilli(21_000))
	}
	r := report(func(map[windowID]result) {})
	if err := errors.Join(r.Check(), r.CheckRate()); err != nil {
		t.Error(err)
	}
	if r.Percentile(0.5) != 7*time.Millisecond || r.Percentile(1) != 7*time.Millisecond || r.latency.Len() >= int64(r.Windows) {
		t.Errorf("latency %v of %d results, %d windows", &r.latency, r.latency.Len(), r.Windows)
	}
	var text strings.Builder
	r.Write(&text)
	if !strings.Contains(text.String(), "to 10 ms") || !strings.Contains(text.String(), "at-least-once, with a repartition") {
		t.Error(text.String())
	}
	for name, spoil := range map[string]func(map[windowID]result){
		"missing":       func(w map[windowID]result) { delete(w, complete[0]) },
		"twice":         func(w map[windowID]result) { w[complete[0]] = result{count: a.counts[complete[0]], finals: 2} },
		"another count": func(w map[windowID]result) { w[complete[0]] = result{count: a.counts[complete[0]] - 1, finals: 1} },
	} {
		if err := report(spoil).Check(); !errors.Is(err, ErrIncomplete) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.Wanted = 2000
	if err := r.CheckRate(); !errors.Is(err, ErrRate) {
		t.Error(err)
	}
}
