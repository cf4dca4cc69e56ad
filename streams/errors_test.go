package streams

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// picky is a codec that does not decode the value "undecodable".
type picky struct{ codec.Codec[string] }

var errUndecodable = errors.New("no value of this kind")

func (p picky) Decode(b []byte) (string, error) {
	if string(b) == "undecodable" {
		return "", errUndecodable
	}
	return p.Codec.Decode(b)
}

// noise returns so many bytes that no codec compresses, the same each time.
func noise(n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return string(b)
}

// failing is a topology in which each kind of error happens to the record that
// asks for it.
func failing(t *testing.T) *topology.Topology {
	t.Helper()
	b := topology.New("failing")
	events := topology.Source(b, "events", codec.String, picky{codec.String}, topology.Named("read")).
		EventTime(func(v string) int64 {
			if v == "ahead" {
				return time.Now().Add(48 * time.Hour).UnixMilli()
			}
			return time.Now().UnixMilli()
		}, window.BoundedDelay(time.Minute))
	mapped := topology.MapValues(events, func(r topology.Record[string, string]) (string, error) {
		switch {
		case r.Value == "error":
			return "", errors.New("cannot be mapped")
		case r.Value == "panic":
			panic("out of order")
		case strings.HasPrefix(r.Value, "large "):
			n, err := strconv.Atoi(strings.TrimPrefix(r.Value, "large "))
			return noise(n), err
		}
		return r.Value, nil
	}, topology.Named("map"))
	mapped.ToEach(func(r topology.Record[string, string]) string {
		if r.Value == "nowhere" {
			return "no-such-topic"
		}
		return "results"
	}, codec.String, codec.String, topology.Named("write"))
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// badRecords are the values that fail, with the node that fails and a part of the
// error. The topic takes 200,000 bytes, which nobody tells the producer.
var badRecords = []struct{ value, node, exception, message string }{
	{"undecodable", "read", "*errors.errorString", "no value of this kind"},
	{"error", "map", "*errors.errorString", "cannot be mapped"},
	{"panic", "map", "*task.PanicError", "panic: out of order"},
	{"ahead", "read", "", "ahead"},
	{"nowhere", "write", "", "no-such-topic"},
	{"large 2000000", "write", "", "too large"},
	{"large 300000", "write", "", "too large"},
}

// smallResults makes the topic of results.
func (w *world) smallResults() {
	w.t.Helper()
	c := w.kafka()
	defer c.Close()
	if _, err := c.CreateTopic(w.t.Context(), kafka.TopicSpec{
		Name: "results", Partitions: 1, Replication: 1, Configs: map[string]string{"max.message.bytes": "200000"},
	}); err != nil {
		w.t.Fatal(err)
	}
}

func headerOf(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// TestEachErrorUnderEachPolicy writes a bad record between good ones.
func TestEachErrorUnderEachPolicy(t *testing.T) {
	for _, guarantee := range []Guarantee{AtLeastOnce, ExactlyOnce} {
		for _, policy := range []topology.ErrorPolicy{topology.Fail, topology.Skip, topology.DeadLetter} {
			for _, bad := range badRecords {
				t.Run(fmt.Sprint(guarantee, " ", policy, " ", bad.value), func(t *testing.T) {
					inWorld(t, 1, map[string]int32{"events": 1}, func(w *world) {
						w.guarantee = guarantee
						w.smallResults()
						registry := prometheus.NewRegistry()
						a := w.start("a", newDisk(), failing(t), func(c *Config) { c.OnError, c.Metrics = policy, registry })
						at := time.UnixMilli(time.Now().Add(-time.Hour).UnixMilli())
						var events []event
						for _, v := range []string{"1", "2", bad.value, "3", "4"} {
							events = append(events, event{"events", 0, "key", v, at})
						}
						w.write(events...)
						if policy == topology.Fail {
							err := a.result()
							for _, part := range []string{"events/0@2", bad.node, bad.message} {
								if err == nil || !strings.Contains(err.Error(), part) {
									t.Errorf("error %v, want %q", err, part)
								}
							}
							return
						}
						w.until("the last is processed", func() bool { return slices.Contains(w.values("results"), "4") })
						w.pass(time.Second)
						got := slices.Compact(w.values("results"))
						if !slices.Equal(slices.Compact(slices.Sorted(slices.Values(got))), []string{"1", "2", "3", "4"}) {
							t.Errorf("results %v", got)
						}
						if guarantee == ExactlyOnce && len(w.values("results")) != 4 {
							t.Errorf("results %v", w.values("results"))
						}
						a.stop()
						if v := gauge(t, registry, "millrace_dropped_records_total", bad.node); v >= 0 {
							t.Error("collectors are to be taken back")
						}
						if policy == topology.Skip {
							return
						}
						letters := w.read("failing-dlq")
						if len(letters) != 1 {
							t.Fatalf("%d letters", len(letters))
						}
						l := letters[0]
						for name, want := range map[string]string{
							"__streams.errors.topic": "events", "__streams.errors.partition": "0", "__streams.errors.offset": "2", "__millrace.errors.node": bad.node,
						} {
							if got := headerOf(l, name); got != want {
								t.Errorf("%s is %q, want %q", name, got, want)
							}
						}
						if e := headerOf(l, "__streams.errors.exception"); e == "" || bad.exception != "" && e != bad.exception {
							t.Errorf("exception %q, want %q", e, bad.exception)
						}
						if m := headerOf(l, "__streams.errors.message"); !strings.Contains(m, bad.message) {
							t.Errorf("message %q, want %q", m, bad.message)
						}
						if s := headerOf(l, "__streams.errors.stacktrace"); (bad.value == "panic") != strings.Contains(s, "errors_test.go") {
							t.Errorf("stack %q", s)
						}
						if string(l.Key) != "key" || string(l.Value) != bad.value || !l.Timestamp.Equal(at) {
							t.Errorf("letter %q %q at %v", l.Key, l.Value, l.Timestamp)
						}
					})
				})
			}
		}
	}
}

// TestManyRecordsInABatchThatIsTooLarge has batches that are larger than the topic
// takes, of records that it takes.
func TestManyRecordsInABatchThatIsTooLarge(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 1}, func(w *world) {
		w.smallResults()
		a := w.start("a", newDisk(), failing(t), nil)
		w.settled(1, a)
		var events []event
		for range 20 {
			events = append(events, event{"events", 0, "key", "large 60000", time.Now()})
		}
		w.write(events...)
		w.until("all are there", func() bool { return len(w.read("results")) >= 20 })
		if n := w.log.count("replaying to find the record that a broker refuses"); n == 0 || n > 5 {
			t.Errorf("replayed %d times", n)
		}
		a.stop()
	})
}

// TestDeadLettersAreListedAndReplayedOnce mends the program and sends letters
// back.
func TestDeadLettersAreListedAndReplayedOnce(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": 2}, func(w *world) {
		w.smallResults()
		a := w.start("a", newDisk(), failing(t), func(c *Config) { c.OnError = topology.DeadLetter })
		at := time.UnixMilli(time.Now().Add(-time.Hour).UnixMilli())
		var events []event
		for i, bad := range badRecords[:5] {
			events = append(events, event{"events", int32(i % 2), fmt.Sprint("k", i), bad.value, at.Add(time.Duration(i) * time.Second)})
		}
		w.write(events...)
		w.until("there are letters", func() bool { return len(w.read("failing-dlq")) == 5 })
		a.stop()
		d, err := OpenDeadLetters(w.t.Context(), Config{Application: "failing", Brokers: w.cluster.Addrs(), Dial: w.cluster.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		list := func(f DeadLetterFilter) (all []DeadLetter) {
			t.Helper()
			if err := d.List(w.t.Context(), f, func(l DeadLetter) bool {
				all = append(all, l)
				return true
			}); err != nil {
				t.Fatal(err)
			}
			return all
		}
		none, zero, three := int32(7), int32(0), int64(3)
		for _, c := range []struct {
			name string
			f    DeadLetterFilter
			want int
		}{
			{"all", DeadLetterFilter{}, 5},
			{"node", DeadLetterFilter{Node: "map"}, 2},
			{"error by text", DeadLetterFilter{Error: "cannot be mapped"}, 1},
			{"error by type", DeadLetterFilter{Error: "PanicError"}, 1},
			{"topic", DeadLetterFilter{Topic: "other"}, 0},
			{"time", DeadLetterFilter{From: at.Add(3 * time.Second)}, 2},
			{"place", DeadLetterFilter{Partition: &zero, Offset: &three}, 2},
		} {
			if n := len(list(c.f)); n != c.want {
				t.Errorf("%s: %d letters, want %d", c.name, n, c.want)
			}
		}
		if err := d.List(w.t.Context(), DeadLetterFilter{Partition: &none}, nil); !errors.Is(err, ErrInvalidConfig) {
			t.Errorf("a partition that is not there: %v", err)
		}
		chosen := list(DeadLetterFilter{Node: "map"})
		told := 0
		if err := d.Replay(w.t.Context(), chosen, func(n int) { told = n }); err != nil || told != 2 {
			t.Fatal(told, err)
		}
		back := w.read("events")
		sent := 0
		for _, r := range back {
			of := headerOf(r, "__millrace.replay-of")
			if of == "" {
				continue
			}
			sent++
			for _, l := range chosen {
				if of == fmt.Sprintf("failing-dlq/%d@%d", l.Partition, l.Offset) &&
					(string(r.Value) != string(l.Value) || r.Partition != l.Source.Partition || !r.Timestamp.Equal(l.Time) || headerOf(r, "__streams.errors.message") != "") {
					t.Errorf("letter %+v came back as %+v", l, r)
				}
			}
		}
		if sent != 2 {
			t.Errorf("%d records came back", sent)
		}
		if n := len(list(DeadLetterFilter{Pending: true})); n != 3 {
			t.Errorf("%d letters wait, want 3", n)
		}
		for _, l := range list(DeadLetterFilter{}) {
			if (l.Node == "map") != !l.Replayed.IsZero() {
				t.Errorf("letter of node %s: replayed %v", l.Node, l.Replayed)
			}
		}
		// They fail again, and the letter names the first record's place in the input.
		b := w.start("b", newDisk(), failing(t), func(c *Config) { c.OnError = topology.DeadLetter })
		w.until("they are there again", func() bool { return len(list(DeadLetterFilter{Node: "map", Pending: true})) == 2 })
		b.stop()
		for _, l := range list(DeadLetterFilter{Node: "map", Pending: true}) {
			if len(l.Headers) != 1 || l.Headers[0].Key != replayOfHeader {
				t.Errorf("headers %v", l.Headers)
			}
		}
		gone := chosen[:1]
		gone[0].Source.Topic = "gone"
		if err := d.Replay(w.t.Context(), gone, func(int) {}); !errors.Is(err, ErrMissingTopic) || !strings.Contains(err.Error(), "gone/") {
			t.Errorf("a topic that is gone: %v", err)
		}
	})
}
