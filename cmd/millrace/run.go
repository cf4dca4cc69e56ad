package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

func (p *program) runCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:  "run",
		Usage: "run an instance of the application",
		Description: "Reads the events of LLM serving and writes metrics of their windows: performance by model to llm.stats,\n" +
			"and the rest as docs/llm.md has it. An input that is missing is made, empty, unless the file names it;\n" +
			"--sources leaves inputs out. Instances share the partitions: start up to as many as there are, on one\n" +
			"machine each with its own --state and --http.\n" +
			"Ctrl-C or SIGTERM: commit and leave the group; a second one stops at once. SIGUSR1: pause, or resume what is\n" +
			"paused or drained. SIGUSR2: give all tasks to other instances and stay without any.",
		Flags: []cli.Flag{
			configFlag(), brokersFlag(), applicationFlag(),
			&cli.StringFlag{Name: "http", Value: defaultHTTP, Usage: "`HOST:PORT` of queries, metrics and health"},
			&cli.StringFlag{Name: "advertise", Usage: "`URL` at which other instances reach this one", DefaultText: "made of --http"},
			stateFlag(), sourcesFlag(),
			&cli.StringFlag{Name: "guarantee", Value: "at-least-once", Usage: "processing `GUARANTEE`: at-least-once or exactly-once"},
			&cli.IntFlag{Name: "workers", Usage: "`N` goroutines that process tasks", DefaultText: "one for each processor"},
			&cli.DurationFlag{Name: "commit", Usage: "`TIME` between commits", DefaultText: "1s, exactly once 100ms"},
			&cli.StringFlag{Name: "memory", Usage: "budget of `SIZE`, such as 2GiB", DefaultText: "80 % of the control group's limit, else 4GB"},
			onErrorFlag(),
			&cli.IntFlag{Name: "standbys", Usage: "`N` other instances keep a copy of each task's state"},
			checkpointsFlag(),
			&cli.StringFlag{Name: "rack", Usage: "`NAME` of the place where the instance runs: copies lie in others", DefaultText: "unknown"},
			&cli.StringFlag{Name: "instance-id", Usage: "`ID` under which the instance returns to its tasks after a restart, unique in the group", DefaultText: "none"},
			&cli.BoolFlag{Name: "until-end", Usage: "process what the inputs hold now, close all windows, compare with the direct computation, and end"},
			&cli.BoolFlag{Name: "no-create", Usage: "create no topics: a missing one is an error"},
		},
		Action: p.runInstance,
	}, 0, 0)
}

func (p *program) runInstance(c *cli.Context) error {
	log := p.logger(slog.LevelInfo)
	s, err := p.settings(c, log)
	if err != nil {
		return err
	}
	if err := s.needBrokers(); err != nil {
		return err
	}
	t, err := s.topology()
	if err != nil {
		return err
	}
	s.streams.UntilEnd, s.streams.NoCreate = c.Bool("until-end"), c.Bool("no-create")
	if s.streams.UntilEnd && s.streams.OnError != topology.Fail {
		return usagef("--until-end accounts for every event, and the error policy %v (--on-error, on_error) lets some go: leave one of them out", s.streams.OnError)
	}
	closeStore, err := s.openCheckpoints(c.Context)
	if err != nil {
		return err
	}
	defer closeStore()
	p.limitMemory(s.streams)
	if !s.streams.NoCreate {
		err := s.createInputs(c.Context, t)
		if err == nil {
			err = createOutputs(c.Context, t, s.streams)
		}
		if err != nil {
			return unlessStopped(c.Context, adviseCreate(err))
		}
	}
	closeCold, err := s.openCold()
	if err != nil {
		return err
	}
	defer closeCold()
	if err := s.openReplica(t); err != nil {
		return err
	}
	h, err := newHost(c.Context, t, s.streams, s.listen, s.advertise, s.adminToken, log)
	if err != nil {
		return err
	}
	defer p.obey(h.instance, log)()
	if err := h.run(c.Context); err != nil || !s.streams.UntilEnd || c.Context.Err() != nil {
		return adviseOnError(err)
	}
	return p.accountFor(c.Context, s, t, log)
}

// adviseCreate says which command makes the topics that are missing.
func adviseCreate(err error) error {
	if errors.Is(err, streams.ErrMissingTopic) {
		return fmt.Errorf("%w; 'millrace topics --create' makes what is missing", err)
	}
	return err
}

// adviseOnError says how to go on without a record that stopped the instance.
func adviseOnError(err error) error {
	if _, ok := errors.AsType[*processors.NodeError](err); ok {
		return fmt.Errorf("%w; to go on without such records start with --on-error dead-letter, or skip", err)
	}
	return err
}

// limitMemory tells the garbage collector of the budget, unless the user's GOMEMLIMIT
// does.
func (p *program) limitMemory(cfg streams.Config) {
	if _, ok := p.env("GOMEMLIMIT"); !ok {
		debug.SetMemoryLimit(cfg.GoMemory())
	}
}

// unlessStopped returns err, or nil if it came of ctx's end: the user has stopped
// what was under way.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// patience is how long run waits for a cluster that is starting too.
const patience = 10 * time.Second

// waitForCluster opens the application's Admin, trying again and again while
// patience lasts.
func waitForCluster(ctx context.Context, t *topology.Topology, cfg streams.Config, patience time.Duration) (*streams.Admin, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(patience / 10)
	defer again.Stop()
	var cause error // of the first try: the last one is cut off
	for {
		a, err := streams.OpenAdmin(ctx, t, cfg)
		switch {
		case err == nil:
			return a, nil
		case cause != nil && ctx.Err() != nil:
			return nil, fmt.Errorf("after %v: %w", patience, cause)
		case !errors.Is(err, kafka.ErrUnavailable):
			return nil, err
		case cause == nil:
			cause = err
			cfg.Logger.Warn("no broker answers yet", "brokers", cfg.Brokers, "waiting", patience, "error", err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

// createInputs makes inputs that are missing. At least one has to exist; one that
// is missing beside it gets as many partitions as the widest there is, unless
// the file names it: a name that somebody has written there is to exist.
func (s *settings) createInputs(ctx context.Context, t *topology.Topology) error {
	a, err := waitForCluster(ctx, t, s.streams, patience)
	if err != nil {
		return err
	}
	defer a.Close()
	topics, err := a.Topics(ctx, 1)
	if err != nil {
		return err
	}
	topics = slices.DeleteFunc(topics, func(t streams.Topic) bool { return t.Kind != streams.InputTopic })
	widest := int32(0)
	for _, topic := range topics {
		if topic.Exists {
			widest = max(widest, topic.Partitions)
		}
	}
	for _, topic := range topics {
		if topic.Exists || widest == 0 || slices.Contains(s.named, topic.Name) {
			continue
		}
		topic.Partitions = widest
		if err := a.Create(ctx, topic); err != nil {
			return err
		}
		s.streams.Logger.Warn("an input was missing: it was made, and is empty; --sources leaves inputs out", "topic", topic.Name)
	}
	return nil
}

// createOutputs makes the topics that the application writes and nobody has
// made. Of the others, inputs have to exist, and the instance makes its own.
func createOutputs(ctx context.Context, t *topology.Topology, cfg streams.Config) error {
	a, err := waitForCluster(ctx, t, cfg, patience)
	if err != nil {
		return err
	}
	defer a.Close()
	topics, err := a.Topics(ctx, 0)
	if err != nil {
		return err
	}
	for _, topic := range topics {
		if topic.Kind == streams.OutputTopic {
			if err := a.Create(ctx, topic); err != nil {
				return err
			}
		}
	}
	return nil
}

// accountFor compares what the application has written with the direct
// computation over what it has read, and prints the account.
func (p *program) accountFor(ctx context.Context, s *settings, t *topology.Topology, log *slog.Logger) error {
	client, err := kafka.Open(ctx, s.kafka(log))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := aloneAtLast(ctx, client, s.group(t), log); err != nil {
		return unlessStopped(ctx, err)
	}
	read, err := client.CommittedOffsets(ctx, s.group(t))
	if err != nil {
		return err
	}
	inputs := map[string]string{} // sources by topic
	for source, topic := range s.llm.Topics() {
		inputs[topic] = source
	}
	before := map[kafka.TopicPartition]int64{}
	for tp, position := range read {
		if _, ok := inputs[tp.Topic]; ok {
			before[tp] = position.Offset
		}
	}
	a := newAccounts(s.llm, nil)
	if err := a.countEvents(ctx, client, inputs, before); err != nil {
		return err
	}
	results, err := follow(ctx, client, a.take, a.outputs()...)
	if err != nil {
		return err
	}
	defer results.close()
	if err := results.catchUp(ctx); err != nil {
		return err
	}
	return p.print(a)
}

// aloneAtLast waits until a group has no members: what other instances of a
// bounded run are still processing belongs to its account.
func aloneAtLast(ctx context.Context, client *kafka.Client, group string, log *slog.Logger) error {
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for said := false; ; said = true {
		d, err := client.DescribeGroup(ctx, group)
		if err != nil || d.Members == 0 {
			return err
		}
		if !said {
			log.Info("waiting for the other instances to end, to account for all of them", "members", d.Members)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
