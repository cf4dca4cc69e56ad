package window

import "math"

// Times are Unix milliseconds. MinTime stands for 'nothing is known yet' (the
// watermark of an input that has not been heard of) and MaxTime for 'nothing
// more will come' (the watermark at the end of a bounded run).
const (
	MinTime int64 = math.MinInt64
	MaxTime int64 = math.MaxInt64
)

// Window is the half-open span of event time [Start, End), in Unix
// milliseconds.
type Window struct {
	Start, End int64
}

// PaneKind says when, relative to the watermark, a result was sent.
type PaneKind uint8

const (
	// NoPane is the kind of a record that is no result of a window.
	NoPane PaneKind = iota
	// EarlyPane results are sent before the watermark has passed the window's
	// end.
	EarlyPane
	// OnTimePane is the result sent when the watermark passes the window's
	// end; under OnClose, the only one.
	OnTimePane
	// LatePane results are sent after that, until the window closes.
	LatePane
)

// Pane tells one result of a key and window from the others.
type Pane struct {
	Kind PaneKind
	// Sequence numbers the results of one key and window from 0.
	Sequence int64
	// Final is true on exactly one result of each key and window: nothing
	// sent after it will change the value.
	Final bool
	// Retracted marks a result that takes an earlier one back.
	Retracted bool
}
