package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/integration/live"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/streams"
)

// LatencyPlan is what MeasureLatency runs.
type LatencyPlan struct {
	Settings
	// Load is what arrives. Its events are keyed by model.
	Load live.Load
	// Guarantees are tried one after the other, all with a commit every CommitMS.
	Guarantees []streams.Guarantee
	CommitMS   int64
	// Heap is the -Xmx of Kafka Streams' JVM. Default: 1g, which is more than it needs,
	// because memory is not compared here.
	Heap string
	// Rounds is how often each contender runs; they take turns.
	Rounds int
	// Log is told of each run.
	Log io.Writer `json:"-"`
}

// Latencies is what MeasureLatency has found.
type Latencies struct {
	LatencyPlan
	Machine machine
	Runs    []LatencyRun
}

// LatencyRun is a run of a contender.
type LatencyRun struct {
	Contender string
	Guarantee streams.Guarantee
	// Windows is how many keys and windows had events, all of which had the right
	// results.
	Windows int
	// Rate is how many events arrived a second, Least and Greatest in single ones.
	Rate            float64
	Least, Greatest int64
	Report          Report
	// Latency is the sample: of each event that arrived behind the warm-up.
	Latency *live.Distribution
}

// latencyContenders take part.
func latencyContenders() []string { return []string{KafkaStreams, Millrace} }

// How long is waited for a contender's first result, and for the last ones.
const (
	startPatience  = 2 * time.Minute
	resultPatience = 2 * time.Minute
)

// MeasureLatency measures how long it takes from the arrival of an event at the
// broker to the moment at which a consumer has a result that includes it. The work
// is that of [Compare] in tumbling windows, while a load arrives at its pace: each
// run has topics of its own, begins before the first event, and is told to stop
// behind the last result. The error wraps [ErrVoid] if one of the contenders has
// computed something else than the sum of what has arrived.
func MeasureLatency(ctx context.Context, p LatencyPlan) (*Latencies, error) {
	p.Settings, p.Heap, p.Load.BySession = p.withDefaults(), cmp.Or(p.Heap, "1g"), false
	f, err := openField(ctx, p.Settings)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if err := f.buildKafkaStreams(ctx); err != nil {
		return nil, err
	}
	found := &Latencies{LatencyPlan: p, Machine: thisMachine()}
	names := latencyContenders()
	for round := range p.Rounds {
		for _, g := range p.Guarantees {
			for i := range names {
				run := LatencyRun{Contender: names[(i+round)%len(names)], Guarantee: g}
				if err := f.follow(ctx, p, &run); err != nil {
					return nil, fmt.Errorf("%s, %s: %w", run.Contender, g, err)
				}
				found.Runs = append(found.Runs, run)
				fmt.Fprintf(p.Log, "%-13s %-13s %v; %.0f events a second, in single seconds %d to %d; %.1f CPU seconds\n",
					g, run.Contender, run.Latency, run.Rate, run.Least, run.Greatest, run.Report.CPUSeconds)
			}
		}
	}
	return found, nil
}

// follow runs a contender under the load, and fills in what there is to say of it.
func (f *field) follow(ctx context.Context, p LatencyPlan, run *LatencyRun) (err error) {
	input := fmt.Sprintf("latency-%d", time.Now().UnixMilli())
	e := entry{
		Work:      Work{Shape: llm.TumblingShape, Key: ByModel, Guarantee: run.Guarantee, CommitMS: p.CommitMS, Heap: p.Heap},
		contender: run.Contender, input: input, application: input, live: true,
	}
	if err := live.CreateInput(ctx, f.client, input); err != nil {
		return err
	}
	if err := f.createOutput(ctx, e); err != nil {
		return err
	}
	defer func() {
		ctx := context.WithoutCancel(ctx)
		err = errors.Join(err, f.clear(ctx, e), f.client.DeleteTopic(ctx, input))
	}()
	contender, err := begin(f.command(context.WithoutCancel(ctx), e))
	if err != nil {
		return err
	}
	s := newSightings()
	group, running := errgroup.WithContext(ctx)
	running, stop := context.WithCancel(running)
	group.Go(func() (err error) { run.Report, err = contender.until(running); return err })
	group.Go(func() error { return live.Follow(running, f.Brokers, e.output(), s.put) })
	group.Go(func() error {
		defer stop()
		return f.arrive(running, p.Load, input, s, run)
	})
	return group.Wait()
}

// arrive sends the load to a contender that runs, and measures.
func (f *field) arrive(ctx context.Context, l live.Load, input string, s *sightings, run *LatencyRun) error {
	if err := f.awaken(ctx, input, s); err != nil {
		return err
	}
	began := time.Now().Add(50 * time.Millisecond)
	if err := l.Send(ctx, f.client, input, began); err != nil {
		return err
	}
	sums, pace := newTotals(llm.TumblingShape), live.Pace{}
	if err := live.ReadBack(ctx, f.client, f.Brokers, input, func(a live.Arrival) error {
		if a.Appended >= began.UnixMilli() {
			pace.Add(a.Appended)
		}
		return sums.add(a.Key, a.Event)
	}); err != nil {
		return err
	}
	want := outcome{}
	for r := range sums.results {
		want.put(r)
	}
	limited, cancel := context.WithTimeout(ctx, resultPatience)
	defer cancel()
	if err := s.await(limited, want); err != nil {
		return err
	}
	run.Windows = len(want)
	run.Least, run.Greatest, run.Rate = pace.Rate()
	return run.measure(ctx, f, input, s, began.Add(l.WarmUp))
}

// awaken waits until a contender has taken a few events: it runs.
func (f *field) awaken(ctx context.Context, input string, s *sightings) error {
	first := live.Load{Rate: 5 * live.Partitions, For: time.Second}
	if err := first.Send(ctx, f.client, input, time.Now()); err != nil {
		return err
	}
	select {
	case <-s.news:
		return nil
	case <-time.After(startPatience):
		return fmt.Errorf("bench: there is no result within %v of the first events", startPatience)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// measure finds when each event that arrived from a time on was in a result. All
// results are there.
func (run *LatencyRun) measure(ctx context.Context, f *field, input string, s *sightings, from time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := newInclusions(s.seen, from)
	size := tumblingSize.Milliseconds()
	if err := live.ReadBack(ctx, f.client, f.Brokers, input, func(a live.Arrival) error {
		start := a.Event.Timestamp - a.Event.Timestamp%size
		found.add(windowID{string(a.Key), start, start + size}, a.Appended)
		return nil
	}); err != nil {
		return err
	}
	if found.missing > 0 {
		return fmt.Errorf("%w: %d events are in no result", ErrVoid, found.missing)
	}
	run.Latency = &found.latency
	return nil
}

// runs returns those of a contender under a guarantee.
func (l *Latencies) runs(g streams.Guarantee, contender string) []LatencyRun {
	var runs []LatencyRun
	for _, r := range l.Runs {
		if r.Guarantee == g && r.Contender == contender {
			runs = append(runs, r)
		}
	}
	return runs
}

// Write prints the histograms, each of all rounds of a contender together.
func (l *Latencies) Write(w io.Writer) {
	for _, g := range l.Guarantees {
		for _, name := range latencyContenders() {
			var all live.Distribution
			for _, r := range l.runs(g, name) {
				all.Merge(r.Latency)
			}
			fmt.Fprintf(w, "%s, %s: %v, of %d events\n", g, name, &all, all.Len())
			all.Histogram(w)
		}
	}
}

// Save keeps what was found in a file.
func (l *Latencies) Save(path string) error { return save(path, l) }
