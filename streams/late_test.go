package streams

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// TestWhatIsLateIsCounted from the nodes to the registry: what a window still took
// and how late it was, what none took and where that went, and what waits.
func TestWhatIsLateIsCounted(t *testing.T) {
	b := topology.New("app")
	s := topology.Source(b, "events", codec.String, codec.String)
	w := s.GroupByKey(codec.String, codec.String).WindowedBy(window.Tumbling(10 * time.Second).AllowedLateness(10 * time.Second))
	w.Count(topology.Store("counts"), topology.Named("count")).
		Suppress(topology.UntilTimeLimit(time.Hour, topology.BufferIn("calm")), topology.Named("calm")).
		To("results", codec.String, codec.Int64)
	w.Late().To("late", codec.String, codec.String)
	top, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	inWorld(t, 1, map[string]int32{"events": 1, "results": 1, "late": 1}, func(w *world) {
		begin := time.Now().Add(-time.Hour).Truncate(time.Minute)
		send := func(seconds ...int) {
			for _, s := range seconds {
				w.write(event{topic: "events", key: "k", value: "v", at: begin.Add(time.Duration(s) * time.Second)})
			}
		}
		send(0, 12, 4, 7, 25, 3, 5, 1) // 8 and 5 s behind, then three that are too late
		registry := prometheus.NewRegistry()
		p := w.start("a", newDisk(), top, func(c *Config) { c.Metrics = registry })
		w.until("three late events", func() bool { return len(w.read("late")) == 3 })
		p.expectMetric(registry, "millrace_dropped_records_total", map[string]string{"node": "count", "reason": "late"}, 3)
		p.expectMetric(registry, "millrace_late_seconds", nil, 2, 13)
		p.expectMetric(registry, "millrace_buffered_records", map[string]string{"node": "calm"}, 2)
		p.stop()
	})
}

// expectMetric checks a counter or gauge, or the count and sum of a histogram.
func (p *process) expectMetric(r *prometheus.Registry, name string, labels map[string]string, want ...float64) {
	p.w.t.Helper()
	families, err := r.Gather()
	if err != nil {
		p.w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			has := 0
			for _, l := range m.GetLabel() {
				if value, ok := labels[l.GetName()]; ok && value == l.GetValue() {
					has++
				}
			}
			if f.GetName() != name || has < len(labels) {
				continue
			}
			got := []float64{m.GetCounter().GetValue() + m.GetGauge().GetValue()}
			if h := m.GetHistogram(); h != nil {
				got = []float64{float64(h.GetSampleCount()), h.GetSampleSum()}
			}
			for i := range want {
				if got[i] != want[i] {
					p.w.t.Errorf("%s %v: have %v, want %v", name, labels, got, want)
				}
			}
			return
		}
	}
	p.w.t.Errorf("there is no %s %v", name, labels)
}
