package emission

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/millrace/millrace/llm"
)

// result is what has come of a window.
type result struct {
	arrived time.Time
	count   int64
	finals  int
}

// results takes results as they become readable.
type results struct {
	mu      sync.Mutex // guards windows
	windows map[windowID]result
	news    chan struct{} // capacity 1
}

func newResults() *results {
	return &results{windows: map[windowID]result{}, news: make(chan struct{}, 1)}
}

// put notes a result.
func (r *results) put(v llm.Result, now time.Time) {
	if !v.Final {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id := windowID{string([]byte(v.Key)), v.WindowStart}
	w := r.windows[id]
	if w.finals == 0 {
		w.arrived, w.count = now, v.Count
	}
	w.finals++
	r.windows[id] = w
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// await returns what has come of all windows once there is something of each of
// these, or when ctx ends.
func (r *results) await(ctx context.Context, want []windowID) map[windowID]result {
	for {
		r.mu.Lock()
		missing := 0
		for _, id := range want {
			if r.windows[id].finals == 0 {
				missing++
			}
		}
		windows := map[windowID]result(nil)
		done := missing == 0 || ctx.Err() != nil
		if done {
			windows = maps.Clone(r.windows)
		}
		r.mu.Unlock()
		if done {
			return windows
		}
		select {
		case <-r.news:
		case <-ctx.Done():
		}
	}
}
