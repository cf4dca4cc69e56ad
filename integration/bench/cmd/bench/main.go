// Command bench compares Millrace with Kafka Streams and with floors, on one
// broker.
//
//	bench compare [flags]    starts a broker, runs the contenders in turn, keeps
//	                         what it finds, and writes the page
//	bench grow [flags]       starts a broker and measures millrace over ever more keys
//	                         and partitions
//	bench hold [flags]       starts a broker and watches millrace's memory while its
//	                         state outgrows its budget
//	bench latency [flags]    starts a broker, and compares how long it takes until a
//	                         result includes an event that arrives
//	bench cost [flags]       starts a broker, and prints what exactly once costs
//	                         Millrace
//	bench page [flags]       writes the page of what was kept
//	bench generate [flags]   writes a load to a topic that it makes
//	bench floor [flags]      runs one floor; compare calls it
package main

import (
	"cmp"
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
	"github.com/millrace/millrace/llm"
)

// partitions is how many partitions a load is spread over.
const partitions = 4

// benchmarks is the folder of what was found.
const benchmarks = "docs/benchmarks"

var errUsage = errors.New("usage: bench compare|latency|cost|grow|hold|page|generate|floor [flags]; see -help of each")

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
	case "latency":
		return latency(ctx, args[1:])
	case "grow":
		return grow(ctx, args[1:])
	case "hold":
		return hold(ctx, args[1:])
	case "cost":
		return cost(ctx, args[1:])
	case "page":
		return page(args[1:])
	case "generate":
		return generate(ctx, args[1:])
	case "floor":
		return floor(args[1:])
	}
	return errUsage
}

// loadFlags adds the flags of a load.
func loadFlags(flags *flag.FlagSet, l *bench.Load) {
	l.End = time.Now()
	flags.Int64Var(&l.Events, "events", 10_000_000, "events of the load")
	flags.Uint64Var(&l.Seed, "seed", 1, "of all that is random in the load")
}

// keyFlag adds the flag of what a load is keyed by.
func keyFlag(flags *flag.FlagSet, l *bench.Load) {
	l.Key = bench.ByModel
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
	keyFlag(flags, &l)
	flags.Int64Var(&l.Keys, "keys", 0, "how many keys there are, in place of models or sessions")
	flags.DurationVar(&l.Span, "span", 0, "time from the first event to the last; 0 for 2ms an event")
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
	shape := flags.String("shape", string(llm.TumblingShape), "windows")
	results := flags.String("results", "", "file to write the results to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	report, err := bench.Floor(*kind, *brokers, *topic, llm.Shape(*shape), *workers, *results)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// pageFlags adds the flags of the page.
func pageFlags(flags *flag.FlagSet) (path, dir *string) {
	path = flags.String("page", "docs/benchmarks.md", "the page to write; empty for none")
	return path, flags.String("data", benchmarks, "folder of what was found")
}

func page(args []string) error {
	flags := flag.NewFlagSet("bench page", flag.ContinueOnError)
	path, dir := pageFlags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	return bench.WritePage(*path, *dir)
}

func cost(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("bench cost", flag.ContinueOnError)
	p := bench.Plan{Partitions: partitions, Log: os.Stdout}
	loadFlags(flags, &p.Load)
	settingsFlags(flags, &p.Settings)
	flags.IntVar(&p.Rounds, "rounds", 3, "how often each of them runs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	stop, err := ownBroker(ctx, &p.Settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return bench.MeasureCost(ctx, p)
}

// settingsFlags adds the flags of what all measurements need.
func settingsFlags(flags *flag.FlagSet, s *bench.Settings) {
	flags.StringVar(&s.Brokers, "brokers", "", "address of a broker that runs; empty to start one")
	flags.StringVar(&s.Memory, "memory", "512MiB", "budget of millrace")
}

// jvmFlag adds the flag of what Kafka Streams' JVM is given.
func jvmFlag(flags *flag.FlagSet, s *bench.Settings) {
	s.JVM = []string{"-XX:+UseSerialGC"}
	flags.Func("jvm", "further flags of kafka-streams' JVM, with commas between them (default -XX:+UseSerialGC)", func(text string) error {
		s.JVM = strings.FieldsFunc(text, func(c rune) bool { return c == ',' })
		return nil
	})
}

// ownBroker starts a broker where none is given.
func ownBroker(ctx context.Context, s *bench.Settings) (stop func() error, err error) {
	if s.Brokers != "" {
		return func() error { return nil }, nil
	}
	k, err := servers.StartKafka(ctx, servers.KafkaConfig{Heap: "1g"})
	if err != nil {
		return nil, err
	}
	s.Brokers = k.Brokers()[0]
	return k.Stop, nil
}

func compare(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("bench compare", flag.ContinueOnError)
	var p bench.Plan
	var names []string
	for _, w := range bench.Works() {
		names = append(names, w.Name)
	}
	loadFlags(flags, &p.Load)
	settingsFlags(flags, &p.Settings)
	jvmFlag(flags, &p.Settings)
	flags.IntVar(&p.Rounds, "rounds", 3, "how often each contender runs")
	works := flags.String("work", strings.Join(names, ","), "what is done; restore has a load of its own")
	heap := flags.String("heap", "", "-Xmx of kafka-streams; empty for what the work has")
	path, dir := pageFlags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	p.Partitions, p.Log = partitions, os.Stderr
	var chosen []bench.Work
	for name := range strings.SplitSeq(*works, ",") {
		w, err := bench.FindWork(name)
		if err != nil {
			return err
		}
		w.Heap = cmp.Or(*heap, w.Heap)
		chosen = append(chosen, w)
	}
	stop, err := ownBroker(ctx, &p.Settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for _, w := range chosen {
		fmt.Fprintf(p.Log, "%s\n", w.Name)
		p.Work = w
		c, err := bench.Compare(ctx, p)
		if err != nil {
			return err
		}
		if err := c.Save(*dir); err != nil {
			return err
		}
	}
	if *path == "" {
		return nil
	}
	return bench.WritePage(*path, *dir)
}
