//go:build integration

package hot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/integration/servers"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/llm"
)

// partitions is how many the input has; repartition topics have as many.
const (
	partitions = 4
	tasks      = 2 * partitions
)

// world is a Kafka, a Redis and an application of the test's own. The results
// topic is shared: only what is written to it from now on counts.
type world struct {
	t                                   *testing.T
	brokers, binary, topic, application string
	redis                               *servers.Redis
	client                              rueidis.Client
	kafka                               *kafka.Client
	from                                map[int32]int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	brokers := servers.KafkaForTest(t).Brokers()
	unique := fmt.Sprintf("%s-%d", strings.ToLower(t.Name()), time.Now().UnixNano())
	w := &world{
		t: t, brokers: strings.Join(brokers, ","), binary: binary, topic: unique + ".performance", application: unique,
		redis: servers.NewRedis(t),
	}
	w.kafka, err = kafka.Open(t.Context(), kafka.Config{
		Brokers: brokers, ClientID: "test", Logger: slog.New(slog.DiscardHandler), RetryTimeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.kafka.Close)
	w.client, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{w.redis.Addr()}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	w.replay(1, "--speed", "max") // makes the topic
	w.from = w.ends()
	return w
}

// ends returns where the results topic ends; nothing while there is none.
func (w *world) ends() map[int32]int64 {
	w.t.Helper()
	topics, err := w.kafka.Topics(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var all []kafka.TopicPartition
	for p := range topics[llm.StatsTopic] {
		all = append(all, kafka.TopicPartition{Topic: llm.StatsTopic, Partition: p})
	}
	ends := map[int32]int64{}
	if len(all) == 0 {
		return ends
	}
	listed, err := w.kafka.ListOffsets(w.t.Context(), kafka.Latest, all...)
	if err != nil {
		w.t.Fatal(err)
	}
	for tp, end := range listed {
		ends[tp.Partition] = end
	}
	return ends
}

// replay writes events of the trace, which ends now.
func (w *world) replay(events int, flags ...string) {
	w.t.Helper()
	if out, err := w.replayer(w.t.Context(), events, flags...).CombinedOutput(); err != nil {
		w.t.Fatalf("replay: %v\n%s", err, out)
	}
}

func (w *world) replayer(ctx context.Context, events int, flags ...string) *exec.Cmd {
	return exec.CommandContext(ctx, w.binary, append([]string{
		"replay", "--brokers", w.brokers, "--topic", w.topic, "--partitions", fmt.Sprint(partitions), "--events", fmt.Sprint(events),
	}, flags...)...)
}

// load replays in the background, at so many times the trace's speed, until the
// function that it returns is called.
func (w *world) load(speed int) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	// Some eight events a second of the trace, for three minutes: with many more it
	// would begin so long ago that brokers delete it.
	cmd := w.replayer(ctx, 8*180*speed, "--speed", fmt.Sprint(speed))
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // it is killed
	}()
	end = func() {
		cancel()
		<-done
	}
	w.t.Cleanup(end)
	return end
}

// place is a key and the start of a window.
type place struct {
	key   string
	start string
}

// results returns the last record of each key and window, flattened, that was
// written to the results topic at or behind some offsets; windows whose last record
// is before those are left out.
func (w *world) results(from map[int32]int64) map[place]map[string]string {
	w.t.Helper()
	ends := w.ends()
	offsets := map[int32]kgo.Offset{}
	left := 0
	for p, end := range ends {
		if end > w.from[p] {
			offsets[p] = kgo.NewOffset().At(w.from[p])
			left++
		}
	}
	all := map[place]map[string]string{}
	if left == 0 {
		return all
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(w.brokers, ",")...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{llm.StatsTopic: offsets}), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	for left > 0 {
		fetches := c.PollFetches(w.t.Context())
		if err := fetches.Err(); err != nil {
			w.t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			if r.Offset == ends[r.Partition]-1 {
				left--
			}
			if r.Attrs.IsControl() { // the end of a transaction
				continue
			}
			fields := flatten(w.t, r.Value)
			at := place{string(r.Key), fields["window_start"]}
			delete(all, at)
			if r.Offset >= from[r.Partition] {
				all[at] = fields
			}
		}
	}
	return all
}

// flatten writes a JSON object as the fields of a hash, by another way than the
// program's.
func flatten(t *testing.T, value []byte) map[string]string {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	fields := map[string]string{}
	var add func(prefix string, object map[string]any)
	add = func(prefix string, object map[string]any) {
		for name, v := range object {
			switch v := v.(type) {
			case map[string]any:
				add(prefix+name+".", v)
			case nil:
			default:
				fields[prefix+name] = fmt.Sprint(v)
			}
		}
	}
	add("", object)
	return fields
}

// key is the name of the hash of a key's latest result.
func (w *world) key(key string) string {
	return "millrace:{" + w.application + ":" + llm.StatsStore + ":" + key + "}"
}

// hash reads a hash, without the replica's own fields.
func (w *world) hash(name string) map[string]string {
	w.t.Helper()
	fields, err := w.client.Do(w.t.Context(), w.client.B().Hgetall().Key(name).Build()).AsStrMap()
	if err != nil {
		w.t.Fatal(err)
	}
	for field := range fields {
		if strings.HasPrefix(field, "@") {
			delete(fields, field)
		}
	}
	return fields
}
