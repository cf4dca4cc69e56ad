// Command kafka starts and stops a real Kafka for the integration tests, which
// outlives the command.
//
//	kafka start [-nodes 1] [-dir DIR]   prints MILLRACE_TEST_KAFKA=host:port,...
//	kafka stop [-dir DIR]
//	kafka jars                          only brings the jars into the cache
//
// The folder is kafka-running in the project's cache folder unless -dir names
// another. Starting one that runs prints its addresses; stopping one that does
// not run is no error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace/integration/servers"
)

var errUsage = errors.New("usage: kafka start [-nodes N] [-dir DIR] | stop [-dir DIR] | jars")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, errUsage), errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet("kafka "+args[0], flag.ContinueOnError)
	nodes := flags.Int("nodes", 1, "number of nodes")
	dir := flags.String("dir", "", "folder of the data, the logs and the process ids")
	if err := flags.Parse(args[1:]); err != nil {
		return errors.Join(errUsage, err)
	}
	if *dir == "" {
		cache, err := servers.CacheDir()
		if err != nil {
			return err
		}
		*dir = filepath.Join(cache, "kafka-running")
	}
	switch args[0] {
	case "start":
		brokers, err := servers.StartDetached(ctx, *dir, *nodes)
		if err != nil {
			return err
		}
		fmt.Printf("%s=%s\n", servers.EnvKafka, strings.Join(brokers, ","))
		return nil
	case "stop":
		n, err := servers.StopDetached(*dir)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "stopped %d node(s)\n", n)
		return nil
	case "jars":
		jars, err := servers.KafkaJars(ctx)
		if err != nil {
			return err
		}
		fmt.Println(jars)
		return nil
	}
	return errUsage
}
