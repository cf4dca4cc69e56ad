package main

import (
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/internal/usage"
	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/streams"
)

// benchReport is what bench prints. Processor time and memory are the whole
// process's, from its start to the last commit.
type benchReport struct {
	Contender string `json:"contender"`
	Shape     string `json:"shape"`
	Guarantee string `json:"guarantee"`
	Records   int64  `json:"records"`
	// Seconds are from the first fetch to the last commit.
	Seconds             float64 `json:"seconds"`
	RecordsPerSecond    float64 `json:"records_per_second"`
	CPUSeconds          float64 `json:"cpu_seconds"`
	RecordsPerCPUSecond float64 `json:"records_per_cpu_second"`
	PeakRSSBytes        int64   `json:"peak_rss_bytes"`
	Results             int64   `json:"results"`
	RestoredRecords     int64   `json:"restored_records"`
	// RestoreSeconds are from the first task that opens to the last that runs.
	RestoreSeconds  float64 `json:"restore_seconds"`
	AllocsPerRecord float64 `json:"allocs_per_record"`
}

// benchMeter measures an instance from outside: by what its listener is told,
// by its metrics, and by what the system says of the process.
type benchMeter struct {
	registry keptMetrics

	mu sync.Mutex // guards what follows
	// opening is when the first task began to open, running when the last one
	// was found to run, and fetching when the first was.
	opening, fetching, running, committed time.Time
	cpu                                   time.Duration
	allocs, allocsBefore                  uint64
}

func newBenchMeter() *benchMeter { return &benchMeter{registry: keptMetrics{prometheus.NewRegistry()}} }

// keptMetrics keeps an instance's metrics when the instance has ended.
type keptMetrics struct{ *prometheus.Registry }

// Unregister keeps what was registered.
func (keptMetrics) Unregister(prometheus.Collector) bool { return false }

// listener notes when an instance does what.
func (m *benchMeter) listener() streams.Listener {
	return streams.Listener{
		Task: func(_ processors.TaskID, s streams.TaskState) {
			m.mu.Lock()
			defer m.mu.Unlock()
			now := time.Now()
			switch s {
			case streams.TaskRestoring:
				if m.opening.IsZero() {
					m.opening = now
				}
			case streams.TaskRunning:
				if m.fetching.IsZero() {
					m.fetching, m.allocsBefore = now, mallocs()
				}
				m.running = now
			}
		},
		Committed: func([]processors.TaskID) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.committed, m.cpu, m.allocs = time.Now(), usage.ProcessorTime(), mallocs()
		},
	}
}

// mallocs returns how many objects were allocated so far.
func mallocs() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Mallocs
}

// report says what an instance has taken that is done.
func (m *benchMeter) report() (*benchReport, error) {
	counts, err := m.counts()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &benchReport{
		Contender:       "millrace",
		Records:         counts["millrace_records_total"],
		Results:         counts["millrace_results_total"],
		RestoredRecords: counts["millrace_restored_records_total"],
		PeakRSSBytes:    usage.PeakMemory(),
		CPUSeconds:      usage.ProcessorTime().Seconds(),
		RestoreSeconds:  m.running.Sub(m.opening).Seconds(),
	}
	if m.committed.IsZero() || r.Records == 0 { // all had been read before
		return r, nil
	}
	r.Seconds, r.CPUSeconds = m.committed.Sub(m.fetching).Seconds(), m.cpu.Seconds()
	r.RecordsPerSecond = float64(r.Records) / r.Seconds
	r.RecordsPerCPUSecond = float64(r.Records) / r.CPUSeconds
	r.AllocsPerRecord = float64(m.allocs-m.allocsBefore) / float64(r.Records)
	return r, nil
}

// counts returns the instance's counters by name, summed over their labels.
func (m *benchMeter) counts() (map[string]int64, error) {
	families, err := m.registry.Gather()
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for _, f := range families {
		for _, metric := range f.GetMetric() {
			counts[f.GetName()] += int64(metric.GetCounter().GetValue())
		}
	}
	return counts, nil
}
