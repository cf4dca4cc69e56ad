// The smallest application: it counts the words of lines.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// words is "lines" to "word-counts": the latest count of each word.
func words() (*topology.Topology, error) {
	b := topology.New("word-count")
	lines := topology.Source(b, "lines", codec.String, codec.String)
	split := topology.FlatMap(lines, func(r topology.Record[string, string], emit func(string, string) error) error {
		for word := range strings.FieldsSeq(strings.ToLower(r.Value)) {
			if err := emit(word, word); err != nil {
				return err
			}
		}
		return nil
	})
	counts := split.GroupByKey(codec.String, codec.String, topology.Named("by-word")).Count(topology.Store("counts"))
	counts.Stream().To("word-counts", codec.String, codec.Int64)
	return b.Build()
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t, err := words()
	if err == nil {
		err = streams.Run(ctx, t, streams.Config{Brokers: strings.Split(os.Getenv("BROKERS"), ",")})
	}
	if err != nil {
		log.Fatal(err)
	}
}
