package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// postgresUser is whom the server runs as where the tests are root's, as whom it
// refuses to run. Debian's package makes that user.
const postgresUser = "postgres"

// Postgres is a running PostgreSQL with an empty database, in a temporary folder
// and on a loopback port of its own. Its methods are safe for use by several
// goroutines at once; they do one thing after the other.
type Postgres struct {
	mu   sync.Mutex
	bin  string
	dir  string
	port int
	as   *identity // nil for this process's own user
	run  int
	proc *process
}

// identity is whom a process runs as.
type identity struct{ user, group uint32 }

// NewPostgres starts a PostgreSQL for one test. It is stopped when the test ends,
// and the end of its log is printed if the test failed.
func NewPostgres(t testing.TB) *Postgres {
	t.Helper()
	p, err := StartPostgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stopWith(t, "PostgreSQL", p)
	return p
}

// StartPostgres starts a PostgreSQL and returns once it answers. The context
// bounds the start only. Without PostgreSQL on the machine the error wraps
// [ErrSetup].
func StartPostgres(ctx context.Context) (*Postgres, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	p := &Postgres{bin: bin}
	if p.as, err = unprivileged(); err != nil {
		return nil, err
	}
	if p.dir, err = os.MkdirTemp("", "millrace-postgres-"); err != nil {
		return nil, fmt.Errorf("servers: a folder for PostgreSQL: %w", err)
	}
	if err := errors.Join(p.initialize(ctx), p.Start(ctx)); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// postgresBin returns the folder of the server's programs: of the newest version
// that Debian has installed, or where the PATH has them.
func postgresBin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err == nil && len(found) > 0 {
		version := func(name string) int {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(name)))) // 0 for what is none
			return n
		}
		return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
	}
	name, err := exec.LookPath("initdb")
	if err != nil {
		return "", fmt.Errorf("%w: PostgreSQL is not installed: apt-get install postgresql (integration/setup.sh does it)", ErrSetup)
	}
	return filepath.Dir(name), nil
}

// URL names the database, as the user whom the server knows.
func (p *Postgres) URL() string {
	return fmt.Sprintf("postgres://%s@%s/postgres?sslmode=disable", postgresUser, loopback(p.port))
}

// initialize makes the database's files.
func (p *Postgres) initialize(ctx context.Context) error {
	if p.as != nil {
		if err := os.Chown(p.dir, int(p.as.user), int(p.as.group)); err != nil {
			return fmt.Errorf("servers: give PostgreSQL its folder: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "initdb"), "-D", p.file("data"), "-U", postgresUser, "-A", "trust",
		"-E", "UTF8", "--locale", "C.UTF-8", "--no-sync")
	cmd.Dir = p.dir
	runAs(cmd, p.as)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("servers: initdb: %w; its output ends:\n%s", err, tail(out, 20))
	}
	ports, err := FreePorts(1)
	if err != nil {
		return err
	}
	p.port = ports[0]
	return nil
}

// Start starts a server that was stopped by Down, on its port and data, and
// returns once it answers.
func (p *Postgres) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc != nil {
		return nil
	}
	p.run++
	out, err := os.Create(p.log())
	if err != nil {
		return fmt.Errorf("servers: start PostgreSQL: %w", err)
	}
	defer out.Close() // the child has its own handle
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), "-D", p.file("data"),
		"-c", "listen_addresses=127.0.0.1", "-c", "port="+strconv.Itoa(p.port), "-c", "unix_socket_directories=",
		"-c", "max_connections=50", "-c", "shared_buffers=32MB")
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, out, out
	runAs(cmd, p.as)
	if p.proc, err = startProcess(cmd, false); err != nil {
		return fmt.Errorf("servers: start PostgreSQL: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !p.ready() {
		select {
		case <-p.proc.done:
			err := fmt.Errorf("servers: PostgreSQL ended (%v); its log ends:\n%s", p.proc.err, p.lastLines())
			p.proc = nil
			return err
		case <-ctx.Done():
			return fmt.Errorf("servers: PostgreSQL does not answer: %w; its log ends:\n%s", ctx.Err(), p.lastLines())
		case <-tick.C:
		}
	}
	return nil
}

// ready says whether the server takes connections.
func (p *Postgres) ready() bool {
	b, err := os.ReadFile(p.log())
	if err != nil || !strings.Contains(string(b), "database system is ready to accept connections") {
		return false
	}
	c, err := net.DialTimeout("tcp", loopback(p.port), time.Second)
	if err != nil {
		return false
	}
	return c.Close() == nil
}

// Down ends the server as a crash of it does: what was not committed is gone, and
// clients lose their connections. Start brings it back.
func (p *Postgres) Down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proc == nil {
		return
	}
	// SIGQUIT has its processes end at once; killed, it would leave them behind.
	if p.proc.os.Signal(syscall.SIGQUIT) == nil {
		select {
		case <-p.proc.done:
		case <-time.After(stopGrace):
		}
	}
	p.proc.kill()
	p.proc = nil
}

// Stop ends the server and removes its folder.
func (p *Postgres) Stop() error {
	p.Down()
	if err := os.RemoveAll(p.dir); err != nil {
		return fmt.Errorf("servers: remove PostgreSQL's folder: %w", err)
	}
	return nil
}

func (p *Postgres) file(name string) string { return filepath.Join(p.dir, name) }

// log returns the log of the present run; each start has its own.
func (p *Postgres) log() string { return p.file(fmt.Sprintf("server-%d.log", p.run)) }

// lastLines returns the end of what the server logged.
func (p *Postgres) lastLines() string {
	log, _ := os.ReadFile(p.log()) // this is the text of another error
	return tail(log, 20)
}
