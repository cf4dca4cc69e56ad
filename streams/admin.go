package streams

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/topology"
)

// TopicKind is what a topic is to an application.
type TopicKind string

// The kinds. Inputs and outputs belong to whoever uses the application; the
// others are its own.
const (
	InputTopic       TopicKind = "input"
	OutputTopic      TopicKind = "output"
	RepartitionTopic TopicKind = "repartition"
	ChangelogTopic   TopicKind = "changelog"
	DeadLetterTopic  TopicKind = "dead letters"
)

// Topic is a topic that an application needs.
type Topic struct {
	Name string
	Kind TopicKind
	// Partitions is how many the topic has, or is to get if it does not exist.
	Partitions int32
	Exists     bool
	// Problem says why the topic as it exists does not fit, or is nil.
	Problem error
}

// Admin prepares and clears what an application keeps in a cluster, without
// running it. One goroutine uses an Admin; close it.
type Admin struct {
	in *Instance
}

// ErrRunning: what is to be changed is in use by running instances.
var ErrRunning = errors.New("streams: the application is running")

// OpenAdmin reaches the cluster once: unlike an instance it does not wait for
// one that is starting.
func OpenAdmin(ctx context.Context, t *topology.Topology, cfg Config) (*Admin, error) {
	cfg.NoCreate = false
	in, err := newInstance(t, cfg)
	if err != nil {
		return nil, err
	}
	if in.client, err = kafka.Open(ctx, in.cfg.kafka()); err != nil {
		return nil, fmt.Errorf("brokers %s: %w", strings.Join(in.cfg.Brokers, ", "), err)
	}
	return &Admin{in: in}, nil
}

// Close closes the connections to the cluster.
func (a *Admin) Close() { a.in.client.Close() }

// Topics returns every topic that the application needs, inputs first.
// partitions is how many an input gets that does not exist; with 0 a missing
// input is an error that wraps [ErrMissingTopic].
func (a *Admin) Topics(ctx context.Context, partitions int32) ([]Topic, error) {
	existing, err := a.in.client.Topics(ctx)
	if err != nil {
		return nil, err
	}
	p, err := a.plan(existing, partitions)
	if err != nil {
		return nil, fmt.Errorf("application %q: %w", a.in.cfg.Application, err)
	}
	var all []Topic
	add := func(kind TopicKind, name string) *Topic {
		_, exists := existing[name]
		all = append(all, Topic{Name: name, Kind: kind, Partitions: p.Partitions[name], Exists: exists})
		return &all[len(all)-1]
	}
	for _, name := range slices.Sorted(maps.Keys(p.Outside())) {
		add(InputTopic, name)
	}
	for _, name := range a.in.topology.SinkTopics() {
		add(OutputTopic, name)
	}
	for _, internal := range p.Internal {
		kind := ChangelogTopic
		if internal.Store == "" {
			kind = RepartitionTopic
		}
		if t := add(kind, internal.Name); t.Exists {
			if t.Problem, err = a.check(ctx, internal); err != nil {
				return nil, err
			}
		}
	}
	if a.in.deadLetters() {
		name := task.DeadLetterTopic(a.in.cfg.Application)
		p.Partitions[name] = max(1, existing[name])
		add(DeadLetterTopic, name)
	}
	return all, nil
}

// plan plans for the topics that exist, and for those that are to be made.
func (a *Admin) plan(existing map[string]int32, partitions int32) (*task.Plan, error) {
	topics := maps.Clone(existing)
	var widest int32 = 1
	for _, sub := range a.in.topology.SubTopologies() {
		for _, src := range sub.Sources {
			for _, name := range src.Topics {
				if _, ok := topics[name]; !ok && partitions > 0 {
					topics[name] = partitions
				}
				widest = max(widest, topics[name])
			}
		}
	}
	for _, name := range a.in.topology.SinkTopics() {
		if _, ok := topics[name]; !ok {
			topics[name] = widest
		}
	}
	p, err := task.NewPlan(a.in.topology, a.in.cfg.Application, topics)
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	a.in.plan = p
	return p, err
}

// check compares a topic of the application's own with what it is to be. The
// error is about asking, the problem about the topic.
func (a *Admin) check(ctx context.Context, t task.InternalTopic) (problem, err error) {
	d, err := a.in.client.DescribeTopic(ctx, t.Name)
	if err != nil {
		return nil, err
	}
	return a.in.checkTopic(t, &d), nil
}

// Create makes those of some topics that do not exist, with the settings that
// an instance would give them.
func (a *Admin) Create(ctx context.Context, topics ...Topic) error {
	var errs []error
	for _, t := range topics {
		if t.Exists {
			continue
		}
		var config map[string]string
		switch t.Kind {
		case RepartitionTopic:
			config = repartitionConfig()
		case ChangelogTopic:
			config = changelog.TopicConfig()
		}
		_, err := a.in.prepareTopic(ctx, t.Name, t.Partitions, config)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Reset is what an application has left behind.
type Reset struct {
	// Application is the group whose positions are forgotten.
	Application string
	// Positions are the input partitions that the group has a position in, by
	// topic.
	Positions map[string][]int32
	// Topics are the application's own that exist: changelogs and
	// repartitions, by name. Inputs, outputs and dead letters are not touched.
	Topics []string
	// StateDir is the folder of the local state, or empty if there is none here.
	StateDir string
	// Members is how many members the group has. A reset needs it to be 0.
	Members int
}

// Empty says that there is nothing to reset.
func (r *Reset) Empty() bool { return len(r.Positions) == 0 && len(r.Topics) == 0 && r.StateDir == "" }

// Refusal returns why Reset refuses, or nil.
func (r *Reset) Refusal() error {
	if r.Members == 0 {
		return nil
	}
	return fmt.Errorf("%w: group %q has %d members: stop all instances; the group forgets one that was killed when its session is over, after 10 s", ErrRunning, r.Application, r.Members)
}

// FindReset finds what Reset would remove.
func (a *Admin) FindReset(ctx context.Context) (*Reset, error) {
	group := a.in.cfg.Application
	d, err := a.in.client.DescribeGroup(ctx, group)
	if err != nil {
		return nil, err
	}
	r := &Reset{Application: group, Positions: map[string][]int32{}, Members: d.Members}
	offsets, err := a.in.client.CommittedOffsets(ctx, group)
	if err != nil {
		return nil, err
	}
	for _, tp := range slices.SortedFunc(maps.Keys(offsets), kafka.TopicPartition.Compare) {
		r.Positions[tp.Topic] = append(r.Positions[tp.Topic], tp.Partition)
	}
	existing, err := a.in.client.Topics(ctx)
	if err != nil {
		return nil, err
	}
	p, err := a.plan(existing, 1)
	if err != nil {
		return nil, err
	}
	for _, t := range p.Internal {
		if _, ok := existing[t.Name]; ok {
			r.Topics = append(r.Topics, t.Name)
		}
	}
	slices.Sort(r.Topics)
	r.StateDir, err = stateFolder(filepath.Join(a.in.cfg.StateDir, group))
	return r, err
}

// stateFolder returns dir, or "" if it does not exist. It refuses a folder that
// NewPebbleStorage has not made.
func stateFolder(dir string) (string, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if _, err := os.Stat(filepath.Join(dir, processFile)); err != nil {
		return "", fmt.Errorf("%w: %s does not hold the state of an instance: %w; name the folder that the instance has as StateDir (--state)", ErrInvalidConfig, dir, err)
	}
	return dir, nil
}

// Reset removes what FindReset found: the next run begins at the start of the
// inputs, with empty stores. Watermarks and the generations of their writers
// are in changelogs and repartition topics, so all of them go together. It
// refuses with an error that wraps [ErrRunning] while the group has members. An
// error leaves some of it; call it again, since a half-reset application would
// count some records twice or not at all.
func (a *Admin) Reset(ctx context.Context, r *Reset) error {
	if err := r.Refusal(); err != nil {
		return err
	}
	if r.StateDir != "" {
		lock, err := pebble.LockDirectory(r.StateDir, vfs.Default)
		if err != nil {
			return fmt.Errorf("%w: state folder %s cannot be locked: %w", ErrRunning, r.StateDir, err)
		}
		if err := lock.Close(); err != nil {
			return err
		}
	}
	for _, name := range r.Topics {
		if err := a.in.client.DeleteTopic(ctx, name); err != nil && !errors.Is(err, kafka.ErrUnknownTopic) {
			return err
		}
		a.in.log.Info("topic deleted", "topic", name)
	}
	var tps []kafka.TopicPartition
	for topic, partitions := range r.Positions {
		for _, n := range partitions {
			tps = append(tps, kafka.TopicPartition{Topic: topic, Partition: n})
		}
	}
	slices.SortFunc(tps, kafka.TopicPartition.Compare)
	if len(tps) > 0 {
		err := a.in.client.DeleteGroupOffsets(ctx, r.Application, tps...)
		if errors.Is(err, kafka.ErrGroupNotEmpty) {
			err = fmt.Errorf("%w: %w", ErrRunning, err)
		}
		if err != nil {
			return err
		}
		a.in.log.Info("positions deleted", "group", r.Application, "partitions", len(tps))
	}
	if r.StateDir == "" {
		return nil
	}
	if err := os.RemoveAll(r.StateDir); err != nil {
		return fmt.Errorf("state folder: %w; delete it before the next start", err)
	}
	a.in.log.Info("local state deleted", "folder", r.StateDir)
	return nil
}
