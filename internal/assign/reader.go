package assign

import (
	"encoding/binary"
	"fmt"
	"math"
)

const maxInt32 = math.MaxInt32

// reader walks over the bytes of another member. Its error is sticky: after the
// first problem every read returns zero.
type reader struct {
	what string // for errors: "subscription" or "assignment"
	b    []byte
	pos  int
	err  error
}

// fail keeps the first problem, with the name of the field that was read.
func (r *reader) fail(field, problem string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s: %s at byte %d of %d: %s",
			ErrMalformed, r.what, field, r.pos, len(r.b), fmt.Sprintf(problem, args...))
	}
}

// head reads the version and returns the byte after it.
func (r *reader) head() uint8 {
	b := r.take(2, "version")
	if r.err != nil {
		return 0
	}
	if b[0] > Version {
		r.err = &VersionError{What: r.what, Got: b[0], Newest: Version}
	}
	if b[0] == 0 || b[1] < b[0] {
		r.fail("version", "version %d by a sender that reads up to %d", b[0], b[1])
	}
	return b[1]
}

// take reads n bytes.
func (r *reader) take(n int, field string) []byte {
	if r.err != nil {
		return nil
	}
	if n > len(r.b)-r.pos {
		r.fail(field, "needs %d bytes, %d are left", n, len(r.b)-r.pos)
		return nil
	}
	r.pos += n
	return r.b[r.pos-n : r.pos]
}

// number reads a number that is at most limit.
func (r *reader) number(field string, limit uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.pos:])
	switch {
	case n == 0:
		r.fail(field, "ends within a number")
		return 0
	case n < 0 || v > limit:
		r.fail(field, "a number above %d", limit)
		return 0
	}
	r.pos += n
	return v
}

func (r *reader) int32(field string) int32 { return int32(r.number(field, maxInt32)) }

// length reads how many elements follow. Each takes at least one byte, so a
// length beyond the rest of the input is refused before anything is allocated.
func (r *reader) length(field string) int {
	n := r.number(field, math.MaxInt64)
	if left := len(r.b) - r.pos; n > uint64(left) {
		r.fail(field, "a length of %d, %d bytes are left", n, left)
		return 0
	}
	return int(n)
}

func (r *reader) text(field string) string { return string(r.take(r.length(field), field)) }

// tasks reads a list of tasks. An empty one is nil.
func (r *reader) tasks(field string) []Task {
	var tasks []Task
	sub := int32(-1)
	for range r.length(field) {
		sub = r.next(field, sub)
		n := r.length(field)
		if n == 0 {
			r.fail(field, "sub-topology %d without partitions", sub)
		}
		partition := int32(-1)
		for range n {
			partition = r.next(field, partition)
			if r.err != nil {
				return nil
			}
			tasks = append(tasks, Task{Sub: sub, Partition: partition})
		}
		if r.err != nil {
			return nil
		}
	}
	return tasks
}

// next reads a gap and returns the number after it.
func (r *reader) next(field string, before int32) int32 {
	if before == maxInt32 {
		r.fail(field, "a number above %d", maxInt32)
		return 0
	}
	return before + 1 + int32(r.number(field, uint64(maxInt32-1-before)))
}

// state reads a list of tasks with their lags. An empty one is nil.
func (r *reader) state(field string) []TaskState {
	tasks := r.tasks(field)
	if len(tasks) == 0 {
		return nil
	}
	state := make([]TaskState, len(tasks))
	for i, t := range tasks {
		state[i] = TaskState{Task: t, Lag: int64(r.number(field, math.MaxInt64+1) - 1)}
	}
	return state
}

// tagged reads the fields that came after the first version: known reads those
// whose tags it knows, and the rest of each is dropped.
func (r *reader) tagged(known func(tag uint64, field *reader)) {
	const field = "tagged fields"
	for range r.length(field) {
		tag := r.number(field, math.MaxUint64)
		f := reader{what: r.what, b: r.take(r.length(field), field)}
		if r.err != nil {
			return
		}
		known(tag, &f)
		r.err = f.err
	}
}

// rest reads what is left as text.
func (r *reader) rest() string { return string(r.take(len(r.b)-r.pos, "text")) }

// close returns the first problem; bytes that are left over are one.
func (r *reader) close() error {
	if r.err == nil && r.pos < len(r.b) {
		r.fail("end", "%d bytes are left over", len(r.b)-r.pos)
	}
	return r.err
}
