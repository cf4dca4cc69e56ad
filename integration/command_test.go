//go:build integration

package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/streams"
)

// TestKilledCommandLosesNothing is TestKilledInstanceLosesNothing with the
// command that users run: 'millrace replay' and two of 'millrace run'.
func TestKilledCommandLosesNothing(t *testing.T) {
	killedCommandLosesNothing(t, 2_000_000, 8000)
}

// killedCommandLosesNothing replays at so many times the trace's own speed, of
// some eight events a second. What the killed process can have fetched at most
// is what the topics held.
func killedCommandLosesNothing(t *testing.T, events int64, speed int) {
	c := newCluster(t)
	s := c.newKilling("command", events)
	binary := buildCommand(t)
	config := filepath.Join(t.TempDir(), "millrace.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "sources: {performance: {topic: %s}}\n", s.topic), 0o644); err != nil {
		t.Fatal(err)
	}
	brokers := strings.Join(c.brokers, ",")
	s.start = func(_, state string) process {
		return startCommand(t, binary, "run", "--config", config, "--brokers", brokers, "--application", s.application,
			"--http", "127.0.0.1:0", "--state", state, "--memory", "128MiB", "--workers", "2", "--sources", "performance")
	}
	s.fetched = func() map[place]int64 {
		ends := c.offsets(s.topic, logEnd)
		maps.Copy(ends, c.offsets(s.repartition, logEnd))
		return ends
	}
	s.replay = func() error {
		out, err := exec.Command(binary, "replay", "--brokers", brokers, "--topic", s.topic, "--events", fmt.Sprint(events),
			"--speed", fmt.Sprint(speed)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("replay: %w\n%s", err, out)
		}
		return nil
	}
	s.run()
}

// TestDemoThatWasFrozenAccounts: all instances and the broker lose each other in the
// middle of a demo, since the process stands still for longer than a session.
func TestDemoThatWasFrozenAccounts(t *testing.T) {
	demo := exec.Command(buildCommand(t), "demo", "--speed=360", "--instances=3", "--http=127.0.0.1:0")
	var out, log bytes.Buffer
	demo.Stdout, demo.Stderr = &out, &log
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	frozen := time.AfterFunc(3*time.Second, func() {
		if err := demo.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Error(err)
		}
	})
	woken := time.AfterFunc(15*time.Second, func() {
		if err := demo.Process.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	err := demo.Wait()
	if frozen.Stop() || woken.Stop() {
		t.Error("the demo ended before it was frozen and woken")
	}
	if err != nil {
		t.Errorf("want an account that is equal: %v\n%s%s", err, &out, &log)
	}
}

// buildCommand returns the path of a millrace that it has built.
func buildCommand(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "millrace")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/millrace").CombinedOutput(); err != nil {
		t.Fatalf("build the command: %v\n%s", err, out)
	}
	return binary
}

// command is a running 'millrace run'. What it does is read from its log.
type command struct {
	t     testing.TB
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
	err   error // read after ended
}

// startCommand starts the command. It is killed when the test ends.
func startCommand(t testing.TB, binary string, args ...string) *command {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := &command{t: t, cmd: exec.Command(binary, args...), log: log.Name(), ended: make(chan struct{})}
	p.cmd.Stderr = log
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
			lines := bytes.Split(p.read(), []byte("\n"))
			t.Logf("the end of the log of process %d:\n%s", p.cmd.Process.Pid, bytes.Join(lines[max(0, len(lines)-40):], []byte("\n")))
		}
	})
	return p
}

func (p *command) read() []byte {
	b, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Error(err)
	}
	return b
}

// look reads the log: the tasks that the instance holds, and its state.
func (p *command) look() (tasks map[string]bool, state string) {
	tasks = map[string]bool{}
	for line := range bytes.Lines(p.read()) {
		var e struct{ Msg, Task, State string }
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		switch {
		case e.Msg == "instance":
			state = e.State
		case e.Msg == "task" && e.State == string(streams.TaskClosed):
			delete(tasks, e.Task)
		case e.Msg == "task":
			tasks[e.Task] = true
		}
	}
	return tasks, state
}

func (p *command) awaitRunning() {
	p.t.Helper()
	eventually(p.t, "the command runs its tasks", func() bool {
		select {
		case <-p.ended:
			p.t.Fatalf("the command has ended: %v", p.err)
		default:
		}
		tasks, state := p.look()
		return state == string(streams.Running) && len(tasks) > 0
	})
}

func (p *command) tasks() map[string]bool {
	tasks, _ := p.look()
	return tasks
}

func (p *command) kill() {
	// The only error is that it has ended.
	_ = p.cmd.Process.Kill()
	<-p.ended
}

func (p *command) stop() time.Duration {
	p.t.Helper()
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	<-p.ended
	if p.err != nil {
		p.t.Errorf("the command ended with %v", p.err)
	}
	return time.Since(began)
}
