package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/millrace/millrace/integration/bench"
)

func grow(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("bench grow", flag.ContinueOnError)
	var g bench.Growing
	flags.Int64Var(&g.Events, "events", 5_000_000, "events of each load")
	flags.Uint64Var(&g.Seed, "seed", 1, "of all that is random in the loads")
	settingsFlags(flags, &g.Settings)
	keys := flags.String("keys", "1000,10000,100000,1000000,10000000", "numbers of keys")
	partitions := flags.String("partitions", "1,4,16,64", "numbers of partitions")
	path := flags.String("data", filepath.Join(benchmarks, bench.GrowthFile), "file of what was found")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for text := range strings.SplitSeq(*keys, ",") {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			return fmt.Errorf("-keys %q: want whole numbers from 1 on, with commas between them", *keys)
		}
		g.Keys = append(g.Keys, n)
	}
	for text := range strings.SplitSeq(*partitions, ",") {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 1 {
			return fmt.Errorf("-partitions %q: want whole numbers from 1 on, with commas between them", *partitions)
		}
		g.Partitions = append(g.Partitions, int32(n))
	}
	g.Log = os.Stderr
	stop, err := ownBroker(ctx, &g.Settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	found, err := bench.Grow(ctx, g)
	if err != nil {
		return err
	}
	return found.Save(*path)
}
