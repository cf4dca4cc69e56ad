package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"

	"github.com/twmb/franz-go/pkg/kfake"
)

// ErrInvalidConfig: a Config cannot work as it stands.
var ErrInvalidConfig = errors.New("embedded: invalid configuration")

// firstVirtualPort is where a virtual network's nodes listen if Config.Ports
// does not say.
const firstVirtualPort = 9092

// Config is a cluster to start. Its zero value is one node in memory on a free
// port of 127.0.0.1.
type Config struct {
	// Nodes is how many brokers there are. Default 1.
	Nodes int

	// Ports are the nodes' ports, one each. Default: free ones.
	Ports []int

	// Dir is the folder of the data. Empty keeps it in memory.
	Dir string

	// Topics are created at the start, by name, with this many partitions. Those
	// found in Dir are left as they are.
	Topics map[string]int32

	// Network carries the connections instead of TCP. Dial it by Cluster.Dial.
	Network *kfake.VirtualNetwork

	// Logger receives kfake's messages. Default: none.
	Logger *slog.Logger

	// Options are handed on to kfake, after those made from the fields above.
	Options []kfake.Opt
}

func (c Config) validate() error {
	var errs []error
	if c.Nodes < 0 {
		errs = append(errs, fmt.Errorf("%w: %d nodes", ErrInvalidConfig, c.Nodes))
	}
	if n := max(c.Nodes, 1); len(c.Ports) != 0 && len(c.Ports) != n {
		errs = append(errs, fmt.Errorf("%w: %d ports for %d nodes", ErrInvalidConfig, len(c.Ports), n))
	}
	for _, topic := range slices.Sorted(maps.Keys(c.Topics)) {
		if c.Topics[topic] < 1 {
			errs = append(errs, fmt.Errorf("%w: topic %q with %d partitions", ErrInvalidConfig, topic, c.Topics[topic]))
		}
	}
	return errors.Join(errs...)
}

// Cluster is a running cluster. Its methods are safe for concurrent use.
type Cluster struct {
	fake *kfake.Cluster
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Start starts a cluster. Close it.
func Start(cfg Config) (*Cluster, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	nodes := max(cfg.Nodes, 1)
	opts := []kfake.Opt{kfake.NumBrokers(nodes)}
	ports := cfg.Ports
	c := &Cluster{dial: (&net.Dialer{}).DialContext}
	if cfg.Network != nil {
		opts = append(opts, kfake.ListenFn(cfg.Network.Listen))
		c.dial = cfg.Network.DialContext
		for i := len(ports); i < nodes; i++ {
			ports = append(ports, firstVirtualPort+i)
		}
	}
	if len(ports) > 0 {
		opts = append(opts, kfake.Ports(ports...))
	}
	if cfg.Dir != "" {
		opts = append(opts, kfake.DataDir(cfg.Dir))
	}
	for _, topic := range slices.Sorted(maps.Keys(cfg.Topics)) {
		opts = append(opts, kfake.SeedTopics(cfg.Topics[topic], topic))
	}
	if cfg.Logger != nil {
		opts = append(opts, kfake.WithLogger(logger{cfg.Logger}))
	}
	fake, err := kfake.NewCluster(append(opts, cfg.Options...)...)
	if err != nil {
		return nil, fmt.Errorf("embedded: start %d nodes (data in %q): %w", nodes, cfg.Dir, err)
	}
	c.fake = fake
	return c, nil
}

// Addrs returns the nodes' addresses.
func (c *Cluster) Addrs() []string { return c.fake.ListenAddrs() }

// Dial connects to a node, over TCP or the virtual network.
func (c *Cluster) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return c.dial(ctx, network, addr)
}

// Fake returns kfake's own handle, by which tests inject faults, move leaders and
// compact.
func (c *Cluster) Fake() *kfake.Cluster { return c.fake }

// Close stops the nodes and writes out what is not yet in Config.Dir.
func (c *Cluster) Close() { c.fake.Close() }

// logger makes a slog.Logger kfake's.
type logger struct{ to *slog.Logger }

func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
	case kfake.LogLevelInfo:
		to = slog.LevelInfo
	}
	if ctx := context.Background(); l.to.Enabled(ctx, to) {
		l.to.Log(ctx, to, fmt.Sprintf(format, args...))
	}
}
