//go:build integration

package integration_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/llm/trace"
	"github.com/millrace/millrace/llm/truth"
	"github.com/millrace/millrace/streams"
)

// TestBoundedRunEqualsTheTruth runs the whole trace, out of order and with
// duplicates, to its end.
func TestBoundedRunEqualsTheTruth(t *testing.T) {
	c := newCluster(t)
	application, topic := c.name("bounded"), c.name("bounded-events")
	c.create(topic, 4)
	g := generate(t, trace.Options{Disorder: time.Minute, DisorderShare: 0.05, Duplicates: 0.01, Seed: 2})
	var records []*kgo.Record
	for d := range g.All() {
		records = append(records, record(t, place{topic, int32(len(records)) % 4}, d.Event))
	}
	c.produce(records...)
	report := c.boundedLLM(application, topic)
	if !report.Equal() || report.Open != 0 || report.Events != int64(len(records)) {
		t.Errorf("%v", report)
	}
	t.Logf("%v; %d windows", report, report.Windows)
}

// TestAbortedEventsAreNotCounted has the input written in transactions, half of
// which are aborted, between two that stay open for a while.
func TestAbortedEventsAreNotCounted(t *testing.T) {
	c := newCluster(t)
	application, topic := c.name("aborted"), c.name("aborted-events")
	const partitions = 2
	c.create(topic, partitions)
	g := generate(t, trace.Options{Events: 6000, Seed: 3})
	writer := c.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(application))
	ctx := t.Context()
	var aborted, n int
	for chunk := range slices.Chunk(slices.Collect(g.All()), 250) {
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		var records []*kgo.Record
		for i, d := range chunk {
			records = append(records, record(t, place{topic, int32(i) % partitions}, d.Event))
		}
		if err := writer.ProduceSync(ctx, records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		// The last one is aborted: the log ends with a marker.
		end := kgo.TryCommit
		if n++; n%2 == 0 {
			aborted += len(records)
			end = kgo.TryAbort
		}
		if err := writer.EndTransaction(ctx, end); err != nil {
			t.Fatal(err)
		}
	}
	report := c.boundedLLM(application, topic)
	if !report.Equal() || report.Open != 0 || report.Events != int64(6000-aborted) || aborted == 0 {
		t.Errorf("%d events were aborted: %v", aborted, report)
	}
	t.Logf("%d events aborted; %v", aborted, report)
}

// TestOpenTransactionHoldsReadersBack looks at an instance while a transaction
// is open: it waits, and goes on when the transaction ends.
func TestOpenTransactionHoldsReadersBack(t *testing.T) {
	c := newCluster(t)
	in, out, application := c.name("open-in"), c.name("open-out"), c.name("open")
	c.create(in, 1)
	c.create(out, 1)
	ctx := t.Context()
	begin := func(id string, n int) *kgo.Client {
		writer := c.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(c.name(id)))
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for range n {
			if err := writer.ProduceSync(ctx, &kgo.Record{Topic: in, Value: make([]byte, 8)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		return writer
	}
	end := func(writer *kgo.Client, how kgo.TransactionEndTry) {
		if err := writer.EndTransaction(ctx, how); err != nil {
			t.Fatal(err)
		}
	}
	done := begin("first", 5)
	end(done, kgo.TryCommit)
	open := begin("open", 3)
	behind := begin("behind", 4)
	end(behind, kgo.TryCommit)

	i := c.startInstance(relay(t, application, in, out, &watch{}), streams.Config{Application: application})
	c.awaitRelayed(out, 5)
	eventually(t, "what was read is committed", func() bool { return total(c.committed(application)) >= 5 })
	if relayed := c.relayed(out); len(relayed) != 5 {
		t.Errorf("relayed %v before the open transaction ended, want the first 5", relayed)
	}
	end(open, kgo.TryAbort)
	c.awaitRelayed(out, 9)
	i.stop()
	relayed := c.relayed(out)
	for offset := range 13 {
		_, ok := relayed[fmt.Sprint("0/", offset)]
		// 5 and a marker, 3 that were aborted, 4 and a marker.
		if want := offset < 5 || offset >= 9 && offset < 13; ok != want {
			t.Errorf("record at offset %d: relayed %v, want %v", offset, ok, want)
		}
	}
}

// boundedLLM runs the LLM application to the end of a topic and compares its
// results with the truth, both as a client of their own reads them.
func (c *cluster) boundedLLM(application, topic string) truth.Report {
	c.t.Helper()
	c.ensure(llm.StatsTopic, 4)
	c.ensure(llm.LateTopic, 4)
	stats, late := c.offsets(llm.StatsTopic, logEnd), c.offsets(llm.LateTopic, logEnd)
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	cfg := c.config(streams.Config{Application: application, UntilEnd: true})
	if err := streams.Run(ctx, llmTopology(c.t, application, topic), cfg); err != nil || ctx.Err() != nil {
		c.t.Fatalf("bounded run: %v, %v", err, ctx.Err())
	}
	want := truth.New(5 * time.Minute)
	each := func(records []*kgo.Record, into func(llm.Performance)) {
		for _, r := range records {
			v, err := llm.PerformanceCodec.Decode(r.Value)
			if err != nil {
				c.t.Fatal(err)
			}
			into(v)
		}
	}
	each(c.read(topic, nil), want.Add)
	each(c.read(llm.LateTopic, late), want.Drop)
	return want.Compare(slices.Values(c.results(stats)))
}
