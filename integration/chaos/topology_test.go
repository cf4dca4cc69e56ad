package chaos

import (
	"strings"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// The times of the topology, of events. A partition may be out of account for
// three seconds after it said that it was idle; delay and lateness leave room for
// that, so that nothing is late but what is sent so.
const (
	windowSize = 5 * time.Second
	lateness   = 3 * time.Second
	delay      = 2 * time.Second
	idleAfter  = 2 * time.Second
)

// reading is an input event. The key of its record is its sensor.
type reading struct {
	ID    int64 `json:"id"`
	At    int64 `json:"at"` // Unix ms
	Value int64 `json:"value"`
	// Behind is set if it is sent long after its time, to be late.
	Behind bool `json:"behind,omitempty"`
	// Number is the how manieth reading of its sensor it is, from 1. The topology
	// sets it.
	Number int64 `json:"number,omitempty"`
}

// sums is what is gathered of a group and window. The sum of the hashes tells
// which readings are in it.
type sums struct {
	Count, Sum, Hashes, Numbers int64
}

func (s *sums) add(r reading) {
	s.Count++
	s.Sum += r.Value
	s.Hashes += hash(r.ID)
	s.Numbers += r.Number
}

func (s *sums) merge(o sums) {
	s.Count += o.Count
	s.Sum += o.Sum
	s.Hashes += o.Hashes
	s.Numbers += o.Numbers
}

// hash is the finalizer of splitmix64.
func hash(id int64) int64 {
	z := uint64(id) + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int64(z ^ z>>31)
}

// result is an output of the topology.
type result struct {
	Start    int64 `json:"start"`
	Sequence int64 `json:"sequence"`
	Final    bool  `json:"final"`
	Sums     sums  `json:"sums"`
}

// topics are the names of a run.
type topics struct{ Input, Results, Late string }

func newTopics(application string) topics {
	return topics{application + "-readings", application + "-results", application + "-late"}
}

// groupOf is what readings are summed up by: the sensor's name before its dash.
func groupOf(sensor string) string {
	group, _, _ := strings.Cut(sensor, "-")
	return group
}

// newTopology is what the instances run.
func newTopology(application string) (*topology.Topology, error) {
	names := newTopics(application)
	values := codec.JSON[reading]()
	b := topology.New(application)
	readings := topology.Source(b, names.Input, codec.String, values).
		EventTime(func(r reading) int64 { return r.At }, window.BoundedDelay(delay).IdleAfter(idleAfter))
	seen := topology.KeyValueStore(b, "seen", codec.String, codec.Int64)
	numbered := topology.Process(readings, func() topology.Processor[string, reading, string, reading] {
		return &numbering{store: seen}
	}, topology.Uses(seen))
	windows := topology.GroupBy(numbered, codec.String, values,
		func(r topology.Record[string, reading]) string { return groupOf(r.Key) }, topology.Named("by-group")).
		WindowedBy(window.Tumbling(windowSize).AllowedLateness(lateness))
	aggregate := topology.Aggregator[reading, sums]{
		New: func() *sums { return new(sums) },
		Add: func(s *sums, r reading) error { s.add(r); return nil },
	}
	table := topology.Aggregate(windows, codec.JSON[sums](), aggregate,
		topology.Emit(window.OnTime().Late(window.EachUpdate)), topology.Store("sums"))
	topology.MapValues(table.Stream(), func(r topology.Record[string, sums]) (result, error) {
		return result{Start: r.Window.Start, Sequence: int64(r.Pane.Sequence), Final: r.Pane.Final, Sums: r.Value}, nil
	}).To(names.Results, codec.String, codec.JSON[result]())
	windows.Late().To(names.Late, codec.String, values)
	return b.Build()
}

// newNumbers numbers readings and does nothing else: each has a result at once.
func newNumbers(application string) (*topology.Topology, error) {
	names := newTopics(application)
	values := codec.JSON[reading]()
	b := topology.New(application)
	readings := topology.Source(b, names.Input, codec.String, values)
	seen := topology.KeyValueStore(b, "seen", codec.String, codec.Int64)
	topology.Process(readings, func() topology.Processor[string, reading, string, reading] {
		return &numbering{store: seen}
	}, topology.Uses(seen)).To(names.Results, codec.String, values)
	return b.Build()
}

// numbering numbers the readings of each sensor.
type numbering struct {
	store topology.KeyValue[string, int64]
	ctx   *topology.Context[string, reading]
	seen  *topology.State[string, int64]
}

func (p *numbering) Init(ctx *topology.Context[string, reading]) (err error) {
	p.ctx = ctx
	p.seen, err = p.store.In(ctx)
	return err
}

func (p *numbering) Process(r topology.Record[string, reading]) error {
	n, _, err := p.seen.Get(r.Key)
	if err != nil {
		return err
	}
	r.Value.Number = n + 1
	if err := p.seen.Put(r.Key, n+1); err != nil {
		return err
	}
	return p.ctx.Forward(r)
}

func (p *numbering) Close() error { return nil }
