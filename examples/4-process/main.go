// Alerts when a model answers much more slowly than it used to, or not at all.
package main

import (
	"context"
	"fmt"
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

// Baseline is what is remembered of a model.
type Baseline struct {
	Mean   float64
	Count  int64
	Last   int64 // when it answered last, in Unix milliseconds
	Silent bool  // that it does not is told
}

// silence is after how long without an answer a model is told of.
const silence = 5 * time.Minute

// watch is "latencies", in milliseconds by model, to "alerts".
func watch() (*topology.Topology, error) {
	b := topology.New("watch")
	// When nothing answers at all, the clock moves event time on.
	latencies := topology.Source(b, "latencies", codec.String, codec.Float64).
		EventTime(nil, window.BoundedDelay(10*time.Second).IdleAfter(time.Minute).AdvanceWhenIdle(time.Minute))
	baselines := topology.KeyValueStore(b, "baselines", codec.String, codec.Msgpack[Baseline]())
	alerts := topology.Process(latencies, func() topology.Processor[string, float64, string, string] {
		return &watcher{store: baselines}
	}, topology.Uses(baselines))
	alerts.To("alerts", codec.String, codec.String)
	return b.Build()
}

// watcher keeps an exponentially weighted mean of each model's latency.
type watcher struct {
	store     topology.KeyValue[string, Baseline]
	ctx       *topology.Context[string, string]
	baselines *topology.State[string, Baseline]
}

func (w *watcher) Init(ctx *topology.Context[string, string]) (err error) {
	w.ctx = ctx
	if w.baselines, err = w.store.In(ctx); err != nil {
		return err
	}
	_, err = ctx.Punctuate("silence", window.ByEventTime(time.Minute), w.silent)
	return err
}

func (w *watcher) Process(r topology.Record[string, float64]) error {
	b, _, err := w.baselines.Get(r.Key)
	if err != nil {
		return err
	}
	if b.Count >= 10 && r.Value > 3*b.Mean {
		alert := topology.Record[string, string]{
			Key: r.Key, Value: fmt.Sprintf("%.0f ms, usually %.0f", r.Value, b.Mean), Time: r.Time, Headers: r.Headers,
		}
		if err := w.ctx.Forward(alert); err != nil {
			return err
		}
	}
	b.Last, b.Silent = max(b.Last, r.Time), false
	b.Count++
	b.Mean += (r.Value - b.Mean) / float64(min(b.Count, 100))
	return w.baselines.Put(r.Key, b)
}

// silent tells of models that have not answered for a while. It is called each
// minute of event time; at is in Unix milliseconds.
func (w *watcher) silent(at int64) error {
	for e, err := range w.baselines.Range(nil, nil) {
		if err != nil {
			return err
		}
		b := e.Value
		if b.Silent || at-b.Last < silence.Milliseconds() {
			continue
		}
		if err := w.ctx.Forward(topology.Record[string, string]{Key: e.Key, Value: fmt.Sprintf("silent for %v", silence)}); err != nil {
			return err
		}
		b.Silent = true
		if err := w.baselines.Put(e.Key, b); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) Close() error { return nil }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t, err := watch()
	if err == nil {
		err = streams.Run(ctx, t, streams.Config{Brokers: strings.Split(os.Getenv("BROKERS"), ",")})
	}
	if err != nil {
		log.Fatal(err)
	}
}
