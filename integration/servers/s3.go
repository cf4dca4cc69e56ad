package servers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// S3 is a running S3 gateway over a folder, with one bucket. Its methods are safe for
// use by several goroutines at once; they do one thing after the other.
type S3 struct {
	command, dir, addr string

	mu   sync.Mutex
	proc *process // nil if it does not run
}

// The gateway's bucket and its account, which no other server knows.
const (
	s3Bucket = "state"
	s3Key    = "millrace"
	s3Secret = "only-for-tests"
)

// s3StartTimeout is how long the gateway may take to answer.
const s3StartTimeout = 30 * time.Second

// StartS3 starts a gateway over a temporary folder and returns once it answers. The
// context bounds the start only.
func StartS3(ctx context.Context) (*S3, error) {
	command, err := S3Gateway(ctx)
	if err != nil {
		return nil, err
	}
	s := &S3{command: command}
	if s.dir, err = os.MkdirTemp("", "millrace-s3-"); err != nil {
		return nil, fmt.Errorf("servers: a folder for the S3 gateway: %w", err)
	}
	// Metadata beside the files needs no extended attributes of the file system.
	for _, folder := range []string{filepath.Join("root", s3Bucket), "sidecar"} {
		if err := os.MkdirAll(filepath.Join(s.dir, folder), 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("servers: a folder for the S3 gateway: %w", err), s.Stop())
		}
	}
	ports, err := FreePorts(1)
	if err == nil {
		s.addr = loopback(ports[0])
		err = s.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// URL names a prefix of the bucket, as package changelog/objectstore takes it.
func (s *S3) URL(prefix string) string {
	return fmt.Sprintf("s3://%s/%s?region=us-east-1&endpoint=http://%s", s3Bucket, prefix, s.addr)
}

// Environment holds the variables that clients need, as name and value.
func (s *S3) Environment() map[string]string {
	return map[string]string{"AWS_ACCESS_KEY_ID": s3Key, "AWS_SECRET_ACCESS_KEY": s3Secret}
}

// Start starts the gateway again on its old port and folder, and returns once it
// answers. One that runs is left alone.
func (s *S3) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		return nil
	}
	out, err := os.OpenFile(filepath.Join(s.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("servers: start the S3 gateway: %w", err)
	}
	defer out.Close() // the child has its own handle
	cmd := exec.Command(s.command, "--port", s.addr, "--quiet", "posix", "--sidecar", filepath.Join(s.dir, "sidecar"), filepath.Join(s.dir, "root"))
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s3Key, "ROOT_SECRET_KEY="+s3Secret)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, out, out
	if s.proc, err = startProcess(cmd, false); err != nil {
		return fmt.Errorf("servers: start the S3 gateway: %w", err)
	}
	return s.await(ctx)
}

// await returns once the gateway answers. mu is held.
func (s *S3) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s3StartTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.answers(ctx) {
			return nil
		}
		select {
		case <-s.proc.done:
			return fmt.Errorf("servers: the S3 gateway ended (%v); its output ends:\n%s", s.proc.err, s.lastLines())
		case <-ctx.Done():
			return fmt.Errorf("servers: the S3 gateway does not answer: %w; its output ends:\n%s", ctx.Err(), s.lastLines())
		case <-tick.C:
		}
	}
}

// answers says whether the gateway answers anything, such as that it does not know
// us.
func (s *S3) answers(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	return err == nil && resp.Body.Close() == nil
}

// Kill ends the gateway at once, as a crash does. What it has stored stays.
func (s *S3) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		s.proc.kill()
		s.proc = nil
	}
}

// Stop ends the gateway and removes its folder. A second call does nothing.
func (s *S3) Stop() error {
	s.Kill()
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("servers: remove the S3 gateway's folder: %w", err)
	}
	return nil
}

// lastLines returns the end of what the gateway printed.
func (s *S3) lastLines() string {
	// What cannot be read is left out: this is the text of another error.
	out, _ := os.ReadFile(filepath.Join(s.dir, "output"))
	return tail(out, 20)
}

// NewS3 starts a gateway for one test, which may kill it, and sets its variables
// for that test. It is stopped when the test ends.
func NewS3(t *testing.T) *S3 {
	t.Helper()
	s, err := StartS3(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range s.Environment() {
		t.Setenv(name, value)
	}
	stopWith(t, "the S3 gateway", s)
	return s
}
