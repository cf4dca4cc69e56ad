package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/embedded"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
	"github.com/millrace/millrace/query"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

func (p *program) demoCommand() *cli.Command {
	return p.command(&cli.Command{
		Name:  "demo",
		Usage: "see it work: a real trace through the application, on a Kafka inside this process",
		Description: "Replays 28,185 real LLM requests (Azure LLM inference trace 2023, CC-BY 4.0, by Microsoft), prints each\n" +
			"model's metrics as its windows close, and compares them with a direct computation.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "speed", Value: "120", Usage: "`N` times real time, or max: write everything first, then process it"},
			&cli.DurationFlag{Name: "for", Usage: "stop after this `TIME`, with windows still open", DefaultText: "the whole trace"},
			&cli.IntFlag{Name: "instances", Value: 1, Usage: fmt.Sprintf("`N` instances that share the work, at most %d", maxInstances)},
			&cli.StringFlag{Name: "http", Value: defaultHTTP, Usage: "`HOST:PORT` of the first instance's queries and metrics; the others take free ones"},
			&cli.StringFlag{Name: "data", Usage: "`DIR` for Kafka's data and the instances' state", DefaultText: "a temporary folder"},
			&cli.BoolFlag{Name: "keep", Usage: "leave the data there at the end"},
		},
		Action: p.demo,
	}, 0, 0)
}

// What the demo replays, and how.
const (
	demoPartitions    = 4
	demoDisorder      = time.Minute // below the watermark's delay: no event is late
	demoDisorderShare = 0.05
	demoSeed          = 1
	maxInstances      = 16
)

// demo is one run of the command.
type demo struct {
	*program
	log       *slog.Logger
	config    llm.Config
	topology  *topology.Topology
	speed     float64
	limit     time.Duration
	instances int
	// listen is where the first instance answers; anyPort says that it may be
	// any port, since the user has not chosen one.
	listen  string
	anyPort bool
	dir     string

	cluster *embedded.Cluster
	client  *kafka.Client
	account *accounts
}

func (p *program) demo(c *cli.Context) (err error) {
	d := &demo{
		program: p, log: p.logger(slog.LevelWarn), config: llm.FullConfig(),
		limit: c.Duration("for"), instances: c.Int("instances"), listen: c.String("http"), anyPort: !c.IsSet("http"),
	}
	var speedErr, limitErr, instancesErr error
	d.speed, speedErr = parseSpeed(c.String("speed"))
	if d.limit < 0 {
		limitErr = usagef("--for %v: want a time above 0", d.limit)
	}
	if d.instances < 1 || d.instances > maxInstances {
		instancesErr = usagef("--instances %d: want 1 to %d", d.instances, maxInstances)
	}
	if err := errors.Join(speedErr, limitErr, instancesErr, checkListen(d.listen)); err != nil {
		return err
	}
	if d.topology, err = llm.NewTopology(d.config); err != nil {
		return err
	}
	remove, err := d.makeDir(c.String("data"), c.Bool("keep"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	return d.run(c.Context)
}

// makeDir makes the folder of the data. remove removes what the demo has put
// there, unless it is to be kept.
func (d *demo) makeDir(named string, keep bool) (remove func() error, err error) {
	if named == "" {
		d.dir, err = os.MkdirTemp("", "millrace-demo-")
		remove = func() error { return os.RemoveAll(d.dir) }
	} else {
		d.dir = named
		entries, missing := os.ReadDir(named)
		if len(entries) > 0 {
			return nil, usagef("--data: %s is not empty; a demo begins with an empty folder, or one that does not exist", named)
		}
		err = os.MkdirAll(named, 0o755)
		remove = func() error {
			err := errors.Join(os.RemoveAll(d.kafkaDir()), os.RemoveAll(filepath.Join(d.dir, stateName)))
			if missing != nil {
				err = errors.Join(err, os.Remove(d.dir)) // the user's own folder stays
			}
			return err
		}
	}
	if err == nil {
		err = os.MkdirAll(d.kafkaDir(), 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("data folder: %w; choose another with --data", err)
	}
	if keep {
		remove = func() error {
			_, err := fmt.Fprintf(d.err, "The data stays in %s.\n", d.dir)
			return err
		}
	}
	return remove, nil
}

const stateName = "state"

func (d *demo) kafkaDir() string { return filepath.Join(d.dir, "kafka") }

// run starts the cluster, has the application process the trace, and prints the
// account.
func (d *demo) run(ctx context.Context) error {
	var err error
	d.cluster, err = embedded.Start(embedded.Config{Dir: d.kafkaDir(), Topics: d.topics()})
	if err != nil {
		return err
	}
	defer d.cluster.Close()
	// The account is given also when the user stops the demo, however early.
	atEnd := context.WithoutCancel(ctx)
	if d.client, err = kafka.Open(atEnd, kafka.Config{Brokers: d.cluster.Addrs(), Logger: d.log}); err != nil {
		return err
	}
	defer d.client.Close()
	traffic, total, err := d.traffic()
	if err != nil {
		return err
	}
	if err := d.chooseAddress(atEnd); err != nil {
		return err
	}
	d.introduce(total)
	show := d.progress("replayed", total)
	d.account = newAccounts(d.config, func(r llm.Result) { fmt.Fprintln(show, row(r)) })
	results, err := follow(atEnd, d.client, d.account.take, d.account.outputs()...)
	if err != nil {
		show.close()
		return err
	}
	defer results.close()
	err = d.process(ctx, traffic, show)
	if err == nil {
		err = results.catchUp(atEnd)
	}
	results.close()
	show.close()
	if err != nil {
		return err
	}
	fmt.Fprintln(d.out)
	return d.print(d.account)
}

// topics are all that the application reads and writes, with their partitions.
func (d *demo) topics() map[string]int32 {
	topics := map[string]int32{}
	for _, topic := range d.topology.SinkTopics() {
		topics[topic] = 1
	}
	for _, topic := range d.config.Topics() {
		topics[topic] = 1
	}
	topics[d.config.Topic] = demoPartitions
	return topics
}

// traffic makes the events of the trace, so that the last request happens now.
func (d *demo) traffic() (*trace.Traffic, int64, error) {
	rows, err := trace.Load(trace.Both)
	if err != nil {
		return nil, 0, err
	}
	t, err := trace.NewTraffic(rows, trace.Options{
		End: time.Now(), Disorder: demoDisorder, DisorderShare: demoDisorderShare, Seed: demoSeed,
	}, llm.SourceNames(), nil)
	return t, int64(len(rows)), err
}

// process replays the events and runs the application over them until ctx or the
// time is over. At a speed it runs while they come, and what is still open at
// the end is closed by a bounded run, as is everything at full speed.
func (d *demo) process(ctx context.Context, t *trace.Traffic, show progress) error {
	if d.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.limit)
		defer cancel()
	}
	if d.speed == asFastAsPossible {
		if err := d.replay(ctx, t, show); err != nil || ctx.Err() != nil {
			return err
		}
		return d.runInstances(ctx, true)
	}
	live, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		defer stop() // without instances there is nothing to replay for
		ended <- d.runInstances(live, false)
	}()
	err := d.replay(live, t, show)
	stop()
	if err := errors.Join(err, <-ended); err != nil || ctx.Err() != nil {
		return err
	}
	return d.runInstances(ctx, true)
}

// replay writes the events, and adds them to the truth.
func (d *demo) replay(ctx context.Context, t *trace.Traffic, show progress) error {
	producer, err := d.client.NewProducer(ctx, kafka.ProducerConfig{})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer producer.Close()
	targets := map[string]target{}
	for source, topic := range d.config.Topics() {
		targets[source] = target{topic, d.topics()[topic]}
	}
	r := &replayer{producer: producer, targets: targets, speed: d.speed, sent: func(n int64, i trace.Item) {
		d.account.sent(i)
		if i.Source == llm.PerformanceSource {
			show.set(n + 1)
		}
	}}
	_, err = r.run(ctx, t)
	return err
}

// runInstances runs the instances until ctx ends or, untilEnd, everything is
// processed.
func (d *demo) runInstances(ctx context.Context, untilEnd bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	errs := make([]error, d.instances)
	for i := range d.instances {
		log := d.log.With("instance", i)
		h, err := newHost(ctx, d.topology, streams.Config{
			Brokers: d.cluster.Addrs(), StateDir: filepath.Join(d.dir, stateName, strconv.Itoa(i)), UntilEnd: untilEnd, Logger: log,
			// The account must be equal also on a machine that sleeps or has no time for it.
			Guarantee: streams.ExactlyOnce,
		}, d.address(i), "", config.Secret{}, log)
		if err != nil {
			errs[i] = err
			stop()
			break
		}
		running.Go(func() {
			if errs[i] = h.run(ctx); errs[i] != nil {
				stop()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// chooseAddress settles where the first instance listens. If the usual port is
// taken and the user has not asked for it, another one will do.
func (d *demo) chooseAddress(ctx context.Context) error {
	ln, err := query.Listen(ctx, d.listen)
	if err != nil && d.anyPort {
		ln, err = query.Listen(ctx, "127.0.0.1:0")
	}
	if err != nil {
		return err
	}
	d.listen = ln.Addr().String()
	return ln.Close()
}

// address returns where instance i listens: the first one where the user said,
// the others on any port, which it tells the first one.
func (d *demo) address(i int) string {
	if i == 0 {
		return d.listen
	}
	host, _, _ := net.SplitHostPort(d.listen)
	return net.JoinHostPort(host, "0")
}
