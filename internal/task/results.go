package task

import (
	"bytes"

	"github.com/millrace/millrace/stores"
)

// results are what goes to a replica after a commit: of each key and window the
// last one only. They are lost with the task if the commit fails.
type results struct {
	list  []stores.Result
	index map[string]int
	bytes int64
	id    []byte
	// done are those of commits that succeeded.
	done []stores.Result
}

// add notes a result, in place of an earlier one of the same key and window.
func (r *results) add(result stores.Result) {
	r.id = result.AppendID(r.id[:0])
	result.Key, result.Value = bytes.Clone(result.Key), bytes.Clone(result.Value)
	if i, ok := r.index[string(r.id)]; ok {
		r.bytes += result.Size() - r.list[i].Size()
		r.list[i] = result
		return
	}
	if r.index == nil {
		r.index = map[string]int{}
	}
	r.index[string(r.id)] = len(r.list)
	r.list = append(r.list, result)
	r.bytes += result.Size()
}

// committed gives what there is the version of its commit.
func (r *results) committed(v stores.Version) {
	if len(r.list) == 0 {
		return
	}
	for i := range r.list {
		r.list[i].Version = v
	}
	r.done = append(r.done, r.list...)
	r.list, r.index, r.bytes = nil, nil, 0
}

// TakeResults returns the results that go to a replica, of the commits since the
// last call. They are the caller's.
func (t *Task) TakeResults() []stores.Result {
	done := t.results.done
	t.results.done = nil
	return done
}
