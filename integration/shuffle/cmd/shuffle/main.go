// Command shuffle tells how many events Millrace and Kafka Streams drop behind a
// repartition whose upstream partitions are far apart in event time.
//
//	shuffle [-brokers HOST:PORT] [flags]
//
// Without a broker it starts one and stops it. It fails if Millrace has dropped an
// event or has counted otherwise than the direct computation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/integration/shuffle"
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
	l := shuffle.DefaultLoad(time.Now())
	flags := flag.NewFlagSet("shuffle", flag.ContinueOnError)
	broker := flags.String("brokers", "", "address of a broker that runs; empty to start one")
	engines := flags.String("engines", shuffle.Millrace+","+shuffle.KafkaStreams, "who counts")
	flags.Int64Var(&l.Events, "events", l.Events, "events, half of them in each partition")
	flags.DurationVar(&l.Apart, "apart", l.Apart, "how far the second partition is behind the first")
	flags.DurationVar(&l.Span, "span", l.Span, "event time that each partition covers")
	flags.DurationVar(&l.Disorder, "disorder", l.Disorder, "by how much an event may be behind its turn; Millrace's watermark delay")
	flags.Float64Var(&l.Share, "share", l.Share, "part of the events that are")
	flags.Uint64Var(&l.Seed, "seed", l.Seed, "of all that is random in the events")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *broker == "" {
		k, err := servers.StartKafka(ctx, servers.KafkaConfig{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, k.Stop()) }()
		*broker = k.Brokers()[0]
	}
	fmt.Printf("%d events in 2 partitions %v apart, each %v long; %.0f %% of the events up to %v behind their turn; seed %d\n",
		l.Events, l.Apart, l.Span, 100*l.Share, l.Disorder, l.Seed)
	outcomes, err := shuffle.Run(ctx, *broker, l, strings.Split(*engines, ",")...)
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		o.Write(os.Stdout)
		if o.Engine == shuffle.Millrace {
			err = errors.Join(err, o.Check())
		}
	}
	return err
}
