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
		w := Tumbling(rapid.OneOf(
			rapid.Just(time.Millisecond),
			rapid.Map(rapid.Int64Range(1, 100), func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }),
			rapid.Map(rapid.Int64Range(1, 9_000_000_000_000), func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }),
		).Draw(t, "size"))
		size := w.SizeMillis()
		w = w.Offset(ms("offset", -size+1, size-1))
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
// overflow: [k*size+offset, (k+1)*size+offset) for the k that fits, unless that
// leaves the range of times.
func modelAssign(w Windows, x int64) []Window {
	if x == MinTime || x == MaxTime {
		return nil
	}
	size, offset := big.NewInt(w.SizeMillis()), big.NewInt(w.OffsetMillis())
	k := new(big.Int).Sub(big.NewInt(x), offset)
	k.Div(k, size) // Euclidean, so it rounds down for a positive size
	start := k.Mul(k, size)
	start.Add(start, offset)
	end := new(big.Int).Add(start, size)
	if !start.IsInt64() || !end.IsInt64() {
		return nil
	}
	return []Window{{start.Int64(), end.Int64()}}
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
			size := w.SizeMillis()
			start := rapid.OneOf(
				rapid.Int64Range(max(c.bound, MinTime+2)-2, min(c.bound, MaxTime-2)+2),
				anyTime(),
			).Draw(t, "start of "+c.name)
			if start > MaxTime-size {
				start = MaxTime - size
			}
			x := Window{start, start + size}
			if got, want := start < c.bound, c.holds(x, watermark); got != want {
				t.Fatalf("%v at watermark %d: %v is %s: %v; by the bound %d: %v",
					w, watermark, x, c.name, want, c.bound, got)
			}
		}
	})
}

// TestLifeOfAWindow checks that a window never goes back, and that it is
// complete before it is closed and closed before it expires.
func TestLifeOfAWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWindows().Draw(t, "windows")
		for _, x := range w.Assign(anyTime().Draw(t, "time"), nil) {
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
			if !w.Expired(x, MaxTime) || w.Complete(x, MinTime) {
				t.Fatalf("%v: MaxTime must end it, MinTime must not", x)
			}
		}
	})
}
