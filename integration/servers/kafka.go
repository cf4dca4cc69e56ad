package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// ErrNotOurs is returned by the methods that need a broker which this process
// has started, on one that it was only told of.
var ErrNotOurs = errors.New("servers: this Kafka was started elsewhere; start one with NewKafka to break it")

// stopGrace is the time that a node has to end by itself. In a cluster that has
// lost its quorum it would wait for minutes.
const stopGrace = 10 * time.Second

// Kafka is a running Kafka. Its methods are safe for use by several goroutines
// at once; they do one thing after the other.
type Kafka struct {
	brokers []string

	mu    sync.Mutex
	cfg   KafkaConfig
	java  string
	jars  string
	dir   string
	temp  bool // dir is ours to remove
	nodes []*node
}

// node is one JVM of a Kafka and its folder.
type node struct {
	id                 int
	broker, controller string // host:port
	listeners          []listener
	dir                string
	run                int      // starts so far
	proc               *process // nil if it does not run
}

// listener is a further way to a node: where it listens, and what it tells the
// clients that have come by it.
type listener struct{ name, addr, advertised string }

// StartKafka starts a Kafka and returns once each of its nodes answers and
// knows all others. The context bounds the start only. An error quotes the end
// of the log of the node that failed; whatever had started is stopped.
func StartKafka(ctx context.Context, cfg KafkaConfig) (*Kafka, error) {
	cfg = cfg.withDefaults()
	java, err := javaPath(ctx)
	if err != nil {
		return nil, err
	}
	jars, err := KafkaJars(ctx)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		k := &Kafka{cfg: cfg, java: java, jars: jars}
		err := k.start(ctx)
		if err == nil {
			return k, nil
		}
		taken := k.portTaken()
		if err := k.Stop(); err != nil {
			return nil, err
		}
		if !taken || attempt == 3 {
			return nil, err
		}
	}
}

// Brokers returns the addresses of all nodes as host:port, stopped ones too.
func (k *Kafka) Brokers() []string { return slices.Clone(k.brokers) }

// Advertised returns the addresses by which all nodes are reached over one of the
// configuration's Listeners.
func (k *Kafka) Advertised(name string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var addrs []string
	for _, n := range k.nodes {
		for _, l := range n.listeners {
			if l.name == name {
				addrs = append(addrs, l.advertised)
			}
		}
	}
	return addrs
}

// Dir returns the folder that holds the nodes' folders, with their logs; it is
// empty for a Kafka that was started elsewhere.
func (k *Kafka) Dir() string { return k.dir }

// Stop ends all nodes and waits for them; a temporary folder is removed. A
// second call does nothing.
func (k *Kafka) Stop() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var wait sync.WaitGroup
	for _, n := range k.nodes {
		if n.proc == nil {
			continue
		}
		wait.Go(func() {
			if k.temp {
				n.proc.kill() // nobody reads the data again
			} else {
				n.proc.stop(stopGrace)
			}
		})
	}
	wait.Wait()
	for _, n := range k.nodes {
		n.proc = nil
	}
	if k.temp {
		if err := os.RemoveAll(k.dir); err != nil {
			return fmt.Errorf("servers: remove Kafka's folder: %w", err)
		}
	}
	return nil
}

// Kill ends a node at once, as a crash does; nodes are numbered from 1.
func (k *Kafka) Kill(id int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, err := k.node(id)
	if err != nil {
		return err
	}
	if n.proc == nil {
		return fmt.Errorf("servers: node %d does not run", id)
	}
	n.proc.kill()
	n.proc = nil
	return nil
}

// Restart starts a node on its old ports and data, and returns once it and all
// other running nodes know one another. A node that runs is killed first.
func (k *Kafka) Restart(ctx context.Context, id int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, err := k.node(id)
	if err != nil {
		return err
	}
	if n.proc != nil {
		n.proc.kill()
		n.proc = nil
	}
	if err := k.launch(n); err != nil {
		return err
	}
	return k.await(ctx)
}

// node returns the node of that number.
func (k *Kafka) node(id int) (*node, error) {
	if len(k.nodes) == 0 {
		return nil, ErrNotOurs
	}
	if id < 1 || id > len(k.nodes) {
		return nil, fmt.Errorf("servers: no node %d; there are 1 to %d", id, len(k.nodes))
	}
	return k.nodes[id-1], nil
}

// start formats and launches all nodes and waits for them.
func (k *Kafka) start(ctx context.Context) error {
	if err := k.layOut(); err != nil {
		return err
	}
	if err := k.format(ctx); err != nil {
		return err
	}
	for _, n := range k.nodes {
		if err := k.launch(n); err != nil {
			return err
		}
	}
	return k.await(ctx)
}

// layOut picks the ports and writes the folders and their configuration.
func (k *Kafka) layOut() error {
	var err error
	if k.dir = k.cfg.Dir; k.dir == "" {
		k.dir, err = os.MkdirTemp("", "millrace-kafka-")
		k.temp = err == nil
	} else {
		k.dir, err = filepath.Abs(k.dir)
	}
	if err != nil {
		return fmt.Errorf("servers: a folder for Kafka: %w", err)
	}
	each := 2 + len(k.cfg.Listeners)
	ports, err := FreePorts(each * k.cfg.Nodes)
	if err != nil {
		return err
	}
	for i := range k.cfg.Nodes {
		own := ports[each*i:]
		n := &node{
			id:         i + 1,
			broker:     loopback(own[0]),
			controller: loopback(own[1]),
			dir:        filepath.Join(k.dir, fmt.Sprintf("node-%d", i+1)),
		}
		for j, name := range k.cfg.Listeners {
			l := listener{name: name, addr: loopback(own[2+j])}
			if l.advertised, err = k.cfg.Advertise(name, n.id, l.addr); err != nil {
				return fmt.Errorf("servers: what node %d advertises for listener %s: %w", n.id, name, err)
			}
			n.listeners = append(n.listeners, l)
		}
		k.nodes = append(k.nodes, n)
		k.brokers = append(k.brokers, n.broker)
	}
	for _, n := range k.nodes {
		if err := errors.Join(os.RemoveAll(n.dir), os.MkdirAll(n.dir, 0o755)); err != nil {
			return fmt.Errorf("servers: make a node's folder: %w", err)
		}
		text := properties(n.id, k.nodes, k.cfg.Properties)
		if err := os.WriteFile(n.file("server.properties"), []byte(text), 0o644); err != nil {
			return fmt.Errorf("servers: configure node %d: %w", n.id, err)
		}
		if err := os.WriteFile(n.file("log4j2.properties"), log4j2, 0o644); err != nil {
			return fmt.Errorf("servers: configure node %d: %w", n.id, err)
		}
	}
	return nil
}

// format writes the cluster id into the data folder of each node.
func (k *Kafka) format(ctx context.Context) error {
	cluster := newClusterID()
	errs := make([]error, len(k.nodes))
	var wait sync.WaitGroup
	for i, n := range k.nodes {
		wait.Go(func() {
			cmd := exec.CommandContext(ctx, k.java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
				"-Dlog4j2.configurationFile="+n.file("log4j2.properties"),
				"-Dmillrace.log="+n.file("format.log"),
				"-cp", filepath.Join(k.jars, "*"), "kafka.tools.StorageTool",
				"format", "-t", cluster, "-c", n.file("server.properties"))
			if out, err := cmd.CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("servers: format node %d: %w; the tool's output ends:\n%s", n.id, err, tail(out, 20))
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// launch starts the JVM of a node.
func (k *Kafka) launch(n *node) error {
	n.run++
	out, err := os.Create(n.file("output"))
	if err != nil {
		return fmt.Errorf("servers: start node %d: %w", n.id, err)
	}
	defer out.Close() // the child has its own handle
	args := []string{"-Xmx" + k.cfg.Heap, "-XX:+UseSerialGC"}
	args = append(args, k.cfg.JVM...)
	args = append(args,
		"-Dlog4j2.configurationFile="+n.file("log4j2.properties"),
		"-Dmillrace.log="+n.log(),
		"-cp", filepath.Join(k.jars, "*"), "kafka.Kafka", n.file("server.properties"))
	cmd := exec.Command(k.java, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.dir, out, out
	if n.proc, err = startProcess(cmd, k.cfg.detach); err != nil {
		return fmt.Errorf("servers: start node %d: %w", n.id, err)
	}
	if err := writePID(n.dir, n.proc.pid); err != nil {
		return fmt.Errorf("servers: record the process id of node %d: %w", n.id, err)
	}
	return nil
}

// started is what a node logs when it has joined the cluster. Metadata alone
// does not say so: others still list a killed node until its session ends.
var started = []byte("Kafka Server started")

// await returns once every running node has started and lists all of them.
func (k *Kafka) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.StartTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, n := range k.nodes {
		for n.proc != nil && !k.ready(ctx, n) {
			select {
			case <-n.proc.done:
				return fmt.Errorf("servers: node %d of Kafka ended (%v); its log ends:\n%s", n.id, n.proc.err, n.lastLines())
			case <-ctx.Done():
				return fmt.Errorf("servers: node %d of Kafka does not answer: %w; its log ends:\n%s", n.id, ctx.Err(), n.lastLines())
			case <-tick.C:
			}
		}
	}
	return nil
}

// ready says whether a node has started and lists all running nodes.
func (k *Kafka) ready(ctx context.Context, n *node) bool {
	if b, err := os.ReadFile(n.log()); err != nil || !bytes.Contains(b, started) {
		return false
	}
	known, err := brokersKnownTo(ctx, n.broker)
	return err == nil && !slices.ContainsFunc(k.nodes, func(other *node) bool {
		return other.proc != nil && !slices.Contains(known, other.id)
	})
}

// portTaken says whether a node has ended because another process took its port
// after it was picked.
func (k *Kafka) portTaken() bool {
	return slices.ContainsFunc(k.nodes, func(n *node) bool {
		if n.proc == nil || !n.proc.ended() {
			return false
		}
		log, err := os.ReadFile(n.log())
		return err == nil && bytes.Contains(log, []byte("Address already in use"))
	})
}

func (n *node) file(name string) string { return filepath.Join(n.dir, name) }

// log returns the log of the present run; each start has its own.
func (n *node) log() string { return n.file(fmt.Sprintf("server-%d.log", n.run)) }

// lastLines returns the end of what the node logged and printed.
func (n *node) lastLines() string {
	// What cannot be read is left out: this is the text of another error.
	log, _ := os.ReadFile(n.log())
	out, _ := os.ReadFile(n.file("output"))
	return tail(append(log, out...), 20)
}
