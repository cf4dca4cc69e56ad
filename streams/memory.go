package streams

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/stores"
)

// memory is what the parts of an instance hold, in bytes. Config.Memory is
// divided among them: half for live objects, a quarter for Pebble, an eighth
// each for what is on its way in and out. It is a prometheus.Collector.
type memory struct {
	desc    *prometheus.Desc
	objects *stores.Budget
	// fetched is what the queues hold.
	fetched atomic.Int64

	mu      sync.Mutex // guards what follows
	workers []*worker
	storage Storage
	open    func() []*stores.DB
}

func newMemory(application string, budget int64, open func() []*stores.DB) *memory {
	return &memory{
		desc: prometheus.NewDesc("millrace_memory_bytes", "Memory that the parts of the instance hold.",
			[]string{"part"}, prometheus.Labels{"application": application}),
		objects: stores.NewBudget(budget / 2),
		open:    open,
	}
}

// add makes a worker count.
func (m *memory) add(w *worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.workers = append(slices.Clone(m.workers), w) // parts has the one before
}

// remove makes a worker count no more.
func (m *memory) remove(w *worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.workers = slices.DeleteFunc(slices.Clone(m.workers), func(o *worker) bool { return o == w })
}

// use makes a storage count, in place of the one before. Nil is for none: a
// storage that is being closed is not asked any more once use has returned.
func (m *memory) use(s Storage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.storage = s
}

// parts returns the bytes by part. Any goroutine may call it.
func (m *memory) parts() map[string]int64 {
	parts := map[string]int64{"objects": m.objects.Used(), "fetched": m.fetched.Load()}
	m.mu.Lock()
	workers := m.workers
	if s, ok := m.storage.(interface{ CacheBytes() int64 }); ok {
		parts["cache"] = s.CacheBytes()
	}
	m.mu.Unlock()
	sent := 0
	for _, w := range workers {
		sent += w.buffered()
	}
	parts["sent"] = int64(sent)
	engines := int64(0)
	for _, db := range m.open() {
		// The view holds the database open.
		if v, err := db.View(context.Background()); err == nil {
			engines += db.Metrics().MemoryBytes
			_ = v.Close() // it was only read
		}
	}
	parts["engines"] = engines
	return parts
}

// Describe implements prometheus.Collector.
func (m *memory) Describe(to chan<- *prometheus.Desc) { to <- m.desc }

// Collect implements prometheus.Collector.
func (m *memory) Collect(to chan<- prometheus.Metric) {
	for part, bytes := range m.parts() {
		to <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, float64(bytes), part)
	}
}
