package emission

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

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
	client *kgo.Client

	mu      sync.Mutex // guards what follows
	windows map[windowID]result
	err     error
	news    chan struct{} // capacity 1
}

// follow begins to read results that are committed. Call close.
func follow(broker, topic string) (*results, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMinBytes(1))
	if err != nil {
		return nil, err
	}
	return &results{client: client, windows: map[windowID]result{}, news: make(chan struct{}, 1)}, nil
}

// read reads until ctx ends.
func (r *results) read(ctx context.Context) {
	for {
		fetches := r.client.PollFetches(ctx)
		now := time.Now()
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		r.err = fetches.Err()
		for record := range fetches.RecordsAll() {
			v, err := llm.ResultCodec.Decode(record.Value)
			if err != nil {
				r.err = err
				break
			}
			r.put(v, now)
		}
		failed := r.err != nil
		r.mu.Unlock()
		select {
		case r.news <- struct{}{}:
		default:
		}
		if failed {
			return
		}
	}
}

// put notes a result. mu is held.
func (r *results) put(v llm.Result, now time.Time) {
	if !v.Final {
		return
	}
	id := windowID{string([]byte(v.Key)), v.WindowStart}
	w := r.windows[id]
	if w.finals == 0 {
		w.arrived, w.count = now, v.Count
	}
	w.finals++
	r.windows[id] = w
}

// await returns what has come of all windows once there is something of each of
// these, or when ctx ends.
func (r *results) await(ctx context.Context, want []windowID) (map[windowID]result, error) {
	for {
		r.mu.Lock()
		missing := 0
		for _, id := range want {
			if r.windows[id].finals == 0 {
				missing++
			}
		}
		err, done := r.err, missing == 0 || ctx.Err() != nil
		windows := map[windowID]result(nil)
		if done {
			windows = maps.Clone(r.windows)
		}
		r.mu.Unlock()
		if done || err != nil {
			return windows, err
		}
		select {
		case <-r.news:
		case <-ctx.Done():
		}
	}
}
