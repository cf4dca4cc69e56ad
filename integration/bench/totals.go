package bench

import (
	"github.com/millrace/millrace/llm"
	"github.com/millrace/millrace/window"
)

// windowID names a window of a key. The end is part of it because a session
// has another one whenever it grows.
type windowID struct {
	key        string
	start, end int64
}

// totals are the aggregates of a partition, in memory and nowhere else. Windows
// are plain arithmetic here: a contender's must come out the same.
type totals interface {
	// add counts an event, with the functions that the contender has.
	add(key []byte, v llm.Performance) error
	// events returns how many were added.
	events() int64
	// results yields a result for each window, as a contender's topic has them.
	results(yield func(llm.Result) bool)
}

func newTotals(s llm.Shape) totals {
	const minute = 60_000
	switch s {
	case llm.HoppingShape:
		return &aligned{size: 15 * minute, advance: minute, windows: map[windowID]*llm.Stats{}}
	case llm.SessionShape:
		return &sessions{gap: 30 * minute, keys: map[string]*[]*span{}}
	}
	return &aligned{size: 5 * minute, advance: 5 * minute, windows: map[windowID]*llm.Stats{}}
}

// counter counts events.
type counter int64

func (c counter) events() int64 { return int64(c) }

// aligned are windows that begin every advance.
type aligned struct {
	counter
	size, advance int64
	windows       map[windowID]*llm.Stats
}

func (a *aligned) add(key []byte, v llm.Performance) error {
	a.counter++
	last := v.Timestamp - v.Timestamp%a.advance
	for start := last; start > v.Timestamp-a.size; start -= a.advance {
		s := a.windows[windowID{string(key), start, start + a.size}]
		if s == nil {
			s = llm.NewStats()
			a.windows[windowID{string(key), start, start + a.size}] = s
		}
		if err := s.Add(v); err != nil {
			return err
		}
	}
	return nil
}

func (a *aligned) results(yield func(llm.Result) bool) {
	for id, s := range a.windows {
		if !yield(llm.NewResult(id.key, window.Window{Start: id.start, End: id.end}, window.Pane{}, s)) {
			return
		}
	}
}

// sessions are windows that a silence longer than gap ends.
type sessions struct {
	counter
	gap  int64
	keys map[string]*[]*span
}

// span is a session: its first and last event.
type span struct {
	first, last int64
	stats       *llm.Stats
}

func (s *sessions) add(key []byte, v llm.Performance) error {
	s.counter++
	mine := s.keys[string(key)]
	if mine == nil {
		mine = new([]*span)
		s.keys[string(key)] = mine
	}
	var into *span
	left := (*mine)[:0]
	for _, old := range *mine {
		switch {
		case old.last < v.Timestamp-s.gap || old.first > v.Timestamp+s.gap:
		case into == nil:
			into = old
		default: // the event connects them
			if err := into.stats.Merge(old.stats); err != nil {
				return err
			}
			into.first, into.last = min(into.first, old.first), max(into.last, old.last)
			continue
		}
		left = append(left, old)
	}
	if into == nil {
		into = &span{v.Timestamp, v.Timestamp, llm.NewStats()}
		left = append(left, into)
	}
	*mine = left
	into.first, into.last = min(into.first, v.Timestamp), max(into.last, v.Timestamp)
	return into.stats.Add(v)
}

func (s *sessions) results(yield func(llm.Result) bool) {
	for key, all := range s.keys {
		for _, w := range *all {
			if !yield(llm.NewResult(key, window.Window{Start: w.first, End: w.last + 1}, window.Pane{}, w.stats)) {
				return
			}
		}
	}
}
