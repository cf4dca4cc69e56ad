package bench

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Growing is what Grow measures: how the cost of an event grows with the number
// of keys and of partitions.
type Growing struct {
	Settings
	Events int64
	Seed   uint64
	// Keys and Partitions are what is tried: each number of keys with
	// FixedPartitions, and each number of partitions with FixedKeys.
	Keys       []int64
	Partitions []int32
	// Log is told of each run.
	Log io.Writer `json:"-"`
}

// What stays the same while the other grows.
const (
	FixedKeys       = 1000
	FixedPartitions = 4
)

// Growth is what Grow has found.
type Growth struct {
	Growing
	Machine machine
	Points  []GrowthPoint
}

// GrowthPoint is a run over one number of keys and of partitions.
type GrowthPoint struct {
	// Keys is of how many the events have any, and Windows how many of them had
	// some.
	Keys       int64
	Windows    int
	Partitions int32
	// Millrace and Floor are the reports of both.
	Millrace, Floor Report
}

// Grow runs millrace and the raw floor over each load. The error wraps [ErrVoid]
// if they have computed something else.
func Grow(ctx context.Context, g Growing) (*Growth, error) {
	g.Settings = g.withDefaults()
	f, err := openField(ctx, g.Settings)
	if err != nil {
		return nil, err
	}
	defer f.close()
	found := &Growth{Growing: g, Machine: thisMachine()}
	try := func(keys int64, partitions int32) error {
		p, err := f.point(ctx, g, keys, partitions)
		if err != nil {
			return fmt.Errorf("%d keys, %d partitions: %w", keys, partitions, err)
		}
		found.Points = append(found.Points, p)
		fmt.Fprintf(g.Log, "%9d keys, %2d partitions: millrace %6.0f ns an event, %4.0f MiB; floor %6.0f ns, %5.0f MiB\n", keys, partitions,
			nanosAnEvent(p.Millrace), peakMiB(p.Millrace), nanosAnEvent(p.Floor), peakMiB(p.Floor))
		return nil
	}
	for _, keys := range g.Keys {
		if err := try(keys, FixedPartitions); err != nil {
			return nil, err
		}
	}
	for _, n := range g.Partitions {
		if err := try(FixedKeys, n); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// point runs both over one load.
func (f *field) point(ctx context.Context, g Growing, keys int64, partitions int32) (GrowthPoint, error) {
	p := GrowthPoint{Keys: keys, Partitions: partitions}
	input := fmt.Sprintf("grow-%d-%d-%d", keys, partitions, time.Now().UnixMilli())
	if err := Generate(ctx, f.client, input, partitions, oneWindow(g.Events, keys, g.Seed)); err != nil {
		return p, err
	}
	floor := entry{Work: aggregation(), contender: Raw, input: input}
	report, want, err := f.run(ctx, floor)
	if err != nil {
		return p, err
	}
	p.Floor, p.Windows = report, len(want)
	e := entry{Work: aggregation(), contender: Millrace, input: input, application: input}
	report, got, err := f.run(ctx, e)
	if err != nil {
		return p, err
	}
	p.Millrace = report
	if err := got.equal(want); err != nil {
		return p, err
	}
	if err := f.clear(ctx, e); err != nil {
		return p, err
	}
	return p, f.client.DeleteTopic(ctx, input)
}

// nanosAnEvent is what an event costs, in nanoseconds of a processor.
func nanosAnEvent(r Report) float64 { return 1e9 / r.RecordsPerCPUSecond }

// Save keeps what was found in a file.
func (g *Growth) Save(path string) error { return save(path, g) }
