package emission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/integration/live"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// Case is what is measured.
type Case struct {
	Guarantee streams.Guarantee
	// Repartition has the events go by a repartition topic.
	Repartition bool
}

// String describes the case.
func (c Case) String() string {
	if c.Repartition {
		return fmt.Sprintf("%s, with a repartition", c.Guarantee)
	}
	return fmt.Sprintf("%s, without a repartition", c.Guarantee)
}

// Cases returns every case.
func Cases() []Case {
	return []Case{
		{streams.AtLeastOnce, false}, {streams.AtLeastOnce, true},
		{streams.ExactlyOnce, false}, {streams.ExactlyOnce, true},
	}
}

// Settings are what a case runs with.
type Settings struct {
	Broker string
	// Workers are the instance's. CommitInterval is the guarantee's if it is 0.
	Workers        int
	CommitInterval time.Duration
	Logger         *slog.Logger
}

// patience is how long results are waited for when the last event is in.
const patience = 15 * time.Second

// stats is the topology: by model in tumbling windows.
func stats(application, input, output string, l Load, repartition bool) (*topology.Topology, error) {
	b := topology.New(application)
	events := topology.Source(b, input, codec.String, llm.PerformanceCodec).
		EventTime(llm.PerformanceTime, window.BoundedDelay(l.Disorder))
	grouped := events.GroupByKey(codec.String, llm.PerformanceCodec)
	if repartition {
		grouped = topology.GroupBy(events, codec.String, llm.PerformanceCodec, llm.Model, topology.Named("by-model"))
	}
	s := topology.Aggregate(grouped.WindowedBy(window.Tumbling(l.Window)), llm.StatsCodec, llm.PerformanceStats, topology.Store("stats"))
	topology.MapValues(s.Stream(), llm.ToResult).To(output, codec.String, llm.ResultCodec)
	return b.Build()
}

// Measure runs one case.
func Measure(ctx context.Context, s Settings, c Case, l Load) (report *Report, err error) {
	client, err := kafka.Open(ctx, kafka.Config{Brokers: []string{s.Broker}, ClientID: "emission"})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	application := fmt.Sprintf("emission-%d", time.Now().UnixMilli())
	input, output := application+"-in", application+"-out"
	defer func() { err = errors.Join(err, remove(context.WithoutCancel(ctx), client, application)) }()
	if err := live.CreateInput(ctx, client, input); err != nil {
		return nil, err
	}
	if _, err := client.CreateTopic(ctx, kafka.TopicSpec{Name: output, Partitions: live.Partitions, Replication: -1}); err != nil {
		return nil, err
	}
	l.BySession = c.Repartition
	top, err := stats(application, input, output, l, c.Repartition)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "millrace-emission-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	in, err := streams.New(top, streams.Config{
		Brokers: []string{s.Broker}, StateDir: dir, Workers: s.Workers, Guarantee: c.Guarantee, CommitInterval: s.CommitInterval, Logger: s.Logger,
	})
	if err != nil {
		return nil, err
	}
	r := newResults()
	group, running := errgroup.WithContext(ctx)
	running, stop := context.WithCancel(running)
	group.Go(func() error { return in.Run(running) })
	group.Go(func() error { return live.Follow(running, s.Broker, output, r.put) })
	group.Go(func() (err error) {
		defer stop()
		report, err = produceAndAwait(running, client, in, r, s.Broker, input, c, l)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return report, nil
}

// produceAndAwait sends the load to the instance, and returns what it and its
// results say when all that can be are there.
func produceAndAwait(ctx context.Context, client *kafka.Client, in *streams.Instance, r *results, broker, input string, c Case, l Load) (*Report, error) {
	if err := started(ctx, in, c); err != nil {
		return nil, err
	}
	began := time.Now().Add(50 * time.Millisecond)
	if err := l.Send(ctx, client, input, began); err != nil {
		return nil, err
	}
	a := newArrivals(l)
	if err := live.ReadBack(ctx, client, broker, input, func(e live.Arrival) error {
		a.add(e.Partition, e.Event.Model, e.Event.Timestamp, e.Appended)
		return nil
	}); err != nil {
		return nil, err
	}
	var complete []windowID
	for id := range a.counts {
		if _, ok := a.completed(id, c.Repartition); ok {
			complete = append(complete, id)
		}
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return newReport(c, l, a, complete, r.await(limited, complete), began.Add(l.WarmUp)), nil
}

// started waits until the instance runs all of its tasks.
func started(ctx context.Context, in *streams.Instance, c Case) error {
	tasks := live.Partitions
	if c.Repartition {
		tasks *= 2
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for in.State() != streams.Running || len(in.Tasks()) < tasks {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// remove deletes the topics of a case.
func remove(ctx context.Context, client *kafka.Client, application string) error {
	topics, err := client.Topics(ctx)
	for topic := range topics {
		if strings.HasPrefix(topic, application) {
			err = errors.Join(err, client.DeleteTopic(ctx, topic))
		}
	}
	return err
}
