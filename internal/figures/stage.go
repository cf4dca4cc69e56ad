package main

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streamtest"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// noon is where clocks and events begin. In pictures both are seconds since then.
func noon() time.Time { return time.Date(2026, time.January, 5, 12, 0, 0, 0, time.UTC) }

// at returns the time so many seconds after noon.
func at(seconds float64) time.Time {
	return noon().Add(time.Duration(math.Round(seconds*1000)) * time.Millisecond)
}

// since returns the seconds from noon to a time in Unix milliseconds.
func since(millis int64) float64 { return float64(millis-noon().UnixMilli()) / 1000 }

// source reads the topic "in", and more: integers with a string for a key.
func source(b *topology.Builder, s window.Strategy, more ...string) topology.Stream[string, int64] {
	return topology.Source(b, "in", codec.String, codec.Int64, topology.AndTopics(more...)).EventTime(nil, s.MaxAhead(24*time.Hour))
}

// times is an aggregate that keeps the event times of a window, in seconds since
// noon.
type times []float64

// gather aggregates event times. The value of each event is its time in
// milliseconds.
func gather() topology.Aggregator[int64, times] {
	return topology.Aggregator[int64, times]{
		New:   func() *times { return new(times) },
		Add:   func(t *times, v int64) error { *t = append(*t, since(v)); return nil },
		Merge: func(into, from *times) error { *into = append(*into, *from...); return nil },
	}
}

// shown is a result, and when the clock showed that it was sent.
type shown struct {
	clock  float64
	from   float64 // the window's first moment
	to     float64 // its end
	pane   window.Pane
	events times
}

// stage is a topology that runs, and what was seen of it.
type stage struct {
	d  *streamtest.Driver
	in *streamtest.InputTopic[string, int64]
	// results are those of streams that watch follows, by the name given there.
	results map[string][]shown
	watched []string
	// reads are the records that tasks behind a repartition have read.
	reads []streamtest.TraceEvent
}

// newStage returns a stage that open starts.
func newStage() *stage { return &stage{results: map[string][]shown{}} }

// open runs what b has built.
func (s *stage) open(b *topology.Builder, opts ...streamtest.Option) error {
	top, err := b.Build()
	if err != nil {
		return err
	}
	opts = append([]streamtest.Option{
		streamtest.Start(noon()), streamtest.TickEvery(time.Second),
		streamtest.Trace(func(e streamtest.TraceEvent) {
			if e.Kind == streamtest.TraceRead && e.SubTopology > 0 {
				s.reads = append(s.reads, e)
			}
		}),
	}, opts...)
	if s.d, err = streamtest.Open(top, opts...); err != nil {
		return err
	}
	s.in = streamtest.Input(s.d, "in", codec.String, codec.Int64)
	return nil
}

// close stops the topology.
func (s *stage) close() error { return s.d.Close() }

// now returns what the clock shows.
func (s *stage) now() float64 { return since(s.d.Now().UnixMilli()) }

// wait moves the clock to a time.
func (s *stage) wait(until float64) { s.d.Advance(at(until).Sub(s.d.Now())) }

// send sends an event of a time to a partition.
func (s *stage) send(partition int32, key string, happened float64) {
	s.in.SendTo(partition, key, at(happened).UnixMilli(), at(happened))
}

// watermark returns that of a task; ok is false before it has one.
func (s *stage) watermark(sub int, partition int32) (seconds float64, ok bool) {
	w := s.d.Watermark(sub, partition)
	return since(w), w != window.MinTime && w != window.MaxTime
}

// dropped returns how many events no window has taken.
func (s *stage) dropped() int {
	n := 0
	for drop, count := range s.d.Dropped() {
		if drop.Reason == "late" {
			n += count
		}
	}
	return n
}

// watch notes the results of a stream.
func (s *stage) watch(name string, results topology.Stream[string, times]) {
	s.watched = append(s.watched, name)
	results.Peek(func(r topology.Record[string, times]) {
		s.results[name] = append(s.results[name], shown{
			clock: s.now(), from: since(r.Window.Start), to: since(r.Window.End), pane: r.Pane, events: slices.Clone(r.Value),
		})
	}, topology.Named(fmt.Sprintf("watch-%d", len(s.watched))))
}

// clockText shows seconds since noon, as in "12:05".
func clockText(seconds float64) string {
	t := at(seconds)
	return fmt.Sprintf("%d:%02d", t.Hour(), t.Minute())
}
