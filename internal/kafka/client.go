package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String returns topic-partition, as Kafka writes it.
func (tp TopicPartition) String() string { return fmt.Sprintf("%s-%d", tp.Topic, tp.Partition) }

// Compare orders by topic, then partition.
func (tp TopicPartition) Compare(other TopicPartition) int {
	if tp.Topic != other.Topic {
		if tp.Topic < other.Topic {
			return -1
		}
		return 1
	}
	return int(tp.Partition) - int(other.Partition)
}

// role separates what must not wait for one another on one connection.
type role string

const (
	roleAdmin  role = "admin"  // metadata, topics, positions
	roleCommit role = "commit" // committed offsets
)

type connKey struct {
	role role
	addr string
}

// Client knows a cluster. It is safe for concurrent use. Close it last, after
// the fetchers, producers and members made from it.
type Client struct {
	cfg    Config
	logger *slog.Logger
	outage outage

	mu           sync.Mutex // guards the maps below; never held across a request
	closed       bool
	conns        map[connKey]*conn
	meta         metadata
	coordinators map[string]string // group to address
}

// Open checks cfg, reaches the first broker that answers, and checks that it is
// new enough. It does not retry: wrap it if the cluster may still be starting.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c := &Client{
		cfg:          cfg,
		logger:       cfg.Logger,
		conns:        map[connKey]*conn{},
		coordinators: map[string]string{},
	}
	c.outage.logger = slog.New(slog.DiscardHandler) // the caller has the error
	err := c.anyBroker(ctx, checkVersions)
	if err == nil {
		err = c.refresh(ctx)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	c.outage.logger = cfg.Logger
	return c, nil
}

// Close cuts the client's own connections and waits for the calls on them, which
// fail with ErrClosed.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	conns := slices.Collect(maps.Values(c.conns))
	clear(c.conns)
	c.mu.Unlock()
	for _, cn := range conns {
		cn.close()
	}
}

// conn returns the shared connection of a role to an address.
func (c *Client) conn(r role, addr string) (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	key := connKey{r, addr}
	cn := c.conns[key]
	if cn == nil {
		cn = newConn(&c.cfg, addr, c.cfg.RequestTimeout)
		c.conns[key] = cn
	}
	return cn, nil
}

// call sends one request over the shared connection of a role.
func (c *Client) call(ctx context.Context, r role, addr string, request func(*sarama.Broker) error) error {
	cn, err := c.conn(r, addr)
	if err != nil {
		return err
	}
	return cn.call(ctx, request)
}

// anyBroker sends request to the known brokers one after another until one
// answers. If none does the error names each address and why it failed.
func (c *Client) anyBroker(ctx context.Context, request func(*sarama.Broker) error) error {
	var failures []error
	addrs, began := c.addresses(), time.Now()
	for _, addr := range addrs {
		err := c.call(ctx, roleAdmin, addr, request)
		if _, failed := errors.AsType[*brokerError](err); !failed {
			if err == nil || answered(err) {
				c.outage.answered(began)
			}
			return err
		}
		failures = append(failures, err)
		c.logger.LogAttrs(ctx, slog.LevelDebug, "broker does not answer", slog.String("broker", addr), slog.Any("error", err))
	}
	err := &unreachableError{failures}
	c.outage.noAnswer(began, addrs, err)
	return err
}

// unreachableError says that no broker answered. It can be retried unless every
// broker's reason is permanent.
type unreachableError struct{ failures []error }

func (e *unreachableError) Error() string {
	return fmt.Sprintf("%v: no broker answered: %v; check the addresses, the listeners that the brokers advertise, and TLS and SASL settings",
		ErrUnavailable, errors.Join(e.failures...))
}

func (e *unreachableError) Unwrap() []error { return append(slices.Clone(e.failures), ErrUnavailable) }

// Backoff spaces retries: the wait doubles from Config.RetryBackoff to
// Config.MaxRetryBackoff, less up to a quarter at random. Not safe for concurrent
// use.
type Backoff struct {
	cfg  *Config
	next time.Duration
}

// Backoff returns the waits of a retry loop.
func (c *Client) Backoff() *Backoff { return &Backoff{cfg: &c.cfg} }

// Next returns how long to wait now and lengthens the wait after it.
func (b *Backoff) Next() time.Duration {
	d := max(b.next, b.cfg.RetryBackoff)
	b.next = min(2*d, b.cfg.MaxRetryBackoff)
	return d - time.Duration(b.cfg.Jitter()*float64(d)/4)
}

// Reset starts again from the shortest wait.
func (b *Backoff) Reset() { b.next = 0 }

// Wait waits for Next, or returns the reason why ctx ended.
func (b *Backoff) Wait(ctx context.Context) error { return sleep(ctx, b.Next()) }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Retry runs attempt until it succeeds, fails for good, ctx ends, or
// Config.RetryTimeout is over. what names the operation in the error, as in
// "commit offsets of group g".
func (c *Client) Retry(ctx context.Context, what string, attempt func(context.Context) error) error {
	began := time.Now()
	backoff := c.Backoff()
	for n := 1; ; n++ {
		err := attempt(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
		if !retriable(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		wait := backoff.Next()
		if spent := time.Since(began); spent+wait > c.cfg.RetryTimeout {
			return fmt.Errorf("%w: %s: gave up after %d attempts in %v: %w", ErrUnavailable, what, n, spent.Round(time.Millisecond), err)
		}
		level := slog.LevelDebug
		if _, told := errors.AsType[*unreachableError](err); n == 3 && !told {
			level = slog.LevelWarn // once an operation: the first two are part of every failover
		}
		c.logger.LogAttrs(ctx, level, "retrying", slog.String("operation", what), slog.Int("attempt", n), slog.Any("error", err))
		if err := sleep(ctx, wait); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// needed are the requests this package sends and the version of each.
var needed = [...]struct {
	name    string
	key     int16
	version int16
}{
	{"Produce", 0, versionProduce},
	{"Fetch", 1, versionFetch},
	{"ListOffsets", 2, versionListOffsets},
	{"Metadata", 3, versionMetadata},
	{"OffsetCommit", 8, versionOffsetCommit},
	{"OffsetFetch", 9, versionOffsetFetch},
	{"FindCoordinator", 10, versionFindCoordinator},
	{"JoinGroup", 11, versionJoinGroup},
	{"Heartbeat", 12, versionHeartbeat},
	{"LeaveGroup", 13, versionLeaveGroup},
	{"SyncGroup", 14, versionSyncGroup},
	{"InitProducerId", 22, versionInitProducerID},
	{"AddPartitionsToTxn", 24, versionAddPartitionsToTxn},
	{"AddOffsetsToTxn", 25, versionAddOffsetsToTxn},
	{"EndTxn", 26, versionEndTxn},
	{"TxnOffsetCommit", 28, versionTxnOffsetCommit},
}

// The versions sent: all are served by Kafka 2.7 to 4.x.
const (
	versionProduce         = 8
	versionFetch           = 12
	versionListOffsets     = 5
	versionMetadata        = 9
	versionOffsetCommit    = 7
	versionOffsetFetch     = 7
	versionFindCoordinator = 3
	versionJoinGroup       = 7
	versionHeartbeat       = 4
	versionLeaveGroup      = 4
	versionSyncGroup       = 4
	versionInitProducerID  = 4

	// In these a fenced producer is told so, and a group can fence a member. The
	// later ones change the protocol (KIP-890), and sarama has none of them.
	versionAddPartitionsToTxn = 2
	versionAddOffsetsToTxn    = 2
	versionEndTxn             = 2
	versionTxnOffsetCommit    = 3

	versionCreateTopics    = 5
	versionDeleteTopics    = 4
	versionDeleteRecords   = 2
	versionDescribeConfigs = 3
	versionDescribeGroups  = 5
)

// checkVersions refuses a broker that does not serve what this package sends.
func checkVersions(b *sarama.Broker) error {
	r, err := b.ApiVersions(&sarama.ApiVersionsRequest{Version: 3, ClientSoftwareName: "millrace", ClientSoftwareVersion: "1"})
	if err != nil {
		return err
	}
	if err := answer(sarama.KError(r.ErrorCode), nil); err != nil {
		return err
	}
	served := map[int16]sarama.ApiVersionsResponseKey{}
	for _, k := range r.ApiKeys {
		served[k.ApiKey] = k
	}
	for _, n := range needed {
		if k, ok := served[n.key]; !ok || k.MinVersion > n.version || k.MaxVersion < n.version {
			return fmt.Errorf("%w: broker %s serves %s versions %d to %d, version %d is needed: use Kafka 2.7 or newer",
				ErrUnsupported, b.Addr(), n.name, k.MinVersion, k.MaxVersion, n.version)
		}
	}
	return nil
}
