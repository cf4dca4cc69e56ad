package oracle

import (
	"fmt"
	"slices"
)

// ticks says when a punctuator by event time is called: at from and each so many
// milliseconds from there on, or at all multiples of that.
type ticks struct {
	used, hasFrom bool
	every, from   int64
}

// at returns the last tick at or before t; ok is false if there is none.
func (x ticks) at(t int64) (tick int64, ok bool) {
	if x.hasFrom && t < x.from {
		return 0, false
	}
	into := (t - x.from) % x.every
	if into < 0 {
		into += x.every
	}
	return t - into, true
}

// after returns the first tick after t.
func (x ticks) after(t int64) int64 {
	tick, ok := x.at(t)
	if !ok {
		return x.from
	}
	return tick + x.every
}

// beat is the model of one task's punctuator: it goes through what the watermark
// has passed since it was told last.
type beat struct {
	x ticks
	// w is the watermark that it was told last, durable the last before the end of a
	// bounded run.
	w, durable int64
}

// advance tells the watermark, and returns the tick that is called by that.
func (b *beat) advance(w int64) (calls []int64) {
	before := b.w
	if b.w = max(b.w, w); b.w != forever {
		b.durable = b.w
	}
	switch {
	case b.w == before, b.w == never:
		return nil
	case b.w == forever:
		if before == never {
			return nil // time has never begun
		}
		return []int64{b.x.after(before)} // the interval that was running
	case before == never:
		// The first tick is the first one that is not before the beginning: only that
		// very moment is due.
		if first := b.x.after(b.w - 1); first == b.w {
			return []int64{first}
		}
		return nil
	}
	if tick, ok := b.x.at(b.w); ok && tick > before {
		return []int64{tick}
	}
	return nil
}

// restart makes of a copy of what was committed what a new task begins with.
func (b *beat) restart() { b.w = b.durable }

// ticked checks the calls of a step.
func (h *history) ticked(got, want []int64) string {
	if slices.Equal(got, want) {
		return ""
	}
	show := func(list []int64) (times []int64) {
		for _, t := range list {
			times = append(times, t-h.k.base)
		}
		return times
	}
	return fmt.Sprintf("the punctuator is called at %v, want %v", show(got), show(want))
}
