package task_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// metronome is a processor that counts records, and says at each tick how many there
// were since the last one. Count and tick are in its store and in what it sends.
type metronome struct {
	schedules map[string]window.Schedule
	store     topology.KeyValue[string, int64]
	hasStore  bool
	fail      func(name string, at int64) error
	early     bool // it schedules in Init and not with the first record

	ctx   *topology.Context[string, int64]
	state *topology.State[string, int64]
	made  map[string]*topology.Punctuator
	count int64
}

func (m *metronome) Init(ctx *topology.Context[string, int64]) (err error) {
	m.ctx, m.made = ctx, map[string]*topology.Punctuator{}
	if m.hasStore {
		if m.state, err = m.store.In(ctx); err != nil {
			return err
		}
	}
	if m.early {
		return m.schedule()
	}
	return nil
}

func (m *metronome) schedule() error {
	for _, name := range []string{"a", "b", "c"} {
		s, ok := m.schedules[name]
		if !ok || m.made[name] != nil {
			continue
		}
		var err error
		m.made[name], err = m.ctx.Punctuate(name, s, func(at int64) error { return m.tick(name, at) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *metronome) tick(name string, at int64) error {
	n := m.count
	m.count = 0
	if m.hasStore {
		var err error
		if n, _, err = m.state.Get("n"); err != nil {
			return err
		}
		if err := m.state.Put("n", 0); err != nil {
			return err
		}
	}
	if err := m.ctx.Forward(topology.Record[string, int64]{Key: name, Value: n}); err != nil {
		return err
	}
	if m.fail != nil {
		return m.fail(name, at)
	}
	return nil
}

func (m *metronome) Process(topology.Record[string, int64]) error {
	if err := m.schedule(); err != nil {
		return err
	}
	m.count++
	if !m.hasStore {
		return nil
	}
	n, _, err := m.state.Get("n")
	if err != nil {
		return err
	}
	return m.state.Put("n", n+1)
}

func (m *metronome) Close() error { return nil }

// beating is "in" to "out" by way of a metronome.
func beating(t testing.TB, stored bool, change func(*metronome), opts ...topology.ProcessOption) *topology.Topology {
	return build(t, func(b *topology.Builder) {
		m := metronome{early: true, hasStore: stored}
		if stored {
			m.store = topology.KeyValueStore(b, "beats", codec.String, codec.Int64)
			opts = append(opts, topology.Uses(m.store))
		}
		topology.Process(source(b, "in"), func() topology.Processor[string, int64, string, int64] {
			own := m
			change(&own)
			return &own
		}, opts...).To("out", codec.String, codec.Int64)
	})
}

// ticks returns what "out" holds, as "name@time=count", with the time since start.
func ticks(d *streamtest.Driver, start time.Time) []string {
	var out []string
	for _, m := range streamtest.Output(d, "out", codec.String, codec.Int64).All() {
		out = append(out, fmt.Sprintf("%s@%v=%d", m.Key, m.Time.Sub(start), m.Value))
	}
	return out
}

// TestEventTimeTicks: by the watermark, collapsed where it jumps, and not with the
// first record but with the first tick; over crashes and restarts as without.
func TestEventTimeTicks(t *testing.T) {
	for _, again := range []string{"", "restart", "crash"} {
		top := beating(t, true, func(m *metronome) {
			m.schedules = map[string]window.Schedule{"a": window.ByEventTime(10 * time.Second)}
		})
		d := streamtest.New(t, top)
		in, start := input(d, "in"), d.Now()
		for _, second := range []int64{3, 9, 10, 11, 19, 47, 48, 50, 51} {
			in.Send("k", 1, start.Add(time.Duration(second)*time.Second))
			switch again {
			case "restart":
				d.Restart()
			case "crash":
				d.Crash()
			}
		}
		// The record that moves the watermark comes before the tick.
		want(t, again, ticks(d, start), "a@10s=3", "a@40s=3", "a@50s=2")
		d.End()
		want(t, again+", at the end", ticks(d, start), "a@10s=3", "a@40s=3", "a@50s=2", "a@1m0s=1")
	}
}

// TestEventTimeTicksBegin: a tick is due as soon as the watermark reaches it, also
// with the first record, and before From there is none.
func TestEventTimeTicksBegin(t *testing.T) {
	d := streamtest.New(t, beating(t, false, func(m *metronome) {
		m.schedules = map[string]window.Schedule{
			"a": window.ByEventTime(10 * time.Second),
			"b": window.ByEventTime(10 * time.Second).From(streamStart.Add(25 * time.Second)),
			"c": window.ByEventTime(7 * time.Second).From(streamStart.Add(-time.Second)),
		}
	}))
	in, start := input(d, "in"), d.Now()
	for _, second := range []int64{0, 24, 36} {
		in.Send("k", 1, start.Add(time.Duration(second)*time.Second))
	}
	// c ticks at 20 and 34; ticks come in their order, and then in that of Punctuate.
	want(t, "out", ticks(d, start), "a@0s=1", "a@20s=1", "c@20s=0", "a@30s=1", "c@34s=0", "b@35s=0")
}

// TestTicksUpToTheEnd: at the end of a bounded run time first comes as far as it is
// known to be, here by the input that ends last, so that no tick is lost between that
// and the next run.
func TestTicksUpToTheEnd(t *testing.T) {
	for _, stored := range []bool{false, true} {
		d := streamtest.New(t, build(t, func(b *topology.Builder) {
			m := metronome{early: true, hasStore: stored, schedules: map[string]window.Schedule{"a": window.ByEventTime(10 * time.Second)}}
			var opts []topology.ProcessOption
			if stored {
				m.store = topology.KeyValueStore(b, "beats", codec.String, codec.Int64)
				opts = append(opts, topology.Uses(m.store))
			}
			s := topology.Source(b, "in", codec.String, codec.Int64, topology.AndTopics("other"))
			topology.Process(s, func() topology.Processor[string, int64, string, int64] { own := m; return &own }, opts...).
				To("out", codec.String, codec.Int64)
		}))
		start := d.Now()
		d.Batch(func() {
			input(d, "in").Send("k", 1, start.Add(5*time.Second))
			input(d, "other").Send("k", 1, start.Add(47*time.Second))
		})
		d.End()
		want(t, fmt.Sprintf("stored %v, at the end", stored), ticks(d, start), "a@40s=2", "a@50s=0")
		d.Restart()
		d.Batch(func() {
			input(d, "in").Send("k", 1, start.Add(71*time.Second))
			input(d, "other").Send("k", 1, start.Add(71*time.Second))
		})
		want(t, fmt.Sprintf("stored %v, in the next run", stored), ticks(d, start), "a@40s=2", "a@50s=0", "a@1m10s=2")
	}
}

// streamStart is where the clock of a streamtest begins.
var streamStart = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// TestNoEventsNoTicks: a bounded run over nothing has no time.
func TestNoEventsNoTicks(t *testing.T) {
	d := streamtest.New(t, beating(t, false, func(m *metronome) {
		m.schedules = map[string]window.Schedule{"a": window.ByEventTime(time.Second)}
	}))
	d.End()
	want(t, "out", results(d, "out"))
}

// TestClockTicks: on the grid of the clock, collapsed where the process stood still;
// what passed while it was down is made up for at once, if there is a store to
// remember it in, and nothing comes twice.
func TestClockTicks(t *testing.T) {
	for _, stored := range []bool{true, false} {
		top := beating(t, stored, func(m *metronome) {
			m.schedules = map[string]window.Schedule{
				"a": window.ByClock(time.Minute),
				"b": window.ByClock(time.Hour).From(streamStart.Add(90 * time.Second)),
			}
		})
		d := streamtest.New(t, top, streamtest.Start(streamStart.Add(10*time.Second)), streamtest.TickEvery(10*time.Second))
		input(d, "in").Send("k", 1, d.Now())
		d.Advance(100 * time.Second)
		got := []string{"a@1m0s=1", "b@1m30s=0"}
		want(t, "before the restart", ticks(d, streamStart), got...)
		d.Restart()
		d.Crash()
		want(t, "after it", ticks(d, streamStart), got...)
		d.Advance(20 * time.Second)
		want(t, "at the next", ticks(d, streamStart), append(got, "a@2m0s=0")...)
	}
}

// TestClockTicksWhileDown: the tick that passes between two runs is made up for.
func TestClockTicksWhileDown(t *testing.T) {
	for _, stored := range []bool{true, false} {
		o := newOnce(t, beating(t, stored, func(m *metronome) {
			m.schedules = map[string]window.Schedule{"a": window.ByClock(time.Minute)}
		}))
		o.in = []*task.Fetched{fetched(0, "k", 0)}
		o.run(1)
		o.commit(false)
		o.now = o.now.Add(10 * time.Minute)
		o.tick()
		o.commit(false)
		if len(o.sent) != 1 {
			t.Errorf("stored %v: %d ticks, want one for ten minutes at once", stored, len(o.sent))
		}
		if o.tick(); o.task.Dirty() {
			t.Errorf("stored %v: dirty without a tick", stored)
		}
		o.now = o.now.Add(59 * time.Second)
		o.crash()
		o.tick()
		if len(o.pending) != 0 {
			t.Errorf("stored %v: %d ticks came again", stored, len(o.pending))
		}
		o.now = o.now.Add(2 * time.Second)
		o.crash()
		o.tick()
		if n := len(o.pending); stored && n != 1 || !stored && n != 0 {
			t.Errorf("stored %v: %d ticks for the minute that passed while down", stored, n)
		}
	}
}

// TestPunctuatorsExactlyOnce: ticks of both kinds, with crashes as without.
func TestPunctuatorsExactlyOnce(t *testing.T) {
	var list []*task.Fetched
	for i := range int64(60) {
		list = append(list, fetched(i, "k", i*500))
	}
	sameWithCrashes(t, func() *topology.Topology {
		return beating(t, true, func(m *metronome) {
			m.schedules = map[string]window.Schedule{"a": window.ByEventTime(3 * time.Second)}
		})
	}, list, 20)
}

// TestCancel: also from within, and the name is then free again.
func TestCancel(t *testing.T) {
	d := streamtest.New(t, build(t, func(b *topology.Builder) {
		topology.Process(source(b, "in"), func() topology.Processor[string, int64, string, int64] {
			m := &metronome{schedules: map[string]window.Schedule{"a": window.ByEventTime(time.Second)}}
			m.fail = func(name string, at int64) error {
				m.made[name].Cancel()
				m.made[name].Cancel()
				if m.made["b"] != nil {
					return nil
				}
				var err error
				m.made["b"], err = m.ctx.Punctuate("a", window.ByEventTime(5*time.Second), func(at int64) error {
					return m.ctx.Forward(topology.Record[string, int64]{Key: "again", Value: at, Time: at + 1})
				})
				return err
			}
			return m
		}).To("out", codec.String, codec.Int64)
	}))
	in, start := input(d, "in"), d.Now()
	for second := range 7 {
		in.Send("k", 1, start.Add(time.Duration(second)*time.Second))
	}
	want(t, "out", results(d, "out"), "a=1", fmt.Sprintf("again=%d", start.Add(5*time.Second).UnixMilli()))
	if m := streamtest.Output(d, "out", codec.String, codec.Int64).All()[1]; !m.Time.Equal(start.Add(5001 * time.Millisecond)) {
		t.Errorf("the record has the time %v, want the one that it was given", m.Time)
	}
}

// TestAPunctuatorThatFails: with Fail the instance stops and says where; else the
// tick is left out, as if it had done nothing.
func TestAPunctuatorThatFails(t *testing.T) {
	run := func(policy topology.ErrorPolicy, kind func(time.Duration) window.Schedule, fail func() error) *streamtest.Driver {
		top := beating(t, true, func(m *metronome) {
			m.schedules = map[string]window.Schedule{"a": kind(10 * time.Second)}
			m.fail = func(_ string, at int64) error {
				if at == streamStart.Add(20*time.Second).UnixMilli() {
					return fail()
				}
				return nil
			}
		}, topology.Named("beat"))
		d := streamtest.New(t, top, streamtest.OnError(policy), streamtest.CommitEvery(4))
		in := input(d, "in")
		for range 35 {
			in.Send("k", 1, d.Now())
			d.Advance(time.Second)
		}
		return d
	}
	for name, kind := range map[string]func(time.Duration) window.Schedule{"event": window.ByEventTime, "clock": window.ByClock} {
		d := run(topology.Fail, kind, fails)
		err := d.Err()
		if !errors.Is(err, errBad) {
			t.Errorf("%s: error %v", name, err)
		}
		wantText(t, err, `node "beat"`, "punctuate_test.go:", `punctuator "a" at 2026-01-01T00:00:20.000Z`)
		for how, fail := range map[string]func() error{"error": fails, "panic": panics} {
			d := run(topology.Skip, kind, fail)
			if err := d.Err(); err != nil {
				t.Fatalf("%s, %s: %v", name, how, err)
			}
			if d.Replays() == 0 || d.Dropped()[streamtest.Drop{Node: "beat", Reason: "error"}] == 0 {
				t.Errorf("%s, %s: %d replays, dropped %v", name, how, d.Replays(), d.Dropped())
			}
			// What a replay sends again is at least once.
			last := map[string]string{}
			for _, m := range streamtest.Output(d, "out", codec.String, codec.Int64).All() {
				last[fmt.Sprint(m.Time.Sub(streamStart))] = fmt.Sprint(m.Value)
			}
			// The tick at 20 s is left out, and with it the reset of the count.
			if last["30s"] != "20" {
				t.Errorf("%s, %s: the tick after the failed one has counted %q of the 20 records since the one before: %v", name, how, last["30s"], last)
			}
		}
	}
}

// TestMistakesInPunctuate: all of them say what is wrong, and the task does not start.
func TestMistakesInPunctuate(t *testing.T) {
	for name, c := range map[string]struct {
		punctuate func(*topology.Context[string, int64]) error
		want      string
	}{
		"no name": {func(ctx *topology.Context[string, int64]) error {
			_, err := ctx.Punctuate("", window.ByClock(time.Second), func(int64) error { return nil })
			return err
		}, "needs a name"},
		"no function": {func(ctx *topology.Context[string, int64]) error {
			_, err := ctx.Punctuate("a", window.ByClock(time.Second), nil)
			return err
		}, "the function is nil"},
		"no interval": {func(ctx *topology.Context[string, int64]) error {
			_, err := ctx.Punctuate("a", window.ByEventTime(0), func(int64) error { return nil })
			return err
		}, "interval 0s: want at least 1ms"},
		"twice": {func(ctx *topology.Context[string, int64]) error {
			_, err := ctx.Punctuate("a", window.ByEventTime(time.Second), func(int64) error { return nil })
			if err == nil {
				_, err = ctx.Punctuate("a", window.ByClock(time.Second), func(int64) error { return nil })
			}
			return err
		}, "has a punctuator of that name"},
	} {
		top := build(t, func(b *topology.Builder) {
			topology.Process(source(b, "in"), func() topology.Processor[string, int64, string, int64] {
				return &initOnly{c.punctuate}
			}, topology.Named("beat"))
		})
		_, err := streamtest.Open(top)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		wantText(t, err, c.want, `node "beat"`)
	}
}

// initOnly is a processor whose Init may fail.
type initOnly struct {
	init func(*topology.Context[string, int64]) error
}

func (p *initOnly) Init(ctx *topology.Context[string, int64]) error { return p.init(ctx) }
func (*initOnly) Process(record) error                              { return nil }
func (*initOnly) Close() error                                      { return nil }

func wantText(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(fmt.Sprint(err), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
}
