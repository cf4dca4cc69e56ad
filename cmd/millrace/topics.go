package main

import (
	"errors"
	"fmt"
	"log/slog"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/streams"
)

// errTopics means that topics are missing or do not fit.
var errTopics = errors.New("topics")

func (p *program) topicsCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:  "topics",
		Usage: "list the topics that the application needs, or make the missing ones",
		Description: "Without --create nothing is changed, and the exit code is 1 if a topic is missing or does not fit.\n" +
			"Topics that exist are never changed.",
		Flags: []cli.Flag{
			configFlag(), brokersFlag(), applicationFlag(), sourcesFlag(),
			onErrorFlag(),
			&cli.BoolFlag{Name: "create", Usage: "make what is missing"},
			&cli.IntFlag{Name: "partitions", Value: defaultPartitions, Usage: "`N` partitions of an input that is missing; it cannot be changed later"},
		},
		Action: p.topics,
	}, 0, 0)
}

// defaultPartitions is how many partitions an input is given.
const defaultPartitions = 4

func (p *program) topics(c *cli.Context) error {
	log := p.logger(slog.LevelInfo)
	partitions, err := partitionsOf(c)
	if err != nil {
		return err
	}
	a, _, err := p.admin(c, log)
	if err != nil {
		return err
	}
	defer a.Close()
	topics, err := a.Topics(c.Context, partitions)
	if err != nil {
		return err
	}
	if c.Bool("create") {
		if err := a.Create(c.Context, topics...); err != nil {
			return err
		}
		if topics, err = a.Topics(c.Context, partitions); err != nil {
			return err
		}
	}
	return p.printTopics(topics)
}

func partitionsOf(c *cli.Context) (int32, error) {
	n := c.Int("partitions")
	if n < 1 || n > 100_000 {
		return 0, usagef("--partitions %d: want 1 to 100,000", n)
	}
	return int32(n), nil
}

// admin opens what topics and reset work with. Close it.
func (p *program) admin(c *cli.Context, log *slog.Logger) (*streams.Admin, *settings, error) {
	s, err := p.settings(c, log)
	if err != nil {
		return nil, nil, err
	}
	if err := s.needBrokers(); err != nil {
		return nil, nil, err
	}
	t, err := s.topology()
	if err != nil {
		return nil, nil, err
	}
	a, err := streams.OpenAdmin(c.Context, t, s.streams)
	return a, s, err
}

func (p *program) printTopics(topics []streams.Topic) error {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TOPIC\tKIND\tPARTITIONS\tSTATE")
	var missing int
	var errs []error
	for _, t := range topics {
		state := "exists"
		switch {
		case !t.Exists:
			state = "missing"
			missing++
		case t.Problem != nil:
			state = "does not fit"
			errs = append(errs, t.Problem)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", t.Name, t.Kind, t.Partitions, state)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if missing > 0 {
		errs = append(errs, fmt.Errorf("%w: %d are missing; make them with --create", errTopics, missing))
	}
	return errors.Join(errs...)
}
