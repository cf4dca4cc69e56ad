package window

import (
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyTime draws times with many near zero, near window bounds and at the ends
// of the range.
func anyTime() *rapid.Generator[int64] {
	return rapid.OneOf(
		rapid.Int64Range(-200, 200),
		rapid.Int64(),
		rapid.Int64Range(MinTime, MinTime+200),
		rapid.Int64Range(MaxTime-200, MaxTime),
		rapid.Int64Range(1_700_000_000_000, 1_700_000_100_000),
	)
}

func anyWindows() *rapid.Generator[Windows] {
	return rapid.Custom(func(t *rapid.T) Windows {
		ms := func(label string, least, most int64) time.Duration {
			return time.Duration(rapid.Int64Range(least, most).Draw(t, label)) * time.Millisecond
		}
		size := rapid.OneOf(rapid.Just(int64(1)), rapid.Int64Range(1, 100), rapid.Int64Range(1, 2_500_000_000_000)).Draw(t, "size")
		w := Tumbling(time.Duration(size) * time.Millisecond)
		advance := size
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0, 1:
			advance = max(1, size/rapid.Int64Range(1, 9).Draw(t, "overlap"))
			w = Hopping(w.size).Every(time.Duration(advance) * time.Millisecond)
		case 2:
			w = Sliding(w.size)
		case 3:
			w = Session(w.size)
			if rapid.Bool().Draw(t, "bounded") {
				w = w.AtMost(ms("most", 1, 2*size))
			}
		}
		if w.Aligned() {
			w = w.Offset(ms("offset", -advance+1, advance-1))
		}
		if rapid.Bool().Draw(t, "late") {
			w = w.AllowedLateness(ms("lateness", 0, 150))
		}
		if rapid.Bool().Draw(t, "retained") {
			least := w.RetentionMillis()
			w = w.Retention(ms("retention", least, least+50))
		}
		if err := w.Validate(); err != nil {
			t.Fatalf("%v: %v", w, err)
		}
		return w
	})
}

// modelAssign finds the windows that contain x with integers that do not
// overflow: [k*advance+offset, k*advance+offset+size) for each k that fits,
// unless that leaves the range of times.
func modelAssign(w Windows, x int64) []Window {
	if x == MinTime || x == MaxTime || !w.Aligned() {
		return nil
	}
	size, advance, offset := big.NewInt(w.SizeMillis()), big.NewInt(w.AdvanceMillis()), big.NewInt(w.OffsetMillis())
	at := big.NewInt(x)
	k := new(big.Int).Sub(at, offset)
	k.Div(k, advance) // Euclidean, so it rounds down for a positive advance
	var found []Window
	for start := k.Mul(k, advance).Add(k, offset); ; start = new(big.Int).Sub(start, advance) {
		end := new(big.Int).Add(start, size)
		if end.Cmp(at) <= 0 {
			slices.Reverse(found)
			return found
		}
		if start.IsInt64() && end.IsInt64() {
			found = append(found, Window{start.Int64(), end.Int64()})
		}
	}
}

func TestAssignAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWindows().Draw(t, "windows")
		x := anyTime().Draw(t, "time")
		got := w.Assign(x, nil)
		if want := modelAssign(w, x); !slices.Equal(got, want) {
			t.Fatalf("%v: Assign(%d) = %v, want %v", w, x, got, want)
		}
		for _, win := range got {
			if !win.Contains(x) {
				t.Fatalf("%v does not contain %d", win, x)
			}
		}
	})
}

// TestAssignCoversEveryMillisecond tries every window of a stretch of time for
// every time in it, without arithmetic on windows.
func TestAssignCoversEveryMillisecond(t *testing.T) {
	const span = 120
	for size := int64(1); size <= 7; size++ {
		for offset := -size + 1; offset < size; offset++ {
			w := Tumbling(time.Duration(size) * time.Millisecond).Offset(time.Duration(offset) * time.Millisecond)
			for x := int64(-span); x <= span; x++ {
				var want []Window
				for start := offset - 2*span*size; start <= 2*span*size; start += size {
					if start <= x && x < start+size {
						want = append(want, Window{start, start + size})
					}
				}
				if got := w.Assign(x, nil); !slices.Equal(got, want) {
					t.Fatalf("%v: Assign(%d) = %v, want %v", w, x, got, want)
				}
			}
		}
	}
}

func TestAssignAppends(t *testing.T) {
	first := Window{1, 2}
	got := Tumbling(10*time.Millisecond).Assign(25, []Window{first})
	if want := []Window{first, {20, 30}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := (Windows{}).Assign(25, nil); got != nil {
		t.Errorf("windows of no size took a time: %v", got)
	}
}

// TestBoundsAgreeWithPredicates checks each scan bound against its predicate,
// for windows right at the bound and elsewhere.
func TestBoundsAgreeWithPredicates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWindows().Draw(t, "windows")
		watermark := anyTime().Draw(t, "watermark")
		for _, c := range []struct {
			name  string
			bound int64
			holds func(Window, int64) bool
		}{
			{"complete", w.CompleteBefore(watermark), w.Complete},
			{"closed", w.ClosedBefore(watermark), w.Closed},
			{"expired", w.ExpiredBefore(watermark), w.Expired},
		} {
			start := rapid.OneOf(
				rapid.Int64Range(max(c.bound, MinTime+2)-2, min(c.bound, MaxTime-2)+2),
				anyTime(),
			).Draw(t, "start of "+c.name)
			x := anyWindowAt(t, w, start)
			if got, want := w.Order(x) < c.bound, c.holds(x, watermark); got != want {
				t.Fatalf("%v at watermark %d: %v is %s: %v; by the bound %d: %v",
					w, watermark, x, c.name, want, c.bound, got)
			}
		}
	})
}

// anyWindowAt draws a window that begins at start or, if that leaves the range of
// times or the window's due time is drawn, nearby.
func anyWindowAt(t *rapid.T, w Windows, start int64) Window {
	if w.Kind() != SessionKind {
		size := w.SizeMillis()
		if !w.Aligned() {
			start = subSaturated(start, size)
		}
		start = min(start, MaxTime-size)
		return Window{start, start + size}
	}
	start = min(subSaturated(start, w.GapMillis()), MaxTime-202)
	return Window{start, start + 1 + rapid.Int64Range(0, min(200, w.MostMillis())).Draw(t, "span")}
}

// TestLifeOfAWindow checks that a window never goes back, and that it is
// complete before it is closed and closed before it expires.
func TestLifeOfAWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWindows().Draw(t, "windows")
		windows := w.Assign(anyTime().Draw(t, "time"), nil)
		if !w.Aligned() {
			windows = []Window{anyWindowAt(t, w, anyTime().Draw(t, "start"))}
		}
		for _, x := range windows {
			a, b := anyTime().Draw(t, "a"), anyTime().Draw(t, "b")
			early, late := min(a, b), max(a, b)
			if w.Complete(x, early) && !w.Complete(x, late) ||
				w.Closed(x, early) && !w.Closed(x, late) ||
				w.Expired(x, early) && !w.Expired(x, late) {
				t.Fatalf("%v went back between %d and %d", x, early, late)
			}
			if w.Closed(x, a) && !w.Complete(x, a) || w.Expired(x, a) && !w.Closed(x, a) {
				t.Fatalf("%v at %d: complete %v, closed %v, expired %v", x, a,
					w.Complete(x, a), w.Closed(x, a), w.Expired(x, a))
			}
			if !w.Expired(x, MaxTime) || w.Complete(x, MinTime) || w.Complete(x, a) != (a >= w.Due(x)) {
				t.Fatalf("%v: MaxTime must end it, MinTime must not", x)
			}
		}
	})
}

// TestPanesMakeUpTheirWindows: the windows that end with a pane, and those that
// begin with it and with the panes before, are those of the times in it.
func TestPanesMakeUpTheirWindows(t *testing.T) {
	for _, w := range []Windows{
		Hopping(15 * time.Millisecond).Every(5 * time.Millisecond).Offset(2 * time.Millisecond),
		Hopping(4 * time.Millisecond).Every(time.Millisecond),
		Hopping(3 * time.Millisecond).Every(3 * time.Millisecond),
	} {
		for x := int64(-40); x < 40; x++ {
			pane, ok := w.PaneOf(x)
			if !ok || !pane.Contains(x) || pane.End-pane.Start != w.AdvanceMillis() {
				t.Fatalf("%v: PaneOf(%d) = %v, %v", w, x, pane, ok)
			}
			windows := w.Assign(x, nil)
			if int64(len(windows)) != w.Panes() || windows[0].End != pane.End || windows[len(windows)-1].Start != pane.Start {
				t.Fatalf("%v: %d in pane %v and windows %v", w, x, pane, windows)
			}
		}
	}
	for _, w := range []Windows{Tumbling(10), Hopping(10e6).Every(3e6), Hopping(10e6).Every(5e6).SeparateWindows(), Session(5e6)} {
		if _, ok := w.PaneOf(7); ok || w.Panes() != 0 {
			t.Errorf("%v has panes", w)
		}
	}
	if _, ok := Hopping(10e6).Every(5e6).PaneOf(MinTime + 3); ok {
		t.Error("a pane has windows that leave the range of times")
	}
}

// TestResultsFrom: the window that holds the watermark back is the first that is
// not complete, or not closed; its events are not earlier than that.
func TestResultsFrom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWindows().Draw(t, "windows")
		watermark := rapid.Int64Range(-300, 300).Draw(t, "watermark")
		closing := rapid.Bool().Draw(t, "closing")
		from := w.ResultsFrom(watermark, closing)
		if from > watermark {
			t.Fatalf("%v: results from %d at watermark %d", w, from, watermark)
		}
		done := w.Complete
		if closing {
			done = w.Closed
		}
		x := anyWindowAt(t, w, rapid.Int64Range(-300, 300).Draw(t, "start"))
		last := x.End - 1
		if w.Aligned() {
			// Its only event may be the first millisecond of it.
			windows := w.Assign(x.Start, nil)
			if len(windows) == 0 {
				return
			}
			x = windows[len(windows)-1]
			last = x.Start
		} else if w.Kind() == SlidingKind {
			last = x.Start
		}
		if !done(x, watermark) && last < from {
			t.Fatalf("%v: at watermark %d, closing %v, %v has yet to send a result of %d, before %d", w, watermark, closing, x, last, from)
		}
	})
}

// TestACountWindowIsNeverComplete: a late event would end what counts events.
func TestACountWindowIsNeverComplete(t *testing.T) {
	for _, w := range []int64{MinTime, 0, MaxTime - 1, MaxTime} {
		if Count(2).Complete(Window{Start: 0, End: 1}, w) {
			t.Errorf("a count window is complete at %s", FormatTime(w))
		}
	}
}
