package main

import (
	"context"
	"errors"
	"flag"
	"os"

	"github.com/millrace/millrace/integration/bench"
	"github.com/millrace/millrace/integration/servers"
)

func hold(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("bench hold", flag.ContinueOnError)
	var h bench.Holding
	flags.Int64Var(&h.Events, "events", 30_000_000, "events of the load")
	flags.Int64Var(&h.Keys, "keys", 12_000_000, "keys, each of which is a window that stays open")
	flags.Uint64Var(&h.Seed, "seed", 1, "of all that is random in the load")
	flags.StringVar(&h.Brokers, "brokers", "", "address of a broker that runs; empty to start one")
	flags.StringVar(&h.Memory, "memory", "512MiB", "budget of millrace")
	path := flags.String("data", "docs/benchmarks/memory.json", "file of what was found")
	if err := flags.Parse(args); err != nil {
		return err
	}
	h.Log = os.Stderr
	if h.Brokers == "" {
		k, err := servers.StartKafka(ctx, servers.KafkaConfig{Heap: "1g"})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, k.Stop()) }()
		h.Brokers = k.Brokers()[0]
	}
	found, err := bench.Hold(ctx, h)
	if err != nil {
		return err
	}
	return found.Save(*path)
}
