package task_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// tens counts by key in windows of ten seconds, behind a shuffle or not, and
// sends final results as "key=count@start", the start in seconds from base.
func tens(b *topology.Builder, s topology.Stream[string, int64], shuffle bool, base time.Time) {
	g := s.GroupByKey(codec.String, codec.Int64)
	if shuffle {
		g = topology.GroupBy(s, codec.String, codec.Int64, func(r record) string { return r.Key }, topology.Named("shuffle"))
	}
	counts := g.WindowedBy(window.Tumbling(10 * time.Second)).Count(topology.Store("counts")).Stream()
	topology.MapValues(counts, func(r record) (string, error) {
		return fmt.Sprintf("%s=%d@%d", r.Key, r.Value, (r.Window.Start-base.UnixMilli())/1000), nil
	}).To("out", codec.String, codec.String)
}

// late returns how many events no window took.
func late(d *streamtest.Driver) (n int) {
	for drop, count := range d.Dropped() {
		if drop.Reason == "late" {
			n += count
		}
	}
	return n
}

// base is where the clock of a driver begins.
var base = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

func after(seconds int) time.Time { return base.Add(time.Duration(seconds) * time.Second) }

// TestPunctuatedWatermarks: values above 1000 are watermarks. The event that
// brings one is judged by the watermark before, and what has closed stays so over
// restarts.
func TestPunctuatedWatermarks(t *testing.T) {
	mark := func(v int64) (int64, bool) { return v, v > 1000 }
	for _, shuffle := range []bool{false, true} {
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			tens(b, source(b, "in").EventTime(nil, window.Punctuated(mark)), shuffle, base)
		}))
		in := input(d, "in")
		in.Send("k", 1, after(5))
		in.Send("k", 1, after(25))
		want(t, fmt.Sprint("shuffle ", shuffle, ", before a mark"), texts(d))
		in.Send("k", after(20).UnixMilli(), after(7))
		want(t, fmt.Sprint("shuffle ", shuffle, ", behind the mark"), texts(d), "k=2@0")
		in.Send("k", after(10).UnixMilli(), after(26)) // one that is lower
		for restart := range 3 {
			if got, want := d.Watermark(0, 0), after(20).UnixMilli(); got != want {
				t.Errorf("shuffle %v, %d restarts: the watermark is at %s, want %s", shuffle, restart, window.FormatTime(got), window.FormatTime(want))
			}
			in.Send("k", 1, after(8))
			if late(d) != restart+1 {
				t.Errorf("shuffle %v, %d restarts: %d late, want %d", shuffle, restart, late(d), restart+1)
			}
			if restart == 0 {
				d.Restart()
			} else {
				d.Crash()
			}
		}
		in.Send("k", after(30).UnixMilli(), after(29))
		want(t, fmt.Sprint("shuffle ", shuffle, ", at the end"), texts(d), "k=2@0", "k=3@20")
	}
}

// halves is a generator of the test's own: the watermark is halfway between the
// first event and the last, and the clock moves it when it is past alarm.
type halves struct{ first, watermark, alarm int64 }

func (h *halves) Event(_ int64, t, _ int64) int64 {
	if h.first == 0 {
		h.first = t
	}
	h.watermark = max(h.watermark, (h.first+t)/2)
	return h.watermark
}

func (h *halves) Tick(now int64) int64 {
	if h.alarm != 0 && now >= h.alarm {
		return now
	}
	return h.watermark
}

func TestCustomWatermarks(t *testing.T) {
	var started []string
	alarm := after(100).UnixMilli()
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		start := func(w int64) window.Generator[int64] {
			started = append(started, window.FormatTime(w))
			return &halves{watermark: w, alarm: alarm}
		}
		tens(b, source(b, "in").EventTime(nil, window.Custom(start).IdleAfter(time.Hour)), false, base)
	}), streamtest.Partitions(2))
	in := input(d, "in")
	in.SendTo(0, "a", 1, after(0))
	in.SendTo(1, "b", 1, after(0))
	in.SendTo(0, "a", 1, after(30))
	want(t, "halfway", texts(d), "a=1@0")
	if a, b := d.Watermark(0, 0), d.Watermark(0, 1); a != after(15).UnixMilli() || b != after(0).UnixMilli() {
		t.Errorf("watermarks %s and %s: two partitions have one generator", window.FormatTime(a), window.FormatTime(b))
	}
	want(t, "first starts", started, "-infinity", "-infinity")
	d.Restart()
	want(t, "second starts", started[2:], window.FormatTime(after(15).UnixMilli()), window.FormatTime(after(0).UnixMilli()))
	in.SendTo(0, "a", 1, after(9))
	if late(d) != 1 {
		t.Errorf("%d late, want the one behind the watermark that was committed", late(d))
	}
	d.Advance(101 * time.Second)
	want(t, "by the clock", texts(d), "a=1@0", "a=1@30", "b=1@0")
}

// TestGeneratorsThatBreakTheirPromise: a watermark from a bad clock closes no
// window, and user code that panics is an error of its record.
func TestGeneratorsThatBreakTheirPromise(t *testing.T) {
	mark := func(v int64) (int64, bool) {
		if v == 13 {
			panic("thirteen")
		}
		return v, v > 1000
	}
	for policy, dropped := range map[topology.ErrorPolicy]int{topology.Fail: 0, topology.Skip: 1} {
		for what, v := range map[string]int64{
			"too far ahead": base.Add(2 * time.Hour).UnixMilli(), "for ever": window.MaxTime, "panic: thirteen": 13,
		} {
			d := streamtest.New(t, build(t, func(b *topology.Builder) {
				tens(b, source(b, "in").EventTime(nil, window.Punctuated(mark)), false, base)
			}), streamtest.OnError(policy))
			in := input(d, "in")
			in.Send("k", 1, after(5))
			in.Send("k", v, after(6))
			if err := d.Err(); (err != nil) != (policy == topology.Fail) {
				t.Errorf("%v, %s: %v", policy, what, err)
			} else if err != nil && what == "too far ahead" && !errors.Is(err, window.ErrTooFarAhead) {
				t.Errorf("%v", err)
			}
			if got := d.Dropped()[streamtest.Drop{Node: "in", Reason: "error"}]; got != dropped {
				t.Errorf("%v, %s: %d dropped, want %d", policy, what, got, dropped)
			}
			if policy == topology.Fail {
				continue
			}
			in.Send("k", after(10).UnixMilli(), after(7))
			want(t, what, texts(d), "k=2@0")
		}
	}
	for what, start := range map[string]func(int64) window.Generator[int64]{
		"too far ahead":  func(int64) window.Generator[int64] { return &halves{alarm: 1, watermark: 1} },
		"no generator":   func(int64) window.Generator[int64] { return nil },
		"panic: no luck": func(int64) window.Generator[int64] { panic("no luck") },
	} {
		top := build(t, func(b *topology.Builder) {
			tens(b, source(b, "in").EventTime(nil, window.Custom(func(w int64) window.Generator[int64] {
				g := start(w)
				if h, ok := g.(*halves); ok {
					return ahead{h}
				}
				return g
			})), false, base)
		})
		d, err := streamtest.Open(top)
		if err == nil {
			d.Advance(time.Second)
			err = d.Close()
		}
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// ahead is a generator whose clock is two hours fast.
type ahead struct{ *halves }

func (a ahead) Tick(now int64) int64 { return now + 2*time.Hour.Milliseconds() }

// silent is a generator of the test's own that says the greatest time that it has
// seen, once nothing has come for a second.
type silent struct{ high, latest int64 }

func (s *silent) Event(_, t, now int64) int64 {
	s.high, s.latest = max(s.high, t), now
	return window.MinTime
}

func (s *silent) Tick(now int64) int64 {
	if now-s.latest < 1000 {
		return window.MinTime
	}
	return s.high
}

// TestAWatermarkByTheClockAloneIsKept: a generator that the clock has moved begins
// where it was, though its partition has brought nothing since the commit before.
func TestAWatermarkByTheClockAloneIsKept(t *testing.T) {
	began := map[int64]int{}
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		s := topology.Source(b, "in", codec.String, codec.Int64, topology.AndTopics("other"))
		tens(b, s.EventTime(nil, window.Custom(func(w int64) window.Generator[int64] {
			began[w]++
			return &silent{high: window.MinTime}
		})), false, base)
	}))
	other := input(d, "other")
	d.Batch(func() {
		input(d, "in").Send("k", 1, after(5))
		other.Send("k", 1, after(7))
	})
	d.Advance(2 * time.Second)
	input(d, "in").Send("k", 1, after(6)) // there is something to commit
	d.Restart()
	if began[after(5).UnixMilli()] != 1 || began[after(7).UnixMilli()] != 1 {
		t.Errorf("generators began with %v, want one with each partition's own watermark", began)
	}
}
