package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/streams"
)

// costs are the works that MeasureCost compares. The results of a commit are those
// that have changed since the one before, so that the guarantee alone is compared
// where the intervals are the same.
func costs() []Work {
	work := func(name string, g streams.Guarantee, commit time.Duration) Work {
		return Work{Name: name, Shape: llm.TumblingShape, Key: ByModel, Guarantee: g, CommitMS: commit.Milliseconds()}
	}
	return []Work{
		work("at least once, 100 ms", streams.AtLeastOnce, 100*time.Millisecond),
		work("exactly once, 100 ms", streams.ExactlyOnce, 100*time.Millisecond),
		work("at least once, 1 s", streams.AtLeastOnce, time.Second),
	}
}

// MeasureCost has Millrace alone do tumbling windows under both guarantees, by
// turns on one broker, and tells the plan's log what exactly once costs. All runs
// must have equal results.
func MeasureCost(ctx context.Context, p Plan) error {
	p.Settings, p.Load.Key = p.withDefaults(), ByModel
	client, err := kafka.Open(ctx, kafka.Config{Brokers: []string{p.Brokers}, ClientID: "millrace-cost"})
	if err != nil {
		return err
	}
	defer client.Close()
	dir, err := os.MkdirTemp("", "millrace-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f := &field{Settings: p.Settings, dir: dir, client: client}
	if err := f.buildPrograms(ctx); err != nil {
		return err
	}
	input := fmt.Sprintf("bench-cost-%d", time.Now().UnixMilli())
	if err := Generate(ctx, client, input, p.Partitions, p.Load); err != nil {
		return err
	}
	works := costs()
	runs := map[string][]Report{}
	var want outcome
	for round := range p.Rounds {
		for i := range works {
			w := works[(i+round)%len(works)]
			e := entry{Work: w, contender: Millrace, input: input, application: fmt.Sprintf("%s-%d-%d", input, round, i)}
			report, got, err := f.run(ctx, e)
			if err = errors.Join(err, f.clear(context.WithoutCancel(ctx), e)); err != nil {
				return err
			}
			if want == nil {
				want = got
			}
			if err := got.equal(want); err != nil {
				return fmt.Errorf("%s: %w", w.Name, err)
			}
			runs[w.Name] = append(runs[w.Name], report)
			fmt.Fprintf(p.Log, "%-22s %9.0f events a second, %9.0f a CPU second, %d results\n", w.Name, perSecond(report), perCPUSecond(report), report.Results)
		}
	}
	for _, base := range []Work{works[0], works[2]} {
		once := works[1].Name
		fmt.Fprintf(p.Log, "%s costs %.1f %% of the throughput and %.1f %% of the events a CPU second of %s (medians of %d)\n",
			once, lost(runs[once], runs[base.Name], perSecond), lost(runs[once], runs[base.Name], perCPUSecond), base.Name, p.Rounds)
	}
	return client.DeleteTopic(ctx, input)
}

// lost returns by how many percent the median of some runs is less than that of
// others.
func lost(runs, others []Report, of func(Report) float64) float64 {
	return 100 * (1 - median(runs, of)/median(others, of))
}
