package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/internal/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patienceOfTests is how long a test waits for what must happen.
const patienceOfTests = 5 * time.Minute

// output is a writer that can be waited on.
type output struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	grown chan struct{}
}

func newOutput() *output { return &output{grown: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.grown)
	o.grown = make(chan struct{})
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// await waits for a match of the pattern and returns its first group.
func (o *output) await(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(patienceOfTests)
	for {
		o.mu.Lock()
		found, grown := re.FindStringSubmatch(o.buf.String()), o.grown
		o.mu.Unlock()
		if found != nil {
			return found[1]
		}
		select {
		case <-grown:
		case <-late:
			t.Fatalf("%q does not come in:\n%s", pattern, o)
		}
	}
}

// process is a command under test.
type process struct {
	t        *testing.T
	out, err *output
	stop     context.CancelFunc
	ended    chan struct{}
	code     int
}

// start runs a command line, with MILLRACE_ variables before the command as in a
// shell.
func start(t *testing.T, words ...string) *process {
	t.Helper()
	env := map[string]string{}
	for len(words) > 0 && strings.Contains(words[0], "=") {
		name, value, _ := strings.Cut(words[0], "=")
		env[name] = value
		words = words[1:]
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &process{t: t, out: newOutput(), err: newOutput(), stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.code = run(ctx, append([]string{"millrace"}, words...), strings.NewReader(""), p.out, p.err,
			func(name string) (string, bool) { value, ok := env[name]; return value, ok })
	}()
	t.Cleanup(func() {
		stop()
		<-p.ended
	})
	return p
}

// wait returns when the command has ended, and checks its exit code.
func (p *process) wait(code int) *process {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patienceOfTests):
		p.t.Fatalf("the command does not end:\n%s\n%s", p.out, p.err)
	}
	if p.code != code {
		p.t.Fatalf("exit code %d, want %d:\n%s\n%s", p.code, code, p.out, p.err)
	}
	return p
}

// lastLine returns the last line of standard output.
func (p *process) lastLine() string {
	lines := strings.Split(strings.TrimRight(p.out.String(), "\n"), "\n")
	return lines[len(lines)-1]
}

// wants fails the test unless both outputs together hold the texts.
func (p *process) wants(texts ...string) *process {
	p.t.Helper()
	all := p.out.String() + p.err.String()
	for _, text := range texts {
		if !strings.Contains(all, text) {
			p.t.Errorf("%q is not in:\n%s", text, all)
		}
	}
	return p
}

// newCluster starts a Kafka and returns --brokers for it.
func newCluster(t *testing.T) (*embedded.Cluster, string) {
	t.Helper()
	cluster, err := embedded.Start(embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, "--brokers=" + strings.Join(cluster.Addrs(), ",")
}

// equal is the last line of a run that processed everything.
func equal(events int) string {
	return fmt.Sprintf("%d events in = %[1]d in final windows + 0 dropped + 0 open; direct computation: equal", events)
}
