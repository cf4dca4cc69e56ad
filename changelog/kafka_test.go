package changelog_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/millrace/millrace/changelog"
	"github.com/millrace/millrace/internal/embedded"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/stores"
	"github.com/millrace/millrace/window"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kafkaBubble runs a test with virtual time against one broker.
func kafkaBubble(t *testing.T, test func(t *testing.T, cluster *embedded.Cluster, client *kafka.Client)) {
	synctest.Test(t, func(t *testing.T) {
		cluster, err := embedded.Start(embedded.Config{
			Topics: map[string]int32{topic: 2}, Network: &kfake.VirtualNetwork{},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer cluster.Close()
		client, err := kafka.Open(t.Context(), kafka.Config{Brokers: cluster.Addrs(), Dial: cluster.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		test(t, cluster, client)
	})
}

func produce(t *testing.T, client *kafka.Client, partition int32, records ...stores.LogRecord) {
	t.Helper()
	p, err := client.NewProducer(t.Context(), kafka.ProducerConfig{BatchBytes: 2000})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, r := range records {
		var headers []kafka.Header
		if r.Header != nil {
			headers = []kafka.Header{{Key: []byte("other")}, {Key: []byte(stores.StateHeader), Value: r.Header}}
		}
		if err := p.Send(topic, partition, r.Key, r.Value, r.Time, headers); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestRestoreFromKafka(t *testing.T) {
	kafkaBubble(t, func(t *testing.T, _ *embedded.Cluster, client *kafka.Client) {
		w := newWorld(t, 1)
		var records []stores.LogRecord
		for i := range 3000 {
			r := stores.LogRecord{Key: fmt.Appendf(nil, "key-%d", i%700), Value: fmt.Appendf(nil, "value %d", i), Time: int64(i)}
			w.truth[string(r.Key)] = string(r.Value)
			if i%5 == 0 {
				r.Value = nil
				delete(w.truth, string(r.Key))
			}
			records = append(records, r)
		}
		produce(t, client, 0, records...)
		produce(t, client, 1, stores.LogRecord{Key: []byte("elsewhere"), Value: []byte("x")})
		cfg := w.config()
		cfg.Log, cfg.ChunkBytes = changelog.NewKafkaReader(client), 10_000
		chunks := 0
		cfg.Progress = func(changelog.Progress) { chunks++ }
		w.must(changelog.Restore(t.Context(), cfg))
		w.holdsTruth()
		if next, _, _ := w.db.Offset("last"); next != 3000 || chunks < 4 {
			t.Errorf("offset %d after %d chunks, want 3000 after several", next, chunks)
		}

		produce(t, client, 0, stores.LogRecord{Key: []byte("key-1"), Value: []byte("new"), Time: 1})
		w.truth["key-1"] = "new"
		w.must(changelog.Restore(t.Context(), cfg))
		w.holdsTruth()
		if w.warnings.Len() > 0 {
			t.Errorf("a store that only caught up was restored whole: %s", &w.warnings)
		}
	})
}

func TestRestoreFromATopicMadeAnew(t *testing.T) {
	kafkaBubble(t, func(t *testing.T, _ *embedded.Cluster, client *kafka.Client) {
		w := newWorld(t, 1)
		cfg := w.config()
		cfg.Log = changelog.NewKafkaReader(client)
		produce(t, client, 0, stores.LogRecord{Key: []byte("old"), Value: []byte("1")})
		w.must(changelog.Restore(t.Context(), cfg))

		w.must(client.DeleteTopic(t.Context(), topic))
		_, err := client.CreateTopic(t.Context(), kafka.TopicSpec{Name: topic, Partitions: 2, Replication: 1})
		w.must(err)
		produce(t, client, 0, stores.LogRecord{Key: []byte("a"), Value: []byte("2")},
			stores.LogRecord{Key: []byte("b"), Value: []byte("3")})
		w.must(changelog.Restore(t.Context(), cfg))
		w.truth = map[string]string{"a": "2", "b": "3"}
		w.holdsTruth()
		if !strings.Contains(w.warnings.String(), "made anew") {
			t.Errorf("log says %q, want a warning with the reason", &w.warnings)
		}
	})
}

func TestKafkaFeedReadsHeadersAndBounds(t *testing.T) {
	kafkaBubble(t, func(t *testing.T, _ *embedded.Cluster, client *kafka.Client) {
		firing := window.AppendFiring(nil, window.Firing{})
		produce(t, client, 1, stores.LogRecord{Key: []byte("k"), Value: []byte{}, Time: 7, Header: firing},
			stores.LogRecord{Key: []byte("t"), Time: 8})
		log := changelog.NewKafkaReader(client)
		start, end, err := log.Bounds(t.Context(), topic, 1)
		if err != nil || start != 0 || end != 2 {
			t.Fatalf("Bounds = %d, %d, %v, want 0, 2", start, end, err)
		}
		feed, err := log.Open(topic, 1, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		defer feed.Close()
		c, err := feed.Read(t.Context())
		if err != nil || c.Next != 2 || len(c.Records) != 2 {
			t.Fatalf("Read = %+v, %v, want both records", c, err)
		}
		if r := c.Records[0]; r.Value == nil || r.Time != 7 || string(r.Header) != string(firing) {
			t.Errorf("first record %+v, want an empty value, time 7 and the header", r)
		}
		if r := c.Records[1]; r.Value != nil || r.Header != nil || r.Offset != 1 {
			t.Errorf("second record %+v, want a tombstone at 1", r)
		}
		began := time.Now()
		if c, err = feed.Read(t.Context()); err != nil || c.Next != 2 || len(c.Records) != 0 {
			t.Errorf("Read at the end = %+v, %v, want nothing at 2", c, err)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("Read at the end took %v", d)
		}
	})
}

func TestKafkaFeedErrors(t *testing.T) {
	kafkaBubble(t, func(t *testing.T, _ *embedded.Cluster, client *kafka.Client) {
		log := changelog.NewKafkaReader(client)
		feed, err := log.Open(topic, 0, 99, 1000)
		if err != nil {
			t.Fatal(err)
		}
		defer feed.Close()
		if _, err := feed.Read(t.Context()); !errors.Is(err, changelog.ErrOutOfRange) {
			t.Errorf("Read beyond the end: %v, want ErrOutOfRange", err)
		}
		if _, _, err := log.Bounds(t.Context(), "nowhere", 0); !errors.Is(err, changelog.ErrNoTopic) {
			t.Errorf("Bounds of a topic that is not there: %v, want ErrNoTopic", err)
		}
		if _, err := log.LogID(t.Context(), "nowhere"); !errors.Is(err, changelog.ErrNoTopic) {
			t.Errorf("LogID of a topic that is not there: %v, want ErrNoTopic", err)
		}
	})
}
