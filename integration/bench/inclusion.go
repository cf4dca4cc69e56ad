package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/integration/live"
	"github.com/millrace/millrace/llm"
)

// sighting is a result as a consumer saw it: of how many events, and when.
type sighting struct {
	events int64
	at     time.Time
}

// sightings are the results of a run, as they came.
type sightings struct {
	mu   sync.Mutex // guards what follows
	last outcome
	seen map[windowID][]sighting
	// fell is the first window of which a result had fewer events than one before.
	fell string
	news chan struct{} // capacity 1
}

func newSightings() *sightings {
	return &sightings{last: outcome{}, seen: map[windowID][]sighting{}, news: make(chan struct{}, 1)}
}

// put notes a result.
func (s *sightings) put(r llm.Result, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := windowID{strings.Clone(r.Key), r.WindowStart, r.WindowEnd}
	if before := s.last[id].Count; r.Count < before && s.fell == "" {
		s.fell = fmt.Sprintf("%s, window %d to %d: a result of %d events came behind one of %d", id.key, id.start, id.end, r.Count, before)
	}
	s.last.put(r)
	s.seen[id] = append(s.seen[id], sighting{r.Count, at})
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// await waits until there are results of all events that want has, or until ctx
// ends. Then it compares the last ones with want.
func (s *sightings) await(ctx context.Context, want outcome) error {
	for {
		s.mu.Lock()
		done := ctx.Err() != nil || s.last.holds(want)
		err := error(nil)
		if done {
			err = s.check(want)
		}
		s.mu.Unlock()
		if done {
			return err
		}
		select {
		case <-s.news:
		case <-ctx.Done():
		}
	}
}

// check compares what has come with what was to come. mu is held.
func (s *sightings) check(want outcome) error {
	if s.fell != "" {
		return fmt.Errorf("%w: %s", ErrVoid, s.fell)
	}
	return s.last.equal(want)
}

// holds says whether there is a result of each window of want, of as many events.
func (o outcome) holds(want outcome) bool {
	for id, w := range want {
		if o[id].Count < w.Count {
			return false
		}
	}
	return true
}

// inclusions finds for each event the first result that includes it.
//
// Results carry how many events they are of. A key lies in one partition, and a
// contender takes the events of a partition in their order. So where no event is
// dropped or counted twice, the n-th event of a key and window in that order is in
// the first result that is of n events or more, and in none before. That nothing is
// dropped or counted twice shows in the last results, which equal the truth, and in
// that no result is of fewer events than one before: sightings.await checks both.
type inclusions struct {
	// from is when what counts begins to arrive, in Unix milliseconds.
	from    int64
	windows map[windowID]*windowInclusions
	// latency is in whole milliseconds, as the times of arrival are.
	latency live.Distribution
	// missing are events that no result includes.
	missing int64
}

// windowInclusions are the events and the results of a window, so far.
type windowInclusions struct {
	events  int64
	results []sighting // what is left of them: those of more events than there were
}

func newInclusions(seen map[windowID][]sighting, from time.Time) *inclusions {
	i := &inclusions{from: from.UnixMilli(), windows: map[windowID]*windowInclusions{}}
	for id, results := range seen {
		i.windows[id] = &windowInclusions{results: results}
	}
	return i
}

// add takes the next event of a window, with when it was appended, in Unix
// milliseconds.
func (i *inclusions) add(id windowID, appended int64) {
	w := i.windows[id]
	if w == nil {
		i.missing++
		return
	}
	w.events++
	for len(w.results) > 0 && w.results[0].events < w.events {
		w.results = w.results[1:]
	}
	switch {
	case len(w.results) == 0:
		i.missing++
	case appended >= i.from:
		i.latency.Add(w.results[0].at.Sub(time.UnixMilli(appended)).Round(time.Millisecond))
	}
}
