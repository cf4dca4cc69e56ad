package llm

import (
	"errors"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/exact"
	"github.com/millrace/millrace/topology"
)

// HealthStats is the aggregate of Health events. The zero HealthStats is that of
// none. Sums are kept exactly, so that merging parts in any order gives the very
// same.
type HealthStats struct {
	// Count is the number of events, Unhealthy of those that say so of their
	// component.
	Count, Unhealthy int64
	// CPUMax and MemoryMax are over all events, 0 to 1.
	CPUMax, MemoryMax float64
	// QueueCount is the number of events with a queue depth, QueueSum and QueueMax
	// are over these.
	QueueCount, QueueSum, QueueMax int64

	cpu, memory exact.Sum
}

// NewHealthStats returns an aggregate of nothing.
func NewHealthStats() *HealthStats { return &HealthStats{} }

// HealthAggregator aggregates Health events into HealthStats.
var HealthAggregator = topology.Aggregator[Health, HealthStats]{
	New:   NewHealthStats,
	Add:   (*HealthStats).Add,
	Merge: (*HealthStats).Merge,
}

// Add counts an event. It refuses one with a number out of its range, or a queue
// depth that makes the sum overflow, with a FieldError, and leaves s as it was.
// It keeps nothing of v.
func (s *HealthStats) Add(v Health) error {
	c := checker{name: healthSchema.name}
	c.fraction("cpu", v.CPU)
	c.fraction("memory", v.Memory)
	c.addable("queue_depth", v.QueueDepth.Or(0), s.QueueSum)
	if c.err != nil {
		return c.err
	}
	s.Count++
	if !v.Healthy {
		s.Unhealthy++
	}
	s.cpu.Add(v.CPU)
	s.memory.Add(v.Memory)
	s.CPUMax, s.MemoryMax = max(s.CPUMax, v.CPU), max(s.MemoryMax, v.Memory)
	if depth, ok := v.QueueDepth.Get(); ok {
		s.QueueCount++
		s.QueueSum += depth
		s.QueueMax = max(s.QueueMax, depth)
	}
	return nil
}

// Merge adds what from has counted, and leaves from as it is. On an error (a sum
// beyond an int64) s is as it was.
func (s *HealthStats) Merge(from *HealthStats) error {
	c := checker{name: "health stats"}
	if c.addable("queue_depth", from.QueueSum, s.QueueSum); c.err != nil {
		return c.err
	}
	s.Count += from.Count
	s.Unhealthy += from.Unhealthy
	s.cpu.Merge(&from.cpu)
	s.memory.Merge(&from.memory)
	s.CPUMax, s.MemoryMax = max(s.CPUMax, from.CPUMax), max(s.MemoryMax, from.MemoryMax)
	s.QueueCount += from.QueueCount
	s.QueueSum += from.QueueSum
	s.QueueMax = max(s.QueueMax, from.QueueMax)
	return nil
}

// HealthStatsCodec encodes HealthStats without loss; equal ones have equal bytes.
// The layout, version 1, in the forms of StatsCodec: Count, Unhealthy,
// QueueCount, QueueSum and QueueMax as uvarints, CPUMax and MemoryMax as floats,
// and the exact sums of CPU and memory. An exact sum is its number of digits as
// a uvarint and, if that is not 0, the weight of the first one as a uvarint, a
// byte that is 1 if the sum is negative, and the digits, each a uint32 in
// little-endian order.
var HealthStatsCodec codec.Codec[HealthStats] = layoutCodec[HealthStats]{
	name: "health stats", version: 1,
	fields: func(l *layout, s *HealthStats) {
		for _, n := range [...]*int64{&s.Count, &s.Unhealthy, &s.QueueCount, &s.QueueSum, &s.QueueMax} {
			l.count(n)
		}
		l.float(&s.CPUMax)
		l.float(&s.MemoryMax)
		l.exact(&s.cpu)
		l.exact(&s.memory)
	},
	check: func(s *HealthStats) error {
		shares := s.CPUMax >= 0 && s.CPUMax <= 1 && s.MemoryMax >= 0 && s.MemoryMax <= 1
		if !shares || s.Unhealthy > s.Count || s.QueueCount > s.Count || s.QueueMax > s.QueueSum {
			return errors.New("the counts contradict each other")
		}
		return nil
	},
}

// MarshalJSON describes s as a HealthSummary does, without key, window and pane,
// which answers of queries have beside the value, and without what is absent.
// There is no way back.
func (s HealthStats) MarshalJSON() ([]byte, error) {
	v := NewHealthSummary(Place{}, &s)
	return marshal(v.measures)
}
