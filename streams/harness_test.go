package streams

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/internal/embedded"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds, in virtual time, what a test waits for.
const patience = 3 * time.Minute

// world is a Kafka on a virtual network and the instances that a test runs on
// it. It lives in a synctest bubble: minutes pass in milliseconds.
type world struct {
	t       testing.TB
	cluster *embedded.Cluster
	log     *eventLog
	wg      sync.WaitGroup
	ending  chan struct{} // closed when the test is over: loads end
	writer  *kgo.Client   // made by the first write
	// guarantee is that of the instances; at least once if it is empty.
	guarantee Guarantee
	// latency is that of the instances' networks; nil for none.
	latency func() time.Duration

	mu        sync.Mutex
	changed   chan struct{} // closed when some instance tells its listener something
	processes []*process
}

// inWorld runs a test in a bubble of its own, on a cluster with some topics.
func inWorld(t *testing.T, nodes int, topics map[string]int32, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nodes, topics)
		defer w.close()
		test(w)
	})
}

func newWorld(t testing.TB, nodes int, topics map[string]int32) *world {
	t.Helper()
	var network kfake.VirtualNetwork
	cluster, err := embedded.Start(embedded.Config{
		Nodes: nodes, Topics: topics, Network: &network, Options: []kfake.Opt{kfake.GroupMinSessionTimeout(time.Second)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, cluster: cluster, log: &eventLog{began: time.Now()}, changed: make(chan struct{}), ending: make(chan struct{}),
	}
}

// close ends what is left and prints the log of a failed test.
func (w *world) close() {
	w.shut()
	if w.t.Failed() {
		w.t.Log(w.log.String())
	}
}

// shut ends what is left.
func (w *world) shut() {
	close(w.ending)
	w.mu.Lock()
	processes := w.processes
	w.mu.Unlock()
	for _, p := range processes {
		p.wire.unfreeze()
		p.cancel()
	}
	w.wg.Wait()
	if w.writer != nil {
		w.writer.Close()
	}
	w.cluster.Close()
}

// notify wakes until.
func (w *world) notify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// until waits for a condition, which is looked at whenever an instance has told
// its listener something.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if done() {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			w.t.Fatalf("waited %v for: %s", patience, what)
		}
	}
}

// pass lets virtual time go by.
func (w *world) pass(d time.Duration) { <-time.After(d) }

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

// note adds a line of the test's own.
func (l *eventLog) note(format string, args ...any) { fmt.Fprintf(l, format+"\n", args...) }

func (l *eventLog) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.buf.Bytes(), []byte(text))
}

// logger logs to the event log.
func (l *eventLog) logger(name string, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "application" {
				return slog.Attr{}
			}
			return a
		},
	})).With("i", name)
}

// process is one instance under test, with a disk and a network of its own.
type process struct {
	w      *world
	name   string
	disk   *vfs.MemFS
	wire   *wire
	opens  *opens
	in     *Instance
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

// newDisk returns an empty disk that can crash.
func newDisk() *vfs.MemFS { return vfs.NewCrashableMem() }

// start starts an instance on the disk; adjust changes its configuration.
func (w *world) start(name string, disk *vfs.MemFS, t *topology.Topology, adjust func(*Config)) *process {
	w.t.Helper()
	storage, err := NewPebbleStorage("state", disk, 8<<20, 8, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	p := &process{w: w, name: name, disk: disk, ended: make(chan struct{}), wire: newWire(w.cluster.Dial), opens: &opens{Storage: storage}}
	p.wire.latency = w.latency
	cfg := Config{
		Brokers: w.cluster.Addrs(), Dial: p.wire.Dial, Storage: p.opens, Logger: w.log.logger(name, slog.LevelInfo), Workers: 2,
		Guarantee: w.guarantee, CommitInterval: 200 * time.Millisecond, SessionTimeout: 6 * time.Second, Heartbeat: 500 * time.Millisecond,
		RebalanceTimeout: 10 * time.Second, TaskTimeout: time.Minute, Advertise: "http://" + name,
	}
	if adjust != nil {
		adjust(&cfg)
	}
	cfg.Listener = w.listening(cfg.Listener)
	if p.in, err = New(t, cfg); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	w.mu.Lock()
	w.processes = append(w.processes, p)
	w.mu.Unlock()
	w.wg.Go(func() {
		p.err = p.in.Run(ctx)
		close(p.ended)
		w.notify()
	})
	return p
}

// opens is a Storage that counts how often the state of each task is opened.
type opens struct {
	Storage
	mu    sync.Mutex
	count map[TaskID]int
}

func (o *opens) Open(id TaskID, onFailure func(error)) (stores.Engine, error) {
	o.mu.Lock()
	if o.count == nil {
		o.count = map[TaskID]int{}
	}
	o.count[id]++
	o.mu.Unlock()
	return o.Storage.Open(id, onFailure)
}

func (o *opens) all() map[TaskID]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.count)
}

// FS and Folder are those of the storage within.
func (o *opens) FS() vfs.FS              { return o.Storage.(Folders).FS() }
func (o *opens) Folder(id TaskID) string { return o.Storage.(Folders).Folder(id) }

// CacheBytes is that of the storage within.
func (o *opens) CacheBytes() int64 { return o.Storage.(interface{ CacheBytes() int64 }).CacheBytes() }

// listening wakes until after each call of the listener.
func (w *world) listening(l Listener) Listener {
	return Listener{
		State: func(from, to State) {
			if l.State != nil {
				l.State(from, to)
			}
			w.notify()
		},
		Task: func(id TaskID, s TaskState) {
			if l.Task != nil {
				l.Task(id, s)
			}
			w.notify()
		},
		Standby: func(id TaskID, s StandbyState) {
			if l.Standby != nil {
				l.Standby(id, s)
			}
			w.notify()
		},
		Restoring: func(id TaskID, store string, remaining int64) {
			if l.Restoring != nil {
				l.Restoring(id, store, remaining)
			}
			w.notify()
		},
		Checkpoint: func(id TaskID, s CheckpointState) {
			if l.Checkpoint != nil {
				l.Checkpoint(id, s)
			}
			w.notify()
		},
		Lost: func(topic string, partition int32, from, to int64) {
			if l.Lost != nil {
				l.Lost(topic, partition, from, to)
			}
			w.notify()
		},
		Committed: func(ids []TaskID) {
			if l.Committed != nil {
				l.Committed(ids)
			}
			w.notify()
		},
	}
}

// stop stops the instance gracefully.
func (p *process) stop() {
	p.w.t.Helper()
	p.cancel()
	p.wait()
}

// wait waits until the instance has ended by itself.
func (p *process) wait() {
	p.w.t.Helper()
	if err := p.result(); err != nil {
		p.w.t.Errorf("instance %s: %v", p.name, err)
	}
}

// result waits until the instance has ended and returns what Run returned.
func (p *process) result() error {
	p.w.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.w.t.Fatalf("instance %s has not ended", p.name)
	}
	p.cancel()
	return p.err
}

// kill ends the process as a power cut would: nothing it does from now on
// reaches anybody. It returns what is left on its disk.
func (p *process) kill() *vfs.MemFS { return p.crash(vfs.CrashCloneCfg{}) }

// crash is kill, with a choice of what is left on the disk.
func (p *process) crash(cfg vfs.CrashCloneCfg) *vfs.MemFS {
	disk := p.disk.CrashClone(cfg)
	p.wire.kill()
	p.cancel()
	return disk
}

// running returns how many tasks of the instance run.
func (p *process) running() int {
	n := 0
	for _, t := range p.in.Tasks() {
		if t.State == TaskRunning {
			n++
		}
	}
	return n
}

// settled waits until the processes run all of n tasks between them.
func (w *world) settled(n int, processes ...*process) {
	w.t.Helper()
	w.until(fmt.Sprint(n, " tasks run on ", len(processes), " instances"), func() bool {
		sum := 0
		for _, p := range processes {
			if p.in.State() != Running {
				return false
			}
			sum += p.running()
		}
		return sum == n
	})
}
