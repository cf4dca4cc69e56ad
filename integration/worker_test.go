//go:build integration

package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// workerEnv is the environment variable that makes this binary a worker: a
// process that runs one instance until SIGTERM, which a test may kill.
const workerEnv = "MILLRACE_INTEGRATION_WORKER"

// workerSpec says what a worker runs.
type workerSpec struct {
	Brokers     []string
	Application string
	// Topology is "llm" or "ledger"; Topic is what it reads.
	Topology, Topic string
	StateDir        string
	CommitInterval  time.Duration
	Guarantee       streams.Guarantee
	UntilEnd        bool
	// Tap is a file in which the worker notes how far it has fetched.
	Tap string
	// Durable flushes the databases after each commit, so that the disk shows
	// what would otherwise be in memory only.
	Durable bool
	// StateFirst breaks the order of commits.
	StateFirst bool
	// KillStep and KillCommit: at that step of its commit of that number, from
	// 1, the process kills itself.
	KillStep   string
	KillCommit int
}

// event is what a worker tells its test, a line of JSON on its standard output.
type event struct {
	// Kind is state, task or step.
	Kind string
	// Task is the task's id for a task, and empty else.
	Task string
	// What is the new state, or the step that begins.
	What string
}

func workerMain(text string) int {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var spec workerSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		log.Error("specification", "error", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := spec.run(ctx, log); err != nil {
		log.Error("run", "error", err)
		return 1
	}
	return 0
}

func (s *workerSpec) run(ctx context.Context, log *slog.Logger) error {
	t, err := s.topology()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	tell := func(e event) {
		mu.Lock()
		defer mu.Unlock()
		b, _ := json.Marshal(e)
		os.Stdout.Write(append(b, '\n'))
	}
	cfg := streams.Config{
		Application: s.Application, Brokers: s.Brokers, StateDir: s.StateDir, Memory: 64 << 20, Workers: 2,
		CommitInterval: s.CommitInterval, Guarantee: s.Guarantee, SessionTimeout: 6 * time.Second, Heartbeat: 500 * time.Millisecond,
		UntilEnd: s.UntilEnd, Logger: log,
		Listener: streams.Listener{
			State: func(_, to streams.State) { tell(event{Kind: "state", What: string(to)}) },
			Task: func(id processors.TaskID, to streams.TaskState) {
				tell(event{Kind: "task", Task: id.String(), What: string(to)})
			},
		},
	}
	commits := 0
	cfg.SetCommitHook(func(worker int, step string) error {
		mu.Lock()
		if step == "flush" {
			commits++
		}
		kill := step == s.KillStep && commits >= s.KillCommit
		mu.Unlock()
		tell(event{Kind: "step", Task: fmt.Sprint(worker), What: step})
		if kill {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	})
	if s.StateFirst {
		cfg.SetStateFirst()
	}
	if s.Durable {
		inner, err := streams.NewPebbleStorage(filepath.Join(s.StateDir, s.Application), nil, 8<<20, 8, log)
		if err != nil {
			return err
		}
		cfg.Storage = durableStorage{inner}
	}
	if s.Tap != "" {
		tap, err := newTap(s.Tap)
		if err != nil {
			return err
		}
		cfg.Dial = tap.dial
	}
	return streams.Run(ctx, t, cfg)
}

func (s *workerSpec) topology() (*topology.Topology, error) {
	switch s.Topology {
	case "llm":
		c := llm.DefaultConfig()
		c.Application, c.Topic = s.Application, s.Topic
		return llm.NewTopology(c)
	case "ledger":
		return ledger(s.Application, s.Topic)
	}
	return nil, fmt.Errorf("no topology %q", s.Topology)
}

// worker is a running worker as its test sees it.
type worker struct {
	t     testing.TB
	cmd   *exec.Cmd
	log   string // file with its log
	ended chan struct{}
	err   error // how it ended; read after ended

	mu      sync.Mutex // guards what follows
	events  []event
	changed chan struct{}
}

// startWorker starts a worker. It is killed when the test ends.
func startWorker(t testing.TB, spec workerSpec) *worker {
	t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	w := &worker{t: t, cmd: exec.Command(os.Args[0]), log: log.Name(), ended: make(chan struct{}), changed: make(chan struct{})}
	w.cmd.Env = append(os.Environ(), workerEnv+"="+string(text), "GOMEMLIMIT=1GiB")
	w.cmd.Stderr = log
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				w.heard(e)
			}
		}
		w.err = w.cmd.Wait()
	}()
	t.Cleanup(func() {
		w.kill()
		if t.Failed() {
			b, _ := os.ReadFile(w.log)
			lines := strings.Split(string(b), "\n")
			t.Logf("the end of the log of process %d:\n%s", w.cmd.Process.Pid, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	})
	return w
}

func (w *worker) heard(e event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	close(w.changed)
	w.changed = make(chan struct{})
}

// history returns what the worker has told so far.
func (w *worker) history() []event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]event(nil), w.events...)
}

// await waits until what the worker has told satisfies a condition. It fails the
// test if the worker ends before.
func (w *worker) await(what string, holds func([]event) bool) {
	w.t.Helper()
	deadline := time.After(patience)
	for {
		w.mu.Lock()
		ok, changed := holds(w.events), w.changed
		w.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-w.ended:
			w.t.Fatalf("process %d ended before %s: %v", w.cmd.Process.Pid, what, w.err)
		case <-deadline:
			w.t.Fatalf("process %d: after %v not %s", w.cmd.Process.Pid, patience, what)
		}
	}
}

// awaitRunning waits until the instance holds tasks and all of them run.
func (w *worker) awaitRunning() {
	w.t.Helper()
	w.await("running with tasks", func(events []event) bool {
		state, tasks := "", tasksIn(events)
		for _, e := range events {
			if e.Kind == "state" {
				state = e.What
			}
		}
		return state == string(streams.Running) && len(tasks) > 0
	})
}

// tasksIn returns the tasks that are held after some events.
func tasksIn(events []event) map[string]bool {
	held := map[string]bool{}
	for _, e := range events {
		if e.Kind != "task" {
			continue
		}
		if e.What == string(streams.TaskClosed) {
			delete(held, e.Task)
		} else {
			held[e.Task] = true
		}
	}
	return held
}

// tasks returns the tasks that the worker holds, or held when it ended.
func (w *worker) tasks() map[string]bool { return tasksIn(w.history()) }

// signal sends a signal to the process.
func (w *worker) signal(s syscall.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(s); err != nil {
		w.t.Fatal(err)
	}
}

// kill ends the process at once, and waits until it is gone.
func (w *worker) kill() {
	// The only error is that it has ended.
	_ = w.cmd.Process.Kill()
	<-w.ended
}

// stop ends the process gracefully and returns how long that took.
func (w *worker) stop() time.Duration {
	w.t.Helper()
	began := time.Now()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		w.t.Fatal(err)
	}
	<-w.ended
	if w.err != nil {
		w.t.Errorf("process %d: %v", w.cmd.Process.Pid, w.err)
	}
	return time.Since(began)
}

// wait waits until the process has ended by itself, as a bounded run does.
func (w *worker) wait() {
	w.t.Helper()
	<-w.ended
	if w.err != nil {
		w.t.Errorf("process %d: %v", w.cmd.Process.Pid, w.err)
	}
}
