package servers

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a started child process. Its goroutine waits for the child and
// ends with it.
type process struct {
	pid  int
	os   *os.Process
	done chan struct{} // closed when the child has ended
	err  error         // why it ended; read after done
}

// startProcess starts cmd. Where the system can do it, the child dies with this
// process, unless it is detached.
func startProcess(cmd *exec.Cmd, detached bool) (*process, error) {
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	setAttributes(cmd, detached)
	go func() {
		defer close(p.done)
		// The kernel ties the death signal to the thread that started the
		// child, so that thread stays as long as the child does.
		runtime.LockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid, p.os = cmd.Process.Pid, cmd.Process
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, err
	}
	return p, nil
}

// stop asks the process to end and kills it after the grace period.
func (p *process) stop(grace time.Duration) {
	if p.os.Signal(syscall.SIGTERM) == nil {
		select {
		case <-p.done:
			return
		case <-time.After(grace):
		}
	}
	p.kill()
}

// kill ends the process at once and waits until it is gone.
func (p *process) kill() {
	// The only error is that the process has ended.
	_ = p.os.Kill()
	<-p.done
}

// ended says whether the process is gone.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// writePID records the id of a node's process in its folder.
func writePID(dir string, pid int) error {
	return os.WriteFile(filepath.Join(dir, "pid"), []byte(strconv.Itoa(pid)+"\n"), 0o644)
}

// readPID returns the id that writePID recorded, and 0 if that process is gone
// or is, by its command line, none that works in dir: ids are used again.
func readPID(dir string) (int, error) {
	b, err := os.ReadFile(filepath.Join(dir, "pid"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", filepath.Join(dir, "pid"), err)
	}
	if !strings.Contains(commandLine(pid), dir) {
		return 0, nil
	}
	return pid, nil
}

// commandLine returns the command line of a process, and "" if it is gone.
func commandLine(pid int) string {
	if isDir("/proc/self") {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			return ""
		}
		return string(bytes.ReplaceAll(b, []byte{0}, []byte{' '}))
	}
	out, err := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// maxLine is the length to which tail cuts lines, in bytes.
const maxLine = 300

// tail returns the last n lines of b, long ones cut.
func tail(b []byte, n int) string {
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	lines = lines[max(0, len(lines)-n):]
	for i, line := range lines {
		if len(line) > maxLine {
			lines[i] = line[:maxLine] + "…"
		}
	}
	return strings.Join(lines, "\n")
}
