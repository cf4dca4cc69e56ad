package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
)

func (p *program) replayCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:  "replay",
		Usage: "write a trace of LLM requests to a topic",
		Description: "The trace that comes with millrace is the Azure LLM inference trace 2023 (CC-BY 4.0, by Microsoft): when\n" +
			"28,185 requests came and their tokens. Model, session, latency, price, errors and quality are modelled.\n" +
			"A FILE has lines 'time,context tokens,generated tokens' behind one of headings; '-' is standard input.\n" +
			"For example: millrace replay --brokers localhost:9092 --events 2000000",
		Flags: []cli.Flag{
			configFlag(), brokersFlag(),
			&cli.StringFlag{Name: "trace", Value: "both", Usage: "code, conv, both, or a `FILE`"},
			&cli.StringFlag{Name: "topic", Usage: "`TOPIC` to write to; made if it is missing", DefaultText: "llm.performance, or that of the file's source"},
			&cli.IntFlag{Name: "partitions", Value: defaultPartitions, Usage: "`N` partitions of the topic if it is missing"},
			&cli.Int64Flag{Name: "events", Usage: "`N` events to write, the trace being repeated and shifted", DefaultText: "the trace once"},
			&cli.StringFlag{Name: "speed", Value: "max", Usage: "`N` times real time, or max for as fast as possible"},
			&cli.DurationFlag{Name: "disorder", Value: time.Minute, Usage: "the most `TIME` by which an event comes too late"},
			&cli.Float64Flag{Name: "disorder-share", Value: 0.05, Usage: "`SHARE` of the events that come late, 0 to 1"},
			&cli.Float64Flag{Name: "duplicates", Value: 0, Usage: "`SHARE` of the events that are written twice, 0 to 1"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`N` to draw all chance from: the same N gives the same events"},
			&cli.BoolFlag{Name: "keep-time", Usage: "keep the trace's times of 2023 instead of ending now; a topic with the usual retention deletes such records"},
		},
		Action: p.replay,
	}, 0, 0)
}

func (p *program) replay(c *cli.Context) error {
	log := p.logger(slog.LevelInfo)
	s, err := p.settings(c, log)
	if err != nil {
		return err
	}
	speed, speedErr := parseSpeed(c.String("speed"))
	partitions, partitionsErr := partitionsOf(c)
	if err := errors.Join(s.needBrokers(), speedErr, partitionsErr); err != nil {
		return err
	}
	rows, err := p.rows(c.String("trace"))
	if err != nil {
		return err
	}
	options := trace.Options{
		Events: c.Int64("events"), Disorder: c.Duration("disorder"), DisorderShare: c.Float64("disorder-share"),
		Duplicates: c.Float64("duplicates"), Seed: c.Uint64("seed"),
	}
	if !c.Bool("keep-time") {
		options.End = time.Now()
	}
	g, err := trace.NewGenerator(rows, options)
	if err != nil {
		return err
	}
	if err := s.kafka(log).Validate(); err != nil {
		return usageError{err}
	}
	client, err := kafka.Open(c.Context, s.kafka(log))
	if err != nil {
		return err
	}
	defer client.Close()
	topic := s.llm.Topic
	if c.IsSet("topic") {
		topic = c.String("topic")
	}
	spec := kafka.TopicSpec{Name: topic, Partitions: partitions, Replication: -1}
	if c.Bool("keep-time") {
		spec.Configs = map[string]string{"retention.ms": "-1"}
	}
	if partitions, err = makeTopic(c, client, spec, log); err != nil {
		return err
	}
	producer, err := client.NewProducer(c.Context, kafka.ProducerConfig{})
	if err != nil {
		return err
	}
	defer producer.Close()
	total := options.Events
	if total == 0 {
		total = int64(len(rows))
	}
	show := p.progress("sent", total)
	began := time.Now()
	r := &replayer{producer: producer, topic: topic, partitions: partitions, speed: speed, sent: func(n int64, _ llm.Performance) { show.set(n + 1) }}
	n, err := r.run(c.Context, g)
	show.close()
	if err != nil {
		return err
	}
	took := time.Since(began)
	_, err = fmt.Fprintf(p.out, "%d events in %v to %s, %d partitions (%.0f a second)\n", n, took.Round(time.Millisecond), topic, partitions, float64(n)/took.Seconds())
	return err
}

// rows returns the rows of a trace by name, of a file, or of standard input.
func (p *program) rows(name string) ([]trace.Row, error) {
	switch name {
	case "code", "conv", "both":
		return trace.Load(trace.Name(name))
	case "-":
		return trace.ReadCSV(p.in, "standard input", trace.ConversationService)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usagef("--trace: want code, conv, both or a file: %w", err)
	}
	defer f.Close()
	return trace.ReadCSV(f, name, trace.ConversationService)
}

// makeTopic makes a topic if it is missing, and returns how many partitions it
// has.
func makeTopic(c *cli.Context, client *kafka.Client, spec kafka.TopicSpec, log *slog.Logger) (int32, error) {
	n, err := client.Partitions(c.Context, spec.Name)
	if err == nil {
		if c.IsSet("partitions") && n != spec.Partitions {
			log.Warn("the topic exists with another number of partitions", "topic", spec.Name, "partitions", n, "asked", spec.Partitions)
		}
		return n, nil
	}
	if !errors.Is(err, kafka.ErrUnknownTopic) {
		return 0, err
	}
	if _, err := client.CreateTopic(c.Context, spec); err != nil {
		return 0, err
	}
	log.Info("topic created", "topic", spec.Name, "partitions", spec.Partitions)
	return client.Partitions(c.Context, spec.Name)
}
