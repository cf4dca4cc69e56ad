package servers

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// EnvKafka is the environment variable that names a running Kafka for
// [KafkaForTest]: host:port of its brokers, separated by commas.
const EnvKafka = "MILLRACE_TEST_KAFKA"

// suite is what the tests of one process share. A process has one test binary
// and so one suite.
var suite struct {
	sync.Mutex
	running bool // inside Main
	kafka   *Kafka
	err     error
}

// Main runs the tests of a package, stops the servers that they shared, and
// returns the exit code. A package whose tests call KafkaForTest has
//
//	func TestMain(m *testing.M) { os.Exit(servers.Main(m)) }
func Main(m *testing.M) int {
	suite.Lock()
	suite.running = true
	suite.Unlock()
	code := m.Run()
	suite.Lock()
	defer suite.Unlock()
	suite.running = false
	if suite.kafka != nil {
		if err := suite.kafka.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return max(code, 1)
		}
	}
	return code
}

// KafkaForTest returns a Kafka of one node that the tests of this process
// share: the one that MILLRACE_TEST_KAFKA names, else one that the first call
// starts and [Main] stops. Tests use topics and groups of their own names. It
// fails the test if there is no such Kafka and none can be had.
func KafkaForTest(t testing.TB) *Kafka {
	t.Helper()
	if named := os.Getenv(EnvKafka); named != "" {
		k, err := connect(t.Context(), named)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	suite.Lock()
	defer suite.Unlock()
	if !suite.running {
		t.Fatal("servers: this package has no TestMain that calls servers.Main, so nobody would stop the broker")
	}
	if suite.kafka == nil && suite.err == nil {
		// The broker outlives the test that starts it, and so its context.
		suite.kafka, suite.err = StartKafka(context.WithoutCancel(t.Context()), KafkaConfig{
			JVM: []string{"-XX:TieredStopAtLevel=1"},
		})
	}
	if suite.err != nil {
		t.Fatal(suite.err)
	}
	return suite.kafka
}

// NewKafka starts a Kafka for one test, which may kill its nodes. It is stopped
// when the test ends, and the ends of its logs are printed if the test failed.
func NewKafka(t testing.TB, cfg KafkaConfig) *Kafka {
	t.Helper()
	k, err := StartKafka(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range k.nodes {
				t.Logf("node %d of Kafka, the end of its log:\n%s", n.id, n.lastLines())
			}
		}
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// connect returns the running Kafka of these addresses, if each answers.
func connect(ctx context.Context, addresses string) (*Kafka, error) {
	k := &Kafka{}
	for addr := range strings.SplitSeq(addresses, ",") {
		addr = strings.TrimSpace(addr)
		if _, err := brokersKnownTo(ctx, addr); err != nil {
			return nil, fmt.Errorf("servers: the Kafka named by %s does not answer at %q: %w; start it (make kafka-start) or unset the variable", EnvKafka, addr, err)
		}
		k.brokers = append(k.brokers, addr)
	}
	return k, nil
}

// stopWith stops a server when a test ends, and prints the end of its log if the
// test failed.
func stopWith(t testing.TB, name string, server interface {
	lastLines() string
	Stop() error
}) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s, the end of its log:\n%s", name, server.lastLines())
		}
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
}
