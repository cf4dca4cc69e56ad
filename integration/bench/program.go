package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// stopPatience is how long a program may take to end when it is told to.
const stopPatience = time.Minute

// program is a contender that runs in a process of its own.
type program struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer // read when it has ended
	ended          chan error   // capacity 1
}

// begin starts a contender. Wait for it.
func begin(cmd *exec.Cmd) (*program, error) {
	p := &program{cmd: cmd, ended: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	go func() { p.ended <- cmd.Wait() }()
	return p, nil
}

// report returns what the program has reported that has ended with err. The error
// has the end of its standard error.
func (p *program) report(err error) (Report, error) {
	if err != nil {
		return Report{}, fmt.Errorf("bench: %s: %w: %s", filepath.Base(p.cmd.Path), err, tail(p.stderr.Bytes()))
	}
	return parseReport(p.stdout.Bytes())
}

// until lets the program run until ctx ends, tells it to stop then, and returns its
// report. A program that ends before is an error.
func (p *program) until(ctx context.Context) (Report, error) {
	select {
	case err := <-p.ended:
		_, err = p.report(errors.Join(errors.New("it has ended while it was to go on"), err))
		return Report{}, err
	case <-ctx.Done():
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return Report{}, errors.Join(err, p.cmd.Process.Kill(), <-p.ended)
	}
	select {
	case err := <-p.ended:
		return p.report(err)
	case <-time.After(stopPatience):
		return p.report(errors.Join(fmt.Errorf("it has not stopped within %v", stopPatience), p.cmd.Process.Kill(), <-p.ended))
	}
}
