//go:build integration

package checkpoint_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/changelog/objectstore"
	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// processEnv makes this binary an instance, which a test may kill.
const processEnv = "MILLRACE_CHECKPOINT_PROCESS"

func TestMain(m *testing.M) {
	if text := os.Getenv(processEnv); text != "" {
		os.Exit(processMain(text))
	}
	os.Exit(servers.Main(m))
}

// spec says what a process runs.
type spec struct {
	Brokers              []string
	Application, In, Out string
	StateDir             string
	// Checkpoints is a URL; empty for none.
	Checkpoints string
	Interval    time.Duration
}

func processMain(text string) int {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var s spec
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		err = s.run(ctx, log)
	}
	if err != nil {
		log.Error("run", "error", err)
		return 1
	}
	return 0
}

// run runs the application that counts records by key.
func (s *spec) run(ctx context.Context, log *slog.Logger) error {
	b := topology.New(s.Application)
	records := topology.Source(b, s.In, codec.String, codec.Int64)
	records.GroupByKey(codec.String, codec.Int64).Count(topology.Store("counts")).Stream().To(s.Out, codec.String, codec.Int64)
	t, err := b.Build()
	if err != nil {
		return err
	}
	cfg := streams.Config{
		Brokers: s.Brokers, StateDir: s.StateDir, Memory: 64 << 20, Workers: 2, CommitInterval: 50 * time.Millisecond, Logger: log,
		// The next process takes the place of one that was killed at once.
		InstanceID: "the-one", SessionTimeout: 6 * time.Second, Heartbeat: 500 * time.Millisecond,
	}
	if s.Checkpoints != "" {
		store, err := objectstore.Open(ctx, s.Checkpoints)
		if err != nil {
			return err
		}
		defer store.Close()
		cfg.Checkpoints = streams.Checkpoints{Store: store, Interval: s.Interval}
	}
	return streams.Run(ctx, t, cfg)
}

// process is a running instance and its log.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
	err   error // read after ended
}

func start(t testing.TB, s spec) *process {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := &process{t: t, cmd: exec.Command(os.Args[0]), log: log.Name(), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), processEnv+"="+string(text)), log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			lines := strings.Split(strings.TrimRight(string(p.text()), "\n"), "\n")
			t.Logf("the end of the log of process %d:\n%s", p.cmd.Process.Pid, strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	})
	return p
}

// text returns what the process has logged.
func (p *process) text() []byte {
	b, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

// count returns how often something is in the log.
func (p *process) count(text string) int { return bytes.Count(p.text(), []byte(text)) }

// await waits until something was logged so often.
func (p *process) await(n int, text string) {
	p.t.Helper()
	until(p.t, text, func() bool {
		select {
		case <-p.ended:
			p.t.Fatalf("process %d ended before it logged %q: %v", p.cmd.Process.Pid, text, p.err)
		default:
		}
		return p.count(text) >= n
	})
}

// kill ends the process at once, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // the only error is that it has ended
	<-p.ended
}

// stop ends the process gracefully.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	<-p.ended
	if p.err != nil {
		p.t.Errorf("process %d: %v", p.cmd.Process.Pid, p.err)
	}
}
