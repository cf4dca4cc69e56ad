package streams

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
)

// ErrInvalidConfig is wrapped by every mistake in a Config.
var ErrInvalidConfig = errors.New("streams: invalid configuration")

// SASL is how an instance proves to the brokers who it is.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, or empty for none.
	Mechanism string
	User      string
	Password  string
}

// String hides the password.
func (s SASL) String() string { return kafka.SASL(s).String() }

// GoString hides the password from %#v too.
func (s SASL) GoString() string { return "streams.SASL{" + s.String() + "}" }

// Config says how an instance runs. Brokers must be set; for everything else
// the zero value is a working default.
type Config struct {
	// Application is the consumer group and the prefix of the topics that the
	// application makes. Default: the topology's name.
	Application string
	// Brokers are addresses, host:port, of some of the cluster's brokers.
	Brokers []string
	TLS     *tls.Config
	SASL    SASL
	// Dial opens connections to brokers. Default: a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// StateDir is the folder of the local state. Default: millrace in the
	// system's temporary folder, below it the application. Two instances on
	// one machine need two folders.
	StateDir string
	// Storage opens the state of tasks; Run closes it. Default: Pebble databases
	// in StateDir.
	Storage Storage
	// Memory bounds, in bytes, the live objects, caches and buffers together. What
	// they make of garbage comes on top, and so does what is being encoded and
	// decoded: a process takes up to twice as much. Default: half of ProcessMemory;
	// without that, 1 GiB.
	Memory int64
	// HotMemory and CacheMemory are ceilings within Memory, in bytes: of live
	// objects, and of Pebble's cache with its memtables. Together they get three
	// quarters of Memory; what is more is scaled down in proportion, with a warning.
	// With a Storage in memory, the state in it counts as hot. Defaults: a half and a
	// quarter of Memory.
	HotMemory, CacheMemory int64
	// ProcessMemory is what the whole process may take, in bytes. As it comes near
	// that, clean live objects are shed first and then Pebble's cache. Default: the
	// process is not watched.
	ProcessMemory int64

	// Replica gets the latest results of the stores that the topology replicates
	// ([topology.Replicated]), after the commits that made them; Run closes it. While
	// it is away or slow, processing goes on, and the results that wait for it take
	// no more than a 16th of Memory, or 128 MiB: then those are dropped that have
	// waited longest. Default: none.
	Replica stores.Replica
	// ReplicaStores names those of the replicated stores whose results do go there.
	// Default: all.
	ReplicaStores []string

	// Advertise is the URL at which other instances and users reach this
	// one's queries, such as http://10.0.0.7:8080. Empty: nowhere, so that others
	// cannot ask it for the keys that it has.
	Advertise string

	// Workers is how many goroutines process tasks. [Instance.SetWorkers] changes it
	// while the instance runs. Default: GOMAXPROCS.
	Workers int
	// Guarantee is what the results are worth when processes fail. Default:
	// AtLeastOnce.
	Guarantee Guarantee
	// CommitInterval is the time between commits, and exactly once the time until
	// results can be read. Defaults: 1 s, and 100 ms exactly once.
	CommitInterval time.Duration
	// TransactionTimeout is how long, exactly once, the readers of results wait
	// for a process that is gone and that no other one replaces; a commit that
	// takes longer is done again. A worker commits when it has processed a fetch of
	// each of its tasks, up to 1 MiB as brokers keep it: with slow user code that
	// must not take this long, else it is done again and again. Brokers bound it.
	// Default: 20 s, or twice the commit interval if that is longer.
	TransactionTimeout time.Duration
	// OnError is what to do with a record that user code or a codec cannot
	// handle. Default: topology.Fail.
	OnError topology.ErrorPolicy
	// OffsetReset is where a source goes on whose position is lost, and where one
	// begins that was never read, unless the source says otherwise
	// ([topology.OnLostOffset]). Default: topology.Earliest.
	OffsetReset topology.OffsetReset
	// From is where sources begin that were never read, in place of OffsetReset:
	// at the first record whose time, as Kafka keeps it, is not before From.
	// Default: OffsetReset decides.
	From time.Time
	// UntilEnd makes a bounded run: everything up to the ends that the input
	// topics have at the start is processed, all windows close, and Run
	// returns.
	UntilEnd bool
	// Until ends a bounded run earlier: a source is read up to its first record
	// whose time is not before Until, if it has one at the start. Default: no such
	// bound.
	Until time.Time
	// MaxRate is how many records a second the instance reads from its sources at
	// most; repartition topics are read without bound. Default: no bound.
	MaxRate int
	// NoCreate lets nobody create topics: a missing one is an error.
	NoCreate bool
	// ReplicationFactor and MinInsyncReplicas are those of the topics that the
	// application creates. Defaults: the brokers'.
	ReplicationFactor int16
	MinInsyncReplicas int

	// SessionTimeout is how long the group waits for a member's heartbeat
	// before its tasks go to others; Heartbeat is the time between heartbeats.
	// Defaults: 10 s and a tenth of it.
	SessionTimeout, Heartbeat time.Duration
	// RebalanceTimeout is how long the group waits for a member to rejoin.
	// Default: 60 s.
	RebalanceTimeout time.Duration
	// TaskTimeout is how long an operation on the brokers is retried before
	// the instance gives up. Default: 5 min.
	TaskTimeout time.Duration
	// PurgeInterval is the time between deletions of what was read from
	// repartition topics. Default: 30 s.
	PurgeInterval time.Duration

	// Standby says how copies of state are kept ready, and when a task may move to
	// one. The members of a group should agree; the group's leader decides.
	Standby Standby
	// Checkpoints says whether copies of the state are stored outside of this
	// machine, for instances that begin with an empty disk.
	Checkpoints Checkpoints
	// Rack is where the instance runs, such as an availability zone. A standby lies
	// in another rack than its task where there is one. Default: unknown, and so
	// unlike any other.
	Rack string

	// InstanceID makes the instance a static member of its group
	// (group.instance.id): started again within SessionTimeout it has its tasks
	// back without a rebalance, and a graceful stop leaves them to it, unless
	// OnStop says Leave. So SessionTimeout should be longer than a restart takes;
	// it is also how long the tasks of an instance that died stand still. Ids are
	// unique in the group: of two instances with the same one the elder stops with
	// an error that wraps ErrFencedInstance. Default: none.
	InstanceID string
	// OnStop says whether a graceful stop leaves the group. Default: Leave, and
	// Stay with an InstanceID.
	OnStop OnStop

	// Cold is the cold tier, for the stores whose closed windows go there
	// ([topology.Tiered]). Whoever made it closes it, after Run has returned.
	// Default: none, and such stores are a mistake.
	Cold stores.Cold
	// ColdBacklog bounds, in bytes, the closed windows that wait in the warm tier
	// while the cold tier fails or is slow. If it is exceeded all tasks are paused,
	// as [Instance.Pause] does, until three quarters of it are enough: nothing is
	// lost. Default: 4 GiB.
	ColdBacklog int64

	// Clock is the wall clock. Default: time.Now.
	Clock func() time.Time
	// Logger receives one line a change of state. Default: slog.Default().
	Logger *slog.Logger
	// Metrics receives the instance's collectors, which are taken back when
	// Run returns. Default: nothing is registered.
	Metrics prometheus.Registerer
	// Listener is told of what happens. Its functions may be nil.
	Listener Listener

	// hooks let tests of this package look into, and break, the steps of a
	// commit.
	hooks hooks
}

// Standby says how many copies of state there are, beside those of the tasks that
// run, and how tasks move. The zero value is a working default.
type Standby struct {
	// Replicas is how many other instances keep a copy of each task's state, up to
	// date within moments. When an instance dies one of them goes on at once,
	// where it would have to restore the state otherwise. Each copy costs the disk,
	// network and processor time of writing that state once more. Groups of n
	// instances have at most n-1. Default: 0.
	Replicas int
	// AcceptableLag is how many changelog records a copy may be behind and yet
	// count as caught up: what is missing is restored when the task moves, while it
	// stands still. Default: 10,000.
	AcceptableLag int64
	// MaxWarmups is how many tasks an instance copies at a time because they are to
	// move to it. Such a task runs on where it is until its copy is within
	// AcceptableLag. Negative: tasks do not wait, but move at once and stand still
	// while their state is restored. Default: 4.
	MaxWarmups int
	// ProbingInterval is how long an instance whose first warm-up has caught up
	// waits for the others before it asks for the rebalance that moves them, so
	// that it asks once and not for each. Default: 10 s.
	ProbingInterval time.Duration
}

// resolve returns s with defaults filled in.
func (s Standby) resolve(wrong func(format string, args ...any)) Standby {
	s.AcceptableLag = cmp.Or(s.AcceptableLag, 10_000)
	s.MaxWarmups = cmp.Or(s.MaxWarmups, 4)
	s.ProbingInterval = cmp.Or(s.ProbingInterval, 10*time.Second)
	if s.Replicas < 0 || s.Replicas > 15 {
		wrong("standby replicas %d: use 0 to 15", s.Replicas)
	}
	if s.AcceptableLag < 0 {
		wrong("standby acceptable lag %d: use at least 1 record, or 0 for the default", s.AcceptableLag)
	}
	if s.ProbingInterval < 10*time.Millisecond {
		wrong("standby probing interval %v: use at least 10ms", s.ProbingInterval)
	}
	return s
}

// Listener is told of an instance's life. The functions are called one at a
// time, on the instance's goroutines, and must not block.
type Listener struct {
	// State is called when the instance's state changes.
	State func(from, to State)
	// Task is called when a task of this instance changes its state.
	Task func(id processors.TaskID, s TaskState)
	// Standby is called when a copy of a task's state changes its state.
	Standby func(id processors.TaskID, s StandbyState)
	// Restoring is called while a task's store is restored.
	Restoring func(id processors.TaskID, store string, remaining int64)
	// Checkpoint is called when a checkpoint of a task was stored, or could not be,
	// and when a task's state begins from one.
	Checkpoint func(id processors.TaskID, s CheckpointState)
	// Lost is called when records of an input were deleted before they were read,
	// and it goes on behind them, at offset to.
	Lost func(topic string, partition int32, from, to int64)
	// Committed is called after each commit of a worker.
	Committed func(tasks []processors.TaskID)
}

// OnStop says what becomes of an instance's tasks when it stops gracefully.
type OnStop string

const (
	// Leave gives the tasks to other instances at once.
	Leave OnStop = "leave"
	// Stay keeps the tasks for SessionTimeout for the instance's return. It needs
	// an InstanceID to return under.
	Stay OnStop = "stay"
)

// ErrFencedInstance: another instance has joined the group under the InstanceID of
// this one.
var ErrFencedInstance = errors.New("streams: another instance has the same instance id")

// Guarantee says what an input record's part in the results is after a failure.
type Guarantee string

const (
	// AtLeastOnce counts a record once, or more often after a failure.
	AtLeastOnce Guarantee = "at-least-once"
	// ExactlyOnce counts each record once, for readers that read committed. Results
	// and state are committed with the input offsets in one transaction.
	ExactlyOnce Guarantee = "exactly-once"
)

// CommitInterval is the default time between commits.
func (g Guarantee) CommitInterval() time.Duration {
	if g == ExactlyOnce {
		return 100 * time.Millisecond
	}
	return time.Second
}

// memory returns Memory or its default.
func (c *Config) memory() int64 { return cmp.Or(c.Memory, c.ProcessMemory/2, 1<<30) }

var nameRule = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,200}$`)

// resolve returns c with defaults filled in, or every mistake in it.
func (c Config) resolve(t *topology.Topology) (Config, error) {
	c.Application = cmp.Or(c.Application, t.Application())
	c.StateDir = cmp.Or(c.StateDir, filepath.Join(os.TempDir(), "millrace"))
	c.Workers = cmp.Or(c.Workers, runtime.GOMAXPROCS(0))
	c.Guarantee = cmp.Or(c.Guarantee, AtLeastOnce)
	c.CommitInterval = cmp.Or(c.CommitInterval, c.Guarantee.CommitInterval())
	c.TransactionTimeout = cmp.Or(c.TransactionTimeout, max(20*time.Second, 2*c.CommitInterval))
	c.OffsetReset = cmp.Or(c.OffsetReset, topology.Earliest)
	c.Memory = c.memory()
	c.SessionTimeout = cmp.Or(c.SessionTimeout, 10*time.Second)
	c.Heartbeat = cmp.Or(c.Heartbeat, c.SessionTimeout/10)
	c.RebalanceTimeout = cmp.Or(c.RebalanceTimeout, time.Minute)
	c.TaskTimeout = cmp.Or(c.TaskTimeout, 5*time.Minute)
	c.PurgeInterval = cmp.Or(c.PurgeInterval, 30*time.Second)
	c.ColdBacklog = cmp.Or(c.ColdBacklog, 4<<30)
	c.ReplicationFactor = cmp.Or(c.ReplicationFactor, -1)
	c.Advertise = strings.TrimRight(c.Advertise, "/")
	if c.OnStop == "" && c.InstanceID != "" {
		c.OnStop = Stay
	}
	c.OnStop = cmp.Or(c.OnStop, Leave)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}

	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: %s", ErrInvalidConfig, fmt.Sprintf(format, args...)))
	}
	if !nameRule.MatchString(c.Application) {
		wrong("application %q: use 1 to 200 letters, digits, '.', '_' and '-'; it becomes part of topic names", c.Application)
	}
	if c.Guarantee != AtLeastOnce && c.Guarantee != ExactlyOnce {
		wrong("guarantee %q: use %s or %s", c.Guarantee, AtLeastOnce, ExactlyOnce)
	}
	if c.OffsetReset > topology.FailOnLoss {
		wrong("offset reset %d: use topology.Earliest, Latest or FailOnLoss", c.OffsetReset)
	}
	if c.Guarantee == ExactlyOnce && c.TransactionTimeout < 2*c.CommitInterval {
		wrong("transaction timeout %v: use at least twice the commit interval %v", c.TransactionTimeout, c.CommitInterval)
	}
	c.Standby = c.Standby.resolve(wrong)
	c.Checkpoints = c.Checkpoints.resolve(wrong)
	if c.InstanceID != "" && !nameRule.MatchString(c.InstanceID) {
		wrong("instance id %q: use 1 to 200 letters, digits, '.', '_' and '-'", c.InstanceID)
	}
	switch {
	case c.OnStop != Leave && c.OnStop != Stay:
		wrong("on stop %q: use %s or %s", c.OnStop, Leave, Stay)
	case c.OnStop == Stay && c.InstanceID == "":
		wrong("on stop %q: it needs an instance id, under which the instance returns", c.OnStop)
	}
	switch {
	case !c.Until.IsZero() && !c.UntilEnd:
		wrong("until %v: only a bounded run ends; set UntilEnd too", c.Until)
	case !c.Until.IsZero() && !c.From.Before(c.Until):
		wrong("from %v until %v: nothing lies between them", c.From, c.Until)
	}
	if c.MaxRate < 0 {
		wrong("max rate %d: use at least 1 record a second, or 0 for no bound", c.MaxRate)
	}
	if len(c.Rack) > 250 {
		wrong("rack %.20q...: use at most 250 bytes", c.Rack)
	}
	if c.Workers < 0 || c.Workers > mostWorkers {
		wrong("workers %d: use 1 to %d", c.Workers, mostWorkers)
	}
	if c.HotMemory < 0 || c.CacheMemory < 0 || c.ProcessMemory < 0 {
		wrong("hot memory %d, cache memory %d, process memory %d: use a number of bytes, or 0 for the default", c.HotMemory, c.CacheMemory, c.ProcessMemory)
	}
	if c.Memory < 16<<20 {
		wrong("memory %d bytes: at least 16 MiB are needed", c.Memory)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"commit interval", c.CommitInterval, time.Millisecond},
		{"session timeout", c.SessionTimeout, 100 * time.Millisecond},
		{"heartbeat", c.Heartbeat, 10 * time.Millisecond},
		{"rebalance timeout", c.RebalanceTimeout, 100 * time.Millisecond},
		{"task timeout", c.TaskTimeout, time.Millisecond},
		{"purge interval", c.PurgeInterval, time.Millisecond},
	} {
		if d.value < d.least {
			wrong("%s %v: use at least %v", d.name, d.value, d.least)
		}
	}
	if c.Heartbeat*2 > c.SessionTimeout {
		wrong("heartbeat %v: use at most half of the session timeout %v", c.Heartbeat, c.SessionTimeout)
	}
	if c.ReplicationFactor == 0 || c.ReplicationFactor < -1 {
		wrong("replication factor %d: use at least 1, or -1 for the brokers' default", c.ReplicationFactor)
	}
	if c.MinInsyncReplicas < 0 {
		wrong("min in-sync replicas %d: use at least 1, or 0 for the brokers' default", c.MinInsyncReplicas)
	}
	if c.ColdBacklog < 1<<20 {
		wrong("cold backlog %d bytes: use at least 1 MiB", c.ColdBacklog)
	}
	replicated := t.Replicated()
	for _, store := range c.ReplicaStores {
		if !slices.Contains(replicated, store) {
			wrong("replica: the topology replicates no store %q; it has %s", store, cmp.Or(strings.Join(replicated, ", "), "none"))
		}
	}
	if err := c.kafka().Validate(); err != nil {
		errs = append(errs, fmt.Errorf("%w: %w", ErrInvalidConfig, err))
	}
	return c, errors.Join(errs...)
}

// kafka is the client's part of the configuration.
func (c Config) kafka() kafka.Config {
	return kafka.Config{
		Brokers: c.Brokers, ClientID: c.Application, TLS: c.TLS, SASL: kafka.SASL(c.SASL), Dial: c.Dial,
		Logger: c.Logger, RetryTimeout: c.TaskTimeout,
	}
}
