package streamtest

import (
	"log/slog"
	"time"

	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/topology"
)

// Option changes how a Driver runs.
type Option func(*config)

type config struct {
	application string
	start       time.Time
	step        time.Duration
	partitions  int32
	instances   int
	topics      map[string]int32
	policy      topology.ErrorPolicy
	commit      commitMode
	every       int
	seed        int64 // of the order of records; 0 for that of writing
	pebble      bool
	keepBytes   bool
	logger      *slog.Logger
	trace       func(TraceEvent)
	cold        stores.Cold
	coldRows    int
	from        string // a folder of Driver.Save, or ""
}

type commitMode int

const (
	commitAtRest commitMode = iota
	commitEvery
	commitManually
)

// clockStart is where the clock stands unless Start says otherwise.
var clockStart = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

func defaults(application string) config {
	return config{
		application: application, start: clockStart, step: 100 * time.Millisecond, partitions: 1, instances: 1,
		topics: map[string]int32{}, logger: slog.New(slog.DiscardHandler),
	}
}

// Application sets the application's name. Default: the topology's own.
func Application(name string) Option { return func(c *config) { c.application = name } }

// Start sets the clock. Default: 2026-01-01 00:00 UTC.
func Start(t time.Time) Option { return func(c *config) { c.start = t } }

// TickEvery sets by how much the clock moves at a time in [Driver.Advance]: how
// exactly timers are met. Default: 100ms.
func TickEvery(d time.Duration) Option { return func(c *config) { c.step = d } }

// Partitions sets how many partitions a topic has that no [Topic] speaks of.
// Default: 1. Repartition topics follow from that as they do on Kafka.
func Partitions(n int) Option { return func(c *config) { c.partitions = int32(n) } }

// Instances sets how many processes the application has, each with a worker and a
// disk of its own: task i, in the order of sub-topology and partition, is on
// instance i modulo n. Default: 1.
func Instances(n int) Option { return func(c *config) { c.instances = n } }

// Topic makes a topic with a number of partitions. Topics that the topology
// names are made without it; those that match the pattern of a source need it.
func Topic(name string, partitions int) Option {
	return func(c *config) { c.topics[name] = int32(partitions) }
}

// OnError sets the application's policy for records that cannot be handled.
// Default: topology.Fail.
func OnError(p topology.ErrorPolicy) Option { return func(c *config) { c.policy = p } }

// CommitEvery makes an instance commit after each n records that its tasks have
// processed, markers included, and otherwise only when it is told to. Default: a
// commit whenever everything is processed.
func CommitEvery(n int) Option {
	return func(c *config) { c.commit, c.every = commitEvery, max(n, 1) }
}

// CommitManually makes the driver commit only in Commit, Restart and End.
func CommitManually() Option { return func(c *config) { c.commit = commitManually } }

// Seed lets chance decide which partition is read next when several have
// records, the same way each time for one seed. Default, and for 0: records are
// read in the order in which they were written.
func Seed(seed int64) Option { return func(c *config) { c.seed = seed } }

// Pebble keeps state in Pebble databases in a file system in memory. A crash
// then loses some of what was written and not yet synced. Default: state is kept
// in memory, and a crash or restart restores it whole from the changelogs.
func Pebble() Option { return func(c *config) { c.pebble = true } }

// KeepBytes leaves the bytes of records as they are after they have been
// processed. Default: they are overwritten.
func KeepBytes() Option { return func(c *config) { c.keepBytes = true } }

// Logger sets where the tasks log to. Default: nowhere.
func Logger(l *slog.Logger) Option { return func(c *config) { c.logger = l } }
