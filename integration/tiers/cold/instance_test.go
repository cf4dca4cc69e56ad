//go:build integration

package cold_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/stores/postgres"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// instanceEnv is the environment variable that makes this binary a process with
// one instance, which kills itself.
const instanceEnv = "MILLRACE_COLD_INSTANCE"

// spec says what an instance runs: sums by key and window.
type spec struct {
	Brokers          []string
	URL, Application string
	StateDir         string
	Size, WarmTTL    time.Duration
	// KillCold and KillCommit say at which call of a hook the process kills itself;
	// 0 is never.
	KillCold, KillCommit int
}

func (s spec) topic() string { return s.Application + "-in" }

func (s spec) windows() window.Windows { return window.Tumbling(s.Size) }

func (s spec) topology() (*topology.Topology, error) {
	b := topology.New(s.Application)
	topology.Source(b, s.topic(), codec.String, codec.Int64).EventTime(nil, window.BoundedDelay(0)).
		GroupByKey(codec.String, codec.Int64).WindowedBy(s.windows()).
		Reduce(func(into *int64, v int64) error { *into += v; return nil },
			topology.Store("sums"), topology.Tiered(topology.Tiers{WarmTTL: s.WarmTTL, Cold: true}))
	return b.Build()
}

// config is that of the instance, over an open tier.
func (s spec) config(tier *postgres.Tier, log *slog.Logger) streams.Config {
	return streams.Config{
		Application: s.Application, Brokers: s.Brokers, StateDir: s.StateDir, Memory: 64 << 20, Workers: 1,
		Guarantee: streams.ExactlyOnce, SessionTimeout: 20 * time.Second, InstanceID: "only", OnStop: streams.Leave,
		Cold: tier, Logger: log,
	}
}

// instanceMain runs an instance until it kills itself.
func instanceMain(text string) int {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var s spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		log.Error("specification", "error", err)
		return 2
	}
	t, err := s.topology()
	if err != nil {
		log.Error("topology", "error", err)
		return 2
	}
	tier, err := postgres.Open(postgres.Config{URL: s.URL, Logger: log})
	if err != nil {
		log.Error("cold tier", "error", err)
		return 2
	}
	defer tier.Close()
	cfg := s.config(tier, log)
	var cold, commits atomic.Int64
	kill := func(count *atomic.Int64, at int) error {
		if count.Add(1) == int64(at) {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
	cfg.SetColdHook(func() error { return kill(&cold, s.KillCold) })
	cfg.SetCommitHook(func(int, string) error { return kill(&commits, s.KillCommit) })
	if err := streams.Run(context.Background(), t, cfg); err != nil {
		log.Error("run", "error", err)
		return 1
	}
	return 0
}

// runUntilKilled runs an instance in a process of its own until that kills itself.
func (s spec) runUntilKilled(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), instanceEnv+"="+string(text))
	out, err := cmd.CombinedOutput()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || ctx.Err() != nil {
		t.Fatalf("an instance was to kill itself: %v, %v; it said\n%s", err, ctx.Err(), out)
	}
}

// run runs an instance in this process until the test ends.
func (s spec) run(t *testing.T, tier *postgres.Tier, log *slog.Logger) *streams.Instance {
	t.Helper()
	top, err := s.topology()
	if err != nil {
		t.Fatal(err)
	}
	in, err := streams.New(top, s.config(tier, log))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return in
}

// keys is how many keys a load has: each has an event at each of its times.
const keys = 8

// load writes events and keeps the truth about them.
type load struct {
	t      *testing.T
	spec   spec
	client *kgo.Client

	mu     sync.Mutex
	at     time.Time // of the next event
	newest time.Time
	sums   map[string]int64 // by key and start of the window
}

// newLoad makes a topic of two partitions, and begins at a time.
func newLoad(t *testing.T, s spec, begin time.Time) *load {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = s.topic(), 2, 1
	// Brokers delete events that are older than a week, unless they are told.
	forever := kmsg.NewCreateTopicsRequestTopicConfig()
	forever.Name, forever.Value = "retention.ms", kmsg.StringPtr("-1")
	topic.Configs = append(topic.Configs, forever)
	request := kmsg.NewPtrCreateTopicsRequest()
	request.Topics, request.TimeoutMillis = append(request.Topics, topic), 10_000
	response, err := request.RequestWith(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(response.Topics[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
	return &load{t: t, spec: s, client: client, at: begin, sums: map[string]int64{}}
}

func name(key string, start time.Time) string { return fmt.Sprint(key, " ", start.UnixMilli()) }

// send writes an event for each key, and moves on.
func (l *load) send(step time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var records []*kgo.Record
	for i := range keys {
		key, value := fmt.Sprint("key-", i), int64(1+rand.IntN(100))
		b, err := codec.Int64.Append(nil, value)
		if err != nil {
			l.t.Error(err)
		}
		records = append(records, &kgo.Record{Topic: l.spec.topic(), Key: []byte(key), Value: b, Timestamp: l.at})
		l.sums[name(key, l.at.Truncate(l.spec.Size))] += value
	}
	l.newest, l.at = l.at, l.at.Add(step)
	if err := l.client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		l.t.Error(err)
	}
}

// keep sends on until the function that it returns is called.
func (l *load) keep(step, pause time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for ctx.Err() == nil {
			l.send(step)
			<-tick.C
		}
	}()
	return func() { cancel(); <-done }
}

// closed returns the sums of the windows that are closed, by the newest event.
func (l *load) closed() map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	closed := map[string]int64{}
	for n, sum := range l.sums {
		var key string
		var start int64
		fmt.Sscan(n, &key, &start)
		if !time.UnixMilli(start).Add(l.spec.Size).After(l.newest) {
			closed[n] = sum
		}
	}
	return closed
}

// begin returns what a test needs: a specification over a Kafka and a PostgreSQL.
func begin(t *testing.T, application string) (spec, *servers.Postgres) {
	t.Helper()
	p := servers.NewPostgres(t)
	return spec{
		Brokers: servers.KafkaForTest(t).Brokers(), URL: p.URL(), StateDir: t.TempDir(),
		Application: fmt.Sprintf("%s-%d", application, rand.Uint32()),
	}, p
}
