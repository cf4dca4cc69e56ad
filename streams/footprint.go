package streams

import runtimemetrics "runtime/metrics"

// footprint is what the process takes of the machine's memory, and cannot give
// back by collecting garbage.
type footprint struct {
	// bytes are those of live objects as of the last collection, of stacks, and of
	// what lies outside of Go's heap.
	bytes int64
	// cycle counts collections: what was shed since the last one still counts.
	cycle uint64
}

// The figures of the runtime that make up a footprint.
const (
	liveHeap = "/gc/heap/live:bytes"
	stacks   = "/memory/classes/heap/stacks:bytes"
	cycles   = "/gc/cycles/total:gc-cycles"
)

// readFootprint reads the runtime's figures. Pebble's memory is outside of Go's
// heap with cgo, and within without.
func (m *memory) readFootprint() footprint {
	samples := []runtimemetrics.Sample{{Name: liveHeap}, {Name: stacks}, {Name: cycles}}
	runtimemetrics.Read(samples)
	f := footprint{bytes: int64(samples[0].Value.Uint64() + samples[1].Value.Uint64()), cycle: samples[2].Value.Uint64()}
	parts := m.parts()
	if _, pebble := parts["cache"]; pebble && pebbleOutside {
		f.bytes += parts["cache"] + parts["engines"]
	}
	return f
}
