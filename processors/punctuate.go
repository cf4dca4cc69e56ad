package processors

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/millrace/millrace/window"
)

// Punctuator calls a function of a processor at the ticks of a schedule, until it
// is cancelled. It belongs to the task's goroutine.
type Punctuator struct {
	name     string
	schedule window.Schedule
	call     func(at int64) error
	// next is the next tick, window.MaxTime for none; window.MinTime while no
	// watermark is known that the ticks could begin at.
	next int64
	// last is the last tick of the clock, for the task to keep.
	last      int64
	cancelled bool
}

// Cancel ends the calls. It may be called from within one, and again.
func (p *Punctuator) Cancel() { p.cancelled = true }

// Punctuate calls f at each tick of a schedule from now on: by event time as soon
// as the watermark has reached the tick, by the clock as soon as the clock has. It
// may be called in Init, in Process, and by a punctuator.
//
// f gets the tick, in Unix milliseconds. If time has jumped over several of them
// it is called once, with the last. The first tick by event time is the first one
// that is not before the watermark with which time begins; by the clock it is the
// first one after now. At the end of a bounded run each punctuator by event time is
// called once more, for the tick that would have come next.
//
// After a restart ticks go on from where the committed offsets left them. A tick of
// the clock that has passed meanwhile is called at once, if the processor's
// sub-topology has a store for the task to remember that in, and the name, which is
// the processor's own, is that of before.
//
// While f runs, changes of stores carry the tick's time, and so does a record that
// Forward is given without a time. An error or panic of f is judged by the error
// policy: under Skip and DeadLetter the tick is left out, as if f had done nothing.
func (c *Context[K, V]) Punctuate(name string, s window.Schedule, f func(at int64) error) (*Punctuator, error) {
	var err error
	switch {
	case name == "":
		err = errors.New("a punctuator needs a name, which stays the same over restarts")
	case f == nil:
		err = errors.New("the function is nil")
	case slices.ContainsFunc(c.punctuators, func(p *Punctuator) bool { return p.name == name && !p.cancelled }):
		err = errors.New("the processor has a punctuator of that name: cancel it first, or give this one another name")
	default:
		err = s.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("punctuator %q: %w", name, err)
	}
	p := &Punctuator{name: name, schedule: s, call: f, next: window.MinTime}
	switch {
	case s.Clocked():
		p.last = c.rt.Now().UnixMilli()
		p.next = s.Next(p.last)
	case c.w != window.MinTime:
		p.next = s.Next(c.w)
	}
	c.punctuators = append(c.punctuators, p)
	return p, nil
}

// punctuate calls the punctuators of one kind that are due at now, in the order of
// their ticks and of how they were made.
func (c *Context[K, V]) punctuate(clocked bool, now int64) error {
	for {
		var due *Punctuator
		var tick int64
		for _, p := range c.punctuators {
			begun := p.next != window.MinTime && p.next != window.MaxTime
			if p.cancelled || !begun || p.schedule.Clocked() != clocked || p.next > now {
				continue
			}
			at := p.next
			if now != window.MaxTime {
				at = p.schedule.Last(now)
			}
			if due == nil || at < tick {
				due, tick = p, at
			}
		}
		c.punctuators = slices.DeleteFunc(c.punctuators, func(p *Punctuator) bool { return p.cancelled })
		if due == nil {
			return nil
		}
		due.last, due.next = tick, due.schedule.Next(now)
		if err := c.call(due, tick); err != nil {
			return err
		}
	}
}

// call calls a punctuator for one tick.
func (c *Context[K, V]) call(p *Punctuator, tick int64) error {
	c.rt.Punctuated = true
	if db := c.rt.State; db != nil {
		before := db.Time()
		db.SetTime(tick)
		defer func() { db.SetTime(before) }()
	}
	c.tick, c.ticking = tick, true
	defer func() { c.ticking = false }()
	return c.rt.sendDue(c.node.Name, []byte(p.name), tick, func() error {
		// As in Process, fields of the processor's own may change.
		c.rt.Node, c.rt.Touched, c.failed = c.node, true, nil
		err := p.call(tick)
		switch {
		case c.failed != nil:
			return c.failed
		case err != nil:
			return c.node.fail(fmt.Errorf("punctuator %q at %s: %w", p.name, window.FormatTime(tick), err))
		}
		return nil
	})
}

// advance tells the punctuators by event time that the watermark is w.
func (c *Context[K, V]) advance(w int64) error {
	if c.w == window.MinTime && w != window.MaxTime && w != window.MinTime {
		for _, p := range c.punctuators {
			if !p.schedule.Clocked() && p.next == window.MinTime {
				p.next = p.schedule.Next(w - 1)
			}
		}
	}
	c.w = max(c.w, w)
	return c.punctuate(false, c.w)
}

// Advance calls the punctuators by event time that are due.
func (p *Process[K, V, K2, V2]) Advance(w int64) (bool, error) {
	if err := p.ctx.advance(w); err != nil {
		return false, err
	}
	return true, nil
}

// Tick calls the punctuators by the clock that are due.
func (p *Process[K, V, K2, V2]) Tick(now time.Time) error {
	return p.ctx.punctuate(true, now.UnixMilli())
}

// Restore notes the watermark, behind which all ticks have come.
func (p *Process[K, V, K2, V2]) Restore(w int64) error {
	p.ctx.w = w
	if w == window.MinTime {
		return nil
	}
	for _, x := range p.ctx.punctuators {
		if !x.schedule.Clocked() {
			x.next = x.schedule.Next(w)
		}
	}
	return nil
}

// Ticks yields the punctuators by the clock, with how far each has come.
func (p *Process[K, V, K2, V2]) Ticks() iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		for _, x := range p.ctx.punctuators {
			if x.schedule.Clocked() && !x.cancelled && !yield(x.name, x.last) {
				return
			}
		}
	}
}

// RestoreTicks asks find for how far each punctuator by the clock had come.
func (p *Process[K, V, K2, V2]) RestoreTicks(find func(name string) (last int64, ok bool)) {
	for _, x := range p.ctx.punctuators {
		if !x.schedule.Clocked() {
			continue
		}
		if last, ok := find(x.name); ok {
			x.last, x.next = last, x.schedule.Next(last)
		}
	}
}
