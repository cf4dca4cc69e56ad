// Command emission measures how long results take, from the arrival of the event
// that completes their window to the moment at which a consumer has them.
//
//	emission [-brokers HOST:PORT] [flags]
//
// Without a broker it starts one and stops it. It fails if a complete window has no
// final result, or a wrong one, and if the generator has not held its rate.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"

	"github.com/millrace/millrace/integration/emission"
	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/streams"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	l := emission.DefaultLoad()
	s := emission.Settings{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	flags := flag.NewFlagSet("emission", flag.ContinueOnError)
	flags.StringVar(&s.Broker, "brokers", "", "address of a broker that runs; empty to start one")
	flags.IntVar(&s.Workers, "workers", 2, "goroutines that process tasks")
	flags.DurationVar(&s.CommitInterval, "commit", 0, "time between commits; 0 for the guarantee's own")
	guarantee := flags.String("guarantee", "", "only the cases with this guarantee")
	repartition := flags.String("repartition", "", "only the cases with a repartition (true), or without (false)")
	flags.Int64Var(&l.Rate, "rate", l.Rate, "events a second")
	flags.DurationVar(&l.WarmUp, "warm-up", l.WarmUp, "time that is not measured, in whole seconds")
	flags.DurationVar(&l.For, "for", l.For, "time that is measured, in whole seconds")
	flags.DurationVar(&l.Window, "window", l.Window, "length of the windows")
	flags.DurationVar(&l.Disorder, "disorder", l.Disorder, "by how much events may be out of order; the watermark's delay")
	flags.Float64Var(&l.Share, "share", l.Share, "part of the events that are out of order")
	flags.Uint64Var(&l.Seed, "seed", l.Seed, "of all that is random in the events")
	profile := flags.String("profile", "", "file for a profile of processor time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if s.Broker == "" {
		k, err := servers.StartKafka(ctx, servers.KafkaConfig{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, k.Stop()) }()
		s.Broker = k.Brokers()[0]
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return errors.Join(err, f.Close())
		}
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, f.Close())
		}()
	}
	fmt.Printf("%d events a second for %v behind a warm-up of %v; windows of %v; %.0f %% of the events up to %v out of order; %d workers; seed %d\n",
		l.Rate, l.For, l.WarmUp, l.Window, 100*l.Share, l.Disorder, s.Workers, l.Seed)
	for _, c := range emission.Cases() {
		if *guarantee != "" && c.Guarantee != streams.Guarantee(*guarantee) || *repartition != "" && fmt.Sprint(c.Repartition) != *repartition {
			continue
		}
		r, failed := emission.Measure(ctx, s, c, l)
		if failed != nil {
			return errors.Join(err, failed)
		}
		r.Write(os.Stdout)
		err = errors.Join(err, r.Check(), r.CheckRate())
	}
	return err
}
