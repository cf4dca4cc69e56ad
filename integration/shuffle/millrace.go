package shuffle

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// counting counts events by model, behind a repartition.
func counting(application, input, output string, delay time.Duration) (*topology.Topology, error) {
	b := topology.New(application)
	events := topology.Source(b, input, codec.String, codec.String).EventTime(nil, window.BoundedDelay(delay))
	model := func(r topology.Record[string, string]) string { return r.Value }
	topology.GroupBy(events, codec.String, codec.String, model, topology.Named("by-model")).
		WindowedBy(window.Tumbling(size)).
		Count(topology.Store("counts"), topology.Emit(window.OnClose())).
		Stream().ToWindowed(output, codec.String, codec.Int64)
	return b.Build()
}

// millrace runs Millrace to the end of the input.
func (s site) millrace(ctx context.Context, input, output, application string, l Load) (run report, err error) {
	top, err := counting(application, input, output, l.Disorder)
	if err != nil {
		return run, err
	}
	metrics := kept{prometheus.NewRegistry()}
	began := time.Now()
	err = streams.Run(ctx, top, streams.Config{
		Brokers: []string{s.broker}, Workers: threads, StateDir: s.dir, UntilEnd: true, Metrics: metrics,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return run, err
	}
	run.Seconds = time.Since(began).Seconds()
	run.Dropped, err = metrics.total("millrace_dropped_records_total")
	return run, err
}

// kept is a registry that keeps the collectors of an instance which has ended, so
// that they can be read behind its end.
type kept struct{ *prometheus.Registry }

func (kept) Unregister(prometheus.Collector) bool { return true }

// total adds up the values of a counter.
func (k kept) total(name string) (sum int64, err error) {
	families, err := k.Gather()
	if err != nil {
		return 0, fmt.Errorf("shuffle: %w", err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += int64(m.GetCounter().GetValue())
			}
		}
	}
	return sum, nil
}
