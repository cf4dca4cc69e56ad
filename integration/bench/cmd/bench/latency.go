package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/millrace/millrace/integration/bench"
	"github.com/millrace/millrace/integration/live"
	"github.com/millrace/millrace/streams"
)

func latency(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("bench latency", flag.ContinueOnError)
	p := bench.LatencyPlan{
		Load:       live.Load{Disorder: time.Second, Share: 0.05},
		Guarantees: []streams.Guarantee{streams.AtLeastOnce, streams.ExactlyOnce},
		Log:        os.Stderr,
	}
	settingsFlags(flags, &p.Settings)
	jvmFlag(flags, &p.Settings)
	flags.Int64Var(&p.Load.Rate, "rate", 50_000, "events a second")
	flags.DurationVar(&p.Load.WarmUp, "warm-up", 30*time.Second, "time that is not measured, in whole seconds")
	flags.DurationVar(&p.Load.For, "for", 30*time.Second, "time that is measured, in whole seconds")
	flags.Uint64Var(&p.Load.Seed, "seed", 1, "of all that is random in the load")
	flags.IntVar(&p.Rounds, "rounds", 3, "how often each contender runs")
	flags.StringVar(&p.Heap, "heap", "", "-Xmx of kafka-streams; empty for 1g")
	flags.Func("guarantee", "only this one: at-least-once or exactly-once", func(text string) error {
		g := streams.Guarantee(text)
		if g != streams.AtLeastOnce && g != streams.ExactlyOnce {
			return fmt.Errorf("want %s or %s", streams.AtLeastOnce, streams.ExactlyOnce)
		}
		p.Guarantees = []streams.Guarantee{g}
		return nil
	})
	commit := flags.Duration("commit", 100*time.Millisecond, "time between commits, of both contenders under both guarantees")
	path := flags.String("data", filepath.Join(benchmarks, bench.LatencyFile), "file of what was found")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p.CommitMS = commit.Milliseconds()
	stop, err := ownBroker(ctx, &p.Settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	found, err := bench.MeasureLatency(ctx, p)
	if err != nil {
		return err
	}
	found.Write(os.Stdout)
	return found.Save(*path)
}
