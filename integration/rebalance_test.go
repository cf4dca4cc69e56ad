//go:build integration

package integration_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/topology"
)

// TestRebalanceDoesNotStopTasksThatStay lets a second instance join and leave
// under a steady load, and looks at the tasks that the first one keeps.
func TestRebalanceDoesNotStopTasksThatStay(t *testing.T) {
	c := newCluster(t)
	const partitions = 8
	in, out := c.name("rebalance-in"), c.name("rebalance-out")
	c.create(in, partitions)
	c.create(out, 1)
	watchA, watchB := &watch{}, &watch{}
	application := c.name("rebalance")
	states := &transitions{}
	a := c.startInstance(relay(t, application, in, out, watchA), streams.Config{Application: application, Listener: states.listener()})
	a.awaitRunning()
	load := c.trickle(in, partitions)
	eventually(t, "every task works", func() bool { return len(watchA.gaps()) == partitions })
	alone := watchA.longest(nil)
	watchA.reset()
	states.reset()

	b := c.startInstance(relay(t, application, in, out, watchB), streams.Config{Application: application})
	b.awaitRunning()
	eventually(t, "half of the tasks have moved", func() bool { return len(a.Tasks()) == partitions/2 && len(watchB.gaps()) == partitions/2 })
	stayed := idsOf(a)
	joined := watchA.longest(stayed)
	watchA.reset()
	left := b.stop()
	eventually(t, "the tasks are back", func() bool { return len(a.Tasks()) == partitions && len(watchA.gaps()) == partitions })
	parted := watchA.longest(stayed)

	for _, id := range stayed {
		if s := states.of(id); len(s) > 0 {
			t.Errorf("task %v stays, and went through %v", id, s)
		}
	}
	if len(stayed) != partitions/2 {
		t.Errorf("%d tasks stayed, want %d", len(stayed), partitions/2)
	}
	if limit := 6 * time.Second; joined > limit || parted > limit {
		t.Errorf("a task that stays stood still for %v and %v: as long as a session lasts", joined, parted)
	}
	sent := load()
	t.Logf("the longest gap between two records of a task that stays: %v alone, %v while another instance joined, %v while it left (in %v)",
		alone.Round(time.Millisecond), joined.Round(time.Millisecond), parted.Round(time.Millisecond), left.Round(time.Millisecond))
	c.awaitRelayed(out, sent)
	a.stop()
	if again := c.relayed(out).repeats(); again > 0 {
		t.Errorf("%d records were relayed twice, though every task was committed before it moved", again)
	}
}

func idsOf(i *instance) (ids []processors.TaskID) {
	for _, task := range i.Tasks() {
		ids = append(ids, task.Task)
	}
	return ids
}

// transitions keeps what an instance tells of its tasks.
type transitions struct {
	mu    sync.Mutex
	tasks map[processors.TaskID][]streams.TaskState
}

func (tr *transitions) listener() streams.Listener {
	return streams.Listener{Task: func(id processors.TaskID, s streams.TaskState) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		if tr.tasks != nil {
			tr.tasks[id] = append(tr.tasks[id], s)
		}
	}}
}

func (tr *transitions) reset() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.tasks = map[processors.TaskID][]streams.TaskState{}
}

func (tr *transitions) of(id processors.TaskID) []streams.TaskState {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.tasks[id]
}

// watch notes the longest time between two records of each task.
type watch struct {
	mu   sync.Mutex
	last map[processors.TaskID]time.Time
	gap  map[processors.TaskID]time.Duration
}

func (w *watch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gap = nil
}

func (w *watch) saw(id processors.TaskID, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gap == nil {
		w.gap = map[processors.TaskID]time.Duration{}
	}
	if w.last == nil {
		w.last = map[processors.TaskID]time.Time{}
	}
	if last, ok := w.last[id]; ok {
		w.gap[id] = max(w.gap[id], now.Sub(last))
	}
	w.last[id] = now
}

// gaps returns the tasks with at least two records and their longest gaps.
func (w *watch) gaps() map[processors.TaskID]time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.gap)
}

// longest returns the longest gap of some tasks, or of all.
func (w *watch) longest(of []processors.TaskID) (longest time.Duration) {
	for id, gap := range w.gaps() {
		if of == nil || slices.Contains(of, id) {
			longest = max(longest, gap)
		}
	}
	return longest
}

// relay is a topology that writes where each record was read, and counts the
// records of each task so that there is state to commit.
func relay(t testing.TB, application, in, out string, w *watch) *topology.Topology {
	t.Helper()
	b := topology.New(application)
	records := topology.Source(b, in, codec.String, codec.Int64)
	seen := topology.KeyValueStore(b, "seen", codec.String, codec.Int64)
	topology.Process(records, func() topology.Processor[string, int64, string, string] {
		return &relayer{store: seen, watch: w}
	}, topology.Uses(seen)).To(out, codec.String, codec.String)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

type relayer struct {
	store topology.KeyValue[string, int64]
	watch *watch
	ctx   *topology.Context[string, string]
	seen  *topology.State[string, int64]
}

func (p *relayer) Init(ctx *topology.Context[string, string]) (err error) {
	p.ctx = ctx
	p.seen, err = p.store.In(ctx)
	return err
}

func (p *relayer) Process(r topology.Record[string, int64]) error {
	p.watch.saw(p.ctx.Task(), p.ctx.Now())
	n, _, err := p.seen.Get("n")
	if err != nil {
		return err
	}
	if err := p.seen.Put("n", n+1); err != nil {
		return err
	}
	at := p.ctx.Position()
	return p.ctx.Forward(topology.Record[string, string]{Value: fmt.Sprintf("%d/%d", at.Partition, at.Offset), Time: r.Time})
}

func (p *relayer) Close() error { return nil }

// trickle writes 100 records a second to each partition of a topic until the
// function that it returns is called, which says how many there were.
func (c *cluster) trickle(topic string, partitions int32) (stop func() (sent int64)) {
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan int64, 1)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		var sent int64
		for {
			for p := range partitions {
				r := &kgo.Record{Topic: topic, Partition: p, Value: binary.BigEndian.AppendUint64(nil, uint64(sent))}
				c.client.Produce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) {
					if err != nil {
						c.t.Error(err)
					}
				})
				sent++
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				if err := c.client.Flush(context.WithoutCancel(ctx)); err != nil {
					c.t.Error(err)
				}
				done <- sent
				return
			}
		}
	}()
	c.t.Cleanup(cancel)
	return func() int64 {
		cancel()
		return <-done
	}
}

// relayedRecords counts how often each record was relayed.
type relayedRecords map[string]int

func (c *cluster) relayed(out string) relayedRecords {
	c.t.Helper()
	counts := relayedRecords{}
	for _, r := range c.read(out, nil) {
		counts[string(r.Value)]++
	}
	return counts
}

// repeats is how many records were relayed beyond the first time.
func (r relayedRecords) repeats() (n int) {
	for _, times := range r {
		n += times - 1
	}
	return n
}

// awaitRelayed waits until so many different records were relayed.
func (c *cluster) awaitRelayed(out string, sent int64) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("all of %d records were relayed", sent), func() bool { return int64(len(c.relayed(out))) >= sent })
}
