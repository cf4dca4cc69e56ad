package streams

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/stores"
)

// shares are the parts of Config.Memory that state gets, in bytes.
type shares struct{ hot, cache int64 }

// divide gives half of the memory to live objects and a quarter to Pebble, or what
// their ceilings say: in proportion, if these are together more than three
// quarters. The rest is for what is on its way in and out, an eighth each. What waits
// for a replica comes on top (replicaShare).
func divide(c *Config) (s shares, scaled bool) {
	s = shares{hot: cmp.Or(c.HotMemory, c.Memory/2), cache: cmp.Or(c.CacheMemory, c.Memory/4)}
	most := c.Memory / 4 * 3
	sum := s.hot + s.cache
	if sum <= most {
		return s, false
	}
	s.hot = int64(float64(s.hot) / float64(sum) * float64(most))
	s.cache = most - s.hot
	return s, true
}

// GoMemory returns how many bytes of ProcessMemory the garbage collector may be told
// of ([runtime/debug.SetMemoryLimit]), or no limit without ProcessMemory: four fifths,
// less Pebble's share where that lies outside of Go's heap, with cgo, but no less than
// two fifths, since Memory may be set to more than fits. The rest is for the program's
// text and its threads. Pebble's share stays what it is because Pebble keeps C's
// allocator from making further arenas, for the whole process.
func (c Config) GoMemory() int64 {
	if c.ProcessMemory <= 0 {
		return math.MaxInt64
	}
	most := c.ProcessMemory / 5 * 4
	if _, inMemory := c.Storage.(*memoryStorage); pebbleOutside && !inMemory {
		c.Memory = c.memory()
		s, _ := divide(&c)
		most = max(most-s.cache, c.ProcessMemory/5*2)
	}
	return most
}

// tellShares warns of ceilings that the budget has no room for.
func (in *Instance) tellShares() {
	if _, scaled := divide(&in.cfg); scaled {
		in.log.Warn("the ceilings of hot state and of Pebble's cache are above three quarters of the memory budget: scaled down in proportion",
			"memory_bytes", in.cfg.Memory, "hot_ceiling", in.cfg.HotMemory, "hot_bytes", in.shares.hot, "cache_ceiling", in.cfg.CacheMemory, "cache_bytes", in.shares.cache)
	}
}

// memory is what the parts of an instance hold, in bytes. It is a
// prometheus.Collector.
type memory struct {
	desc    *prometheus.Desc
	objects *stores.Budget
	// fetched is what the queues hold.
	fetched atomic.Int64
	// replication is set before the instance runs; nil for none.
	replication *replication

	mu      sync.Mutex // guards what follows
	workers []*worker
	storage Storage
	open    func() []*stores.DB
}

func newMemory(application string, s shares, open func() []*stores.DB) *memory {
	return &memory{
		desc: prometheus.NewDesc("millrace_memory_bytes", "Memory that the parts of the instance hold.",
			[]string{"part"}, prometheus.Labels{"application": application}),
		objects: stores.NewBudget(s.hot),
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

// resizeCache changes what the storage's cache may hold, if it has one.
func (m *memory) resizeCache(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.storage.(resizable); ok {
		s.ResizeCache(bytes)
	}
}

// stateInMemory returns the bytes of the databases, and whether these are kept in
// memory.
func (m *memory) stateInMemory() (bytes int64, ok bool) {
	m.mu.Lock()
	_, ok = m.storage.(*memoryStorage)
	m.mu.Unlock()
	if ok {
		bytes = m.engines()
	}
	return bytes, ok
}

// engines returns the memory of the databases themselves.
func (m *memory) engines() (bytes int64) {
	for _, db := range m.open() {
		// The view holds the database open.
		if v, err := db.View(context.Background()); err == nil {
			bytes += db.Metrics().MemoryBytes
			_ = v.Close() // it was only read
		}
	}
	return bytes
}

// parts returns the bytes by part. Any goroutine may call it.
func (m *memory) parts() map[string]int64 {
	parts := map[string]int64{"objects": m.objects.Used(), "fetched": m.fetched.Load()}
	if m.replication != nil {
		parts["replica"] = m.replication.bytes()
	}
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
	parts["engines"] = m.engines()
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
