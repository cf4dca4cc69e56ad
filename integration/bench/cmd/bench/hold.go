package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"

	"github.com/millrace/millrace/integration/bench"
)

func hold(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("bench hold", flag.ContinueOnError)
	var h bench.Holding
	flags.Int64Var(&h.Events, "events", 30_000_000, "events of the load")
	flags.Int64Var(&h.Keys, "keys", 12_000_000, "keys, each of which is a window that stays open")
	flags.Uint64Var(&h.Seed, "seed", 1, "of all that is random in the load")
	settingsFlags(flags, &h.Settings)
	path := flags.String("data", filepath.Join(benchmarks, bench.MemoryFile), "file of what was found")
	if err := flags.Parse(args); err != nil {
		return err
	}
	h.Log = os.Stderr
	stop, err := ownBroker(ctx, &h.Settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	found, err := bench.Hold(ctx, h)
	if err != nil {
		return err
	}
	return found.Save(*path)
}
