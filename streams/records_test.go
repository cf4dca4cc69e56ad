package streams

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// client returns a client of the test's own.
func (w *world) client(opts ...kgo.Opt) *kgo.Client {
	w.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(w.cluster.Addrs()...), kgo.Dialer(w.cluster.Dial), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DisableClientMetrics(), kgo.ProducerBatchCompression(kgo.NoCompression()),
	}, opts...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// event is a record to write.
type event struct {
	topic     string
	partition int32
	key       string
	value     string
	at        time.Time
}

// write writes events and waits until the brokers have them.
func (w *world) write(events ...event) {
	w.t.Helper()
	if w.writer == nil {
		w.writer = w.client()
	}
	records := make([]*kgo.Record, 0, len(events))
	for _, e := range events {
		records = append(records, &kgo.Record{Topic: e.topic, Partition: e.partition, Key: []byte(e.key), Value: []byte(e.value), Timestamp: e.at})
	}
	if err := w.writer.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// read returns everything that is committed in a topic, each partition in order.
func (w *world) read(topic string) []*kgo.Record {
	w.t.Helper()
	return slices.DeleteFunc(w.readMarkers(topic), func(r *kgo.Record) bool { return r.Attrs.IsControl() })
}

// stable waits until no transaction is open in a topic. One that nobody aborts,
// since all who knew its producer have gone, ends by its timeout.
func (w *world) stable(topic string) {
	w.t.Helper()
	for range longestOpen / time.Second {
		if !slices.ContainsFunc(w.cluster.Fake().PartitionInfos(topic), func(info *kfake.PartitionInfo) bool {
			return info.LastStableOffset < info.HighWatermark
		}) {
			return
		}
		w.pass(time.Second)
	}
	w.t.Fatalf("a transaction is still open in %s, when it must have timed out", topic)
}

// longestOpen is the default of Config.TransactionTimeout, and how often brokers
// look for transactions that have timed out.
const longestOpen = (20 + 10) * time.Second

// readMarkers returns the markers that end transactions too.
func (w *world) readMarkers(topic string) []*kgo.Record {
	w.t.Helper()
	c := w.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	defer c.Close()
	left := map[int32]int64{}
	for _, info := range w.cluster.Fake().PartitionInfos(topic) {
		if info.LastStableOffset > info.LogStartOffset {
			left[info.Partition] = info.LastStableOffset
		}
	}
	var records []*kgo.Record
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for len(left) > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			w.t.Fatalf("read %s: %d records, partitions %v missing: %v", topic, len(records), left, err)
		}
		for _, r := range fetches.Records() {
			records = append(records, r)
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		}
	}
	return records
}
