package llm

import (
	"github.com/millrace/millrace/topology"
	"github.com/millrace/millrace/window"
)

// Place says which key, window and pane a result belongs to. Every result but
// Result, which has the same fields, begins with one.
type Place struct {
	// Key is what was grouped by, such as the session.
	Key string
	// WindowStart and WindowEnd bound the window, in Unix milliseconds; the end
	// is not part of it.
	WindowStart, WindowEnd int64
	// Pane and Sequence tell the results of a key and window apart, Final marks
	// the last, and Retracted one that takes an earlier one back: see
	// window.Pane.
	Pane             window.PaneKind
	Sequence         int64
	Final, Retracted bool
}

// At returns the place of a result of a windowed aggregate.
func At[A any](r topology.Record[string, A]) Place {
	return Place{
		Key: r.Key, WindowStart: r.Window.Start, WindowEnd: r.Window.End,
		Pane: r.Pane.Kind, Sequence: r.Pane.Sequence, Final: r.Pane.Final, Retracted: r.Pane.Retracted,
	}
}

func (p *Place) fields(f *form) {
	f.str("key", &p.Key)
	f.int("window_start", &p.WindowStart)
	f.int("window_end", &p.WindowEnd)
	f.pane("pane", &p.Pane)
	f.int("sequence", &p.Sequence)
	f.bool("final", &p.Final)
	f.bool("retracted", &p.Retracted)
}
