package kafka_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/millrace/millrace/internal/embedded"
	"github.com/millrace/millrace/internal/kafka"
)

// perRecord runs work over b.N records and reports its allocations a record, the
// embedded broker's among them.
func perRecord(b *testing.B, work func()) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	work()
	b.StopTimer()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N), "allocs/record")
	b.ReportMetric(0, "allocs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func benchEnv(b *testing.B, opts ...kfake.Opt) *env {
	cluster, err := embedded.Start(embedded.Config{Topics: map[string]int32{"in": 4}, Options: opts})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(cluster.Close)
	return &env{t: b, cluster: cluster}
}

// input returns 16-byte keys and a 134-byte value, half of it compressible.
func input() (keys [][]byte, value []byte) {
	for i := range 1024 {
		keys = append(keys, fmt.Appendf(nil, "user-%011d", i))
	}
	value = append(value, `{"ts":1700000000000,"page":"/products/list","region":"eu-west","val":"`...)
	for i := len(value); i < 134; i++ {
		value = append(value, byte('a'+i*i*7%26))
	}
	return keys, value
}

func (e *env) produce(c *kafka.Client, n int) {
	p, err := c.NewProducer(e.context(), kafka.ProducerConfig{})
	e.check(err)
	defer p.Close()
	keys, value := input()
	for i := range n {
		e.check(p.Send("in", int32(i&3), keys[i&1023], value, 1_700_000_000_000+int64(i), nil))
	}
	e.flush(p)
}

func BenchmarkProduce(b *testing.B) {
	e := benchEnv(b, kfake.BlackholeProduce())
	c := e.client()
	perRecord(b, func() { e.produce(c, b.N) })
}

// counter counts records and touches their bytes.
type counter struct {
	left, bytes int
	done        chan struct{}
}

func (c *counter) Deliver(d *kafka.Delivery) {
	for i := range d.Batches {
		batch := &d.Batches[i]
		for j := range batch.Len() {
			r := batch.At(j)
			c.bytes += len(r.Key) + len(r.Value)
			if c.left--; c.left == 0 {
				close(c.done)
			}
		}
	}
}

func BenchmarkFetch(b *testing.B) {
	e := benchEnv(b)
	c := e.client()
	e.produce(c, b.N+4)
	f := e.fetcher(c, kafka.FetchConfig{PartitionBytes: 4 << 20})
	perRecord(b, func() {
		var counters []*counter
		for partition := range int32(4) {
			s := &counter{left: (b.N + 4) / 4, done: make(chan struct{})}
			counters = append(counters, s)
			f.Add(tp("in", partition), 0, s)
		}
		for _, s := range counters {
			<-s.done
		}
	})
}
