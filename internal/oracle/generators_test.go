package oracle

import "github.com/millrace/millrace/window"

// strategy is what watermarks of source partitions follow.
type strategy int

const (
	byDelay strategy = iota
	// byMark: some events say how far their partition is.
	byMark
	// byGenerator: every second event tells the greatest time less the delay and,
	// if flush is set, so does a silence of that long, without the delay.
	byGenerator
)

var strategyNames = [...]string{byDelay: "bounded delay", byMark: "punctuated", byGenerator: "custom"}

// engine returns what the engine is given.
func (k *kase) engine() window.Strategy {
	var s window.Strategy
	switch k.strategy {
	case byMark:
		s = window.Punctuated(func(e event) (int64, bool) { return e.Mark, e.Marked })
	case byGenerator:
		s = window.Custom(func(int64) window.Generator[event] {
			return &generator{delay: k.delay, flush: k.flush, high: window.MinTime}
		})
	default:
		s = window.BoundedDelay(ms(k.delay))
	}
	if k.idle > 0 {
		s = s.IdleAfter(ms(k.idle))
	}
	if k.clocked {
		s = s.AdvanceWhenIdle(ms(k.behind))
	}
	return s
}

// generator is a window.Generator that forgets all when its task restarts.
type generator struct {
	delay, flush int64
	high, latest int64
	events       int
}

func (g *generator) Event(_ event, t, now int64) int64 {
	g.high, g.latest = max(g.high, t), now
	if g.events++; g.events%2 == 1 {
		return window.MinTime
	}
	return g.high - g.delay
}

func (g *generator) Tick(now int64) int64 {
	if g.flush == 0 || g.events == 0 || now-g.latest < g.flush {
		return window.MinTime
	}
	return g.high
}
