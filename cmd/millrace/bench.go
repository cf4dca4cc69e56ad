package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

const (
	benchApplication = "millrace-bench"
	benchWorkers     = 2
	benchMemory      = "512MiB"

	// clearTimeout bounds how long the end of a run waits for topics to be deleted.
	clearTimeout = 30 * time.Second
)

func (p *program) benchCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:  "bench",
		Usage: "measure an instance on what a topic holds",
		Description: "Reads Performance events from the start of a topic to the end that it has now, by their record keys in\n" +
			"windows that take late events for 2 minutes, sends at each commit the windows that have changed, and prints\n" +
			"what it took as JSON in the last line. The shapes of windows: tumbling, of 5 minutes; hopping, of 15 minutes,\n" +
			"one each minute; session, which 30 minutes of silence end. It begins anew: an application that has run before\n" +
			"is refused, unless --cleanup has it removed before and afterwards. With --restore the application has run: its\n" +
			"local state is deleted, and restoring it from the changelog is measured. With --until-end=false it reads on,\n" +
			"what arrives too, until it is told to stop, and prints then what it took.",
		Flags: []cli.Flag{
			brokersFlag(), stateFlag(),
			&cli.StringFlag{Name: "input", Value: llm.PerformanceTopic, Usage: "`TOPIC` to read: Performance events in MessagePack"},
			&cli.StringFlag{Name: "output", Usage: "`TOPIC` to write to; made if it is missing", DefaultText: "<application>-results"},
			&cli.StringFlag{Name: "application", Value: benchApplication, Usage: "`NAME` of the group, and prefix of the application's topics"},
			&cli.StringFlag{Name: "shape", Value: string(llm.TumblingShape), Usage: "windows: `SHAPE` is tumbling, hopping or session"},
			&cli.StringFlag{Name: "guarantee", Value: "at-least-once", Usage: "processing `GUARANTEE`: at-least-once or exactly-once"},
			&cli.IntFlag{Name: "workers", Value: benchWorkers, Usage: "goroutines that process tasks"},
			&cli.DurationFlag{Name: "commit", Usage: "`TIME` between commits", DefaultText: "1s, exactly once 100ms"},
			&cli.StringFlag{Name: "memory", Value: benchMemory, Usage: "budget such as 2GiB"},
			&cli.BoolFlag{Name: "until-end", Value: true, Usage: "end with what the input holds now; =false for a run that goes on until it is stopped"},
			&cli.BoolFlag{Name: "restore", Usage: "delete the local state first, and measure its restoring"},
			&cli.BoolFlag{Name: "cleanup", Usage: "remove the application's positions, topics and state, and the output: before, unless --restore is given, and afterwards"},
			&cli.StringFlag{Name: "profile", Usage: "write profiles of processor time and allocations to `DIR`"},
		},
		Action: p.bench,
	}, 0, 0)
}

func (p *program) bench(c *cli.Context) error {
	log := p.logger(slog.LevelWarn)
	b, err := p.newBench(c, log)
	if err != nil {
		return err
	}
	p.limitMemory(b.cfg)
	if b.client, err = kafka.Open(c.Context, kafka.Config{Brokers: b.cfg.Brokers, ClientID: "millrace", Logger: log}); err != nil {
		return err
	}
	defer b.client.Close()
	report, err := b.run(c.Context)
	if err != nil {
		return unlessStopped(c.Context, err)
	}
	line, err := json.Marshal(report)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.out, "%s\n", line)
	return err
}

// bench is one run of the benchmark.
type bench struct {
	topology         *topology.Topology
	cfg              streams.Config
	shape            llm.Shape
	output           string
	profiles         string // a folder, or empty
	restore, cleanup bool
	client           *kafka.Client
}

// newBench reads the flags. The error joins every mistake.
func (p *program) newBench(c *cli.Context, log *slog.Logger) (*bench, error) {
	// What is a default here goes before the environment's control group.
	for _, name := range []string{"workers", "memory"} {
		if err := c.Set(name, c.String(name)); err != nil {
			return nil, usagef("--%s: %w", name, err)
		}
	}
	s, err := p.settings(c, log)
	shape := llm.Shape(c.String("shape"))
	windows, ok := shape.Windows()
	if !ok {
		err = errors.Join(err, usagef("--shape %q: use one of %q", shape, llm.Shapes()))
	}
	if err != nil {
		return nil, err
	}
	if err := s.needBrokers(); err != nil {
		return nil, err
	}
	b := &bench{
		cfg: s.streams, shape: shape, output: c.String("output"), profiles: c.String("profile"),
		restore: c.Bool("restore"), cleanup: c.Bool("cleanup"),
	}
	b.cfg.Application, b.cfg.UntilEnd = c.String("application"), c.Bool("until-end")
	b.cfg.CommitInterval = cmp.Or(b.cfg.CommitInterval, b.cfg.Guarantee.CommitInterval())
	if b.output == "" {
		b.output = b.cfg.Application + "-results"
	}
	b.topology, err = llm.NewBenchmark(llm.BenchmarkConfig{
		Application: b.cfg.Application, Input: c.String("input"), Output: b.output,
		Windows: windows,
	})
	if err != nil {
		return nil, usageError{err}
	}
	return b, nil
}

// run prepares, measures, and clears up.
func (b *bench) run(ctx context.Context) (*benchReport, error) {
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	if err := createOutputs(ctx, b.topology, b.cfg); err != nil {
		return nil, err
	}
	report, err := b.measure(ctx)
	if err != nil {
		return nil, err
	}
	if b.cleanup {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTimeout) // the end of ctx has ended a run that goes on
		defer cancel()
		err = b.clear(ctx)
	}
	return report, err
}

// prepare has the application begin as it is to be measured: new, or without
// its local state.
func (b *bench) prepare(ctx context.Context) error {
	if b.cleanup && !b.restore {
		return b.clear(ctx)
	}
	a, left, err := b.left(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	switch {
	case b.restore && len(left.Positions) == 0:
		return usagef("--restore: application %s has not run; run it without --restore first", b.cfg.Application)
	case b.restore:
		return a.Reset(ctx, &streams.Reset{Application: left.Application, StateDir: left.StateDir, Members: left.Members})
	case !left.Empty():
		return usagef("application %s has run before, and would go on where it stopped: use --cleanup, which removes that, or another --application", b.cfg.Application)
	}
	return nil
}

// left finds what the application has left behind. Close the Admin.
func (b *bench) left(ctx context.Context) (*streams.Admin, *streams.Reset, error) {
	a, err := streams.OpenAdmin(ctx, b.topology, b.cfg)
	if err != nil {
		return nil, nil, err
	}
	left, err := a.FindReset(ctx)
	if err != nil {
		a.Close()
		return nil, nil, err
	}
	return a, left, nil
}

// clear removes all that the application has left behind, its results too.
func (b *bench) clear(ctx context.Context) error {
	a, left, err := b.left(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	if err := a.Reset(ctx, left); err != nil {
		return err
	}
	if err := b.client.DeleteTopic(ctx, b.output); err != nil && !errors.Is(err, kafka.ErrUnknownTopic) {
		return err
	}
	return nil
}

// measure runs the instance to the end of its input, or until ctx ends.
func (b *bench) measure(ctx context.Context) (report *benchReport, err error) {
	if b.profiles != "" {
		stop, err := profile(b.profiles)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	m := newBenchMeter()
	cfg := b.cfg
	cfg.Metrics, cfg.Listener = m.registry, m.listener()
	if err := streams.Run(ctx, b.topology, cfg); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil && cfg.UntilEnd {
		return nil, err
	}
	if report, err = m.report(); err != nil {
		return nil, err
	}
	report.Shape, report.Guarantee = string(b.shape), string(b.cfg.Guarantee)
	return report, nil
}

// profile begins profiles in a folder; stop writes them.
func profile(dir string) (stop func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, usagef("--profile: %w", err)
	}
	cpu, err := os.Create(filepath.Join(dir, "cpu.pprof"))
	if err != nil {
		return nil, usagef("--profile: %w", err)
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		allocs, err := os.Create(filepath.Join(dir, "allocs.pprof"))
		if err != nil {
			return errors.Join(err, cpu.Close())
		}
		return errors.Join(pprof.Lookup("allocs").WriteTo(allocs, 0), allocs.Close(), cpu.Close())
	}, nil
}
