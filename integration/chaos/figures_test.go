//go:build integration && soak

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/streams"
)

// figuresPartitions are those of the input and, with one sub-topology, the tasks.
const figuresPartitions = 8

// figuresTick is the time between the readings of a partition.
const figuresTick = 20 * time.Millisecond

// figures measures how long partitions stand still: instances as processes that
// number readings from a store, exactly once, a load, and somebody who reads the
// results as they become readable. A key begins with its partition.
type figures struct {
	t           *testing.T
	dir         string
	application string
	topics      topics
	kafka       *servers.Kafka
	client      *kgo.Client
	instances   map[string]*process
	changed     chan struct{} // capacity 1

	mu   sync.Mutex // guards what follows
	sent map[string][]int64
	seen [figuresPartitions][]arrival
	next int64
}

// arrival is a result when it could be read, and when its reading was sent.
type arrival struct{ sent, at time.Time }

func newFigures(t *testing.T, k *servers.Kafka, dir, name string) *figures {
	t.Helper()
	f := &figures{
		t: t, dir: filepath.Join(dir, name), application: name, topics: newTopics(name), kafka: k,
		instances: map[string]*process{}, changed: make(chan struct{}, 1), sent: map[string][]int64{},
	}
	var err error
	if err = os.Mkdir(f.dir, 0o755); err == nil {
		f.client, err = kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range f.instances {
			p.kill()
		}
		f.client.Close()
	})
	for _, topic := range []string{f.topics.Input, f.topics.Results} {
		if err := createTopic(t.Context(), f.client, topic, figuresPartitions); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// start starts an instance, on the state that it had before.
func (f *figures) start(name string, s spec) *process {
	f.t.Helper()
	s.Application, s.Brokers, s.Guarantee, s.Numbers = f.application, f.kafka.Brokers(), streams.ExactlyOnce, true
	s.StateDir = filepath.Join(f.dir, "state-"+name)
	p, err := startProcess(name, filepath.Join(f.dir, name+".log"), s, func() {
		select {
		case f.changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.instances[name] = p
	return p
}

// await waits until something holds, which is looked at when an instance has
// logged something, and ten times a second.
func (f *figures) await(what string, holds func() bool) {
	f.t.Helper()
	limit := time.After(patience)
	for !holds() {
		for _, p := range f.instances {
			if p.strayed() {
				f.t.Fatalf("instance %s ended by itself: %v; its log is in %s", p.name, p.err, f.dir)
			}
		}
		select {
		case <-f.changed:
		case <-time.After(100 * time.Millisecond):
		case <-limit:
			f.t.Fatalf("waited %v for: %s; logs are in %s", patience, what, f.dir)
		}
	}
}

// settled reports whether the instances run all tasks.
func (f *figures) settled() bool {
	sum := 0
	for _, p := range f.instances {
		n := p.running()
		if n < 0 {
			return false
		}
		sum += n
	}
	return sum == figuresPartitions
}

// write sends one reading to each partition, of one of so many sensors.
func (f *figures) write(sensors int64) error {
	f.mu.Lock()
	now := time.Now().UnixMilli()
	var records []*kgo.Record
	for p := range int32(figuresPartitions) {
		key := fmt.Sprintf("%d-%d", p, f.next%sensors)
		value, err := json.Marshal(reading{ID: f.next, At: now})
		if err != nil {
			f.mu.Unlock()
			return err
		}
		f.sent[key] = append(f.sent[key], f.next)
		records = append(records, &kgo.Record{Topic: f.topics.Input, Partition: p, Key: []byte(key), Value: value})
	}
	f.next++
	f.mu.Unlock()
	if sensors > 100 { // many at once
		for _, r := range records {
			f.client.Produce(f.t.Context(), r, nil)
		}
		return nil
	}
	return f.client.ProduceSync(f.t.Context(), records...).FirstErr()
}

// load writes until the returned function is called.
func (f *figures) load() (end func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(figuresTick)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if err := f.write(10); err != nil {
				f.t.Errorf("load: %v", err)
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

// watch notes when results become readable, until the returned function is called.
func (f *figures) watch() (end func()) {
	client, err := kgo.NewClient(kgo.SeedBrokers(f.kafka.Brokers()...), kgo.ConsumeTopics(f.topics.Results),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			fetches := client.PollFetches(ctx)
			now := time.Now()
			f.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) {
				var v reading
				p, err := partitionOf(r.Key)
				if err = firstError(err, json.Unmarshal(r.Value, &v)); err != nil {
					f.t.Errorf("result %q: %v", r.Key, err)
					return
				}
				f.seen[p] = append(f.seen[p], arrival{time.UnixMilli(v.At), now})
			})
			f.mu.Unlock()
		}
	}()
	return func() { cancel(); <-done; client.Close() }
}

func partitionOf(key []byte) (int, error) {
	p, _, _ := strings.Cut(string(key), "-")
	return strconv.Atoi(p)
}

func firstError(errs ...error) error {
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}

// first returns when a result of a reading that was sent after a moment could be
// read.
func (f *figures) first(p int, after time.Time) (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.seen[p] {
		if a.sent.After(after) {
			return a.at, true
		}
	}
	return time.Time{}, false
}

// gap returns the longest time between two results of a partition that could be
// read between two moments.
func (f *figures) gap(p int, from, to time.Time) (longest time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := from
	for _, a := range f.seen[p] {
		if a.at.After(from) && a.at.Before(to) {
			longest, last = max(longest, a.at.Sub(last)), a.at
		}
	}
	return max(longest, to.Sub(last))
}

// ledger compares all committed results with what was sent: each reading has one,
// and those of a key are numbered from 1 on in their order.
func (f *figures) ledger() {
	f.t.Helper()
	f.await("all results are there", seldom(func() bool {
		at, err := ends(f.t.Context(), f.client, f.topics.Results, figuresPartitions)
		if err != nil {
			f.t.Fatal(err)
		}
		sum := int64(0)
		for _, n := range at {
			sum += n
		}
		return sum > f.next*figuresPartitions // with the markers of transactions
	}))
	for name, p := range f.instances {
		if err := p.stop(); err != nil {
			f.t.Error(err)
		}
		delete(f.instances, name)
	}
	results, err := readCommitted(f.t.Context(), f.kafka.Brokers(), f.topics.Results, figuresPartitions)
	if err != nil {
		f.t.Fatal(err)
	}
	got, wrong := map[string]int{}, 0
	for _, r := range results {
		var v reading
		key := string(r.Key)
		if err := json.Unmarshal(r.Value, &v); err != nil {
			f.t.Fatal(err)
		}
		n := got[key]
		if got[key]++; n >= len(f.sent[key]) || v.Number != int64(n+1) || v.ID != f.sent[key][n] {
			wrong++
		}
	}
	for key, ids := range f.sent {
		wrong += max(0, len(ids)-got[key])
	}
	if wrong > 0 {
		f.t.Errorf("%d of %d readings have no result, another one, or two", wrong, f.next*figuresPartitions)
		return
	}
	fmt.Printf("  ledger: %d readings, each with one result\n", f.next*figuresPartitions)
}
