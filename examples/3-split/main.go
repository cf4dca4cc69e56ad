// Responses of models, sorted by how they ended.
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// Response is what a gateway tells of an answer.
type Response struct {
	Model  string `json:"model"`
	Status int    `json:"status"`
	Tokens int    `json:"tokens"`
}

var errNoTokens = errors.New("an answer without tokens")

// split sends refusals and failures to topics of their own, and the rest to a
// topic for each model.
func split() (*topology.Topology, error) {
	response := codec.JSON[Response](codec.Strict())
	b := topology.New("split")
	all := topology.Source(b, "responses", codec.String, response, topology.OnError(topology.DeadLetter))
	branches, answered := all.Split(
		topology.When("refused", func(r topology.Record[string, Response]) bool { return r.Value.Status/100 == 4 }),
		topology.When("failed", func(r topology.Record[string, Response]) bool { return r.Value.Status/100 == 5 }),
	)
	branches[0].Merge(branches[1], topology.Named("bad")).To("bad-responses", codec.String, response)
	topology.MapValues(answered, tokens, topology.Named("tokens"), topology.OnError(topology.Skip)).
		ToEach(func(r topology.Record[string, int64]) string { return "tokens-" + r.Key }, codec.String, codec.Int64)
	return b.Build()
}

func tokens(r topology.Record[string, Response]) (int64, error) {
	if r.Value.Tokens == 0 {
		return 0, errNoTokens
	}
	return int64(r.Value.Tokens), nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t, err := split()
	if err == nil {
		err = streams.Run(ctx, t, streams.Config{Brokers: strings.Split(os.Getenv("BROKERS"), ",")})
	}
	if err != nil {
		log.Fatal(err)
	}
}
