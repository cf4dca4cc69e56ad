package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Redis is a running redis-server without persistence: what it held is gone when
// it starts again. One goroutine uses it.
type Redis struct {
	addr, dir string
	run       int // starts so far
	proc      *process
}

// redisStart bounds the time until a redis-server answers.
const redisStart = 20 * time.Second

// StartRedis starts a redis-server, which Debian's package of that name brings, on
// a free port of the loopback and a temporary folder, and returns once it answers.
// The context bounds the start only.
func StartRedis(ctx context.Context) (*Redis, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, fmt.Errorf("servers: there is no redis-server on the PATH: install it (integration/setup.sh does on Debian): %w", err)
	}
	for attempt := 1; ; attempt++ {
		ports, err := FreePorts(1)
		if err != nil {
			return nil, err
		}
		r := &Redis{addr: loopback(ports[0])}
		if r.dir, err = os.MkdirTemp("", "millrace-redis-"); err != nil {
			return nil, fmt.Errorf("servers: a folder for Redis: %w", err)
		}
		if err = r.Start(ctx); err == nil {
			return r, nil
		}
		taken := strings.Contains(r.lastLines(), "Address already in use")
		if err := errors.Join(err, r.Stop()); !taken || attempt == 3 {
			return nil, err
		}
	}
}

// NewRedis starts a Redis for one test, which may stop it. It is stopped when the
// test ends, and the end of its log is printed if the test failed.
func NewRedis(t testing.TB) *Redis {
	t.Helper()
	r, err := StartRedis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stopWith(t, "Redis", r)
	return r
}

// Addr returns host:port.
func (r *Redis) Addr() string { return r.addr }

// URL returns the address in the form of configuration files.
func (r *Redis) URL() string { return "redis://" + r.addr }

// Start starts a server that was killed, on its old port and empty.
func (r *Redis) Start(ctx context.Context) error {
	if r.proc != nil {
		return fmt.Errorf("servers: Redis runs already at %s", r.addr)
	}
	_, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		return err
	}
	r.run++
	out, err := os.Create(r.log())
	if err != nil {
		return fmt.Errorf("servers: start Redis: %w", err)
	}
	defer out.Close() // the child has its own handle
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", r.dir, "--save", "", "--appendonly", "no", "--daemonize", "no")
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.dir, out, out
	if r.proc, err = startProcess(cmd, false); err != nil {
		return fmt.Errorf("servers: start Redis: %w", err)
	}
	return r.await(ctx)
}

// Kill ends the server at once, as a crash does.
func (r *Redis) Kill() {
	if r.proc != nil {
		r.proc.kill()
		r.proc = nil
	}
}

// Stop ends the server and removes its folder. A second call does nothing.
func (r *Redis) Stop() error {
	r.Kill()
	if err := os.RemoveAll(r.dir); err != nil {
		return fmt.Errorf("servers: remove the folder of Redis: %w", err)
	}
	return nil
}

// await returns once the server answers a PING.
func (r *Redis) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, redisStart)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !r.answers(ctx) {
		select {
		case <-r.proc.done:
			return fmt.Errorf("servers: Redis ended (%v); its log ends:\n%s", r.proc.err, r.lastLines())
		case <-ctx.Done():
			return fmt.Errorf("servers: Redis does not answer at %s: %w; its log ends:\n%s", r.addr, ctx.Err(), r.lastLines())
		case <-tick.C:
		}
	}
	return nil
}

func (r *Redis) answers(ctx context.Context) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", r.addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(time.Second)) != nil {
		return false
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "+PONG")
}

func (r *Redis) log() string { return filepath.Join(r.dir, fmt.Sprintf("server-%d.log", r.run)) }

// lastLines returns the end of what the server printed.
func (r *Redis) lastLines() string {
	out, _ := os.ReadFile(r.log()) // the text of another error
	return tail(out, 20)
}
