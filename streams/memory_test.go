package streams

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

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
	})
}
