package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace/millrace/internal/kafka"
	"github.com/millrace/millrace/processors"
)

func TestAnOutageIsToldOnceAMinuteAndItsEndOnce(t *testing.T) {
	inWorld(t, 3, topics(), func(w *world) {
		a := w.start("a", newDisk(), counts(t), func(c *Config) { c.TaskTimeout = time.Hour })
		w.settled(tasks, a)
		w.pass(time.Second)
		begun := w.log.count("level=WARN")
		a.wire.freeze() // no connection is made and none answers
		a.wire.cut()
		const outage = 150 * time.Second
		w.pass(outage)
		a.wire.unfreeze()
		w.settled(tasks, a)
		w.pass(time.Second)
		if n := w.log.count("no broker answers: trying again"); n < 2 || n > 3 {
			t.Errorf("told %d times in %v that no broker answers, want once a minute", n, outage)
		}
		if n := w.log.count("brokers answer again"); n != 1 {
			t.Errorf("told %d times that they answer again", n)
		}
		if n := w.log.count("level=WARN") - begun; n > 8 {
			t.Errorf("%d warnings in an outage of %v", n, outage)
		}
		a.stop()
	})
}

func TestAStartThatWaitsForBrokersSaysSoOnce(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		var dials atomic.Int32
		a := w.start("a", newDisk(), counts(t), func(c *Config) {
			dial := c.Dial
			c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if dials.Add(1) <= 5 {
					return nil, errors.New("connection refused")
				}
				return dial(ctx, network, addr)
			}
		})
		w.settled(tasks, a)
		if n := w.log.count("no broker answers yet"); n != 1 {
			t.Errorf("told %d times that it waits", n)
		}
		if n := w.log.count(`msg="a broker answers"`); n != 1 {
			t.Errorf("told %d times that it need not wait any more", n)
		}
		a.stop()
	})
}

// TestAStopWhileStartingIsNoFailure stops an instance after each step that its
// start makes on the network.
func TestAStopWhileStartingIsNoFailure(t *testing.T) {
	for n := range int32(60) {
		t.Run(fmt.Sprint("write ", n), func(t *testing.T) {
			inWorld(t, 1, topics(), func(w *world) {
				var p *process
				begun := make(chan struct{})
				var writes atomic.Int32
				p = w.start("a", newDisk(), counts(t), func(c *Config) {
					dial := c.Dial
					c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
						<-begun
						conn, err := dial(ctx, network, addr)
						return &stopping{conn, func() {
							if writes.Add(1) == n+1 {
								p.cancel()
							}
						}}, err
					}
				})
				close(begun)
				p.wait()
				if w.log.count("instance failed") > 0 {
					t.Error("told as a failure")
				}
			})
		})
	}
}

// stopping is a connection that tells of each write.
type stopping struct {
	net.Conn
	wrote func()
}

func (s *stopping) Write(b []byte) (int, error) {
	s.wrote()
	return s.Conn.Write(b)
}

func TestAProducerThatFailedBlamesNoOtherRecord(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		client, err := kafka.Open(w.t.Context(), kafka.Config{Brokers: w.cluster.Addrs(), Dial: w.cluster.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		p, err := client.NewProducer(w.t.Context(), kafka.ProducerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		w.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "events", Err: kerr.MessageTooLarge})
		out := &outlet{worker: &worker{producer: p}}
		if err := out.Send("events", 1, nil, []byte("large"), 1, nil); err != nil {
			t.Fatal(err)
		}
		if err := p.Flush(w.t.Context()); !errors.Is(err, kafka.ErrRecordTooLarge) {
			t.Fatalf("flush: %v", err)
		}
		err = out.Send("results", 0, nil, []byte("small"), 1, nil)
		if err == nil || errors.Is(err, processors.ErrTooLarge) || !strings.Contains(err.Error(), `earlier record: kafka: record too large: topic "events" partition 1`) {
			t.Errorf("the next record: %v", err)
		}
	})
}

func TestAGroupOfAnotherProgramIsRefused(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		other := w.client(kgo.ConsumerGroup("counts"), kgo.ConsumeTopics("events"))
		defer other.Close()
		for generation := int32(-1); generation < 0; _, generation = other.GroupMetadata() {
			w.pass(100 * time.Millisecond)
		}
		err := w.start("a", newDisk(), counts(t), nil).result()
		if !errors.Is(err, kafka.ErrInconsistentProtocol) || !strings.Contains(err.Error(), "--application") {
			t.Errorf("error %v", err)
		}
	})
}

func TestInstancesThatCannotBeAskedSaySoOnce(t *testing.T) {
	inWorld(t, 1, topics(), func(w *world) {
		quiet := func(c *Config) { c.Advertise = "" }
		a := w.start("a", newDisk(), counts(t), quiet)
		w.settled(tasks, a)
		if w.log.count("--advertise") > 0 {
			t.Error("told when nobody could ask")
		}
		b := w.start("b", newDisk(), counts(t), func(c *Config) { c.Advertise = "http://b:8080/" })
		w.settled(tasks, a, b)
		c := w.start("c", newDisk(), counts(t), nil)
		w.settled(tasks, a, b, c)
		if n := w.log.count("--advertise"); n != 1 {
			t.Errorf("told %d times, by one of three", n)
		}
		endpoints := map[string]bool{}
		for _, p := range []*process{a, b, c} {
			if d, _, _ := p.in.Directory(); d != nil {
				for _, m := range d.Members {
					endpoints[m.Endpoint] = true
				}
			}
		}
		if !endpoints["http://b:8080"] {
			t.Errorf("endpoints %v: want that of b without the slash", endpoints)
		}
		a.stop()
		b.stop()
		c.stop()
	})
}

func TestATopicThatIsMadeAMomentLaterIsWaitedFor(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": partitions}, func(w *world) {
		a := w.start("a", newDisk(), counts(t), nil)
		w.pass(time.Second)
		client, err := kafka.Open(w.t.Context(), kafka.Config{Brokers: w.cluster.Addrs(), Dial: w.cluster.Dial})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := client.CreateTopic(w.t.Context(), kafka.TopicSpec{Name: "results", Partitions: 2, Replication: 1}); err != nil {
			t.Fatal(err)
		}
		w.settled(tasks, a)
		a.stop()
	})
}

func TestATopicThatStaysMissingIsAnError(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": partitions}, func(w *world) {
		err := w.start("a", newDisk(), counts(t), func(c *Config) { c.Logger = slog.New(slog.DiscardHandler) }).result()
		if !errors.Is(err, ErrMissingTopic) || !strings.Contains(err.Error(), `"results"`) {
			t.Errorf("error %v", err)
		}
	})
}
