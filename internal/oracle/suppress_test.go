package oracle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/window"
)

// suppression says what is held back of the results; nothing if it is not used.
type suppression struct {
	used, finals bool
	limit        int64 // milliseconds
	records      int64 // 0 without a bound
	tiny         bool  // a byte's room: nothing fits
}

// buffer is the model of what Suppress holds back of one task's results. It is a
// list that is looked through each time.
type buffer struct {
	s suppression
	// w is how far it has been told that time has come, durable the last before the
	// end of a bounded run.
	w, durable int64
	held       []held
}

// held is what waits of a key and window: a retraction of what was sent, the
// result that follows it, or both.
type held struct {
	span
	time             int64
	taken, following *result
}

func (b *buffer) clone() *buffer {
	c := *b
	c.held = slices.Clone(b.held) // results are never changed in place
	return &c
}

// restart makes of a copy of what was committed what a new task begins with.
func (b *buffer) restart() { b.w = b.durable }

// step takes the results of one step of the task, in the order in which they came,
// and returns what is sent on. In between the buffer is told how far time has come,
// if the step tells it: behind the results of that time and of records, and before
// those of timers and of the commit.
func (b *buffer) step(results []result, later map[span]bool, told bool, w int64) (sent []result) {
	if b.s.finals {
		return slices.DeleteFunc(slices.Clone(results), func(r result) bool { return !r.Pane.Final })
	}
	for _, r := range results {
		if !later[r.span()] {
			sent = b.result(r, sent)
		}
	}
	if told {
		if b.w = max(b.w, w); b.w != forever {
			b.durable = b.w
		}
		for len(b.held) > 0 && b.due(b.held[b.first()].time) {
			sent = b.release(sent)
		}
	}
	for _, r := range results {
		if later[r.span()] {
			sent = b.result(r, sent)
		}
	}
	return sent
}

// due reports whether what came at a time has waited for long enough.
func (b *buffer) due(at int64) bool {
	return b.w == forever || b.w != never && b.w >= at+b.s.limit
}

// result takes one result.
func (b *buffer) result(r result, sent []result) []result {
	i := slices.IndexFunc(b.held, func(h held) bool { return h.span == r.span() })
	if i < 0 {
		if b.due(r.Time) {
			return append(sent, r)
		}
		i = len(b.held)
		b.held = append(b.held, held{span: r.span(), time: r.Time})
	}
	h := &b.held[i]
	h.time = min(h.time, r.Time)
	switch {
	case !r.Pane.Retracted:
		h.following = &r
	case h.following != nil: // nobody has seen it
		h.following = nil
	case h.taken == nil:
		h.taken = &r
	}
	for b.s.records > 0 && int64(len(b.held)) > b.s.records || b.s.tiny && len(b.held) > 0 {
		sent = b.release(sent)
	}
	return sent
}

// first returns the earliest entry; of those of one time the least key, start and
// end.
func (b *buffer) first() int {
	first := 0
	for i, h := range b.held {
		f := b.held[first]
		switch {
		case h.time != f.time:
			if h.time < f.time {
				first = i
			}
		case h.key != f.key:
			if strings.Compare(h.key, f.key) < 0 {
				first = i
			}
		case compare(h.window, f.window) < 0:
			first = i
		}
	}
	return first
}

// release sends the earliest entry.
func (b *buffer) release(sent []result) []result {
	i := b.first()
	for _, r := range []*result{b.held[i].taken, b.held[i].following} {
		if r != nil {
			sent = append(sent, *r)
		}
	}
	b.held = slices.Delete(slices.Clone(b.held), i, i+1)
	return sent
}

// suppressed checks what Suppress has sent in a step, and the order of that.
func (h *history) suppressed(got, want []result) string {
	lines := func(list []result) (lines []string) {
		for _, r := range list {
			lines = append(lines, r.show(h.k.base))
		}
		return lines
	}
	if have, should := lines(got), lines(want); !slices.Equal(have, should) {
		return fmt.Sprintf("Suppress sends\n  %s\nwant\n  %s", strings.Join(have, "\n  "), strings.Join(should, "\n  "))
	}
	return ""
}

// calm checks what holds of suppressed results whatever crashed, at the end of a
// bounded run: final ones are those of the aggregate, one by one; what a time limit
// has let through last of a key and window is what the aggregate has sent last. A
// replay after a crash may read in another order, in which other windows have events;
// where windows stand fast and nothing is dropped, what is final has come through.
func (h *history) calm(v verdict) string {
	switch s := h.k.s; {
	case !s.used:
		return ""
	case s.finals:
		var want []result
		for _, r := range h.out {
			if r.Pane.Final {
				want = append(want, r)
			}
		}
		return h.same(h.calmed, want)
	}
	last := func(list []result) map[span]result {
		last := map[span]result{}
		for _, r := range list {
			if last[r.span()] = r; r.Pane.Retracted {
				delete(last, r.span())
			}
		}
		return last
	}
	strict := v.exact && h.crashes == 0
	if !strict && (!h.k.bounded || h.k.w.kind == window.SessionKind || h.k.w.kind == window.SlidingKind || h.k.w.kind == window.CountKind) {
		return ""
	}
	have, should := last(h.calmed), last(h.out)
	for s, r := range should {
		if !strict && !r.Pane.Final {
			continue
		}
		if got, ok := have[s]; !ok || strict && got.show(0) != r.show(0) {
			return fmt.Sprintf("Suppress has sent last of %s[%d, %d): %s, want %s", s.key, s.window.Start-h.k.base, s.window.End-h.k.base, got.show(h.k.base), r.show(h.k.base))
		}
	}
	return ""
}
