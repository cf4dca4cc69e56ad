package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

func (p *program) backfillCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:  "backfill",
		Usage: "compute the results of a time in the past once more, beside the application",
		Description: "Reads the inputs again and sends the final result of every window that begins in the range to topics of its\n" +
			"own, NAME.llm.stats and so on, as an application of its own; the live one is not touched. Partitions advance\n" +
			"together (--align), so that only the windows of a moment are open, and no faster than --rate.\n" +
			"Events are found by the time that the broker keeps with each record: --slack is how far that may be off their\n" +
			"own. Events that no window takes go to NAME.llm.late. Stopped in between, the same command goes on; several\n" +
			"at once share the partitions, each with its own --state. To do it again, 'millrace reset --application NAME'.\n" +
			"For example: millrace backfill --from 2026-01-02T00:00:00Z --to 2026-01-03T00:00:00Z --rate 20000",
		Flags: []cli.Flag{
			configFlag(), brokersFlag(), applicationFlag(), stateFlag(), sourcesFlag(),
			&cli.StringFlag{Name: "from", Usage: "windows that begin at this `TIME` (RFC 3339 or Unix ms) or later"},
			&cli.StringFlag{Name: "to", Usage: "and before this `TIME`"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the application that does it, and prefix of its results' topics", DefaultText: "<application>-backfill-<from>-<to>"},
			&cli.IntFlag{Name: "rate", Usage: "at most `N` events a second", DefaultText: "as fast as possible"},
			&cli.DurationFlag{Name: "align", Value: 10 * time.Minute, Usage: "read no partition more than this `TIME` ahead of the slowest; 0 for what the file says"},
			&cli.DurationFlag{Name: "slack", Value: 10 * time.Minute, Usage: "the most `TIME` between an event and its record"},
			&cli.StringFlag{Name: "guarantee", Value: "at-least-once", Usage: "processing `GUARANTEE`: at-least-once or exactly-once"},
			&cli.IntFlag{Name: "workers", Usage: "`N` goroutines that process tasks", DefaultText: "one for each processor"},
			&cli.StringFlag{Name: "memory", Usage: "budget of `SIZE`, such as 2GiB", DefaultText: "80 % of the control group's limit, else 4GB"},
			onErrorFlag(),
		},
		Action: p.backfill,
	}, 0, 0)
}

func (p *program) backfill(c *cli.Context) error {
	log := p.logger(slog.LevelWarn)
	b, err := p.newBackfill(c, log)
	if err != nil {
		return err
	}
	p.limitMemory(b.streams)
	t, err := b.prepare(c.Context)
	if err != nil {
		return unlessStopped(c.Context, err)
	}
	client, err := kafka.Open(c.Context, b.kafka(log))
	if err != nil {
		return unlessStopped(c.Context, err)
	}
	defer client.Close()
	e, err := b.extent(c.Context, client)
	if err != nil {
		return unlessStopped(c.Context, err)
	}
	before := e.done
	show := p.progress("read", e.total)
	watching, stop := context.WithCancel(c.Context)
	var watcher sync.WaitGroup
	watcher.Go(func() { e.watch(watching, show, log) })
	err = streams.Run(c.Context, t, b.streams)
	stop()
	watcher.Wait()
	show.close()
	switch {
	case err != nil:
		return adviseOnError(err)
	case c.Context.Err() != nil:
		_, err = fmt.Fprintln(p.out, "Stopped; the same command goes on from here.")
		return err
	case before == e.total && e.total > 0:
		if _, err := fmt.Fprintf(p.out, "All had been read before. To do it again: millrace reset --application %s --execute\n", b.streams.Application); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(p.out, "%d of %d records read; the results of windows from %s to %s are in %s\n", e.done-before, e.total,
		b.llm.From.UTC().Format(time.RFC3339Nano), b.llm.To.UTC().Format(time.RFC3339Nano), strings.Join(b.llm.Outputs(), ", "))
	return err
}

// backfill is what a backfill runs with.
type backfill struct{ *settings }

// newBackfill reads the flags. The error joins every mistake.
func (p *program) newBackfill(c *cli.Context, log *slog.Logger) (*backfill, error) {
	s, err := p.settings(c, log)
	if err != nil {
		return nil, err
	}
	from, errFrom := parseTime(c.String("from"))
	if errFrom != nil {
		errFrom = usagef("--from %w", errFrom)
	}
	to, errTo := parseTime(c.String("to"))
	if errTo != nil {
		errTo = usagef("--to %w", errTo)
	}
	errs := []error{s.needBrokers(), errFrom, errTo}
	if errFrom == nil && errTo == nil && !from.Before(to) {
		errs = append(errs, usagef("--from %s is not before --to %s", c.String("from"), c.String("to")))
	}
	if c.IsSet("rate") && c.Int("rate") < 1 {
		errs = append(errs, usagef("--rate %d: want at least 1 event a second", c.Int("rate")))
	}
	for _, name := range []string{"align", "slack"} {
		if c.Duration(name) < 0 {
			errs = append(errs, usagef("--%s %v: want 0 or more", name, c.Duration(name)))
		}
	}
	live := s.llm.Application
	name := live + "-backfill-" + compact(from) + "-" + compact(to)
	if c.IsSet("name") {
		name = c.String("name")
	}
	switch {
	case name == live:
		errs = append(errs, usagef("--name %s is the live application's: its results would mix with those of the backfill", name))
	case !topicName.MatchString(name):
		errs = append(errs, usagef("--name %q: want 1 to 200 letters, digits, '.', '_' and '-', since topics are named after it", name))
	}

	s.llm.Application, s.llm.OutputPrefix = name, name+"."
	s.llm.From, s.llm.To, s.llm.FinalOnly = from, to, true
	s.llm = s.llm.AlignedWithin(c.Duration("align"))
	before, after := s.llm.Reach()
	slack := c.Duration("slack")
	s.streams.Application, s.streams.UntilEnd, s.streams.MaxRate = name, true, c.Int("rate")
	s.streams.From, s.streams.Until = from.Add(-before-slack), to.Add(after+slack)
	// Its group, its tiers and its replica are the live application's own.
	s.streams.InstanceID, s.streams.OnStop, s.streams.Standby = "", "", streams.Standby{}
	s.streams.ReplicaStores, s.llm.Cold, s.llm.WarmTTL = nil, false, 0
	return &backfill{s}, errors.Join(errs...)
}

// compact writes a time so that it can be part of a topic's name.
func compact(t time.Time) string {
	return strings.ReplaceAll(t.UTC().Format("20060102T150405.999"), ".", "_")
}

// prepare leaves out the sources without a topic, makes the topics of the results,
// and returns the topology.
func (b *backfill) prepare(ctx context.Context) (*topology.Topology, error) {
	t, err := b.topology()
	if err != nil {
		return nil, err
	}
	missing, err := b.missing(ctx, t)
	if err != nil {
		return nil, err
	}
	var there []string
	for source, topic := range b.llm.Topics() {
		if !slices.Contains(missing, topic) {
			there = append(there, source)
		}
	}
	if len(there) == 0 {
		return nil, usagef("none of the inputs exists: %s", strings.Join(missing, ", "))
	}
	if len(missing) > 0 {
		b.streams.Logger.Warn("inputs that do not exist are left out", "topics", missing)
		if b.llm, err = b.llm.Only(there...); err != nil {
			return nil, err
		}
		if t, err = b.topology(); err != nil {
			return nil, err
		}
	}
	return t, createOutputs(ctx, t, b.streams)
}

// missing returns the inputs that do not exist.
func (b *backfill) missing(ctx context.Context, t *topology.Topology) ([]string, error) {
	a, err := waitForCluster(ctx, t, b.streams, patience)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	topics, err := a.Topics(ctx, 1)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, topic := range topics {
		if topic.Kind == streams.InputTopic && !topic.Exists {
			missing = append(missing, topic.Name)
		}
	}
	return missing, nil
}

// extent is what a backfill reads.
type extent struct {
	client       *kafka.Client
	group        string
	starts, ends map[kafka.TopicPartition]int64
	// total is how many offsets that are, and done how many of them are committed.
	total, done int64
}

// extent finds where the inputs' records of the time begin and end, as the
// instance does, and how far the backfill is.
func (b *backfill) extent(ctx context.Context, client *kafka.Client) (*extent, error) {
	e := &extent{client: client, group: b.streams.Application}
	var tps []kafka.TopicPartition
	for _, topic := range b.llm.Topics() {
		n, err := client.Partitions(ctx, topic)
		if err != nil {
			return nil, err
		}
		for i := range n {
			tps = append(tps, kafka.TopicPartition{Topic: topic, Partition: i})
		}
	}
	var err error
	if e.starts, err = client.ListOffsets(ctx, max(0, b.streams.From.UnixMilli()), tps...); err != nil {
		return nil, err
	}
	if e.ends, err = client.ListOffsets(ctx, max(0, b.streams.Until.UnixMilli()), tps...); err != nil {
		return nil, err
	}
	for _, tp := range tps {
		e.total += max(0, e.ends[tp]-e.starts[tp])
	}
	return e, e.update(ctx)
}

// update asks how far the group has come.
func (e *extent) update(ctx context.Context) error {
	committed, err := e.client.CommittedOffsets(ctx, e.group)
	if err != nil {
		return err
	}
	e.done = 0
	for tp, end := range e.ends {
		if at, ok := committed[tp]; ok {
			e.done += max(0, min(at.Offset, end)-e.starts[tp])
		}
	}
	return nil
}

// watch shows how far the group has come until ctx ends, and once more then.
func (e *extent) watch(ctx context.Context, show progress, log *slog.Logger) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		if err := e.update(last); err != nil {
			log.Warn("how far the backfill is could not be found out", "error", err)
		}
		cancel()
		show.set(e.done)
	}
}
