// Command bench compares Millrace with Kafka Streams and with floors, on one
// broker.
//
//	bench compare [flags]    starts a broker, runs the contenders in turn, and
//	                         writes the page
//	bench generate [flags]   writes a load to a topic that it makes
//	bench floor [flags]      runs one floor; compare calls it
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/millrace/millrace/integration/bench"
	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/internal/kafka"
)

// partitions is how many partitions a load is spread over.
const partitions = 4

var errUsage = errors.New("usage: bench compare|generate|floor [flags]; see -help of each")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	switch args[0] {
	case "compare":
		return compare(ctx, args[1:])
	case "generate":
		return generate(ctx, args[1:])
	case "floor":
		return floor(args[1:])
	}
	return errUsage
}

// loadFlags adds the flags of a load.
func loadFlags(flags *flag.FlagSet, l *bench.Load) {
	l.Key, l.End = bench.ByModel, time.Now()
	flags.Int64Var(&l.Events, "events", 10_000_000, "events of the load")
	flags.Uint64Var(&l.Seed, "seed", 1, "of all that is random in the load")
	flags.Func("key", "what events are keyed by: model or session", func(s string) error {
		l.Key = bench.Key(s)
		if l.Key != bench.ByModel && l.Key != bench.BySession {
			return errors.New("want model or session")
		}
		return nil
	})
}

func generate(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench generate", flag.ContinueOnError)
	brokers := flags.String("brokers", "", "address of the broker")
	topic := flags.String("topic", "", "topic to make and to write to")
	partitions := flags.Int("partitions", partitions, "its partitions")
	var l bench.Load
	loadFlags(flags, &l)
	if err := flags.Parse(args); err != nil {
		return err
	}
	client, err := kafka.Open(ctx, kafka.Config{Brokers: []string{*brokers}, ClientID: "bench"})
	if err != nil {
		return err
	}
	defer client.Close()
	return bench.Generate(ctx, client, *topic, int32(*partitions), l)
}

func floor(args []string) error {
	flags := flag.NewFlagSet("bench floor", flag.ContinueOnError)
	brokers := flags.String("brokers", "", "address of the broker")
	topic := flags.String("topic", "", "topic to read")
	workers := flags.Int("workers", 2, "goroutines")
	kind := flags.String("kind", bench.Raw, "which floor")
	results := flags.String("results", "", "file to write the results to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	report, err := bench.Floor(*kind, *brokers, *topic, *workers, *results)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

func compare(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("bench compare", flag.ContinueOnError)
	var p bench.Plan
	var contenders, jvm, page string
	loadFlags(flags, &p.Load)
	flags.StringVar(&p.Brokers, "brokers", "", "address of a broker that runs; empty to start one")
	flags.IntVar(&p.Rounds, "rounds", 3, "how often each contender runs")
	flags.StringVar(&contenders, "contenders", strings.Join(bench.Contenders(), ","), "who runs, in the order of the first round")
	flags.BoolVar(&p.Restore, "restore", false, "have state restored after each run")
	flags.StringVar(&p.Memory, "memory", "512MiB", "budget of millrace")
	flags.StringVar(&p.Heap, "heap", "384m", "-Xmx of kafka-streams")
	flags.StringVar(&jvm, "jvm", "-XX:+UseSerialGC", "further flags of its JVM, with commas between them")
	flags.StringVar(&page, "page", "", "write the page to this file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p.Partitions, p.Log = partitions, os.Stderr
	p.Contenders = strings.Split(contenders, ",")
	if jvm != "" {
		p.JVM = strings.Split(jvm, ",")
	}
	if p.Brokers == "" {
		k, err := servers.StartKafka(ctx, servers.KafkaConfig{Heap: "1g"})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, k.Stop()) }()
		p.Brokers = k.Brokers()[0]
	}
	c, err := bench.Compare(ctx, p)
	if err != nil {
		return err
	}
	if page == "" {
		return nil
	}
	return bench.WritePage(page, c)
}
