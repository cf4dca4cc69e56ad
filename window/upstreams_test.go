package window

import (
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// two are the tasks that write to the topic in these tests.
var two = []Upstream{{0, 0}, {0, 1}, {0, 1}}

func marker(task, generation int32, watermark int64, idle bool) Marker {
	return Marker{Task: task, Tasks: 2, Generation: generation, Watermark: watermark, Idle: idle}
}

func mustObserve(t *testing.T, u *Upstreams, m Marker) bool {
	t.Helper()
	moved, err := u.Observe(m)
	if err != nil {
		t.Fatalf("Observe(%+v): %v", m, err)
	}
	return moved
}

func TestUpstreamsWaitForAll(t *testing.T) {
	u := NewUpstreams(two)
	if mustObserve(t, u, marker(0, 1, 100, false)) || u.Watermark() != MinTime {
		t.Fatalf("watermark %d before the second task was heard", u.Watermark())
	}
	if got, want := u.Waiting(), []Upstream{{0, 1}}; !slices.Equal(got, want) {
		t.Errorf("Waiting() = %v, want %v", got, want)
	}
	if heard, expected := u.Heard(); heard != 1 || expected != 2 {
		t.Errorf("Heard() = %d of %d", heard, expected)
	}
	if !mustObserve(t, u, marker(1, 1, 80, false)) || u.Watermark() != 80 {
		t.Fatalf("watermark %d, want 80", u.Watermark())
	}
	if mustObserve(t, u, marker(1, 1, 70, false)) || u.Watermark() != 80 {
		t.Fatalf("watermark %d fell", u.Watermark())
	}
	if !mustObserve(t, u, marker(1, 1, 120, false)) || u.Watermark() != 100 {
		t.Fatalf("watermark %d, want that of the other task, 100", u.Watermark())
	}
}

func TestUpstreamsTakeIdlenessOnlyWhileItIsRepeated(t *testing.T) {
	u := NewUpstreams(two)
	mustObserve(t, u, marker(0, 1, 100, false))
	mustObserve(t, u, marker(1, 1, 50, true))
	for now := int64(0); now <= 2*IdleLease; now += IdleLease {
		mustObserve(t, u, marker(1, 1, 50, true))
		if u.Tick(now) || !mustObserve(t, u, marker(0, 1, 200+now, false)) || u.Watermark() != 200+now {
			t.Fatalf("at %d: the watermark is %d: an idle task holds it back", now, u.Watermark())
		}
	}
	const silent = 3*IdleLease + 1
	u.Tick(silent)
	if mustObserve(t, u, marker(0, 1, 90_000, false)) {
		t.Errorf("the watermark is %d: a task that has fallen silent does not hold it back", u.Watermark())
	}
	if got, want := u.Waiting(), []Upstream{{0, 1}}; !slices.Equal(got, want) {
		t.Errorf("Waiting() = %v, want %v", got, want)
	}
	if !mustObserve(t, u, marker(1, 1, 50, true)) || u.Watermark() != 90_000 {
		t.Errorf("the watermark is %d after the task was heard again", u.Watermark())
	}
}

func TestUpstreamsIgnoreFormerOwner(t *testing.T) {
	u := NewUpstreams(two)
	mustObserve(t, u, marker(0, 5, 100, false))
	mustObserve(t, u, marker(1, 5, 100, false))
	if mustObserve(t, u, marker(0, 4, 900, true)) {
		t.Error("a former owner's marker moved something")
	}
	mustObserve(t, u, marker(1, 5, 900, false))
	if u.Watermark() != 100 {
		t.Errorf("watermark %d, want 100", u.Watermark())
	}
}

func TestUpstreamsIdle(t *testing.T) {
	u := NewUpstreams(two)
	mustObserve(t, u, marker(0, 1, 100, false))
	if !mustObserve(t, u, marker(1, 1, 10, true)) || u.Watermark() != 100 || u.Idle() {
		t.Fatalf("watermark %d, idle %v, want 100 as the other task is idle", u.Watermark(), u.Idle())
	}
	if !mustObserve(t, u, marker(0, 1, 200, true)) || !u.Idle() {
		t.Fatal("all tasks are idle, the partition is not")
	}
	if u.Watermark() != 100 {
		t.Fatalf("watermark %d rose though all tasks are idle", u.Watermark())
	}
	if !mustObserve(t, u, marker(1, 1, 50, false)) || u.Idle() || u.Watermark() != 100 {
		t.Fatalf("watermark %d, idle %v after a task woke up behind", u.Watermark(), u.Idle())
	}
}

func TestUpstreamsRefuseUnknownTask(t *testing.T) {
	u := NewUpstreams(two)
	_, err := u.Observe(Marker{SubTopology: 3, Task: 0, Tasks: 1, Watermark: 5})
	if !errors.Is(err, ErrMarker) {
		t.Fatalf("got %v, want ErrMarker", err)
	}
	if heard, _ := u.Heard(); heard != 0 || u.Watermark() != MinTime {
		t.Errorf("it was counted: %d heard, watermark %d", heard, u.Watermark())
	}
}

func TestUpstreamsOwnTimeUntilFirstMarker(t *testing.T) {
	u := NewUpstreams(two)
	if u.ObserveTime(40) || u.Watermark() != MinTime {
		t.Fatal("the partition's own time counts without UseOwnTime")
	}
	u.UseOwnTime()
	if !u.ObserveTime(50) || u.ObserveTime(45) || u.ObserveTime(MaxTime) || u.Watermark() != 50 {
		t.Fatalf("watermark %d, want the highest time 50", u.Watermark())
	}
	mustObserve(t, u, marker(0, 1, 60, false))
	if u.ObserveTime(70) || u.Watermark() != 50 {
		t.Fatalf("watermark %d, want 50: markers count now, and it never falls", u.Watermark())
	}
	if !mustObserve(t, u, marker(1, 1, 55, false)) || u.Watermark() != 55 {
		t.Fatalf("watermark %d, want 55", u.Watermark())
	}
}

func TestUpstreamsEndIsNotKept(t *testing.T) {
	u := NewUpstreams(two)
	mustObserve(t, u, marker(0, 1, 60, false))
	mustObserve(t, u, marker(1, 1, 50, false))
	mustObserve(t, u, marker(0, 1, MaxTime, true))
	if u.Watermark() != 50 {
		t.Fatalf("watermark %d, want 50", u.Watermark())
	}
	mustObserve(t, u, marker(1, 1, MaxTime, true))
	if u.Watermark() != MaxTime || u.Idle() {
		t.Fatalf("watermark %d, idle %v when both have ended", u.Watermark(), u.Idle())
	}
	next := NewUpstreams(two)
	if err := next.Restore(u.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if next.Watermark() != 50 {
		t.Fatalf("watermark %d after a restart, want the last finite one, 50", next.Watermark())
	}
	mustObserve(t, u, marker(0, 2, 65, false))
	if u.Watermark() != MaxTime || !slices.Equal(u.Waiting(), []Upstream{{0, 0}}) {
		t.Errorf("watermark %d, waiting for %v after a new generation goes on", u.Watermark(), u.Waiting())
	}
}

func TestUpstreamsRestoreLeavesOutStrangers(t *testing.T) {
	u := NewUpstreams([]Upstream{{0, 0}, {0, 1}, {1, 0}})
	mustObserve(t, u, marker(0, 3, 60, false))
	mustObserve(t, u, marker(1, 3, 70, true))
	mustObserve(t, u, Marker{SubTopology: 1, Tasks: 1, Generation: 3, Watermark: 40})
	fewer := NewUpstreams(two)
	if err := fewer.Restore(u.Append(nil)); err != nil {
		t.Fatal(err)
	}
	if heard, expected := fewer.Heard(); heard != 2 || expected != 2 || fewer.Watermark() != 60 {
		t.Errorf("%d of %d heard, watermark %d", heard, expected, fewer.Watermark())
	}
	good := u.Append(nil)
	for _, bad := range [][]byte{nil, {1}, good[:len(good)-1], append([]byte{2}, good[1:]...), append(good[:9:9], make([]byte, markerLen)...)} {
		fresh := NewUpstreams(two)
		if err := fresh.Restore(bad); !errors.Is(err, ErrVector) {
			t.Errorf("Restore(%x) = %v, want ErrVector", bad, err)
		}
		if heard, _ := fresh.Heard(); heard != 0 || fresh.Watermark() != MinTime {
			t.Errorf("Restore(%x) changed something", bad)
		}
	}
}

// TestUpstreamsRestartAnywhere cuts a run of markers in two with a restart and
// compares it with the run that had none.
func TestUpstreamsRestartAnywhere(t *testing.T) {
	anyMarker := rapid.Custom(func(t *rapid.T) Marker {
		return marker(rapid.Int32Range(0, 1).Draw(t, "task"), rapid.Int32Range(1, 3).Draw(t, "generation"),
			rapid.Int64Range(-20, 20).Draw(t, "watermark"), rapid.Bool().Draw(t, "idle"))
	})
	rapid.Check(t, func(t *rapid.T) {
		markers := rapid.SliceOf(anyMarker).Draw(t, "markers")
		cut := rapid.IntRange(0, len(markers)).Draw(t, "cut")
		whole, parts := NewUpstreams(two), NewUpstreams(two)
		before := MinTime
		for i, m := range markers {
			if i == cut {
				kept := parts.Append(nil)
				parts = NewUpstreams(two)
				if err := parts.Restore(kept); err != nil {
					t.Fatal(err)
				}
			}
			a, errA := whole.Observe(m)
			b, errB := parts.Observe(m)
			if a != b || errA != nil || errB != nil {
				t.Fatalf("marker %d: %v, %v and %v, %v", i, a, errA, b, errB)
			}
			if whole.Watermark() != parts.Watermark() || whole.Idle() != parts.Idle() || whole.Watermark() < before {
				t.Fatalf("marker %d: watermark %d after %d, with a restart %d", i, whole.Watermark(), before, parts.Watermark())
			}
			before = whole.Watermark()
		}
	})
}

func TestMarkerGolden(t *testing.T) {
	m := Marker{SubTopology: 1, Task: 3, Tasks: 8, Generation: 42, Watermark: 1_700_000_000_000, Idle: true}
	const want = "0101" + "00000001" + "00000003" + "00000008" + "0000002a" + "0000018bcfe56800"
	b := m.Append(nil)
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("Append = %s, want %s", got, want)
	}
	if got, err := DecodeMarker(b); got != m || err != nil {
		t.Errorf("DecodeMarker = %+v, %v, want %+v", got, err, m)
	}
	for name, bad := range map[string][]byte{
		"nothing":       nil,
		"version":       append([]byte{2}, b[1:]...),
		"flags":         append([]byte{1, 4}, b[2:]...),
		"short":         b[:len(b)-1],
		"long":          append(slices.Clip(b), 0),
		"task of tasks": Marker{Task: 2, Tasks: 2}.Append(nil),
		"negative":      Marker{SubTopology: -1, Tasks: 2}.Append(nil),
	} {
		if got, err := DecodeMarker(bad); !errors.Is(err, ErrMarker) || got != (Marker{}) {
			t.Errorf("%s: DecodeMarker = %+v, %v, want ErrMarker", name, got, err)
		}
	}
}

func FuzzDecodeMarker(f *testing.F) {
	f.Add(Marker{SubTopology: 1, Task: 3, Tasks: 8, Generation: 42, Watermark: 17, Idle: true}.Append(nil))
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := DecodeMarker(b); err == nil && !slices.Equal(m.Append(nil), b) {
			t.Fatalf("%x is %+v, which is encoded as %x", b, m, m.Append(nil))
		}
	})
}

func FuzzUpstreamsRestore(f *testing.F) {
	u := NewUpstreams(two)
	f.Add(u.Append(nil))
	f.Add(marker(1, 2, 3, true).Append(append([]byte(nil), 1, 0, 0, 0, 0, 0, 0, 0, 5)))
	f.Fuzz(func(t *testing.T, b []byte) {
		u := NewUpstreams(two)
		if u.Restore(b) != nil {
			return
		}
		again := NewUpstreams(two)
		if err := again.Restore(u.Append(nil)); err != nil {
			t.Fatal(err)
		}
	})
}
