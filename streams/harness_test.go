package streams

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/internal/embedded"
	"github.com/millrace/millrace/topology"
)

// world is a Kafka on a virtual network and the instances that a test runs on
// it. It lives in a synctest bubble: minutes pass in milliseconds.
type world struct {
	t       testing.TB
	cluster *embedded.Cluster
	log     *eventLog
	wg      sync.WaitGroup
}

func newWorld(t testing.TB, nodes int, topics map[string]int32) *world {
	t.Helper()
	var network kfake.VirtualNetwork
	cluster, err := embedded.Start(embedded.Config{Nodes: nodes, Topics: topics, Network: &network})
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, cluster: cluster, log: &eventLog{began: time.Now()}}
}

// close ends what is left and prints the log of a failed test.
func (w *world) close() {
	w.wg.Wait()
	w.cluster.Close()
	if w.t.Failed() {
		w.t.Log(w.log.String())
	}
}

// eventLog keeps the log lines of all instances with virtual times.
type eventLog struct {
	mu    sync.Mutex
	began time.Time
	buf   bytes.Buffer
}

func (l *eventLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.buf, "%9.3fs ", time.Since(l.began).Seconds())
	return l.buf.Write(b)
}

func (l *eventLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// process is one instance under test, with a disk of its own.
type process struct {
	w      *world
	name   string
	disk   vfs.FS
	in     *Instance
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

// start starts an instance on the disk; adjust changes its configuration.
func (w *world) start(name string, disk vfs.FS, t *topology.Topology, adjust func(*Config)) *process {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})).With("i", name)
	storage, err := NewPebbleStorage("state", disk, 8<<20, 8, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := Config{
		Brokers: w.cluster.Addrs(), Dial: w.cluster.Dial, Storage: storage, Logger: log, Workers: 2,
		CommitInterval: 200 * time.Millisecond, SessionTimeout: 6 * time.Second, Heartbeat: 500 * time.Millisecond,
		RebalanceTimeout: 10 * time.Second, TaskTimeout: time.Minute, Advertise: "http://" + name,
	}
	if adjust != nil {
		adjust(&cfg)
	}
	in, err := New(t, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	p := &process{w: w, name: name, disk: disk, in: in, ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	w.wg.Go(func() {
		defer close(p.ended)
		p.err = in.Run(ctx)
	})
	return p
}

// stop stops the instance gracefully.
func (p *process) stop() {
	p.w.t.Helper()
	p.cancel()
	<-p.ended
	if p.err != nil {
		p.w.t.Errorf("instance %s: %v", p.name, p.err)
	}
}

// wait waits until the instance has ended by itself.
func (p *process) wait() {
	p.w.t.Helper()
	<-p.ended
	p.cancel()
	if p.err != nil {
		p.w.t.Errorf("instance %s: %v", p.name, p.err)
	}
}

func (w *world) client(opts ...kgo.Opt) *kgo.Client {
	w.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(w.cluster.Addrs()...), kgo.Dialer(w.cluster.Dial), kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, opts...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// event is a record to write.
type event struct {
	topic     string
	partition int32
	key       string
	value     string
	at        time.Time
}

func (w *world) write(events ...event) {
	w.t.Helper()
	c := w.client()
	defer c.Close()
	records := make([]*kgo.Record, 0, len(events))
	for _, e := range events {
		records = append(records, &kgo.Record{Topic: e.topic, Partition: e.partition, Key: []byte(e.key), Value: []byte(e.value), Timestamp: e.at})
	}
	if err := c.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// read returns everything that a topic holds.
func (w *world) read(topic string) []*kgo.Record {
	w.t.Helper()
	c := w.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	defer c.Close()
	want := int64(0)
	for p := int32(0); ; p++ {
		info := w.cluster.Fake().PartitionInfo(topic, p)
		if info == nil {
			break
		}
		want += info.HighWatermark - info.LogStartOffset
	}
	var records []*kgo.Record
	for int64(len(records)) < want {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		fetches := c.PollFetches(ctx)
		cancel()
		if err := fetches.Err0(); err != nil {
			w.t.Fatalf("read %s: %d of %d records: %v", topic, len(records), want, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}
