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
	"github.com/millrace/millrace/internal/config"
)

func hold(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("bench hold", flag.ContinueOnError)
	var h bench.Holding
	flags.Int64Var(&h.Events, "events", 90_000_000, "events of the load, more than are needed")
	flags.Int64Var(&h.Keys, "keys", 200_000_000, "keys, each of which is a window that stays open")
	grown := flags.String("state", "4GiB", "size that the state is to grow to on disk")
	flags.DurationVar(&h.For, "for", 10*time.Minute, "time to go on from there")
	flags.Uint64Var(&h.Seed, "seed", 1, "of all that is random in the load")
	settingsFlags(flags, &h.Settings)
	path := flags.String("data", filepath.Join(benchmarks, bench.MemoryFile), "file of what was found")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if h.Grown, err = config.ParseSize(*grown); err != nil {
		return fmt.Errorf("-state: %w", err)
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
