package window

import (
	"encoding/binary"
	"fmt"
)

// MarkerHeader is the key of the one header of a watermark marker: a record
// with null key and null value that a task writes to every partition of a
// repartition topic, behind its data, to tell its watermark.
const MarkerHeader = "__millrace.watermark"

// Marker is what a watermark marker says: the watermark of the upstream task
// that wrote it, at its place in the partition.
type Marker struct {
	// SubTopology and Task name the upstream task; Task is its partition
	// number, of Tasks in all.
	SubTopology, Task, Tasks int32
	// Generation is the group generation under which the task was owned when
	// it wrote the marker. A marker of an earlier owner has a lower one.
	Generation int32
	// Watermark is the task's watermark; MaxTime ends a bounded run.
	Watermark int64
	// Idle is true if every input of the task is idle, Clocked if Watermark
	// then follows the wall clock.
	Idle, Clocked bool
}

// Layout of a marker: version 1, flags, then big-endian sub-topology, task,
// tasks, generation (4 bytes each) and watermark (8).
const (
	markerVersion = 1
	markerIdle    = 1 << 0
	markerClocked = 1 << 1
	markerLen     = 2 + 4*4 + 8
)

// Append appends the encoding of m to dst.
func (m Marker) Append(dst []byte) []byte {
	var flags byte
	if m.Idle {
		flags |= markerIdle
	}
	if m.Clocked {
		flags |= markerClocked
	}
	dst = append(dst, markerVersion, flags)
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.SubTopology))
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.Task))
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.Tasks))
	dst = binary.BigEndian.AppendUint32(dst, uint32(m.Generation))
	return binary.BigEndian.AppendUint64(dst, uint64(m.Watermark))
}

// DecodeMarker reads what Append wrote. Errors wrap ErrMarker.
func DecodeMarker(b []byte) (Marker, error) {
	if len(b) == 0 || b[0] != markerVersion {
		return Marker{}, fmt.Errorf("%w: want version %d in the first of %d bytes", ErrMarker, markerVersion, len(b))
	}
	if len(b) != markerLen {
		return Marker{}, fmt.Errorf("%w: %d bytes, want %d", ErrMarker, len(b), markerLen)
	}
	if b[1]&^(markerIdle|markerClocked) != 0 {
		return Marker{}, fmt.Errorf("%w: unknown flags %#x", ErrMarker, b[1])
	}
	m := Marker{
		SubTopology: int32(binary.BigEndian.Uint32(b[2:])),
		Task:        int32(binary.BigEndian.Uint32(b[6:])),
		Tasks:       int32(binary.BigEndian.Uint32(b[10:])),
		Generation:  int32(binary.BigEndian.Uint32(b[14:])),
		Watermark:   int64(binary.BigEndian.Uint64(b[18:])),
		Idle:        b[1]&markerIdle != 0,
		Clocked:     b[1]&markerClocked != 0,
	}
	if m.SubTopology < 0 || m.Task < 0 || m.Task >= m.Tasks {
		return Marker{}, fmt.Errorf("%w: sub-topology %d, task %d of %d", ErrMarker, m.SubTopology, m.Task, m.Tasks)
	}
	return m, nil
}
