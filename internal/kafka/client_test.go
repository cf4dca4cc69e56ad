package kafka_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/millrace/millrace/internal/embedded"
	"github.com/millrace/millrace/internal/kafka"
)

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func TestAConfigurationTellsEveryMistake(t *testing.T) {
	err := kafka.Config{
		Brokers:        []string{"good:9092", "no-port", "bad:port", "zero:0"},
		SASL:           kafka.SASL{Mechanism: "GSSAPI"},
		RequestTimeout: -time.Second,
		RetryBackoff:   2 * time.Second, MaxRetryBackoff: time.Second,
	}.Validate()
	if !errors.Is(err, kafka.ErrInvalidConfig) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{`"no-port"`, `"bad:port"`, `"zero:0"`, `"GSSAPI"`, "PLAIN", "request timeout", "back-off"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 6 {
		t.Errorf("%d mistakes, want 6: %v", n, err)
	}
	if s := kafka.Config.Validate(kafka.Config{}); s == nil || !strings.Contains(s.Error(), "host:port") {
		t.Errorf("no brokers: %v", s)
	}
	secret := kafka.SASL{Mechanism: kafka.SASLPlain, User: "u", Password: "hidden"}
	if s := fmt.Sprintf("%v %+v %#v", secret, secret, secret); strings.Contains(s, "hidden") {
		t.Errorf("the password is printed: %s", s)
	}
}

func TestAnUnreachableClusterSaysWhatWasTried(t *testing.T) {
	refused := errors.New("connection refused")
	_, err := kafka.Open(t.Context(), kafka.Config{
		Brokers: []string{"one:9092", "two:9092"},
		Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
			return nil, fmt.Errorf("dial %s: %w", addr, refused)
		},
	})
	if !errors.Is(err, kafka.ErrUnavailable) || !errors.Is(err, refused) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"dial one:9092", "dial two:9092", "refused"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
}

func TestABrokerThatNeverAnswersIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ends []net.Conn
		cfg := kafka.Config{
			Brokers: []string{"mute:9092"}, RequestTimeout: 20 * time.Second,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				ends = append(ends, theirs)
				go func() {
					for buf := make([]byte, 1024); ; {
						if _, err := theirs.Read(buf); err != nil {
							return
						}
					}
				}()
				return ours, nil
			},
		}
		began := time.Now()
		if _, err := kafka.Open(t.Context(), cfg); !errors.Is(err, kafka.ErrUnavailable) || time.Since(began) != 20*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began = time.Now()
		if _, err := kafka.Open(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("with a context of 3 s: got %v after %v", err, time.Since(began))
		}
		for _, end := range ends {
			_ = end.Close()
		}
	})
}

func TestAnOldBrokerIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, err := embedded.Start(embedded.Config{
			Network: &kfake.VirtualNetwork{}, Options: []kfake.Opt{kfake.MaxVersions(kversion.V2_4_0())},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer cluster.Close()
		_, err = kafka.Open(t.Context(), kafka.Config{Brokers: cluster.Addrs(), Dial: cluster.Dial})
		if !errors.Is(err, kafka.ErrUnsupported) || !strings.Contains(err.Error(), "2.7") {
			t.Errorf("got %v", err)
		}
	})
}

func TestTopics(t *testing.T) {
	bubble(t, 3, map[string]int32{"events-a": 1, "events-b": 2, "all-events-a": 1}, func(t *testing.T, e *env) {
		ctx, c := e.context(), e.client()
		spec := kafka.TopicSpec{Name: "log", Partitions: 5, Replication: -1, Configs: map[string]string{"cleanup.policy": "compact"}}
		created, err := c.CreateTopic(ctx, spec)
		if err != nil || !created {
			t.Fatalf("create: %v %v", created, err)
		}
		if created, err = c.CreateTopic(ctx, spec); err != nil || created {
			t.Errorf("create again: %v %v", created, err)
		}
		d, err := c.DescribeTopic(ctx, "log")
		if err != nil || d.Partitions != 5 || d.Replication < 1 || d.Configs["cleanup.policy"] != "compact" || d.Configs["retention.ms"] == "" {
			t.Errorf("describe: %+v %v", d, err)
		}
		if n, err := c.Partitions(ctx, "events-b"); err != nil || n != 2 {
			t.Errorf("partitions: %d %v", n, err)
		}
		all, err := c.Topics(ctx)
		if err != nil || !maps.Equal(all, map[string]int32{"events-a": 1, "events-b": 2, "all-events-a": 1, "log": 5}) {
			t.Errorf("topics: %v %v", all, err)
		}
		e.check(c.DeleteTopic(ctx, "log"))
		if _, err := c.DescribeTopic(ctx, "log"); !errors.Is(err, kafka.ErrUnknownTopic) {
			t.Errorf("describe a deleted topic: %v", err)
		}
		if err := c.DeleteTopic(ctx, "log"); !errors.Is(err, kafka.ErrUnknownTopic) {
			t.Errorf("delete a deleted topic: %v", err)
		}
		if _, err := c.CreateTopic(ctx, kafka.TopicSpec{Name: "wide", Partitions: 1, Replication: 9}); !errors.Is(err, kafka.ErrInvalidConfig) {
			t.Errorf("more replicas than brokers: %v", err)
		}
		if len(c.Brokers()) != 3 {
			t.Errorf("brokers: %v", c.Brokers())
		}
	})
}

func TestPositions(t *testing.T) {
	bubble(t, 3, map[string]int32{"in": 3}, func(t *testing.T, e *env) {
		ctx, c := e.context(), e.client()
		tps := []kafka.TopicPartition{tp("in", 0), tp("in", 1), tp("in", 2)}
		e.fill(c, tps[0], 100) // record i has time i
		e.fill(c, tps[1], 10)
		e.check(c.DeleteRecords(ctx, map[kafka.TopicPartition]int64{tps[0]: 20, tps[1]: -1}))
		e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.NotLeaderForPartition, Count: 2})
		for at, want := range map[int64][]int64{
			kafka.Earliest: {20, 10, 0},
			kafka.Latest:   {100, 10, 0},
			50:             {50, 10, 0},
			1000:           {100, 10, 0},
		} {
			got, err := c.ListOffsets(ctx, at, tps...)
			e.check(err)
			for i, tp := range tps {
				if got[tp] != want[i] {
					t.Errorf("at %d: %v is at %d, want %d", at, tp, got[tp], want[i])
				}
			}
		}
		if _, err := c.ListOffsets(ctx, -3, tps...); !errors.Is(err, kafka.ErrInvalidConfig) {
			t.Errorf("at -3: %v", err)
		}
		if _, err := c.ListOffsets(ctx, kafka.Latest, tp("in", 7)); !errors.Is(err, kafka.ErrUnknownTopic) {
			t.Errorf("a partition that is not there: %v", err)
		}
	})
}

func TestPositionsOfATopicMadeAMomentAgo(t *testing.T) {
	bubble(t, 3, map[string]int32{"in": 3}, func(t *testing.T, e *env) {
		ctx, c := e.context(), e.client()
		leader := e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.UnknownTopicOrPartition})
		if got, err := c.ListOffsets(ctx, kafka.Latest, tp("in", 0)); err != nil || len(got) != 1 || leader.Hits() != 1 {
			t.Errorf("a leader that has not heard of it yet: %v, %v", got, err)
		}
		other := e.client()
		made := make(chan error)
		go func() {
			<-time.After(time.Second)
			_, err := other.CreateTopic(ctx, kafka.TopicSpec{Name: "new", Partitions: 1, Replication: 1})
			made <- err
		}()
		if got, err := c.ListOffsets(ctx, kafka.Latest, tp("new", 0)); err != nil || len(got) != 1 {
			t.Errorf("a topic that is made meanwhile: %v, %v", got, err)
		}
		e.check(<-made)
	})
}

func TestPositionsAreAskedForAgainWhenAConnectionBreaks(t *testing.T) {
	bubble(t, 3, map[string]int32{"in": 3}, func(t *testing.T, e *env) {
		ctx, c := e.context(), e.client()
		tps := []kafka.TopicPartition{tp("in", 0), tp("in", 1), tp("in", 2)}
		before := map[kafka.TopicPartition]int64{}
		for _, tp := range tps {
			e.fill(c, tp, 10)
			before[tp] = 4
		}
		breaks := func(kmsg.Request) (kmsg.Response, error, bool) { return nil, net.ErrClosed, true }
		for range 2 { // each ends with the first request that it breaks
			e.cluster.Fake().ControlKey(int16(kmsg.DeleteRecords), breaks)
			e.cluster.Fake().ControlKey(int16(kmsg.ListOffsets), breaks)
		}
		e.check(c.DeleteRecords(ctx, before))
		for at, want := range map[int64]int64{kafka.Earliest: 4, kafka.Latest: 10} {
			got, err := c.ListOffsets(ctx, at, tps...)
			e.check(err)
			for _, tp := range tps {
				if offset, ok := got[tp]; !ok || offset != want {
					t.Errorf("at %d: %v is at %d, want %d", at, tp, offset, want)
				}
			}
		}
	})
}

func TestGroupOffsetsFromOutside(t *testing.T) {
	bubble(t, 1, map[string]int32{"in": 2}, func(t *testing.T, e *env) {
		ctx, c := e.context(), e.client()
		if got, err := c.CommittedOffsets(ctx, "new"); err != nil || len(got) != 0 {
			t.Errorf("a group that never was: %v %v", got, err)
		}
		if d, err := c.DescribeGroup(ctx, "new"); err != nil || d.State != "Dead" || d.Members != 0 {
			t.Errorf("a group that never was: %+v %v", d, err)
		}
		offsets := map[kafka.TopicPartition]kafka.Committed{tp("in", 0): {Offset: 5, Metadata: "m"}, tp("in", 1): {Offset: 0}}
		e.check(c.AlterGroupOffsets(ctx, "new", offsets))
		e.cluster.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: "in", Err: kerr.UnstableOffsetCommit, Count: 3})
		if got, err := c.CommittedOffsets(ctx, "new"); err != nil || !maps.Equal(got, offsets) {
			t.Errorf("got %v %v", got, err)
		}
		e.check(c.DeleteGroupOffsets(ctx, "new", tp("in", 0)))
		if got, err := c.CommittedOffsets(ctx, "new", tp("in", 0), tp("in", 1)); err != nil || len(got) != 1 || got[tp("in", 1)].Offset != 0 {
			t.Errorf("after a deletion: %v %v", got, err)
		}
		m, err := c.NewMember(kafka.MemberConfig{Group: "new", Protocol: "test", SessionTimeout: 10 * time.Second})
		e.check(err)
		defer m.Close()
		_, err = m.Join(ctx, kafka.Subscription{Topics: []string{"in"}})
		e.check(err)
		if d, err := c.DescribeGroup(ctx, "new"); err != nil || d.Members != 1 || d.State == "Empty" {
			t.Errorf("with a member: %+v %v", d, err)
		}
		if err := c.AlterGroupOffsets(ctx, "new", offsets); err == nil {
			t.Error("the offsets of a group with members were altered")
		}
	})
}

// TestTLSAndSASL reads and writes over connections on which both sides show a
// certificate and the user a password.
func TestTLSAndSASL(t *testing.T) {
	ca := newAuthority(t)
	for _, mechanism := range []string{kafka.SASLPlain, kafka.SASLScramSHA256, kafka.SASLScramSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			cluster, err := embedded.Start(embedded.Config{Nodes: 2, Topics: map[string]int32{"in": 2}, Options: []kfake.Opt{
				kfake.TLS(&tls.Config{
					Certificates: []tls.Certificate{ca.server()}, ClientCAs: ca.roots(), ClientAuth: tls.RequireAndVerifyClientCert,
				}),
				kfake.EnableSASL(), kfake.Superuser(mechanism, "user", "right"),
			}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cluster.Close)
			e := &env{t: t, cluster: cluster}
			secure := func(c *kafka.Config) {
				c.TLS = &tls.Config{RootCAs: ca.roots(), Certificates: []tls.Certificate{ca.client()}}
				c.SASL = kafka.SASL{Mechanism: mechanism, User: "user", Password: "right"}
			}
			c := e.client(secure)
			f := e.fetcher(c, kafka.FetchConfig{})
			for p := range int32(2) {
				e.fill(c, tp("in", p), 10)
				sink := newCollector()
				f.Add(tp("in", p), 0, sink)
				expectEqual(t, "values", sink.values(t, 10), sequence(10))
			}
			at := map[kafka.TopicPartition]kafka.Committed{tp("in", 0): {Offset: 10}}
			e.check(c.AlterGroupOffsets(e.context(), "group", at))
			if got, err := c.CommittedOffsets(e.context(), "group"); err != nil || got[tp("in", 0)].Offset != 10 {
				t.Errorf("committed %v, %v", got, err)
			}
		})
	}
}

func TestConnectionsThatBrokersRefuse(t *testing.T) {
	ca := newAuthority(t)
	cluster, err := embedded.Start(embedded.Config{Options: []kfake.Opt{
		kfake.TLS(&tls.Config{
			Certificates: []tls.Certificate{ca.server()}, ClientCAs: ca.roots(), ClientAuth: tls.RequireAndVerifyClientCert,
		}),
		kfake.EnableSASL(), kfake.Superuser(kafka.SASLScramSHA256, "user", "right"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	open := func(change func(*kafka.Config)) error {
		cfg := kafka.Config{
			Brokers: cluster.Addrs(), TLS: &tls.Config{RootCAs: ca.roots(), Certificates: []tls.Certificate{ca.client()}},
			SASL: kafka.SASL{Mechanism: kafka.SASLScramSHA256, User: "user", Password: "right"},
		}
		change(&cfg)
		c, err := kafka.Open(t.Context(), cfg)
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := open(func(*kafka.Config) {}); err != nil {
		t.Fatal(err)
	}
	wrong := func(c *kafka.Config) { c.SASL.Password = "false" }
	if err := open(wrong); err == nil || strings.Contains(err.Error(), "false") || !strings.Contains(err.Error(), "wrong user or password?") {
		t.Errorf("a wrong password, at which the broker hangs up: %v", err)
	}
	if err := open(func(c *kafka.Config) { c.TLS.RootCAs = x509.NewCertPool() }); err == nil || !strings.Contains(err.Error(), "TLS handshake") {
		t.Errorf("an unknown authority: %v", err)
	}
	if err := open(func(c *kafka.Config) { c.TLS.Certificates = nil }); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("no client certificate: %v", err)
	}
	if err := open(func(c *kafka.Config) { c.TLS = nil }); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("no TLS: %v", err)
	}
	cluster.Fake().ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		answer := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		answer.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return answer, nil, true
	})
	if err := open(wrong); !errors.Is(err, kafka.ErrAuthentication) {
		t.Errorf("a wrong password: %v", err)
	}
}
