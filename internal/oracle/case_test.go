package oracle

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/millrace/millrace/window"
)

// windows describes the windows of a case, in milliseconds.
type windows struct {
	kind                  window.Kind
	size, advance, offset int64
	gap, most             int64 // of sessions; most is 0 without a bound
	difference            int64 // of sliding windows
	unit                  window.Unit
	zone                  string
	count                 int64
	lateness              int64
	separate, merges      bool
}

// engine returns what the engine is given.
func (w windows) engine() window.Windows {
	var e window.Windows
	switch w.kind {
	case window.TumblingKind:
		e = window.Tumbling(ms(w.size)).Offset(ms(w.offset))
	case window.HoppingKind:
		e = window.Hopping(ms(w.size)).Every(ms(w.advance)).Offset(ms(w.offset))
		if w.separate {
			e = e.SeparateWindows()
		}
	case window.SlidingKind:
		e = window.Sliding(ms(w.difference))
	case window.SessionKind:
		e = window.Session(ms(w.gap))
		if w.most > 0 {
			e = e.AtMost(ms(w.most))
		}
	case window.CalendarKind:
		e = window.Calendar(w.unit, w.zone)
	default:
		return window.Count(w.count)
	}
	return e.AllowedLateness(ms(w.lateness))
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// emission says when results are sent.
type emission struct {
	onClose    bool
	onUpdate   bool  // early and late results come with commits
	early      int64 // milliseconds of the clock; 0 for none
	eachCommit bool  // early results come with commits
	earlyCount int64
	late       window.LatePolicy
	mode       window.Mode
}

func (e emission) engine() window.Emit {
	if e.onClose {
		return window.OnClose()
	}
	emit := window.OnTime()
	if e.onUpdate {
		emit = window.OnUpdate()
	} else {
		emit = emit.Late(e.late)
	}
	if e.early > 0 {
		emit = emit.Early(ms(e.early))
	}
	if e.eachCommit && !e.onUpdate {
		emit = emit.EarlyEachCommit()
	}
	if e.earlyCount > 0 {
		emit = emit.EarlyAfter(e.earlyCount)
	}
	switch e.mode {
	case window.Discarding:
		emit = emit.Discarding()
	case window.Retracting:
		emit = emit.Retracting()
	}
	return emit
}

// event is what is sent. Events with one ID are duplicates. One that is marked says
// that no earlier one than Mark is to come in its partition.
type event struct {
	ID     int64
	Key    string
	Time   int64
	Mark   int64
	Marked bool
}

// opKind is a kind of step in a script.
type opKind int

const (
	opBatch opKind = iota
	opAdvance
	opCommit
	opRestart
	opEndAndRestart
	opCrash
	opCrashAfter
	opRebalance
	opMove
	opKill
)

var opNames = [...]string{
	opBatch: "batch", opAdvance: "advance", opCommit: "commit", opRestart: "restart", opEndAndRestart: "end and restart",
	opCrash: "crash", opCrashAfter: "crash after", opRebalance: "rebalance", opMove: "move", opKill: "kill",
}

// op is a step of a script.
type op struct {
	kind opKind
	n    int64 // milliseconds, steps, instances or a task, as the kind needs
	sent []sent
}

// sent is an event and where it goes.
type sent struct {
	topic     string
	partition int32
	event
}

// kase is a run: what a seed stands for.
type kase struct {
	seed        uint64
	w           windows
	e           emission
	strategy    strategy
	delay, idle int64
	flush       int64 // of a generator; 0 for none
	// clocked: the watermark follows the clock, behind it, when everything is idle.
	clocked    bool
	behind     int64
	s          suppression
	ticks      ticks
	topics     []string
	partitions int
	instances  int
	shuffle    bool
	base       int64 // the clock's beginning
	grid       int64 // all times are multiples of it, so that bounds are met exactly; 0 for any
	every      int   // records between commits; 0 for a commit at rest
	pebble     bool
	// bounded: the disorder is within delay and lateness, and no input falls idle,
	// so that nothing is ever dropped.
	bounded bool
	ops     []op
}

// combination is one of all kinds of windows, triggers and modes.
type combination struct {
	kind    window.Kind
	variant bool // separate hopping windows, sessions with a maximum
	onClose bool
	early   bool
	count   bool
	late    window.LatePolicy
	mode    window.Mode
}

func (c combination) String() string {
	return fmt.Sprintf("%v/%v onClose=%v early=%v count=%v %v %v", c.kind, c.variant, c.onClose, c.early, c.count, c.late, c.mode)
}

// combinations returns them all, in an order in which neighbours differ.
func combinations() []combination {
	kinds := []combination{
		{kind: window.TumblingKind}, {kind: window.HoppingKind}, {kind: window.HoppingKind, variant: true}, {kind: window.SlidingKind},
		{kind: window.SessionKind}, {kind: window.SessionKind, variant: true}, {kind: window.CalendarKind}, {kind: window.CountKind},
	}
	var all []combination
	add := func(c combination) {
		for _, k := range kinds {
			if k.kind == window.SlidingKind && c.mode == window.Discarding {
				continue // Build refuses it
			}
			k.onClose, k.early, k.count, k.late, k.mode = c.onClose, c.early, c.count, c.late, c.mode
			all = append(all, k)
		}
	}
	add(combination{onClose: true})
	for _, mode := range []window.Mode{window.Accumulating, window.Discarding, window.Retracting} {
		for _, late := range []window.LatePolicy{window.EachUpdate, window.EachCommit, window.NoLate} {
			for early := range 4 {
				add(combination{mode: mode, late: late, early: early&1 != 0, count: early&2 != 0})
			}
		}
	}
	shuffler := rand.New(rand.NewPCG(1, 1))
	shuffler.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// bases are where events begin: today, around 1970, and far from it.
var bases = []int64{
	time.Date(2026, time.January, 31, 22, 0, 0, 0, time.UTC).UnixMilli(), 0, -40_000_000_000, 1 << 61, -(1 << 61),
}

// zones and a moment shortly before a change of their rules.
var zones = []struct {
	name string
	base time.Time
}{
	{"Australia/Lord_Howe", time.Date(2025, time.April, 5, 3, 0, 0, 0, time.UTC)},
	{"America/Sao_Paulo", time.Date(2018, time.February, 17, 3, 0, 0, 0, time.UTC)},
	{"America/Sao_Paulo", time.Date(2018, time.November, 3, 5, 0, 0, 0, time.UTC)},
	{"UTC", time.Date(1969, time.December, 30, 3, 0, 0, 0, time.UTC)},
}

// draw makes the case of a seed.
func draw(seed uint64) *kase {
	all := combinations()
	c := all[seed%uint64(len(all))]
	rng := rand.New(rand.NewPCG(seed, 4))
	k := &kase{
		seed: seed, topics: []string{"in"}, partitions: 1 + rng.IntN(3), instances: 1,
		shuffle: rng.IntN(3) == 0, base: bases[0], delay: 500 * rng.Int64N(4), bounded: rng.IntN(2) == 0,
	}
	if rng.IntN(3) == 0 {
		k.topics = append(k.topics, "in2")
	}
	if rng.IntN(2) == 0 {
		k.instances = 1 + rng.IntN(3)
	}
	if rng.IntN(2) == 0 {
		k.every = 1 + rng.IntN(12)
	}
	if !k.bounded && rng.IntN(2) == 0 {
		k.idle = 500 * (1 + rng.Int64N(6))
	}
	if rng.IntN(3) == 0 {
		k.base = bases[rng.IntN(len(bases))]
	}
	k.pebble = rng.IntN(12) == 0
	scale := k.drawWindows(rng, c)
	if rng.IntN(2) == 0 {
		k.grid = 250 * scale
		k.w.toGrid(250)
	}
	k.e = emission{onClose: c.onClose, late: c.late, mode: c.mode}
	if c.early {
		k.e.early = 500 * (1 + rng.Int64N(4))
		if rand.New(rand.NewPCG(seed, 6)).IntN(3) == 0 {
			k.e.early, k.e.eachCommit = 0, true
		}
	}
	if c.count {
		k.e.earlyCount = 1 + rng.Int64N(3)
	}
	if c.late == window.EachCommit && rand.New(rand.NewPCG(seed, 7)).IntN(2) == 0 {
		k.e = emission{onUpdate: true, eachCommit: true, late: window.EachCommit, mode: c.mode}
	}
	k.delay *= scale
	more := rand.New(rand.NewPCG(seed, 5))
	k.drawMore(more, scale)
	k.drawScript(rng, scale)
	k.drawMarks(more, scale)
	return k
}

// drawWindows chooses windows, and returns by how much longer than usual they
// are.
func (k *kase) drawWindows(rng *rand.Rand, c combination) (scale int64) {
	scale = 1
	between := func(least, most int64) int64 { return least + rng.Int64N(most-least+1) }
	w := &k.w
	w.kind, w.merges = c.kind, c.kind == window.SessionKind || rng.IntN(2) == 0 || c.mode == window.Discarding
	w.lateness = 500 * rng.Int64N(6)
	switch c.kind {
	case window.TumblingKind:
		w.size = between(1, 4000)
		w.advance = w.size
		if rng.IntN(2) == 0 {
			w.offset = between(1-w.size, w.size-1)
		}
	case window.HoppingKind:
		w.advance = between(200, 1500)
		w.size = w.advance * between(1, 4)
		if w.separate = c.variant; w.separate {
			w.size += between(0, w.advance)
		} else {
			w.merges = true
		}
		if rng.IntN(2) == 0 {
			w.offset = between(1-w.advance, w.advance-1)
		}
	case window.SlidingKind:
		w.difference = between(1, 2500)
	case window.SessionKind:
		w.gap = between(1, 1500)
		if c.variant {
			w.most = between(1, 3000)
		}
	case window.CalendarKind:
		at := zones[rng.IntN(len(zones))]
		w.unit, w.zone, k.base = window.Unit(between(int64(window.Hour), int64(window.Month))), at.name, at.base.UnixMilli()
		scale = map[window.Unit]int64{window.Hour: 1000, window.Day: 24_000, window.Week: 150_000, window.Month: 600_000}[w.unit]
		w.lateness *= scale
	case window.CountKind:
		w.count, w.lateness = between(1, 6), 0
	}
	return scale
}

// drawMore chooses what watermarks follow, and what stands beside and behind the
// aggregate.
func (k *kase) drawMore(rng *rand.Rand, scale int64) {
	length := func() int64 { return scale * 250 * rng.Int64N(12) }
	if rng.IntN(2) == 0 {
		k.strategy = byMark + strategy(rng.IntN(2))
	}
	if k.strategy == byGenerator && !k.bounded && rng.IntN(2) == 0 {
		k.flush = 100 * (1 + rng.Int64N(20))
	}
	if k.idle > 0 && rng.IntN(2) == 0 {
		k.clocked, k.behind = true, k.delay+100*rng.Int64N(30)
	}
	if k.e.mode != window.Discarding && rng.IntN(3) > 0 {
		// On a grid a limit of a millisecond more is over a step later.
		k.s = suppression{used: true, finals: rng.IntN(3) == 0 && !k.e.onUpdate, limit: length() + rng.Int64N(2)}
		switch rng.IntN(6) {
		case 0, 1:
			k.s.records = 1 + rng.Int64N(4)
		case 2:
			k.s.tiny = true
		}
	}
	if rng.IntN(2) == 0 {
		k.ticks = ticks{used: true, every: 1 + length(), hasFrom: rng.IntN(2) == 0}
		if k.grid > 0 {
			k.ticks.every += scale*250 - 1
		}
		if k.ticks.hasFrom {
			k.ticks.from = k.base + length()
		}
	}
}

// drawMarks marks some events with a time before which nothing comes, or, unless
// nothing is to be dropped, with one at which there is more to come.
func (k *kase) drawMarks(rng *rand.Rand, scale int64) {
	high := map[string]int64{}
	for _, o := range k.ops {
		for i := range o.sent {
			s := &o.sent[i]
			lane := fmt.Sprint(s.topic, s.partition)
			if h, ok := high[lane]; !ok || s.Time > h {
				high[lane] = s.Time
			}
			if rng.IntN(2) == 0 {
				continue
			}
			s.Marked, s.Mark = true, high[lane]-k.delay
			if !k.bounded && rng.IntN(4) == 0 {
				s.Mark += scale * (rng.Int64N(2000) - 1000)
			}
		}
	}
}

// toGrid makes all lengths multiples of g.
func (w *windows) toGrid(g int64) {
	up := func(n *int64) { *n = (*n + g - 1) / g * g }
	if w.kind == window.HoppingKind && !w.separate {
		panes := w.size / w.advance
		up(&w.advance)
		w.size = panes * w.advance
	}
	for _, n := range []*int64{&w.size, &w.advance, &w.gap, &w.most, &w.difference} {
		up(n)
	}
	w.offset = w.offset / g * g
}

// lane is where a script writes to: one partition of one topic.
type lane struct {
	topic     string
	partition int32
	at        int64 // how far its events have come
}

// drawScript makes the script.
func (k *kase) drawScript(rng *rand.Rand, scale int64) {
	var lanes []*lane
	for _, topic := range k.topics {
		for p := range k.partitions {
			lanes = append(lanes, &lane{topic, int32(p), k.base + scale*rng.Int64N(4000)})
		}
	}
	disorder := scale * (1 + rng.Int64N(8000))
	if k.bounded {
		disorder = k.delay + k.w.lateness
	}
	id, last := int64(0), []event(nil)
	next := func(l *lane) sent {
		switch rng.IntN(8) {
		case 0: // a tie
		case 1:
			l.at += scale * rng.Int64N(4000)
		default:
			l.at += scale * rng.Int64N(600)
		}
		e := event{ID: id, Key: k.key(rng, l), Time: l.at}
		id++
		if disorder > 0 && rng.IntN(3) > 0 {
			e.Time -= rng.Int64N(disorder + 1)
		}
		switch n := rng.IntN(60); {
		case n == 0 && len(last) > 0 && !k.bounded:
			e = last[rng.IntN(len(last))]
			e.Key = k.key(rng, l)
		case n == 1 && !k.bounded && k.w.kind != window.CalendarKind:
			e.Time -= scale * rng.Int64N(1<<40)
		case n == 2 && !k.bounded && id > 20 && k.w.kind != window.CalendarKind:
			e.Time += rng.Int64N(1 << 33)
		}
		if k.grid > 0 {
			e.Time -= ((e.Time % k.grid) + k.grid) % k.grid
		}
		last = append(last, e)
		return sent{l.topic, l.partition, e}
	}
	var first []sent
	for _, l := range lanes {
		if k.bounded || rng.IntN(4) > 0 {
			first = append(first, next(l))
		}
	}
	k.ops = append(k.ops, op{kind: opBatch, sent: first})
	for range 6 + rng.IntN(14) {
		k.ops = append(k.ops, k.drawOp(rng, lanes, next))
	}
}

// key returns a key for an event of a lane. Without a shuffle each partition has
// keys of its own.
func (k *kase) key(rng *rand.Rand, l *lane) string {
	key := string(rune('a' + rng.IntN(2)))
	if !k.shuffle {
		key += fmt.Sprint(l.partition)
	}
	return key
}

func (k *kase) drawOp(rng *rand.Rand, lanes []*lane, next func(*lane) sent) op {
	switch rng.IntN(24) {
	case 0:
		return op{kind: opCommit}
	case 1, 2:
		return op{kind: opRestart}
	case 3, 4, 5, 6:
		return op{kind: opAdvance, n: 100 * (1 + rng.Int64N(30))}
	case 7:
		return op{kind: opCrash}
	case 8, 9:
		return op{kind: opCrashAfter, n: 1 + rng.Int64N(25)}
	case 10:
		return op{kind: opRebalance, n: 1 + rng.Int64N(3)}
	case 11:
		return op{kind: opMove, n: rng.Int64N(16)}
	case 12:
		return op{kind: opKill, n: rng.Int64N(3)}
	case 13:
		if !k.bounded && rng.IntN(2) == 0 {
			return op{kind: opEndAndRestart}
		}
	}
	o := op{kind: opBatch}
	for range 1 + rng.IntN(8) {
		o.sent = append(o.sent, next(lanes[rng.IntN(len(lanes))]))
	}
	return o
}

// String describes the case, for people.
func (k *kase) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v; %v; %s, delay %v, flush %v, idle after %v, by the clock %v, %v behind; %+v; %+v\ntopics %v, %d partitions, %d instances, shuffle %v; bounded %v; commit each %d; pebble %v\n",
		k.w.engine(), k.e.engine(), strategyNames[k.strategy], ms(k.delay), ms(k.flush), ms(k.idle), k.clocked, ms(k.behind), k.s, k.ticks, k.topics, k.partitions, k.instances, k.shuffle, k.bounded, k.every, k.pebble)
	fmt.Fprintf(&b, "times are milliseconds since %s\n", window.FormatTime(k.base))
	for i, o := range k.ops {
		fmt.Fprintf(&b, "%3d %s", i, opNames[o.kind])
		if o.n > 0 {
			fmt.Fprintf(&b, " %d", o.n)
		}
		for _, s := range o.sent {
			fmt.Fprintf(&b, " %s/%d:%s#%d@%d", s.topic, s.partition, s.Key, s.ID, s.Time-k.base)
			if s.Marked && k.strategy == byMark {
				fmt.Fprintf(&b, "!%d", s.Mark-k.base)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
