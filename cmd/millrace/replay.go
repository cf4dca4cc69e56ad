package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
)

func (p *program) replayCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:  "replay",
		Usage: "write a trace of LLM requests to the application's inputs",
		Description: "The trace that comes with millrace is the Azure LLM inference trace 2023 (CC-BY 4.0, by Microsoft): when\n" +
			"28,185 requests came and their tokens. Model, session, latency, price, errors and quality are modelled,\n" +
			"and so are all events of the other kinds, which --kinds asks for: see llm/trace/README.md.\n" +
			"A FILE has lines 'time,context tokens,generated tokens' behind one of headings; '-' is standard input.\n" +
			"For example: millrace replay --brokers localhost:9092 --events 2000000",
		Flags: []cli.Flag{
			configFlag(), brokersFlag(),
			&cli.StringFlag{Name: "trace", Value: "both", Usage: "code, conv, both, or a `FILE`"},
			&cli.StringFlag{Name: "kinds", Value: llm.PerformanceSource, Usage: "`KINDS` of events, with commas: " + strings.Join(llm.SourceNames(), ", ") + "; or all"},
			&cli.StringFlag{Name: "topic", Usage: "`TOPIC` of the performance events; made if it is missing, as those of the other kinds are", DefaultText: "llm.performance, or that of the file's source"},
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
	kinds, kindsErr := kindsOf(c.String("kinds"))
	if err := errors.Join(s.needBrokers(), speedErr, partitionsErr, kindsErr); err != nil {
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
	traffic, err := trace.NewTraffic(rows, options, kinds, nil)
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
	targets := map[string]target{}
	for _, kind := range kinds {
		topic, err := s.topicOf(kind)
		if err != nil {
			return err
		}
		if kind == llm.PerformanceSource && c.IsSet("topic") {
			topic = c.String("topic")
		}
		spec := kafka.TopicSpec{Name: topic, Partitions: partitions, Replication: -1}
		if c.Bool("keep-time") {
			spec.Configs = map[string]string{"retention.ms": "-1"}
		}
		n, err := makeTopic(c, client, spec, log)
		if err != nil {
			return err
		}
		targets[kind] = target{topic, n}
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
	r := &replayer{producer: producer, targets: targets, speed: speed, sent: func(n int64, i trace.Item) {
		if i.Source == kinds[0] {
			show.set(n + 1)
		}
	}}
	sent, err := r.run(c.Context, traffic)
	show.close()
	if err != nil {
		return err
	}
	took := time.Since(began)
	for _, kind := range kinds {
		to := targets[kind]
		if _, err := fmt.Fprintf(p.out, "%d events in %v to %s, %d partitions (%.0f a second)\n",
			sent[kind], took.Round(time.Millisecond), to.topic, to.partitions, float64(sent[kind])/took.Seconds()); err != nil {
			return err
		}
	}
	return nil
}

// kindsOf reads the kinds of --kinds, performance first if it is among them.
func kindsOf(text string) ([]string, error) {
	if text == "all" {
		return llm.SourceNames(), nil
	}
	asked := strings.Split(text, ",")
	for i := range asked {
		asked[i] = strings.TrimSpace(asked[i])
		if !slices.Contains(llm.SourceNames(), asked[i]) {
			return nil, usagef("--kinds %q: want all, or some of %s", asked[i], strings.Join(llm.SourceNames(), ", "))
		}
	}
	return slices.DeleteFunc(llm.SourceNames(), func(kind string) bool { return !slices.Contains(asked, kind) }), nil
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
