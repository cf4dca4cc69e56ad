//go:build linux

package usage

import (
	"testing"
	"time"
)

func TestWorkAndMemoryShow(t *testing.T) {
	time0, peak0 := ProcessorTime(), PeakMemory()
	const size = 64 << 20
	block := make([]byte, size)
	for ProcessorTime()-time0 < 50*time.Millisecond {
		for i := 0; i < size; i += 512 {
			block[i]++
		}
	}
	if grown := PeakMemory() - peak0; peak0 <= 0 || grown < size/2 || grown > 4*size {
		t.Errorf("the peak went from %d by %d, after %d bytes were touched", peak0, grown, size)
	}
}
