package streams

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/internal/kafka"
)

func TestQueuesShareWhatMayBeFetched(t *testing.T) {
	f := &fetchedBytes{budget: 32 << 20}
	var queues []*queue
	for _, c := range []struct {
		queues, share int
	}{{1, mostQueue}, {8, 4 << 20}, {16, 2 << 20}, {64, 512 << 10}, {1024, leastQueue}} {
		for len(queues) < c.queues {
			queues = append(queues, newQueue(kafka.TopicPartition{}, nil, f, func() {}))
		}
		if got := f.share(); got != c.share {
			t.Errorf("of %d queues each may hold %d bytes, want %d", c.queues, got, c.share)
		}
	}
	for _, q := range queues {
		q.close()
	}
	if n := f.queues.Load(); n != 0 {
		t.Errorf("%d queues are left", n)
	}
}

func TestMemoryIsToldByPartAndGivenBack(t *testing.T) {
	inWorld(t, 1, map[string]int32{"events": partitions, "results": partitions}, func(w *world) {
		for p := range int32(partitions) {
			w.write(count(p, partitionKey(p), time.Now()))
		}
		registry := prometheus.NewRegistry()
		p := w.start("one", newDisk(), counts(t), func(c *Config) { c.Metrics = registry })
		w.settled(2*partitions, p)
		w.until("live objects are held", func() bool { return p.in.memory.parts()["objects"] > 0 })
		parts := p.in.memory.parts()
		if parts["engines"] <= 0 {
			t.Errorf("open databases hold %d bytes", parts["engines"])
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		told := map[string]bool{}
		for _, f := range families {
			if f.GetName() == "millrace_memory_bytes" {
				for _, m := range f.GetMetric() {
					for _, label := range m.GetLabel() {
						told[label.GetName()+"="+label.GetValue()] = true
					}
				}
			}
		}
		for _, want := range []string{"part=objects", "part=fetched", "part=sent", "part=engines", "part=cache", "application=" + p.in.cfg.Application} {
			if !told[want] {
				t.Errorf("the metric has no %s: %v", want, told)
			}
		}
		p.stop()
		for part, bytes := range p.in.memory.parts() {
			if bytes != 0 {
				t.Errorf("%s holds %d bytes after the end", part, bytes)
			}
		}
		if n := p.in.memory.fetched.queues.Load(); n != 0 {
			t.Errorf("%d queues are left", n)
		}
	})
}
