//go:build integration

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/streams"
)

const (
	// slots are the instances that there may be, and fewest those that there are
	// when none is being broken.
	slots, fewest = 5, 3
	// tasks are those of the topology: two sub-topologies.
	tasks = 2 * partitions
	// atOnce is how many faults happen at the same time.
	atOnce = 2
	// patience is how long a run waits for what must happen.
	patience = 2 * time.Minute
	// sight is how long a fault waits for its effect.
	sight = time.Minute
)

// slot is a place for an instance: its listener at the brokers, and its state.
type slot struct {
	name     string // of the listener too
	stateDir string
	proc     *process // nil if there is no instance
	// busy: a fault is at work on it. The run's mutex guards busy and proc.
	busy bool
}

// plan says what a run does.
type plan struct {
	seed      uint64
	faults    int // that must be seen
	guarantee streams.Guarantee
	// limit ends a run that has seen enough of what it is told; 0 for none.
	limit time.Duration
}

// run is a chaos run.
type run struct {
	plan
	t           testing.TB
	ctx         context.Context
	dir         string
	application string
	topics      topics
	kafka       *servers.Kafka
	mesh        *mesh
	client      *kgo.Client // past the proxies
	rnd         *rand.Rand
	log         *faultLog

	mu      sync.Mutex // guards what follows, and fields of slots; never held across a wait
	changed chan struct{}
	slots   []*slot
	broken  error // why the run cannot go on
	broker  bool  // a fault is at work on a broker
	seen    map[string]int
	unseen  map[string]int
}

// faultLog is the record of a run: to a file and to the test's log.
type faultLog struct {
	t     testing.TB
	began time.Time
	mu    sync.Mutex
	file  io.Writer
}

func (l *faultLog) note(format string, args ...any) {
	text := fmt.Sprintf("%7.2fs ", time.Since(l.began).Seconds()) + fmt.Sprintf(format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(l.file, text)
	l.t.Log(text)
}

// cluster starts three nodes with a listener for each slot.
func cluster(t testing.TB, dir string) (*servers.Kafka, *mesh) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, "proxies.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	m := newMesh(log)
	t.Cleanup(m.close)
	var names []string
	for i := range slots {
		names = append(names, slotName(i))
	}
	k := servers.NewKafka(t, servers.KafkaConfig{
		Nodes: 3, Dir: filepath.Join(dir, "kafka"), Heap: "320m", JVM: []string{"-XX:TieredStopAtLevel=1"},
		Listeners: names, Advertise: m.advertise, StartTimeout: 3 * time.Minute,
		Properties: map[string]string{
			"num.network.threads": "1", "num.io.threads": "3", "background.threads": "2", "log.cleaner.threads": "1",
			"broker.session.timeout.ms": "6000", "num.recovery.threads.per.data.dir": "1",
		},
	})
	return k, m
}

func slotName(i int) string { return fmt.Sprintf("I%d", i+1) }

// newRun prepares a run in dir on a cluster.
func newRun(t testing.TB, p plan, dir string, k *servers.Kafka, m *mesh) *run {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, "faults.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	application := fmt.Sprintf("chaos-%s-%d", strings.ReplaceAll(string(p.guarantee), "-", ""), p.seed)
	r := &run{
		plan: p, t: t, ctx: t.Context(), dir: dir, application: application, topics: newTopics(application), kafka: k, mesh: m,
		rnd: rand.New(rand.NewPCG(p.seed, 'f')), changed: make(chan struct{}), seen: map[string]int{}, unseen: map[string]int{},
		log: &faultLog{t: t, began: time.Now(), file: log},
	}
	r.client, err = kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(10*time.Second), kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	for i := range slots {
		name := slotName(i)
		r.slots = append(r.slots, &slot{name: name, stateDir: filepath.Join(dir, "state-"+name)})
	}
	t.Cleanup(func() {
		for _, s := range r.slots {
			if s.proc != nil {
				s.proc.kill()
			}
		}
	})
	return r
}

// all runs the plan. The error says what was not as promised.
func (r *run) all() error {
	for _, topic := range []string{r.topics.Input, r.topics.Results, r.topics.Late} {
		if err := createTopic(r.ctx, r.client, topic, partitions); err != nil {
			return err
		}
	}
	known := func() bool { return knownToAll(r.ctx, r.client, r.topics) }
	if err := r.await("all brokers know the topics", patience, seldom(known)); err != nil {
		return err
	}
	load := startLoad(r.ctx, r.client, r.topics.Input, r.seed)
	for _, s := range r.slots[:fewest] {
		if err := r.start(s); err != nil {
			return err
		}
	}
	if err := r.await("all tasks run", patience, r.settled); err != nil {
		return err
	}
	r.log.note("all %d tasks run on %d instances", tasks, fewest)
	err := r.faulting(load)
	if err == nil {
		err = r.await("all tasks run after the faults", patience, r.settled)
	}
	if err != nil {
		return err
	}
	all, err := load.end(r.ctx)
	if err != nil {
		return err
	}
	r.log.note("%d readings were sent", len(all))
	return r.settle(newLedger(r.guarantee, all))
}

// settle waits for the final result of every window, stops the instances, and
// compares.
func (r *run) settle(l *ledger) error {
	read := func() error {
		results, err := readCommitted(r.ctx, r.kafka.Brokers(), r.topics.Results, partitions)
		if err != nil {
			return err
		}
		late, err := readCommitted(r.ctx, r.kafka.Brokers(), r.topics.Late, partitions)
		if err != nil {
			return err
		}
		return l.read(results, late)
	}
	var last error
	err := r.await("every window has a final result", patience, seldom(func() bool {
		last = read()
		return last != nil || len(l.open()) == 0
	}))
	if err = errors.Join(err, last); err != nil {
		if open := l.open(); len(open) > 0 {
			err = fmt.Errorf("%w; %d windows have none, such as %v", err, len(open), open[0])
		}
		return err
	}
	for _, s := range r.slots {
		if s.proc != nil {
			if err := s.proc.stop(); err != nil {
				return err
			}
		}
	}
	if err := read(); err != nil {
		return err
	}
	inputs, err := ends(r.ctx, r.client, r.topics.Input, partitions)
	if err != nil {
		return err
	}
	total := int64(-partitions) // the closing ones
	for _, n := range inputs {
		total += n
	}
	if total != l.readings {
		return fmt.Errorf("the input holds %d readings, and %d were acknowledged", total, l.readings)
	}
	if l.lates == 0 {
		return errors.New("nothing was late: the side output was not tested")
	}
	if found := l.differences(); len(found) > 0 {
		return fmt.Errorf("%d differences from the truth:\n%s", len(found), strings.Join(found, "\n"))
	}
	r.log.note("ledger: %d readings in %d windows, %d of them late: equal to the truth, %d repeats", l.readings, l.windows, l.lates, l.repeats)
	return nil
}

// start starts the instance of a slot.
func (r *run) start(s *slot) error {
	p, err := startProcess(s.name, filepath.Join(r.dir, s.name+".log"), spec{
		Application: r.application, StateDir: s.stateDir, Brokers: r.kafka.Advertised(s.name), Guarantee: r.guarantee,
	}, r.notify)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.proc = p
	return nil
}

// notify wakes await.
func (r *run) notify() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}

var errTimeout = errors.New("not within the time")

// await waits for a condition, which is looked at whenever an instance has logged
// something, and twice a second.
func (r *run) await(what string, limit time.Duration, holds func() bool) error {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		r.mu.Lock()
		changed, broken := r.changed, r.broken
		r.mu.Unlock()
		if broken != nil {
			return broken
		}
		if err := r.strayed(); err != nil {
			return err
		}
		if holds() {
			return nil
		}
		select {
		case <-changed:
		case <-ticker.C:
		case <-timeout.C:
			return fmt.Errorf("%s: %w of %v", what, errTimeout, limit)
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

// seldom makes a condition that costs something one that is looked at twice a
// second.
func seldom(holds func() bool) func() bool {
	var last time.Time
	return func() bool {
		if time.Since(last) < 400*time.Millisecond {
			return false
		}
		last = time.Now()
		return holds()
	}
}

// strayed returns an error if an instance has ended by itself.
func (r *run) strayed() error {
	for _, p := range r.processes() {
		if p.strayed() {
			return fmt.Errorf("instance %s ended by itself: %w", p.name, errors.Join(errors.New("see its log"), p.err))
		}
	}
	return nil
}

// processes returns the instances that there are.
func (r *run) processes() (all []*process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.slots {
		if s.proc != nil {
			all = append(all, s.proc)
		}
	}
	return all
}

// others returns the instances beside one.
func (r *run) others(p *process) (others []*process) {
	for _, o := range r.processes() {
		if o != p && o.alive() {
			others = append(others, o)
		}
	}
	return others
}

// settled reports whether all tasks run.
func (r *run) settled() bool {
	n := 0
	for _, p := range r.processes() {
		running := p.running()
		if running < 0 {
			return false
		}
		n += running
	}
	return n == tasks
}

// keep writes down what a failed run has read.
func (r *run) keep(err error) {
	for _, topic := range []string{r.topics.Results, r.topics.Late, r.topics.Input} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		records, readErr := readCommitted(ctx, r.kafka.Brokers(), topic, partitions)
		cancel()
		var text strings.Builder
		if readErr != nil {
			fmt.Fprintln(&text, readErr)
		}
		for _, rec := range records {
			fmt.Fprintf(&text, "%d@%d %s %s\n", rec.Partition, rec.Offset, rec.Key, rec.Value)
		}
		// The run has failed already; what cannot be written is not there.
		_ = os.WriteFile(filepath.Join(r.dir, topic), []byte(text.String()), 0o644)
	}
	r.log.note("FAILED: %v", err)
}
