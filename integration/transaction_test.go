//go:build integration

package integration_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/streams"
)

// This file has the transactional producer meet what only a real broker does:
// markers that are written after the commit is answered, coordinators that are
// made at the first request, and epochs that it counts.

func (c *cluster) kafka() *kafka.Client {
	c.t.Helper()
	client, err := kafka.Open(c.t.Context(), kafka.Config{Brokers: c.brokers})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	return client
}

func transactional(t testing.TB, c *kafka.Client, id string) *kafka.TransactionalProducer {
	t.Helper()
	p, err := c.NewTransactionalProducer(t.Context(), kafka.TransactionConfig{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// joining returns a function by which the only member of a group joins it, again
// and again.
func joining(t testing.TB, c *kafka.Client, group string) func() kafka.Joined {
	t.Helper()
	m, err := c.NewMember(kafka.MemberConfig{Group: group, Protocol: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return func() kafka.Joined {
		t.Helper()
		joined, err := m.Join(t.Context(), kafka.Subscription{Topics: []string{"none"}, Generation: -1})
		if err == nil {
			_, err = m.Sync(t.Context(), map[string]kafka.Assignment{joined.MemberID: {}})
		}
		if err != nil {
			t.Fatal(err)
		}
		return joined
	}
}

// readCommitted returns the values that the engine's own reader sees of a
// partition, up to its end.
func readCommitted(t testing.TB, c *kafka.Client, tp kafka.TopicPartition) []string {
	t.Helper()
	f, err := c.NewFetcher(kafka.FetchConfig{Isolation: kafka.ReadCommitted})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	deliveries := make(deliveredTo, 100)
	f.Add(tp, 0, deliveries)
	var values []string
	for deadline := time.After(patience); ; {
		select {
		case d := <-deliveries:
			if d.Err != nil {
				t.Fatal(d.Err)
			}
			for i := range d.Batches {
				for r := range d.Batches[i].All() {
					values = append(values, string(r.Value))
				}
			}
			if d.Next >= d.HighWatermark {
				return values
			}
		case <-deadline:
			t.Fatalf("the end of %v was not reached", tp)
		}
	}
}

type deliveredTo chan *kafka.Delivery

func (d deliveredTo) Deliver(delivery *kafka.Delivery) {
	select {
	case d <- delivery:
	default: // the reader has left
	}
}

// TestTransactionsBackToBack commits a hundred transactions, half of whose
// neighbours of another producer are aborted, and reads them with the engine's
// reader and with another client's.
func TestTransactionsBackToBack(t *testing.T) {
	c := newCluster(t)
	topic, group := c.name("back-to-back"), c.name("back-to-back-group")
	c.create(topic, 2)
	client := c.kafka()
	joined := joining(t, client, group)()
	const n = 100
	p := transactional(t, client, c.name("tx"))
	aborted := c.connect(kgo.TransactionalID(c.name("aborting")), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	began := time.Now()
	var want []string
	for i := range n {
		for partition := range int32(2) {
			if err := p.Send(topic, partition, nil, fmt.Append(nil, i), time.Now().UnixMilli(), nil); err != nil {
				t.Fatal(err)
			}
		}
		if i%10 == 0 {
			if err := aborted.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := aborted.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("never")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if err := aborted.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
				t.Fatal(err)
			}
		}
		err := p.SendOffsets(t.Context(), kafka.Commit{
			Group: group, MemberID: joined.MemberID, Generation: joined.Generation,
			Offsets: map[kafka.TopicPartition]kafka.Committed{{Topic: topic}: {Offset: int64(i + 1), Metadata: "m"}},
		})
		if err == nil {
			err = p.Commit(t.Context())
		}
		if err != nil {
			t.Fatalf("transaction %d: %v", i, err)
		}
		want = append(want, fmt.Sprint(i))
		if i%25 == 0 { // settled at once, however late the markers are
			at, err := client.CommittedOffsets(t.Context(), group, kafka.TopicPartition{Topic: topic})
			if err != nil || at[kafka.TopicPartition{Topic: topic}].Offset != int64(i+1) {
				t.Errorf("transaction %d: the group is at %v, %v", i, at, err)
			}
		}
	}
	t.Logf("%d transactions in %v", n, time.Since(began))
	for partition := range int32(2) {
		if got := readCommitted(t, client, kafka.TopicPartition{Topic: topic, Partition: partition}); !slices.Equal(got, want) {
			t.Errorf("partition %d: the engine's reader sees %d records, want %d: %.200q", partition, len(got), len(want), got)
		}
	}
}

// TestAZombieIsFencedByIDAndByGeneration has an older producer and an older
// generation try to commit.
func TestAZombieIsFencedByIDAndByGeneration(t *testing.T) {
	c := newCluster(t)
	topic, group := c.name("fenced"), c.name("fenced-group")
	c.create(topic, 1)
	client := c.kafka()
	join := joining(t, client, group)
	before := join()
	now := join()
	tp := kafka.TopicPartition{Topic: topic}
	offsets := func(j kafka.Joined, at int64) kafka.Commit {
		return kafka.Commit{
			Group: group, MemberID: j.MemberID, Generation: j.Generation, Offsets: map[kafka.TopicPartition]kafka.Committed{tp: {Offset: at}},
		}
	}
	send := func(p *kafka.TransactionalProducer, value string) error {
		return errors.Join(p.Send(topic, 0, nil, []byte(value), time.Now().UnixMilli(), nil), p.Flush(t.Context()))
	}

	zombie := transactional(t, client, c.name("tx"))
	if err := send(zombie, "never"); err != nil {
		t.Fatal(err)
	}
	if err := zombie.SendOffsets(t.Context(), offsets(before, 7)); !errors.Is(err, kafka.ErrIllegalGeneration) {
		t.Errorf("an old generation: %v", err)
	}
	if err := zombie.SendOffsets(t.Context(), offsets(now, 7)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := client.FenceProducer(t.Context(), c.name("tx")); err != nil {
		t.Fatal(err)
	}
	if at, err := client.CommittedOffsets(t.Context(), group, tp); err != nil || len(at) != 0 {
		t.Errorf("after the fence the group is at %v, %v", at, err)
	}
	t.Logf("fencing and the stable offsets took %v", time.Since(began))
	if err := zombie.Commit(t.Context()); !errors.Is(err, kafka.ErrProducerFenced) {
		t.Errorf("the zombie's commit: %v", err)
	}

	young := transactional(t, client, c.name("tx"))
	if err := errors.Join(send(young, "seen"), young.SendOffsets(t.Context(), offsets(now, 8)), young.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got := readCommitted(t, client, tp); !slices.Equal(got, []string{"seen"}) {
		t.Errorf("read committed: %q", got)
	}
}

// TestKilledBetweenTheStepsOfACommit kills a process between each pair of steps of
// a commit, and starts it again with and without its databases. In the end every
// event is counted once, and the databases hold what their changelogs do.
func TestKilledBetweenTheStepsOfACommit(t *testing.T) {
	c := newCluster(t)
	l := c.startLedger("once", 2)
	l.spec.Guarantee, l.spec.Durable = streams.ExactlyOnce, true
	steps := []string{"changelog", "flush", "offsets", "end", "state", "done"}
	for round := range 2 {
		for i, step := range steps {
			spec := l.spec
			spec.KillStep, spec.KillCommit = step, 3+i%3
			w := startWorker(t, spec)
			<-w.ended
			if last := lastSteps(w.history()); last[step] == 0 {
				t.Fatalf("killed in %v, not in %s: %v", last, step, w.err)
			}
			c.evict(spec.Application)
			l.compare(t)
			if (i+round)%2 == 0 {
				removeDatabases(t, filepath.Join(spec.StateDir, spec.Application))
			}
		}
	}
	l.finish(t)
}

// removeDatabases leaves the id of the process: it names its producers.
func removeDatabases(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
}
