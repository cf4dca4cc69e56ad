package servers

import (
	"cmp"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// KafkaConfig says what StartKafka starts. Its zero value is one node on a
// temporary folder.
type KafkaConfig struct {
	// Nodes is the number of nodes, 1 if it is 0. Each is a broker and a
	// controller; internal topics are replicated on up to three of them.
	Nodes int

	// Dir holds a folder for each node: data, log and process id. What an
	// earlier Kafka left there is removed. If it is empty a temporary folder is
	// made, and removed by Stop.
	Dir string

	// Heap is the heap of each node as the JVM's -Xmx takes it, "384m" if it is
	// empty.
	Heap string

	// JVM holds further flags of the JVM. The broker of a benchmark wants none;
	// that of a test is up sooner with "-XX:TieredStopAtLevel=1".
	JVM []string

	// Properties are added to the server.properties of each node and win over
	// what is there.
	Properties map[string]string

	// Listeners are the names of further listeners that each node gets, such as
	// "SLOW", for clients that are to reach the nodes by another way.
	Listeners []string

	// Advertise is called for each of Listeners on each node with the address
	// that the node listens on there, and returns the one that it tells its
	// clients: that of a proxy, say. It may be called again for other addresses,
	// if a port was taken. Default: the address itself.
	Advertise func(listener string, node int, addr string) (string, error)

	// StartTimeout bounds the time until all nodes answer; 60 s if it is 0.
	StartTimeout time.Duration

	// detach lets the nodes outlive this process.
	detach bool
}

// withDefaults returns c with its zero values replaced.
func (c KafkaConfig) withDefaults() KafkaConfig {
	c.Nodes = cmp.Or(c.Nodes, 1)
	c.Heap = cmp.Or(c.Heap, "384m")
	c.StartTimeout = cmp.Or(c.StartTimeout, time.Minute)
	if c.Advertise == nil {
		c.Advertise = func(_ string, _ int, addr string) (string, error) { return addr, nil }
	}
	return c
}

//go:embed log4j2.properties
var log4j2 []byte

// properties returns the server.properties of one node. The nodes are numbered
// from 1.
func properties(id int, nodes []*node, extra map[string]string) string {
	self := nodes[id-1]
	var voters []string
	for _, n := range nodes {
		voters = append(voters, fmt.Sprintf("%d@%s", n.id, n.controller))
	}
	listeners, advertised, protocols := "BROKER://"+self.broker, "BROKER://"+self.broker, "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT"
	for _, l := range self.listeners {
		listeners += "," + l.name + "://" + l.addr
		advertised += "," + l.name + "://" + l.advertised
		protocols += "," + l.name + ":PLAINTEXT"
	}
	replicas := min(len(nodes), 3)
	p := map[string]string{
		"process.roles":                                    "broker,controller",
		"node.id":                                          fmt.Sprint(id),
		"broker.rack":                                      fmt.Sprintf("rack-%d", id),
		"controller.quorum.voters":                         strings.Join(voters, ","),
		"listeners":                                        listeners + ",CONTROLLER://" + self.controller,
		"advertised.listeners":                             advertised,
		"listener.security.protocol.map":                   protocols,
		"inter.broker.listener.name":                       "BROKER",
		"controller.listener.names":                        "CONTROLLER",
		"log.dirs":                                         slashed(self.dir) + "/data",
		"default.replication.factor":                       fmt.Sprint(replicas),
		"min.insync.replicas":                              fmt.Sprint(max(1, replicas-1)),
		"offsets.topic.replication.factor":                 fmt.Sprint(replicas),
		"offsets.topic.num.partitions":                     "4",
		"transaction.state.log.num.partitions":             "4",
		"transaction.state.log.replication.factor":         fmt.Sprint(replicas),
		"transaction.state.log.min.isr":                    fmt.Sprint(max(1, replicas-1)),
		"share.coordinator.state.topic.num.partitions":     "1",
		"share.coordinator.state.topic.min.isr":            "1",
		"share.coordinator.state.topic.replication.factor": fmt.Sprint(replicas),
		"group.initial.rebalance.delay.ms":                 "0",
		"auto.create.topics.enable":                        "false",
		// A test that waits for a compaction waits for the next round, and the
		// default buffer is a third of the heap.
		"log.cleaner.backoff.ms":         "200",
		"log.cleaner.dedupe.buffer.size": "16777216",
		// A topic that is to keep old records and does not say so loses them at once,
		// instead of in the one test that runs 30 s after the start.
		"log.initial.task.delay.ms":       "1000",
		"log.retention.check.interval.ms": "1000",
	}
	maps.Copy(p, extra)
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s=%s\n", k, p[k])
	}
	return b.String()
}

// slashed writes a path as a Java properties file takes it on each system.
func slashed(path string) string { return strings.ReplaceAll(path, `\`, "/") }

// newClusterID returns a random cluster id in Kafka's form: 16 bytes in the
// base64 of URLs, without a leading dash, which the tools would read as a flag.
func newClusterID() string {
	var id [16]byte
	rand.Read(id[:])
	id[0] &= 0x7f
	return base64.RawURLEncoding.EncodeToString(id[:])
}
