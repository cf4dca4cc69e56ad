//go:build integration

package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// line is what an instance has logged.
type line struct {
	Time       time.Time `json:"time"`
	Msg        string    `json:"msg"`
	Error      string    `json:"error"`
	Task       string    `json:"task"`
	State      string    `json:"state"`
	Generation int       `json:"generation"`
	Members    int       `json:"members"`
	Commits    int64     `json:"commits"`
	Seconds    float64   `json:"seconds"`
}

// process is a running instance, or one that has ended.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{}
	err   error // how it ended; read after ended

	mu      sync.Mutex // guards what follows
	lines   []line
	tasks   map[string]string // state by task
	state   string
	figures line
	asked   bool // to end
}

// startProcess starts an instance whose log goes to a file. told is called after
// each line.
func startProcess(name, logFile string, s spec, told func()) (*process, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: exec.Command(os.Args[0]), ended: make(chan struct{}), tasks: map[string]string{}}
	p.cmd.Env = append(os.Environ(), instanceEnv+"="+string(text), "GOMEMLIMIT=256MiB")
	stderr, err := p.cmd.StderrPipe()
	if err == nil {
		p.stdin, err = p.cmd.StdinPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		log.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	fmt.Fprintf(log, "{\"msg\":\"process %d begins\"}\n", p.cmd.Process.Pid)
	go func() {
		defer close(p.ended)
		defer told()
		in := bufio.NewReader(io.TeeReader(stderr, log))
		for {
			text, err := in.ReadBytes('\n')
			var l line
			if json.Unmarshal(text, &l) == nil {
				p.heard(l)
				told()
			}
			if err != nil {
				break
			}
		}
		p.err = p.cmd.Wait()
		log.Close()
	}()
	return p, nil
}

func (p *process) heard(l line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch l.Msg {
	case "figures":
		p.figures = l
		return
	case "task":
		if p.tasks[l.Task] = l.State; l.State == "closed" {
			delete(p.tasks, l.Task)
		}
	case "instance":
		p.state = l.State
	}
	p.lines = append(p.lines, l)
}

// mark is a moment in what the process has logged.
func (p *process) mark() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lines)
}

// since returns what was logged since a moment and satisfies a condition.
func (p *process) since(mark int, is func(line) bool) (found []line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines[mark:] {
		if is(l) {
			found = append(found, l)
		}
	}
	return found
}

// running returns how many tasks run, and -1 if the instance does not.
func (p *process) running() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != "running" {
		return -1
	}
	for _, state := range p.tasks {
		if state == "running" {
			n++
		}
	}
	return n
}

// holds returns the tasks that the process holds, or held when it ended.
func (p *process) holds() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	held := map[string]bool{}
	for task := range p.tasks {
		held[task] = true
	}
	return held
}

// commits returns the newest figures.
func (p *process) commits() (n int64, seconds float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.figures.Commits, p.figures.Seconds
}

// generation returns the last generation of the group that the process was in, and
// its members.
func (p *process) generation() (generation, members int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.lines) - 1; i >= 0; i-- {
		if l := p.lines[i]; l.Msg == "rebalanced" {
			return l.Generation, l.Members
		}
	}
	return 0, 0
}

// alive reports whether the process runs.
func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// strayed reports whether the process has ended and nobody has asked it to.
func (p *process) strayed() bool {
	p.mu.Lock()
	asked := p.asked
	p.mu.Unlock()
	return !asked && !p.alive()
}

func (p *process) ask() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
}

func (p *process) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// kill ends the process at once, and waits until it is gone.
func (p *process) kill() {
	p.ask()
	// The only error is that it has ended.
	_ = p.cmd.Process.Kill()
	<-p.ended
	_ = p.stdin.Close()
}

// stop ends the process gracefully. The error is that it did not end well.
func (p *process) stop() error {
	p.ask()
	if err := p.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	<-p.ended
	_ = p.stdin.Close()
	if p.err != nil {
		return fmt.Errorf("%s did not stop well: %w", p.name, p.err)
	}
	return nil
}

// networkTrouble is what an instance logs of a network that fails it.
func networkTrouble(l line) bool {
	for _, text := range []string{"fetch failed", "produce failed", "retrying", "no answer to a heartbeat", "no broker answers", "broker does not answer"} {
		if strings.HasPrefix(l.Msg, text) {
			return true
		}
	}
	return thrownAway(l)
}

// thrownAway is what an instance logs that gives up its tasks.
func thrownAway(l line) bool {
	return strings.HasPrefix(l.Msg, "expelled from the group") || l.Msg == "throwing tasks away"
}
