package streams

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/processors"
	"github.com/millrace/millrace/window"
)

// metrics are an instance's collectors. No label is by key or by value: the
// number of series is bounded by the topology and its partitions.
type metrics struct {
	registerer prometheus.Registerer

	processed  *prometheus.CounterVec
	dropped    *prometheus.CounterVec
	late       prometheus.Histogram
	emitted    *prometheus.CounterVec
	buffered   *prometheus.GaugeVec
	bufferSize *prometheus.GaugeVec
	upgraded   *prometheus.CounterVec
	upgrading  *prometheus.GaugeVec
	watermark  *prometheus.GaugeVec
	idle       prometheus.Gauge
	paused     prometheus.Gauge
	commits    *prometheus.HistogramVec
	remaining  prometheus.Gauge
	restored   prometheus.Counter
	taskState  *prometheus.GaugeVec
	state      *prometheus.GaugeVec
	repairs    *prometheus.CounterVec
	jumps      prometheus.Counter
	rebalances prometheus.Counter
	memory     prometheus.Collector
	standbyLag prometheus.Collector

	expiredEntries, expiredRecords     *prometheus.CounterVec
	checkpointAt                       prometheus.Collector
	checkpointSeconds                  *prometheus.HistogramVec
	checkpointBytes                    prometheus.Counter
	checkpointFailures                 *prometheus.CounterVec
	checkpointRestores                 prometheus.Counter
	checkpointFallbacks                *prometheus.CounterVec
	coldWindows, coldBytes, coldBehind prometheus.Gauge
	coldUp, coldPaused                 prometheus.Gauge
	coldWritten, coldFailures          prometheus.Counter
	coldSeconds                        prometheus.Histogram
	// pressure is nil if the process is not watched.
	pressure prometheus.Collector
	// replication are those of an instance with a replica.
	replication []prometheus.Collector
}

func newMetrics(r prometheus.Registerer, application string, standbyLag func() int64, checkpointAt func() float64) *metrics {
	constant := prometheus.Labels{"application": application}
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "millrace", Name: name, Help: help, ConstLabels: constant}
	}
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "millrace", Name: name, Help: help, ConstLabels: constant}
	}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: "millrace", Name: name, Help: help, ConstLabels: constant, Buckets: buckets}
	}
	m := &metrics{
		registerer: r,
		processed:  prometheus.NewCounterVec(counter("records_total", "Records read and processed."), []string{"topic"}),
		dropped:    prometheus.NewCounterVec(counter("dropped_records_total", "Records that a node did not take."), []string{"node", "reason"}),
		late:       prometheus.NewHistogram(histogram("late_seconds", "How far behind the watermark events were that their windows still took.", prometheus.ExponentialBuckets(0.1, 4, 9))),
		emitted:    prometheus.NewCounterVec(counter("results_total", "Results that windowed aggregates sent."), []string{"node", "pane"}),
		buffered:   prometheus.NewGaugeVec(gauge("buffered_records", "Results that Suppress holds back."), []string{"node"}),
		bufferSize: prometheus.NewGaugeVec(gauge("buffered_bytes", "Encoded keys and results that Suppress holds back."), []string{"node"}),
		upgraded:   prometheus.NewCounterVec(counter("upgraded_values_total", "Values of stores that were brought to the newest version in the background."), []string{"store"}),
		upgrading:  prometheus.NewGaugeVec(gauge("upgrading_tasks", "Tasks of this instance whose store may hold values of older versions."), []string{"store"}),
		watermark:  prometheus.NewGaugeVec(gauge("watermark_timestamp_seconds", "Watermark of an input partition, as Unix time."), []string{"topic", "partition"}),
		idle:       prometheus.NewGauge(gauge("idle_partitions", "Input partitions that are idle and hold no window back.")),
		paused:     prometheus.NewGauge(gauge("paused_partitions", "Input partitions that are not read for now, because they have run too far ahead of others that they are aligned with.")),
		commits:    prometheus.NewHistogramVec(histogram("commit_seconds", "Time that each phase of a commit took.", prometheus.ExponentialBuckets(0.0005, 2, 15)), []string{"phase"}),
		remaining:  prometheus.NewGauge(gauge("restore_remaining_records", "Changelog offsets that restores have to go.")),
		restored:   prometheus.NewCounter(counter("restored_records_total", "Changelog records that restores have applied.")),
		taskState:  prometheus.NewGaugeVec(gauge("task_state", "Tasks of this instance by state."), []string{"state"}),
		state:      prometheus.NewGaugeVec(gauge("instance_state", "1 for the state that the instance is in, 0 for the others."), []string{"state"}),
		repairs:    prometheus.NewCounterVec(counter("state_repairs_total", "Times that local state was thrown away and restored from its changelogs."), []string{"reason"}),
		jumps:      prometheus.NewCounter(counter("clock_jumps_total", "Times that a worker found the wall clock set, or that the machine had slept.")),
		rebalances: prometheus.NewCounter(counter("rebalances_total", "Rebalances that this instance took part in.")),

		expiredEntries:      prometheus.NewCounterVec(counter("expired_entries_total", "Entries of stores that were deleted because their time to live was over."), []string{"store"}),
		expiredRecords:      prometheus.NewCounterVec(counter("expired_records_total", "Offsets of inputs that were passed over because their records were gone before they were read."), []string{"topic"}),
		checkpointSeconds:   prometheus.NewHistogramVec(histogram("checkpoint_seconds", "Time that each phase of a checkpoint took.", prometheus.ExponentialBuckets(0.001, 4, 10)), []string{"phase"}),
		checkpointBytes:     prometheus.NewCounter(counter("checkpoint_uploaded_bytes_total", "Bytes of files that checkpoints have stored.")),
		checkpointFailures:  prometheus.NewCounterVec(counter("checkpoint_failures_total", "Checkpoints that could not be stored, or old ones that could not be pruned."), []string{"step"}),
		checkpointRestores:  prometheus.NewCounter(counter("checkpoint_restores_total", "Tasks whose state began from a checkpoint.")),
		checkpointFallbacks: prometheus.NewCounterVec(counter("checkpoint_fallbacks_total", "Checkpoints that a restore did not use."), []string{"reason"}),
		coldWindows:         prometheus.NewGauge(gauge("cold_backlog_windows", "Closed windows that wait for the cold tier.")),
		coldBytes:           prometheus.NewGauge(gauge("cold_backlog_bytes", "Bytes of the closed windows that wait for the cold tier.")),
		coldBehind:          prometheus.NewGauge(gauge("cold_behind_seconds", "Event time between what is closed and what the cold tier has, of the task that is furthest behind.")),
		coldUp:              prometheus.NewGauge(gauge("cold_up", "1 while the cold tier takes what it is given, 0 while it fails.")),
		coldPaused:          prometheus.NewGauge(gauge("cold_paused", "1 while tasks are paused because too much waits for the cold tier.")),
		coldWritten:         prometheus.NewCounter(counter("cold_written_windows_total", "Windows written to the cold tier; those written again count again.")),
		coldFailures:        prometheus.NewCounter(counter("cold_failures_total", "Times that the cold tier has failed.")),
		coldSeconds:         prometheus.NewHistogram(histogram("cold_write_seconds", "Time that each batch took to be written to the cold tier.", prometheus.ExponentialBuckets(0.001, 2, 15))),
	}
	m.standbyLag = prometheus.NewGaugeFunc(prometheus.GaugeOpts(gauge("standby_lag_records", "Changelog offsets that the copies of other instances' state are behind.")),
		func() float64 { return float64(standbyLag()) })
	m.checkpointAt = prometheus.NewGaugeFunc(prometheus.GaugeOpts(gauge("checkpoint_timestamp_seconds",
		"When the newest checkpoint was made of the task for which that is longest ago, as Unix time; 0 without tasks or checkpoints.")), checkpointAt)
	return m
}

func (m *metrics) collectors() []prometheus.Collector {
	all := append([]prometheus.Collector{
		m.processed, m.dropped, m.late, m.emitted, m.buffered, m.bufferSize, m.upgraded, m.upgrading, m.watermark, m.idle, m.paused, m.commits,
		m.remaining, m.restored, m.taskState, m.state, m.expiredEntries, m.expiredRecords, m.repairs, m.jumps, m.rebalances, m.memory, m.standbyLag,
		m.checkpointAt, m.checkpointSeconds, m.checkpointBytes, m.checkpointFailures, m.checkpointRestores, m.checkpointFallbacks,
		m.coldWindows, m.coldBytes, m.coldBehind, m.coldUp, m.coldPaused, m.coldWritten, m.coldFailures, m.coldSeconds,
	}, m.replication...)
	if m.pressure != nil {
		all = append(all, m.pressure)
	}
	return all
}

// register adds the collectors; the error says which name is taken.
func (m *metrics) register() error {
	if m.registerer == nil {
		return nil
	}
	for i, c := range m.collectors() {
		if err := m.registerer.Register(c); err != nil {
			for _, done := range m.collectors()[:i] {
				m.registerer.Unregister(done)
			}
			return err
		}
	}
	return nil
}

func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.collectors() {
		m.registerer.Unregister(c)
	}
}

// observer counts what nodes report.
func (m *metrics) observer() processors.Observer {
	return processors.Observer{
		Dropped: func(node string, reason processors.DropReason) {
			m.dropped.WithLabelValues(node, string(reason)).Inc()
		},
		Late:    func(_ string, behind int64) { m.late.Observe(float64(behind) / 1000) },
		Emitted: func(node string, pane window.Pane) { m.emitted.WithLabelValues(node, pane.Kind.String()).Inc() },
		Buffered: func(node string, records, bytes int64) {
			m.buffered.WithLabelValues(node).Add(float64(records))
			m.bufferSize.WithLabelValues(node).Add(float64(bytes))
		},
		Expired:   func(store string, entries int) { m.expiredEntries.WithLabelValues(store).Add(float64(entries)) },
		Upgraded:  func(store string, values int) { m.upgraded.WithLabelValues(store).Add(float64(values)) },
		Upgrading: func(store string, change int) { m.upgrading.WithLabelValues(store).Add(float64(change)) },
	}
}

func (m *metrics) records(topic string, n int) { m.processed.WithLabelValues(topic).Add(float64(n)) }
func (m *metrics) rebalanced()                 { m.rebalances.Inc() }
func (m *metrics) restoring(change int64)      { m.remaining.Add(float64(change)) }
func (m *metrics) applied(records int64)       { m.restored.Add(float64(records)) }
func (m *metrics) committed(phase string, took time.Duration) {
	m.commits.WithLabelValues(phase).Observe(took.Seconds())
}

// entered takes note of the instance's state.
func (m *metrics) entered(now State) {
	for _, s := range []State{Created, Starting, Rebalancing, Restoring, Running, Paused, Draining, Drained, Stopping, Stopped, Failed} {
		value := 0.0
		if s == now {
			value = 1
		}
		m.state.WithLabelValues(string(s)).Set(value)
	}
}

// tasks takes note of how many tasks are in each state.
func (m *metrics) tasks(counts map[TaskState]int) {
	for _, s := range []TaskState{TaskRestoring, TaskRunning} {
		m.taskState.WithLabelValues(string(s)).Set(float64(counts[s]))
	}
}

// standbys takes note of how many copies of state are kept.
func (m *metrics) standbys(standbys, warmups int) {
	m.taskState.WithLabelValues("standby").Set(float64(standbys))
	m.taskState.WithLabelValues("warm-up").Set(float64(warmups))
}

// taskGone forgets the watermarks of a task that runs here no more.
func (m *metrics) taskGone(st TaskStatus, idle, paused int) {
	m.idle.Set(float64(idle))
	m.paused.Set(float64(paused))
	for _, in := range st.Inputs {
		m.watermark.DeleteLabelValues(in.Topic, strconv.Itoa(int(in.Partition)))
	}
}

// task takes note of a task's watermarks.
func (m *metrics) task(st TaskStatus, idle, paused int) {
	m.idle.Set(float64(idle))
	m.paused.Set(float64(paused))
	for _, in := range st.Inputs {
		if in.Watermark != window.MinTime && in.Watermark != window.MaxTime {
			m.watermark.WithLabelValues(in.Topic, strconv.Itoa(int(in.Partition))).Set(float64(in.Watermark) / 1000)
		}
	}
}
