package streams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/topology"
)

// Run runs an instance of the topology until ctx ends, which stops it
// gracefully and returns nil, or until it fails. With Config.UntilEnd it
// returns nil when everything is processed.
func Run(ctx context.Context, t *topology.Topology, cfg Config) error {
	in, err := New(t, cfg)
	if err != nil {
		return err
	}
	return in.Run(ctx)
}

// Instance is a running part of an application: one member of its consumer
// group. Its methods may be called by any goroutine.
type Instance struct {
	topology *topology.Topology
	cfg      Config
	log      *slog.Logger
	life     *lifecycle
	metrics  *metrics
	status   *status
	purge    *purge
	memory   *memory
	shares   shares
	// pressure is nil if the process is not watched.
	pressure *pressure
	control  *control
	// replication is nil without a Config.Replica.
	replication *replication
	// alignment keeps sources from running ahead of one another.
	alignment *alignment
	// queueBytes bounds what is fetched and not yet processed of a partition.
	queueBytes int

	client  *kafka.Client
	fetcher *kafka.Fetcher
	reader  changelog.Reader
	storage Storage
	member  *membership
	// standbys are the copies of state that this instance keeps for others.
	standbys *standbys
	// group is member, for other goroutines than Run's.
	group atomic.Pointer[membership]
	// copies is standbys, for the same.
	copies atomic.Pointer[standbys]
	// checkpoints makes and finds those of the tasks' state; nil for none.
	checkpoints *checkpoints
	// stored is checkpoints, for other goroutines than Run's.
	stored atomic.Pointer[checkpoints]
	// ends are where a bounded run stops reading.
	ends map[kafka.TopicPartition]int64
	// rate bounds what is read of sources.
	rate *rate

	// work ends when the workers are to stop, and limit when they must have: it
	// bounds what they wait for. failed holds the first error.
	work, limit context.Context
	halt        context.CancelFunc
	failed      chan error
	// running are the workers' goroutines. openers are those that open and release
	// tasks, and that add and remove workers; opening bounds how many open at a time.
	running sync.WaitGroup
	openers sync.WaitGroup
	opening chan struct{}

	mu       sync.Mutex // guards what follows; never held across a wait
	ran      bool
	stopping bool
	plan     *task.Plan
	// workers run tasks; retiring are others that go when they have none left, and
	// closing those that have none and still have a producer. wanted is how many there
	// are to be, told how many the group has heard of last, and staffing is set while
	// that is carried out.
	workers, retiring, closing []*worker
	wanted, told               int
	staffing                   bool
	tasks                      map[processors.TaskID]*holding
	// draining are tasks that were lost, or have another worker now, whose databases
	// are still being closed.
	draining map[processors.TaskID]*holding
	// computed are the numbers of partitions of topics with computed names.
	computed map[string]int32
	// retention is how long changelog topics keep tombstones.
	retention map[string]time.Duration
}

// Limits of an instance.
const (
	// stopTimeout is how long a graceful stop may take, and commitTimeout how much
	// of it the last commit may.
	stopTimeout   = 12 * time.Second
	commitTimeout = 10 * time.Second
	// startTimeout is how long a broker may keep silent at the start.
	startTimeout = 10 * time.Second
	// topicPatience is how long a topic may be missing that was made a moment ago.
	topicPatience = 2 * time.Second
	// openAtOnce is how many tasks are restored at a time.
	openAtOnce = 4
)

// New checks a configuration and returns an instance that Run starts. The
// error joins every mistake; each wraps [ErrInvalidConfig].
func New(t *topology.Topology, cfg Config) (*Instance, error) {
	in, err := newInstance(t, cfg)
	if err = errors.Join(err, checkCold(t, cfg)); err != nil {
		return nil, err
	}
	return in, nil
}

// newInstance is New without what only a running instance needs.
func newInstance(t *topology.Topology, cfg Config) (*Instance, error) {
	cfg, err := cfg.resolve(t)
	if err != nil {
		return nil, err
	}
	in := &Instance{
		topology: t, cfg: cfg, storage: cfg.Storage, log: cfg.Logger.With("application", cfg.Application),
		wanted: cfg.Workers, failed: make(chan error, 1), opening: make(chan struct{}, openAtOnce),
		tasks: map[processors.TaskID]*holding{}, draining: map[processors.TaskID]*holding{},
		computed: map[string]int32{}, retention: map[string]time.Duration{}, control: newControl(),
		rate: newRate(cfg.MaxRate),
	}
	in.metrics = newMetrics(cfg.Metrics, cfg.Application, func() int64 {
		if s := in.copies.Load(); s != nil {
			return s.behind()
		}
		return 0
	}, func() float64 {
		if c := in.stored.Load(); c != nil {
			if at, ok := c.oldest(); ok {
				return float64(at.UnixMilli()) / 1000
			}
		}
		return 0
	})
	in.life = &lifecycle{
		listener: cfg.Listener, state: Created, tasks: map[processors.TaskID]TaskState{}, control: in.control,
		log: in.log.Info, count: in.metrics.tasks, enter: func(s State) {
			in.metrics.entered(s)
			in.control.enter(s)
		},
	}
	shares, _ := divide(&cfg)
	in.shares = shares
	in.memory = newMemory(cfg.Application, shares, in.databases)
	in.metrics.memory = in.memory
	if cfg.Replica != nil {
		in.replication = newReplication(cfg, in.log)
		in.metrics.replication = in.replication.metrics.collectors()
	}
	in.memory.replication = in.replication
	if cfg.ProcessMemory > 0 {
		in.pressure = newPressure(in)
		in.metrics.pressure = in.pressure
	}
	in.status = &status{observe: in.metrics.task, gone: in.metrics.taskGone, tasks: map[processors.TaskID]TaskStatus{}, taken: map[processors.TaskID]time.Time{}}
	in.alignment = newAlignment(in)
	in.purge = &purge{in: in, before: map[kafka.TopicPartition]int64{}}
	return in, nil
}

// Run runs the instance, once; see the function [Run].
func (in *Instance) Run(ctx context.Context) error {
	in.mu.Lock()
	again := in.ran
	in.ran = true
	in.mu.Unlock()
	if again {
		return errors.New("streams: an Instance runs once; make another with New")
	}
	ctx, cancel := in.control.stopper(ctx)
	defer cancel()
	in.life.set(Starting)
	in.tellShares()
	if err := in.metrics.register(); err != nil {
		in.life.set(Failed)
		return fmt.Errorf("%w: metrics: %w; give each instance a registry of its own, or wrap it with labels", ErrInvalidConfig, err)
	}
	defer in.metrics.unregister()
	err := in.start(ctx)
	if err == nil {
		err = in.live(ctx)
	}
	err = errors.Join(err, in.shut())
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		err = nil // stopped while it was starting
	}
	if err != nil {
		in.log.Error("instance failed", "error", err)
		in.life.set(Failed)
		return err
	}
	in.life.set(Stopped)
	return nil
}

// start reaches the cluster and makes what live needs.
func (in *Instance) start(ctx context.Context) error {
	if err := in.connect(ctx); err != nil {
		return err
	}
	in.reader = changelog.NewKafkaReader(in.client)
	p, err := in.replan(ctx)
	if err != nil {
		return err
	}
	if err := in.prepareTopics(ctx, p); err != nil {
		return err
	}
	if in.storage == nil {
		dir := filepath.Join(in.cfg.StateDir, in.cfg.Application)
		if in.storage, err = NewPebbleStorage(dir, nil, in.shares.cache, len(p.Tasks()), in.log); err != nil {
			return err
		}
	}
	in.memory.use(in.storage)
	in.checkpoints = newCheckpoints(in)
	in.stored.Store(in.checkpoints)
	if in.cfg.UntilEnd {
		if err := in.findEnds(ctx, p); err != nil {
			return err
		}
	}
	if in.standbys, err = newStandbys(in, p); err != nil {
		return err
	}
	in.standbys.survey(p)
	in.copies.Store(in.standbys)
	in.queueBytes = queueLimit(in.cfg.Memory, p)
	fetch := kafka.FetchConfig{Isolation: kafka.ReadCommitted, PartitionBytes: int32(min(1<<20, in.queueBytes))}
	if in.fetcher, err = in.client.NewFetcher(fetch); err != nil {
		return err
	}
	for i := range in.cfg.Workers {
		w := newWorker(in, i)
		if err := w.produce(ctx); err != nil {
			return err
		}
		in.mu.Lock()
		in.workers = append(in.workers, w)
		in.mu.Unlock()
		in.memory.add(w)
	}
	in.told = in.cfg.Workers
	if in.member, err = newMembership(in); err != nil {
		return err
	}
	in.group.Store(in.member)
	return nil
}

// produceBytes bounds what a worker has sent and is not yet acknowledged. A worker
// keeps what it was given when others come.
func (in *Instance) produceBytes() int {
	workers, _ := in.wish()
	return int(max(1<<20, min(32<<20, in.cfg.Memory/8/int64(workers))))
}

// queueLimit shares an eighth of the memory among all partitions that are read, as
// if this instance were the only one: in the end it may be.
func queueLimit(memory int64, p *task.Plan) int {
	partitions := int64(1)
	for _, id := range p.Tasks() {
		partitions += int64(len(p.Inputs(id)))
	}
	return int(max(64<<10, min(4<<20, memory/8/partitions)))
}

// connect reaches a broker, trying for a while: a cluster may be starting too. It
// tells the log once that it has to wait, and once that it need not any more.
func (in *Instance) connect(ctx context.Context) error {
	bounded, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("%w: no answer within %v", kafka.ErrUnavailable, startTimeout))
	defer cancel()
	var last error // of a try that was not cut short
	for {
		client, err := kafka.Open(bounded, in.cfg.kafka())
		switch {
		case err == nil:
			if last != nil {
				in.log.Info("a broker answers", "brokers", client.Brokers())
			}
			in.client = client
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case bounded.Err() != nil:
			return fmt.Errorf("brokers %s: %w", strings.Join(in.cfg.Brokers, ", "), cmp.Or(last, err))
		case !errors.Is(err, kafka.ErrUnavailable):
			return fmt.Errorf("brokers %s: %w", strings.Join(in.cfg.Brokers, ", "), err)
		case last == nil:
			in.log.Warn("no broker answers yet", "brokers", in.cfg.Brokers, "waiting", startTimeout, "error", err)
		}
		last = err
		select {
		case <-bounded.Done():
		case <-time.After(time.Second):
		}
	}
}

// live runs workers and membership until the instance is to stop, and stops
// them.
func (in *Instance) live(ctx context.Context) error {
	var giveUp context.CancelFunc
	in.limit, giveUp = context.WithCancel(context.Background())
	defer giveUp()
	in.work, in.halt = context.WithCancel(in.limit)
	memberCtx, leave := context.WithCancel(context.Background())
	defer leave()
	cold := newColdTier(in)
	cold.start()
	defer cold.stop()
	in.spreadPause() // one that came before there were workers
	in.alignment.expect(in.currentPlan())
	in.mu.Lock()
	for _, w := range in.workers { // before the member can hear of another number
		w.begin()
	}
	in.mu.Unlock()
	var members sync.WaitGroup
	members.Go(func() {
		if err := in.member.run(memberCtx); err != nil {
			in.fail(err)
		}
	})
	members.Go(func() { in.purge.run(memberCtx) })
	members.Go(func() { in.alignment.run(memberCtx) })
	if in.checkpoints != nil {
		members.Go(func() { in.checkpoints.run(in.work) })
	}
	members.Go(func() { in.pressure.run(memberCtx) })
	stopReplication := in.replication.start()
	err := in.untilDone(ctx)
	if err == nil && ctx.Err() == nil {
		cold.finish(ctx)
	}
	in.life.set(Stopping)
	in.mu.Lock()
	in.stopping = true
	in.mu.Unlock()
	workers := in.crew() // which no others join, and none leaves
	in.halt()
	in.standbys.stop()
	stop, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	defer context.AfterFunc(in.limit, func() {
		for _, w := range workers {
			w.abort()
		}
	})()
	defer time.AfterFunc(commitTimeout, giveUp).Stop()
	if err != nil {
		giveUp()
	}
	in.running.Wait()
	// Each worker commits what it has done, unless it or the instance has failed:
	// then only what is committed counts.
	var closing sync.WaitGroup
	errs := make([]error, len(workers))
	for i, w := range workers {
		closing.Go(func() {
			if err != nil || w.broken {
				errs[i] = w.abandon()
				return
			}
			errs[i] = w.close(in.limit)
		})
	}
	closing.Wait()
	for _, w := range workers {
		w.discard()
	}
	leave()
	members.Wait()
	in.openers.Wait()
	in.leave(stop)
	stopReplication()
	select {
	case late := <-in.failed:
		errs = append(errs, late)
	default:
	}
	return errors.Join(append([]error{err}, errs...)...)
}

// untilDone returns when ctx ends or a bounded run is over, or with the error
// that the instance failed with.
func (in *Instance) untilDone(ctx context.Context) error {
	var check <-chan time.Time
	if in.cfg.UntilEnd {
		ticker := time.NewTicker(tickInterval)
		defer ticker.Stop()
		check = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-in.failed:
			return err
		case <-check:
			if in.ended() {
				in.log.Info("everything up to the end is processed")
				return nil
			}
		}
	}
}

// ended reports whether a bounded run is over for every task held. Without
// tasks it waits for a while: others may be about to give some away.
func (in *Instance) ended() bool {
	if in.life.get() != Running {
		return false
	}
	statuses := in.status.all()
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.tasks) == 0 {
		return in.member.quiet()
	}
	for id := range in.tasks {
		if !statuses[id].Ended {
			return false
		}
	}
	return true
}

// fail ends the instance with its first error.
func (in *Instance) fail(err error) {
	select {
	case in.failed <- err:
	default:
		in.log.Error("also failed", "error", err)
	}
}

// shut closes what start has opened.
func (in *Instance) shut() error {
	if in.member != nil {
		in.member.member.Close()
	}
	for _, w := range in.crew() {
		w.producer.Close()
	}
	if in.fetcher != nil {
		in.fetcher.Close()
	}
	if in.standbys != nil {
		in.standbys.stop()
		in.standbys.close()
	}
	var err error
	if in.storage != nil {
		in.memory.use(nil)
		err = in.storage.Close()
	}
	if in.client != nil {
		in.client.Close()
	}
	if in.cfg.Replica != nil {
		err = errors.Join(err, in.cfg.Replica.Close())
	}
	return err
}

// replan computes the plan from what the cluster has now.
func (in *Instance) replan(ctx context.Context) (*task.Plan, error) {
	p, topics, err := in.findPlan(ctx)
	if err != nil {
		return nil, fmt.Errorf("application %q: %w", in.cfg.Application, err)
	}
	if in.deadLetters() {
		topic := task.DeadLetterTopic(in.cfg.Application)
		p.Partitions[topic] = max(1, topics[topic])
	}
	in.mu.Lock()
	before := in.plan
	in.plan = p
	in.mu.Unlock()
	if before != nil && !maps.Equal(before.Partitions, p.Partitions) {
		return p, in.prepareTopics(ctx, p)
	}
	return p, nil
}

// findPlan computes the plan of the topics that there are. A topic that is missing
// is looked for again: a broker may not have heard of it yet, or have forgotten it
// while it starts.
func (in *Instance) findPlan(ctx context.Context) (p *task.Plan, topics map[string]int32, err error) {
	patience, cancel := context.WithTimeout(ctx, topicPatience)
	defer cancel()
	backoff := in.client.Backoff()
	for {
		if topics, err = in.client.Topics(ctx); err != nil {
			return nil, nil, err
		}
		p, err = task.NewPlan(in.topology, in.cfg.Application, topics)
		if !errors.Is(err, task.ErrMissingTopic) {
			return p, topics, err
		}
		if backoff.Wait(patience) != nil {
			return nil, nil, err
		}
	}
}

// deadLetters reports whether records may go to the dead-letter topic.
func (in *Instance) deadLetters() bool {
	return in.cfg.OnError == topology.DeadLetter || in.topology.DeadLetters()
}

func (in *Instance) currentPlan() *task.Plan {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.plan
}

// topicsChanged reports whether sources by pattern have other topics than
// before, or inputs more partitions. The error says if state does not fit them.
func (in *Instance) topicsChanged(ctx context.Context) (bool, error) {
	before := in.currentPlan()
	p, err := in.replan(ctx)
	return err == nil && !maps.Equal(before.Partitions, p.Partitions), err
}

func (in *Instance) hasPattern() bool {
	for _, sub := range in.topology.SubTopologies() {
		for _, src := range sub.Sources {
			if src.Pattern != nil {
				return true
			}
		}
	}
	return false
}

func (in *Instance) isRepartition(topic string) bool {
	return slices.ContainsFunc(in.currentPlan().Internal, func(t task.InternalTopic) bool {
		return t.Store == "" && t.Name == topic
	})
}

// findEnds notes where a bounded run stops reading: where the inputs end now, or
// before that by their records' times.
func (in *Instance) findEnds(ctx context.Context, p *task.Plan) error {
	var tps []kafka.TopicPartition
	for topic, n := range p.Outside() {
		for i := range n {
			tps = append(tps, kafka.TopicPartition{Topic: topic, Partition: i})
		}
	}
	at := kafka.Latest
	if !in.cfg.Until.IsZero() {
		at = max(0, in.cfg.Until.UnixMilli())
	}
	ends, err := in.client.ListOffsets(ctx, at, tps...)
	in.ends = ends
	return err
}

// endOf returns where a bounded run stops reading a partition, or -1.
func (in *Instance) endOf(tp kafka.TopicPartition) int64 {
	if end, ok := in.ends[tp]; ok {
		return end
	}
	return -1
}

func (in *Instance) deleteRetention(topic string) time.Duration {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.retention[topic]
}
