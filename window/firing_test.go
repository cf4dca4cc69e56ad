package window

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func anyRule() *rapid.Generator[Rule] {
	return rapid.Custom(func(t *rapid.T) Rule {
		w := Tumbling(time.Minute)
		if rapid.Bool().Draw(t, "lateness") {
			w = w.AllowedLateness(time.Second)
		}
		if rapid.Bool().Draw(t, "on close") {
			return OnClose().Rule(w)
		}
		if rapid.Bool().Draw(t, "on update") {
			return OnUpdate().Rule(w)
		}
		return OnTime().EarlyAfter(rapid.Int64Range(1, 5).Draw(t, "every")).Late(rapid.SampledFrom([]LatePolicy{EachUpdate, EachCommit, NoLate}).Draw(t, "late")).Rule(w)
	})
}

// TestFiringInAnyOrder calls the methods in random order and checks what must
// hold in every one, storing and loading the state now and then.
func TestFiringInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := anyRule().Draw(t, "rule")
		var f Firing
		var sent []Pane
		finals, onTimes, unsent := 0, 0, false
		events := int64(0) // since the last result
		note := func(p Pane, ok bool) bool {
			if !ok {
				if p != (Pane{}) {
					t.Fatalf("no result, but pane %+v", p)
				}
				return false
			}
			if finals > 0 {
				t.Fatalf("%+v after the final result", p)
			}
			if p.Sequence != int64(len(sent)) {
				t.Fatalf("%+v is result %d", p, len(sent))
			}
			if n := len(sent); n > 0 && p.Kind < sent[n-1].Kind {
				t.Fatalf("%+v after %+v", p, sent[n-1])
			}
			if p.Final {
				finals++
			}
			if p.Kind == OnTimePane {
				onTimes++
			}
			sent = append(sent, p)
			unsent, events = false, 0
			return true
		}
		t.Repeat(map[string]func(*rapid.T){
			"early": func(*rapid.T) { note(f.Early(r)) },
			"count": func(*rapid.T) {
				want := !f.Passed() && !f.Final() && r.every > 0 && events+1 == r.every
				if !f.Passed() && !f.Final() {
					events++
				}
				if got := note(f.Count(r)); got != want {
					t.Fatalf("event %d of %d sent a result: %v", events, r.every, got)
				}
			},
			"keep": func(t *rapid.T) {
				if len(sent) == 0 {
					return
				}
				value, last := rapid.SampledFrom([]string{"", "value"}).Draw(t, "value"), sent[len(sent)-1]
				f.Keep([]byte(value), -7, last)
				got, at, p, ok := f.Kept()
				want := Pane{Kind: last.Kind, Sequence: last.Sequence, Retracted: true}
				if ok == last.Final || ok && (got != value || at != -7 || p != want) {
					t.Fatalf("kept %q of %+v: %q, %+v, %v", value, last, got, p, ok)
				}
			},
			"mark": func(t *rapid.T) {
				m := rapid.SampledFrom([]Marks{EntryEmpty, EntryPane, EntryUnreadable}).Draw(t, "mark")
				had := f.Has(m)
				f.Mark(m)
				if !f.Has(m) {
					t.Fatalf("mark %d is not set", m)
				}
				if had {
					f.Unmark(m)
				}
			},
			"on time": func(*rapid.T) {
				if note(f.OnTime(r)) && sent[len(sent)-1].Final == r.lateness {
					t.Fatalf("final is %v with lateness %v", !r.lateness, r.lateness)
				}
			},
			"update": func(*rapid.T) {
				open := !f.Final()
				if !note(f.Update(r)) {
					unsent = unsent || open && r.late == EachCommit && !r.onClose
				}
			},
			"commit": func(t *rapid.T) {
				if want := unsent; note(f.Commit(r)) != want {
					t.Fatalf("a late update waits: %v; commit sent: %v", want, !want)
				}
			},
			"close": func(*rapid.T) {
				note(f.Close(r))
				if finals != 1 || !f.Final() {
					t.Fatalf("%d final results after Close, Final() = %v", finals, f.Final())
				}
			},
			"restart": func(t *rapid.T) {
				b := AppendFiring([]byte("x"), f)
				got, n, err := DecodeFiring(append(b[1:], "value"...))
				if got != f || n != len(b)-1 || err != nil {
					t.Fatalf("%+v came back as %+v, %d of %d bytes, %v", f, got, n, len(b)-1, err)
				}
				f = got
			},
			"": func(t *rapid.T) {
				if onTimes > 1 || r.onClose && len(sent) > 1 {
					t.Fatalf("%d on time of %d results", onTimes, len(sent))
				}
				if f.Sequence() != int64(len(sent)) {
					t.Fatalf("Sequence() = %d after %d results", f.Sequence(), len(sent))
				}
			},
		})
	})
}

func TestFiringGolden(t *testing.T) {
	for _, test := range []struct {
		firing Firing
		bytes  string
	}{
		{Firing{}, "\x10\x00"},
		{Firing{next: 1, passed: true}, "\x11\x01"},
		{Firing{next: 2, passed: true, pending: true}, "\x13\x02"},
		{Firing{next: 300, passed: true, final: true}, "\x15\xac\x02"},
		{Firing{next: MaxTime}, "\x10\xff\xff\xff\xff\xff\xff\xff\xff\x7f"},
		{Firing{marks: EntryEmpty | EntryPane}, "\x18\x03\x00"},
		{Firing{next: 3, unsent: 300}, "\x18\x08\x03\xac\x02"},
		{Firing{next: 3, unsent: 1, total: 7}, "\x18\x48\x03\x01\x07"},
		{Firing{next: 3, passed: true, marks: EntryUnreadable, kept: "ab", time: -1, seq: 2, kind: LatePane}, "\x19\x34\x03\x01\x02\x02ab"},
	} {
		if got := AppendFiring(nil, test.firing); string(got) != test.bytes {
			t.Errorf("AppendFiring(%+v) = %x, want %x", test.firing, got, test.bytes)
		}
	}
	for _, bad := range []string{"", "\x10", "\x00\x00", "\x20\x00", "\x18\x00", "\x18\x80\x00", "\x18\x40\x00", "\x18\x08\x00", "\x18\x10\x00\x00\x00\x02a", "\x18\x10\x00", "\x10\x80", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if f, n, err := DecodeFiring([]byte(bad)); !errors.Is(err, ErrFiring) || n != 0 || f != (Firing{}) {
			t.Errorf("DecodeFiring(%x) = %+v, %d, %v; want ErrFiring", bad, f, n, err)
		}
	}
}

func FuzzDecodeFiring(f *testing.F) {
	f.Add([]byte("\x15\xac\x02value"))
	f.Add([]byte("\x10\x80\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, n, err := DecodeFiring(b)
		if err != nil {
			return
		}
		if n < 2 || n > len(b) {
			t.Fatalf("read %d of %d bytes", n, len(b))
		}
		again, m, err := DecodeFiring(AppendFiring(nil, got))
		if again != got || m > n || err != nil {
			t.Fatalf("%+v became %+v, %d bytes, %v", got, again, m, err)
		}
	})
}

func TestFiringDoesNotAllocate(t *testing.T) {
	r := OnTime().Rule(Tumbling(time.Minute).AllowedLateness(time.Minute))
	buf := make([]byte, 0, 16)
	var windows [1]Window
	w := Tumbling(time.Minute)
	if n := testing.AllocsPerRun(100, func() {
		f, _, err := DecodeFiring(AppendFiring(buf, Firing{next: 7}))
		if err != nil || len(w.Assign(123_456, windows[:0])) != 1 {
			t.Fatal(err)
		}
		f.OnTime(r)
		f.Update(r)
		f.Close(r)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestFiringCloseAlone(t *testing.T) {
	var f Firing
	p, ok := f.Close(OnTime().Rule(Tumbling(time.Minute).AllowedLateness(time.Minute)))
	if want := (Pane{Kind: OnTimePane, Final: true}); !ok || p != want {
		t.Errorf("got %+v, %v, want %+v", p, ok, want)
	}
	if b := AppendFiring(nil, f); !bytes.Equal(b, []byte{0x15, 1}) {
		t.Errorf("encoded as %x", b)
	}
}

// TestCountWindowsEndByTheirEvents: every second event brings an early result,
// the fifth the only final one.
func TestCountWindowsEndByTheirEvents(t *testing.T) {
	var f Firing
	r := OnTime().EarlyAfter(2).Rule(Count(5))
	var got []string
	for range 7 {
		if p, ok := f.Count(r); ok {
			got = append(got, fmt.Sprintf("%v %d %v", p.Kind, p.Sequence, p.Final))
		} else {
			got = append(got, "")
		}
		f, _, _ = DecodeFiring(AppendFiring(nil, f))
	}
	if want := []string{"", "early 0 false", "", "early 1 false", "on_time 2 true", "", ""}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
