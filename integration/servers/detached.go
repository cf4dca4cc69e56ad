package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// StartDetached starts a Kafka under dir that outlives this process, and
// returns its addresses. If one runs there already its addresses are returned
// and nothing is started.
func StartDetached(ctx context.Context, dir string, nodes int) ([]string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("servers: make Kafka's folder: %w", err)
	}
	unlock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("servers: lock %s: %w", dir, err)
	}
	defer unlock()
	if brokers, err := running(dir); err != nil || len(brokers) > 0 {
		return brokers, err
	}
	k, err := StartKafka(ctx, KafkaConfig{Nodes: nodes, Dir: dir, detach: true})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(brokersFile(dir), []byte(strings.Join(k.brokers, "\n")+"\n"), 0o644); err != nil {
		return nil, errors.Join(fmt.Errorf("servers: record Kafka's addresses: %w", err), k.Stop())
	}
	return k.Brokers(), nil
}

// StopDetached stops the Kafka under dir by the process ids recorded there and
// removes its folders. It returns how many nodes it stopped.
func StopDetached(dir string) (int, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return 0, err
	}
	folders, err := nodeFolders(dir)
	if err != nil {
		return 0, err
	}
	stopped := 0
	for _, folder := range folders {
		pid, err := readPID(folder)
		if err != nil {
			return stopped, fmt.Errorf("servers: which process is %s: %w", folder, err)
		}
		if pid != 0 {
			if err := end(folder, pid); err != nil {
				return stopped, fmt.Errorf("servers: stop process %d of %s: %w", pid, folder, err)
			}
			stopped++
		}
		if err := os.RemoveAll(folder); err != nil {
			return stopped, fmt.Errorf("servers: remove a node's folder: %w", err)
		}
	}
	if err := os.Remove(brokersFile(dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return stopped, fmt.Errorf("servers: remove Kafka's addresses: %w", err)
	}
	return stopped, nil
}

// end asks the process that works in folder to end, kills it after the grace
// period, and returns once it is gone.
func end(folder string, pid int) error {
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	grace := time.After(stopGrace)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if left, err := readPID(folder); err != nil || left == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-grace:
			if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return err
			}
		}
	}
}

// running returns the addresses of the Kafka under dir, and none if not all of
// its nodes run.
func running(dir string) ([]string, error) {
	b, err := os.ReadFile(brokersFile(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	folders, err := nodeFolders(dir)
	if err != nil {
		return nil, err
	}
	up := 0
	for _, folder := range folders {
		pid, err := readPID(folder)
		if err != nil {
			return nil, err
		}
		if pid != 0 {
			up++
		}
	}
	if up == len(folders) {
		return strings.Fields(string(b)), nil
	}
	if up > 0 {
		return nil, fmt.Errorf("servers: %d of %d nodes run under %s; stop them first (make kafka-stop)", up, len(folders), dir)
	}
	return nil, nil
}

// nodeFolders returns the folders of the nodes under dir.
func nodeFolders(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(dir, "node-*"))
}

func brokersFile(dir string) string { return filepath.Join(dir, "brokers") }
