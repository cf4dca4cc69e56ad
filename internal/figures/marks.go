package main

import "github.com/millrace/millrace/window"

// The marks of events and results, which all pictures share: each has a shape of its
// own beside its colour.

func onTimeEvent() mark  { return mark{shape: dot, fill: blue, edge: white, radius: 3.4} }
func lateEvent() mark    { return mark{shape: triangle, fill: orange, edge: black, radius: 4.2} }
func droppedEvent() mark { return mark{shape: cross, edge: vermillion, fill: none, radius: 3.8} }

func earlyResult() mark { return mark{shape: dot, fill: paleSky, edge: blue, radius: 7.5, ink: black} }
func onTimeResult() mark {
	return mark{shape: box, fill: blue, edge: blue, radius: 6.8, ink: white}
}
func lateResult() mark {
	return mark{shape: box, fill: paleOrange, edge: orange, radius: 6.8, ink: black}
}
func finalResult() mark {
	return mark{shape: diamond, fill: green, edge: green, radius: 7, ink: white}
}

// resultMark returns the mark of a result.
func resultMark(p window.Pane) mark {
	switch {
	case p.Final:
		return finalResult()
	case p.Kind == window.EarlyPane:
		return earlyResult()
	case p.Kind == window.OnTimePane:
		return onTimeResult()
	}
	return lateResult()
}
