//go:build integration

package hot_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/integration/servers"
)

// build makes the command once for all tests of the package.
var build = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(binaries, "millrace")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/millrace/millrace/cmd/millrace").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the command: %w\n%s", err, out)
	}
	return binary, nil
})

// command is a running 'millrace run'.
type command struct {
	t     *testing.T
	cmd   *exec.Cmd
	http  string
	log   string
	ended chan struct{}
	err   error // read after ended
}

// start starts an instance whose results go to the Redis at a URL. Extra flags come
// last.
func (w *world) start(redisURL string, extra ...string) *command {
	t := w.t
	t.Helper()
	ports, err := servers.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "millrace.yaml")
	text := fmt.Sprintf("sources: {performance: {topic: %s}}\n"+
		"windowing: {size: 10s, allowed_lateness: 20s, watermark_delay: 5s, early_interval: 1s}\n"+
		"group: {session_timeout: 6s}\nstate: {hot: {redis: {url: %q, ttl: 1h}}}\n", w.topic, redisURL)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c := &command{t: t, http: fmt.Sprint("127.0.0.1:", ports[0]), log: log.Name(), ended: make(chan struct{})}
	args := append([]string{
		"run", "--config", config, "--brokers", w.brokers, "--application", w.application, "--sources", "performance",
		"--http", c.http, "--state", filepath.Join(dir, "state"), "--memory", "256MiB", "--workers", "2", "--commit", "200ms",
	}, extra...)
	c.cmd = exec.Command(w.binary, args...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.ended)
		c.err = c.cmd.Wait()
	}()
	t.Cleanup(func() {
		// The only errors are that it has ended.
		_ = c.cmd.Process.Signal(syscall.SIGCONT)
		_ = c.cmd.Process.Kill()
		<-c.ended
		if t.Failed() {
			lines := bytes.Split(c.read(), []byte("\n"))
			t.Logf("the end of the log of process %d:\n%s", c.cmd.Process.Pid, bytes.Join(lines[max(0, len(lines)-30):], []byte("\n")))
		}
	})
	return c
}

// wait waits until the command has ended, and fails the test if it did not end well.
func (c *command) wait() {
	c.t.Helper()
	<-c.ended
	if c.err != nil {
		c.t.Fatalf("the command ended with %v:\n%s", c.err, c.read())
	}
}

func (c *command) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// stop ends the command gracefully.
func (c *command) stop() {
	c.t.Helper()
	c.signal(syscall.SIGTERM)
	c.wait()
}

func (c *command) read() []byte {
	b, err := os.ReadFile(c.log)
	if err != nil {
		c.t.Error(err)
	}
	return b
}

// said counts the lines of the log whose message begins with a text.
func (c *command) said(text string) (n int) {
	for line := range bytes.Lines(c.read()) {
		var e struct{ Msg string }
		if json.Unmarshal(line, &e) == nil && strings.HasPrefix(e.Msg, text) {
			n++
		}
	}
	return n
}

// running returns how many tasks run, and -1 while the instance does not.
func (c *command) running() int {
	if c.metric(`millrace_instance_state{`, `state="running"`) != 1 {
		return -1
	}
	return int(c.metric(`millrace_task_state{`, `state="running"`))
}

// metric returns the sum of the metrics whose names and labels hold all texts; 0
// while there are none.
func (c *command) metric(texts ...string) (sum float64) {
	client := http.Client{Timeout: 2 * time.Second}
	res, err := client.Get("http://" + c.http + "/metrics")
	if err != nil {
		return 0
	}
	defer res.Body.Close()
lines:
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		for _, text := range texts {
			if !strings.Contains(lines.Text(), text) {
				continue lines
			}
		}
		name, value, _ := strings.Cut(lines.Text(), "} ")
		if n, err := strconv.ParseFloat(value, 64); err == nil && name != "" {
			sum += n
		}
	}
	return sum
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(90 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}
