package llm

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
)

// Signals is what the detection of anomalies keeps of a key: for each slot, a
// stretch of time as long as the advance of the windows, how many events there
// were, how many of them were bad, and sketches of the measured values. It is
// the same whatever the order of events and merges, and bounded: at most MostSlots
// slots with at most three sketches each. The zero Signals is that of no event.
type Signals struct{ slots []slot }

// MostSlots is how many slots a Signals has at most, and so how many advances
// the windows of the detection may be long.
const MostSlots = 240

type slot struct {
	start int64 // Unix milliseconds
	// count is the number of events, bad of those that failed, or told of a
	// component that is not well.
	count, bad int64
	// values are those of the series that belong to the kind of key.
	values []sketch
}

// The series of a slot.
const (
	paceSeries  = 0 // of models
	modelSeries = 1 // how many

	cpuSeries       = 0 // of components
	memorySeries    = 1
	queueSeries     = 2
	componentSeries = 3
)

// NewSignals returns an aggregate of nothing.
func NewSignals() *Signals { return &Signals{} }

// pace is the latency per token of work, in milliseconds. Latency itself says
// more of the requests than of the model: an answer of 500 tokens takes fifty
// times as long as one of 10, and what users ask for changes from minute to
// minute. A token that is written counts 1; one that is read a hundredth, since a
// prompt is read in parallel, about two orders of magnitude faster a token; and
// every request 4, for what it costs beside.
func pace(v *Performance) float64 {
	return v.LatencyMS / (float64(v.CompletionTokens) + float64(v.PromptTokens)/100 + 4)
}

// ModelSignals aggregates Performance events into Signals, in slots of that
// length, which is at least a millisecond. It refuses a latency that is negative
// or not finite, and negative tokens, with a FieldError.
func ModelSignals(length time.Duration) topology.Aggregator[Performance, Signals] {
	millis := max(length.Milliseconds(), 1)
	return topology.Aggregator[Performance, Signals]{
		New: NewSignals,
		Add: func(s *Signals, v Performance) error {
			c := checker{name: performanceSchema.name}
			c.amount("latency_ms", v.LatencyMS)
			c.notNegative("prompt_tokens", v.PromptTokens)
			c.notNegative("completion_tokens", v.CompletionTokens)
			if c.err != nil {
				return c.err
			}
			into, err := s.slot(v.Timestamp, millis, modelSeries)
			if err != nil {
				return err
			}
			into.count++
			if v.Error {
				into.bad++
			}
			into.values[paceSeries].add(pace(&v))
			return nil
		},
		Merge: (*Signals).Merge,
	}
}

// ComponentSignals aggregates Health events into Signals, as ModelSignals does.
func ComponentSignals(length time.Duration) topology.Aggregator[Health, Signals] {
	millis := max(length.Milliseconds(), 1)
	return topology.Aggregator[Health, Signals]{
		New: NewSignals,
		Add: func(s *Signals, v Health) error {
			c := checker{name: healthSchema.name}
			c.fraction("cpu", v.CPU)
			c.fraction("memory", v.Memory)
			c.notNegative("queue_depth", v.QueueDepth.Or(0))
			if c.err != nil {
				return c.err
			}
			into, err := s.slot(v.Timestamp, millis, componentSeries)
			if err != nil {
				return err
			}
			into.count++
			if !v.Healthy {
				into.bad++
			}
			into.values[cpuSeries].add(v.CPU)
			into.values[memorySeries].add(v.Memory)
			if depth, ok := v.QueueDepth.Get(); ok {
				into.values[queueSeries].add(float64(depth))
			}
			return nil
		},
		Merge: (*Signals).Merge,
	}
}

// Count returns the number of events.
func (s *Signals) Count() int64 {
	sum := int64(0)
	for i := range s.slots {
		sum += s.slots[i].count
	}
	return sum
}

// slot returns the slot of an event's time, a new one if need be.
func (s *Signals) slot(at, length int64, series int) (*slot, error) {
	into := at % length
	if into < 0 {
		into += length
	}
	return s.begin(at-into, series)
}

// begin returns the slot that begins at start, a new one if need be.
func (s *Signals) begin(start int64, series int) (*slot, error) {
	i := len(s.slots)
	for i > 0 && s.slots[i-1].start >= start { // most events belong to the last one
		i--
	}
	if i < len(s.slots) && s.slots[i].start == start {
		if have := len(s.slots[i].values); have != series {
			return nil, fmt.Errorf("llm: signals of %d and of %d series do not go together", have, series)
		}
		return &s.slots[i], nil
	}
	if len(s.slots) == MostSlots {
		return nil, fmt.Errorf("llm: more than %d slots of signals: want windows of at most so many advances", MostSlots)
	}
	s.slots = slices.Insert(s.slots, i, slot{start: start, values: make([]sketch, series)})
	return &s.slots[i], nil
}

// Merge adds what from has counted, and leaves from as it is. The error says
// that there are too many slots, or that one side has models and the other
// components.
func (s *Signals) Merge(from *Signals) error {
	for i := range from.slots {
		f := &from.slots[i]
		into, err := s.begin(f.start, len(f.values))
		if err != nil {
			return err
		}
		into.count += f.count
		into.bad += f.bad
		for k := range f.values {
			into.values[k].merge(&f.values[k])
		}
	}
	return nil
}

// SignalsCodec encodes Signals without loss; equal ones have equal bytes. The
// layout, version 1: the number of series a slot, the number of slots; for each
// slot its start as a varint, its events and the bad ones, and for each series
// the number of values and their sketch as in StatsCodec. All other numbers are
// uvarints.
var SignalsCodec codec.Codec[Signals] = layoutCodec[Signals]{
	name: "signals", version: 1,
	fields: func(l *layout, s *Signals) {
		series := 0
		if len(s.slots) > 0 {
			series = len(s.slots[0].values)
		}
		series = l.length(series, componentSeries)
		n := l.length(len(s.slots), MostSlots)
		if l.reading() {
			s.slots = make([]slot, n)
		}
		for i := range s.slots {
			slot := &s.slots[i]
			l.time(&slot.start)
			l.count(&slot.count)
			l.count(&slot.bad)
			if l.reading() {
				slot.values = make([]sketch, series)
			}
			for k := range slot.values {
				values := slot.values[k].total()
				l.count(&values)
				l.sketch(&slot.values[k], values)
			}
		}
	},
	check: func(s *Signals) error {
		for i := range s.slots {
			slot := &s.slots[i]
			if slot.bad > slot.count || len(slot.values) == 0 || i > 0 && slot.start <= s.slots[i-1].start {
				return errors.New("the slots contradict themselves")
			}
			for k := range slot.values {
				if slot.values[k].total() > slot.count {
					return errors.New("a slot has more values than events")
				}
			}
		}
		return nil
	},
}

// seriesNames are the fields of the medians in the answers of queries, by the
// number of series.
var seriesNames = map[int][]string{
	modelSeries:     {PaceSignal},
	componentSeries: {CPUSignal, MemorySignal, QueueSignal},
}

// MarshalJSON lists the slots: start, events, the bad ones, and the medians of
// the values. There is no way back.
func (s Signals) MarshalJSON() ([]byte, error) {
	count := s.Count()
	return marshal(func(f *form) {
		f.int("count", &count)
		list(f, "slots", &s.slots, func(f *form, slot *slot) {
			f.int("start", &slot.start)
			f.int("count", &slot.count)
			f.int("bad", &slot.bad)
			for k, name := range seriesNames[len(slot.values)] {
				median := finite(slot.values[k].quantile(0.5))
				f.number(name, &median)
			}
		})
	})
}
