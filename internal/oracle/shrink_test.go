package oracle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/streamtest"
)

// tries is how many runs shrinking a case may take.
const tries = 1500

// explain makes a case that fails small, and returns what there is to see of it.
func explain(k *kase) string {
	k, v, h := shrink(k)
	var b strings.Builder
	fmt.Fprintf(&b, "made small: %s\n%v", v.problem, k)
	if h != nil && v.at >= 0 {
		b.WriteString("the timeline of the task that differs, to the step where it does:\n")
		b.WriteString(h.timeline(v.at))
	}
	fmt.Fprintf(&b, "run it again: make oracle SEEDS=1 FROM=%d\n", k.seed)
	return b.String()
}

// shrink leaves steps and events out of a script for as long as it still fails.
func shrink(k *kase) (*kase, verdict, *history) {
	left := tries
	fails := func(c *kase) (verdict, *history, bool) {
		if left--; left < 0 {
			return verdict{}, nil, false
		}
		h, err := run(c)
		if err != nil {
			return verdict{problem: err.Error(), at: -1}, nil, true
		}
		v := check(h)
		return v, h, v.problem != ""
	}
	v, h, failed := fails(k)
	if !failed {
		return k, v, h
	}
	try := func(c *kase) bool {
		again, history, failed := fails(c)
		if failed {
			k, v, h = c, again, history
		}
		return failed
	}
	for smaller := true; smaller && left > 0; {
		smaller = false
		for i := len(k.ops) - 1; i >= 0; i-- {
			if len(k.ops) > 1 && try(k.with(slices.Delete(slices.Clone(k.ops), i, i+1))) {
				smaller = true
				continue
			}
			for j := len(k.ops[i].sent) - 1; j >= 0 && len(k.ops[i].sent) > 1; j-- {
				ops := slices.Clone(k.ops)
				ops[i].sent = slices.Delete(slices.Clone(ops[i].sent), j, j+1)
				smaller = try(k.with(ops)) || smaller
			}
		}
	}
	return k, v, h
}

// with returns the case with another script.
func (k *kase) with(ops []op) *kase {
	c := *k
	c.ops = ops
	return &c
}

// timeline shows what the task of a step has done until then, without what says
// little.
func (h *history) timeline(until int) string {
	var b strings.Builder
	last := h.steps[until]
	for i, s := range h.steps[:until+1] {
		if s.SubTopology != last.SubTopology || s.Task != last.Task {
			continue
		}
		quiet := s.Kind == streamtest.TraceAnswer || s.Kind == streamtest.TraceTick || s.Kind == streamtest.TraceSend && s.Marker == nil
		if quiet && len(s.results) == 0 && i != until {
			continue
		}
		fmt.Fprintf(&b, "  %s %v", s.Now.Sub(h.steps[0].Now), s.TraceEvent)
		if e, ok := h.records[place{s.Topic, s.Partition, s.Offset}]; ok && s.Kind == streamtest.TraceRead {
			fmt.Fprintf(&b, ": %s#%d@%d", e.Key, e.ID, e.Time-h.k.base)
		}
		b.WriteByte('\n')
		for _, r := range s.results {
			b.WriteString("      " + r.show(h.k.base) + "\n")
		}
	}
	return b.String()
}
