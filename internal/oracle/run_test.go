package oracle

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// bag is an aggregate that shows every event that went into it.
type bag []int64

func bagging(merges bool) topology.Aggregator[event, bag] {
	a := topology.Aggregator[event, bag]{
		New: func() *bag { return new(bag) },
		Add: func(b *bag, e event) error { *b = append(*b, e.ID); return nil },
	}
	if merges {
		a.Merge = func(into, from *bag) error { *into = append(*into, *from...); return nil }
	}
	return a
}

// result is what an aggregate sends.
type result struct {
	Key    string
	Window window.Window
	Pane   window.Pane
	Time   int64
	Events bag // sorted
}

// span names a key and window.
type span struct {
	key    string
	window window.Window
}

func (r result) span() span { return span{r.Key, r.Window} }

// show is a line for people, with times since base.
func (r result) show(base int64) string {
	kind := r.Pane.Kind.String()
	if r.Pane.Final {
		kind += ", final"
	}
	if r.Pane.Retracted {
		kind += ", retracted"
	}
	return fmt.Sprintf("%s[%d, %d) %s #%d at %d: %v", r.Key, r.Window.Start-base, r.Window.End-base, kind, r.Pane.Sequence, r.Time-base, r.Events)
}

// step is one thing that a task did, and the results that came of it.
type step struct {
	streamtest.TraceEvent
	results, suppressed []result
	ticks               []int64
}

// place is a position in a topic.
type place struct {
	topic     string
	partition int32
	offset    int64
}

// history is what happened in a run.
type history struct {
	k       *kase
	steps   []step
	records map[place]event
	out     []result // as they stand in the topic
	calmed  []result // those that Suppress has sent
	stored  map[span]bag
	dropped map[string]int
	err     error
	// What the script did, for the statistics.
	crashes, restarts, moves int
}

const application = "oracle"

// moment returns a time in Unix milliseconds.
func moment(t int64) time.Time { return time.UnixMilli(t) }

// seen is called with what comes out of a topology: results, those that Suppress
// sends, and calls of the punctuator.
type seen struct {
	result, suppressed func(result)
	tick               func(at int64)
}

// topology returns the topology of a case.
func (k *kase) topology(see seen) (*topology.Topology, error) {
	b := topology.New(application)
	s := topology.Source(b, "in", codec.String, codec.JSON[event](), topology.AndTopics(k.topics[1:]...)).
		EventTime(func(e event) int64 { return e.Time }, k.engine().MaxAhead(math.MaxInt64/time.Millisecond*time.Millisecond))
	if k.ticks.used {
		topology.Process(s, func() topology.Processor[string, event, string, int64] { return &ticking{k.ticks, see.tick} }, topology.Named("ticking")).
			To("ticks", codec.String, codec.Int64)
	}
	g := s.GroupByKey(codec.String, codec.JSON[event]())
	if k.shuffle {
		g = topology.GroupBy(s, codec.String, codec.JSON[event](), func(r topology.Record[string, event]) string { return strings.Clone(r.Key) }, topology.Named("shuffle"))
	}
	bags := topology.Aggregate(g.WindowedBy(k.w.engine()), codec.JSON[bag](), bagging(k.w.merges), topology.Emit(k.e.engine()), topology.Store("bags"))
	send := func(results topology.Stream[string, bag], topic string, see func(result)) {
		topology.MapValues(results, func(r topology.Record[string, bag]) (result, error) {
			res := newRecorded(r)
			see(res)
			return res, nil
		}, topology.Named("to-"+topic)).To(topic, codec.String, codec.JSON[result]())
	}
	send(bags.Stream(), "out", see.result)
	if k.s.used {
		send(bags.Suppress(k.s.engine()), "calm", see.suppressed)
	}
	return b.Build()
}

// engine returns what the engine is given.
func (s suppression) engine() topology.Suppression {
	if s.finals {
		return topology.UntilWindowCloses()
	}
	buffer := topology.BufferIn("held")
	if s.records > 0 {
		buffer = buffer.MaxRecords(s.records)
	}
	if s.tiny {
		buffer = buffer.MaxBytes(1)
	}
	return topology.UntilTimeLimit(ms(s.limit), buffer)
}

// newRecorded returns a result as records have it.
func newRecorded(r topology.Record[string, bag]) result {
	events := append(bag{}, r.Value...)
	slices.Sort(events)
	res := result{Key: strings.Clone(r.Key), Window: r.Window, Pane: r.Pane, Time: r.Time, Events: events}
	if len(events) == 0 {
		res.Time = 0 // it has the time of no event
	}
	return res
}

// operator is the sub-topology that aggregates.
func (k *kase) operator() int {
	if k.shuffle {
		return 1
	}
	return 0
}

// run runs a case.
func run(k *kase) (*history, error) {
	h := &history{k: k, records: map[place]event{}}
	current := 0 // the step that is no sending
	top, err := k.topology(seen{
		result:     func(r result) { h.steps[current].results = append(h.steps[current].results, r) },
		suppressed: func(r result) { h.steps[current].suppressed = append(h.steps[current].suppressed, r) },
		tick:       func(at int64) { h.steps[current].ticks = append(h.steps[current].ticks, at) },
	})
	if err != nil {
		return nil, err
	}
	opts := []streamtest.Option{
		streamtest.Start(time.UnixMilli(k.base)), streamtest.Partitions(k.partitions), streamtest.Instances(k.instances),
		streamtest.Seed(int64(k.seed) + 1),
		streamtest.Trace(func(e streamtest.TraceEvent) {
			if h.steps = append(h.steps, step{TraceEvent: e}); e.Kind != streamtest.TraceSend {
				current = len(h.steps) - 1
			}
		}),
	}
	if k.every > 0 {
		opts = append(opts, streamtest.CommitEvery(k.every))
	}
	if k.pebble {
		opts = append(opts, streamtest.Pebble())
	}
	d, err := streamtest.Open(top, opts...)
	if err != nil {
		return nil, err
	}
	k.play(d, h)
	d.End()
	h.crashes += d.Crashes()
	h.err = d.Err()
	for _, topic := range k.topics {
		h.read(d, topic)
	}
	if k.shuffle {
		h.read(d, topology.RepartitionTopic(application, "shuffle"))
	}
	for _, m := range streamtest.Output(d, "out", codec.String, codec.JSON[result]()).All() {
		h.out = append(h.out, m.Value)
	}
	if k.s.used {
		for _, m := range streamtest.Output(d, "calm", codec.String, codec.JSON[result]()).All() {
			h.calmed = append(h.calmed, m.Value)
		}
	}
	h.stored, h.dropped = map[span]bag{}, map[string]int{}
	for _, e := range streamtest.Entries[string, bag](d.Store("bags")) {
		slices.Sort(e.Value)
		h.stored[span{e.Key, e.Window}] = e.Value
	}
	for drop, n := range d.Dropped() {
		h.dropped[drop.Reason] += n
	}
	if err := d.Close(); h.err == nil {
		h.err = err
	}
	return h, nil
}

// read takes the records of a topic.
func (h *history) read(d *streamtest.Driver, topic string) {
	for _, m := range streamtest.Output(d, topic, codec.String, codec.JSON[event]()).All() {
		m.Value.Key = m.Key
		h.records[place{topic, m.Partition, m.Offset}] = m.Value
	}
}

// play runs the script.
func (k *kase) play(d *streamtest.Driver, h *history) {
	in := map[string]*streamtest.InputTopic[string, event]{}
	for _, topic := range k.topics {
		in[topic] = streamtest.Input(d, topic, codec.String, codec.JSON[event]())
	}
	alive := map[int]bool{}
	for i := range k.instances {
		alive[i] = true
	}
	for _, o := range k.ops {
		switch o.kind {
		case opBatch:
			d.Batch(func() {
				for _, s := range o.sent {
					in[s.topic].SendTo(s.partition, s.Key, s.event, time.UnixMilli(s.Time))
				}
			})
		case opAdvance:
			d.Advance(ms(o.n))
		case opCommit:
			d.Commit()
		case opRestart:
			h.restarts++
			d.Restart()
		case opEndAndRestart:
			h.restarts++
			d.End()
			d.Restart()
		case opCrash:
			h.crashes++
			d.Crash()
		case opCrashAfter:
			d.CrashAfter(int(o.n))
		case opRebalance:
			h.moves++
			alive = map[int]bool{}
			for i := range int(o.n) {
				alive[i] = true
			}
			d.Rebalance(int(o.n))
		case opMove:
			sub, partition := 0, int32(o.n)%int32(k.partitions)
			if to := int(o.n) / 4; alive[to] {
				h.moves++
				d.Move(sub, partition, to)
			}
		case opKill:
			if alive[int(o.n)] && len(alive) > 1 {
				h.crashes++
				delete(alive, int(o.n))
				d.Kill(int(o.n))
			}
		}
	}
}

// ticking is the processor whose calls are compared with the model's.
type ticking struct {
	x    ticks
	call func(at int64)
}

func (t *ticking) Init(ctx *topology.Context[string, int64]) error {
	s := window.ByEventTime(ms(t.x.every))
	if t.x.hasFrom {
		s = s.From(moment(t.x.from))
	}
	_, err := ctx.Punctuate("tick", s, func(at int64) error {
		t.call(at)
		return ctx.Forward(topology.Record[string, int64]{Key: "tick", Value: at})
	})
	return err
}

func (t *ticking) Process(topology.Record[string, event]) error { return nil }

func (t *ticking) Close() error { return nil }
