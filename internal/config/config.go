package config

import (
	"fmt"
	"strings"
	"time"
)

// Config is what a file says. A Setting that is not in the file is not set.
type Config struct {
	// Application is the prefix of the topics and the name of the group.
	Application Setting[string]
	// Brokers are host:port pairs, to find the cluster by.
	Brokers Setting[[]string]
	TLS     TLS
	SASL    SASL
	HTTP    HTTP
	State   State
	// Guarantee is AtLeastOnce or ExactlyOnce.
	Guarantee Setting[string]
	// Workers is the number of goroutines that run tasks, 1 to 1,024.
	Workers Setting[int]
	// CommitInterval is the longest between commits, 1 ms to 10 min.
	CommitInterval Setting[time.Duration]
	// OnError is what becomes of a record that cannot be handled: OnErrorFail,
	// OnErrorSkip or OnErrorDeadLetter.
	OnError Setting[string]
	// OffsetReset is where a source goes on whose records expired before they were
	// read: earliest, latest or fail.
	OffsetReset Setting[string]
	// Memory is the budget of the process in bytes; at least 64 MiB.
	Memory Setting[int64]
	Topics Topics
	// Rack is where the process runs, such as an availability zone.
	Rack      Setting[string]
	Group     Group
	Standby   Standby
	Windowing Windowing
	// Checkpointing says where copies of the state are kept.
	Checkpointing Checkpointing
	// Sources holds what is set for single sources, by name. Each name of
	// Options.Sources is there.
	Sources map[string]*Source
}

// The processing guarantees.
const (
	AtLeastOnce = "at-least-once"
	ExactlyOnce = "exactly-once"
)

// The error policies.
const (
	OnErrorFail       = "fail"
	OnErrorSkip       = "skip"
	OnErrorDeadLetter = "dead-letter"
)

// TLS says how connections to the brokers are encrypted. The files are in PEM
// form; setting any of them turns TLS on.
type TLS struct {
	// Enabled turns TLS on without a file: with the system's authorities, and no
	// certificate of this client.
	Enabled Setting[bool]
	// CAFile holds the authorities to trust instead of the system's.
	CAFile Setting[string]
	// CertFile and KeyFile identify this client; both or neither.
	CertFile, KeyFile Setting[string]
}

// SASL says how to log in to the brokers.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism Setting[string]
	User      Setting[string]
	// PasswordFile holds the password; see ReadSecret.
	PasswordFile Setting[string]
}

// HTTP says where queries are answered.
type HTTP struct {
	// Listen is host:port.
	Listen Setting[string]
	// Advertise is the URL by which other instances reach this one.
	Advertise Setting[string]
	// AdminTokenFile holds the token of those who may pause, resume and drain; see
	// ReadSecret.
	AdminTokenFile Setting[string]
}

// State says where state lives. Sizes are in bytes, ceilings within
// Config.Memory.
type State struct {
	// Dir is the folder for Pebble.
	Dir Setting[string]
	// HotOnly keeps state in memory alone (and in the changelog), up to MaxSize.
	HotOnly Setting[bool]
	MaxSize Setting[int64]
	// HotMaxSize bounds the live objects above Pebble.
	HotMaxSize Setting[int64]
	Redis      Redis
	// WarmBackend is "pebble"; WarmCacheSize bounds its block cache.
	WarmBackend   Setting[string]
	WarmCacheSize Setting[int64]
	// WarmTTL is how long closed windows stay in Pebble.
	WarmTTL Setting[time.Duration]
	Cold    Cold
}

// Cold says where closed windows go when they leave Pebble. What connects to it
// may hold secrets: see ReadSecret.
type Cold struct {
	// Backend is "postgres".
	Backend Setting[string]
	// RetentionDays is how long windows stay there, at least 1.
	RetentionDays Setting[int]
	// URL names the database, without a password; URLFile is a file that holds one,
	// and PasswordFile one with the password.
	URL, URLFile, PasswordFile Setting[string]
	// Schema is the PostgreSQL schema.
	Schema Setting[string]
	// Backlog bounds, in bytes, what waits for it.
	Backlog Setting[int64]
}

// Redis says where the latest results are replicated to.
type Redis struct {
	// URL is redis://[user@]host:port[/database], or rediss://; nothing is
	// replicated without it.
	URL Setting[string]
	// PasswordFile holds the password; see ReadSecret.
	PasswordFile Setting[string]
	// TTL is how long a result stays that is not written again.
	TTL Setting[time.Duration]
	// Stores are those whose results are replicated; all if it is not set.
	Stores Setting[[]string]
}

// Group says how the instance is a member of its group.
type Group struct {
	// InstanceID makes it a static member.
	InstanceID Setting[string]
	// SessionTimeout is how long the group waits for a member that is silent.
	SessionTimeout Setting[time.Duration]
	// OnStop is OnStopLeave or OnStopStay.
	OnStop Setting[string]
}

// What becomes of the tasks at a graceful stop.
const (
	OnStopLeave = "leave"
	OnStopStay  = "stay"
)

// Standby says how copies of state are kept, and when a task may move to one.
type Standby struct {
	// Replicas is how many other instances keep a copy of each task's state.
	Replicas Setting[int]
	// AcceptableLag is in changelog records.
	AcceptableLag Setting[int]
	// MaxWarmups is how many tasks are copied at a time to move here; -1 for moving
	// without.
	MaxWarmups Setting[int]
	// ProbingInterval is how long a copy that has caught up waits for others.
	ProbingInterval Setting[time.Duration]
}

// Checkpointing says where copies of the tasks' databases are kept, and how often
// they are made. Without a storage and a URL there are none.
type Checkpointing struct {
	// Interval is the seconds between two of a task.
	Interval Setting[int]
	// Format is FormatBinary.
	Format Setting[string]
	// Storage is StorageS3 or StorageLocal.
	Storage Setting[string]
	// URL says where: s3://BUCKET/PREFIX?region=REGION or file:///FOLDER.
	URL Setting[string]
	// Keep is how many are kept of a task.
	Keep Setting[int]
}

// The format and the storages of checkpoints.
const (
	FormatBinary = "binary"
	StorageS3    = "s3"
	StorageLocal = "local"
)

// Topics says how the application's own topics are made.
type Topics struct {
	// ReplicationFactor is -1 for the broker's default, or 1 to 32,767.
	ReplicationFactor Setting[int]
	// MinInsyncReplicas is 1 to ReplicationFactor.
	MinInsyncReplicas Setting[int]
}

// Windowing is what holds for every source that says nothing else. All are
// whole milliseconds.
type Windowing struct {
	// Size is the length of the windows.
	Size Setting[time.Duration]
	// AllowedLateness is how long after its end a window takes late events.
	AllowedLateness Setting[time.Duration]
	// WatermarkDelay is by how much events are out of order at most.
	WatermarkDelay Setting[time.Duration]
	// IdleTimeout is after how long without events a partition no longer holds
	// the watermark back.
	IdleTimeout Setting[time.Duration]
	// MaxAhead is how far ahead of the clock an event may lie, AlignWithin how far
	// ahead of the slowest partition another is read, and AdvanceWhenIdle how far
	// behind the clock the watermark follows it while everything is idle.
	MaxAhead, AlignWithin, AdvanceWhenIdle Setting[time.Duration]
	// EarlyInterval is how often a window that is not complete sends what it has;
	// 0 is never.
	EarlyInterval Setting[time.Duration]
	// SessionGap is the silence that ends a session, SessionAtMost the longest that
	// one lasts; 0 is without a bound.
	SessionGap, SessionAtMost Setting[time.Duration]
	// ExperimentSize is the length of the windows of experiments.
	ExperimentSize Setting[time.Duration]
	// AnomalySize is the length of the windows in which anomalies are looked for, 0
	// for none, and AnomalyAdvance how far apart these begin.
	AnomalySize, AnomalyAdvance Setting[time.Duration]
}

// Source overrides Windowing and the topic for one source.
type Source struct {
	// Enabled is false for a source that is left out.
	Enabled                                Setting[bool]
	Topic                                  Setting[string]
	MaxDelay, IdleTimeout                  Setting[time.Duration]
	MaxAhead, AlignWithin, AdvanceWhenIdle Setting[time.Duration]
	// OffsetReset is Config.OffsetReset for this source.
	OffsetReset Setting[string]
}

// Setting is a value that knows whether it was set.
type Setting[T any] struct {
	Value T
	// IsSet says that the file, or an Override, has set the value.
	IsSet bool
	// Line is where in the file; 0 if elsewhere.
	Line int
}

// Override sets the value if given is true: of a flag, say, that was given.
func (s *Setting[T]) Override(value T, given bool) {
	if given {
		*s = Setting[T]{Value: value, IsSet: true}
	}
}

// Default sets the value that holds if nothing else has set one.
func (s *Setting[T]) Default(value T) {
	if !s.IsSet {
		s.Value = value
	}
}

// String returns the value as fmt prints it, or "unset".
func (s Setting[T]) String() string {
	if !s.IsSet {
		return "unset"
	}
	return fmt.Sprint(s.Value)
}

// Errors is everything that is wrong with a file, in the order of its lines.
type Errors []Error

// Error is one thing that is wrong with a file.
type Error struct {
	File string
	Line int
	// Key is the key with its parents, such as "state.hot.max_size_mb"; empty if
	// the file as a whole is wrong.
	Key string
	// Problem says what is wrong and what would be right.
	Problem string
}

// Error returns "file:line: key: problem".
func (e Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Problem)
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.Key, e.Problem)
}

// Error returns one line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}
