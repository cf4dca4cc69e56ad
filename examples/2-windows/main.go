// Requests a minute by model, by event time.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// Request is what a gateway tells of a request to a model.
type Request struct {
	Model string `json:"model"`
	// At is when the request was answered, in Unix milliseconds.
	At     int64 `json:"at"`
	Tokens int64 `json:"tokens"`
}

// Minute is one result.
type Minute struct {
	Model  string          `json:"model"`
	Start  int64           `json:"start"`
	Tokens int64           `json:"tokens"`
	Pane   window.PaneKind `json:"pane"`
	Final  bool            `json:"final"`
}

// minutes sums the tokens of each model and minute.
func minutes() (*topology.Topology, error) {
	request, minute := codec.JSON[Request](), codec.JSON[Minute]()
	b := topology.New("minutes")
	requests := topology.Source(b, "requests", codec.String, request).
		EventTime(func(r Request) int64 { return r.At }, window.BoundedDelay(5*time.Second).IdleAfter(time.Minute))
	windows := topology.GroupBy(requests, codec.String, request, model, topology.Named("by-model")).
		WindowedBy(window.Tumbling(time.Minute).AllowedLateness(30 * time.Second))
	sums := topology.Aggregate(windows, codec.Int64, topology.Aggregator[Request, int64]{
		New: func() *int64 { return new(int64) },
		Add: func(sum *int64, r Request) error { *sum += r.Tokens; return nil },
	}, topology.Store("tokens"), topology.Emit(window.OnTime().Early(10*time.Second).Late(window.EachUpdate)))
	topology.MapValues(sums.Stream(), result).To("tokens-by-minute", codec.String, minute)
	windows.Late().To("too-late", codec.String, request)
	return b.Build()
}

func model(r topology.Record[string, Request]) string { return r.Value.Model }

func result(r topology.Record[string, int64]) (Minute, error) {
	return Minute{Model: r.Key, Start: r.Window.Start, Tokens: r.Value, Pane: r.Pane.Kind, Final: r.Pane.Final}, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t, err := minutes()
	if err == nil {
		err = streams.Run(ctx, t, streams.Config{Brokers: strings.Split(os.Getenv("BROKERS"), ",")})
	}
	if err != nil {
		log.Fatal(err)
	}
}
