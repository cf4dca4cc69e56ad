package window

import "errors"

// Errors of this package. They are wrapped with what was wrong and where;
// match them with errors.Is.
var (
	// ErrInvalid: a Windows, Emit or Strategy contradicts itself or lies out
	// of range. Validate returns it, once for every mistake.
	ErrInvalid = errors.New("window: invalid configuration")

	// ErrTooFarAhead: an event lies further ahead of the wall clock than
	// Strategy.MaxAhead allows. The watermark has not moved.
	ErrTooFarAhead = errors.New("window: event time too far ahead of the clock")

	// ErrMarker: bytes that are no watermark marker, or a marker of a task
	// that does not write to this input.
	ErrMarker = errors.New("window: bad watermark marker")

	// ErrFiring: bytes that are no firing state.
	ErrFiring = errors.New("window: bad firing state")

	// ErrVector: bytes that are no vector of upstream watermarks.
	ErrVector = errors.New("window: bad vector of upstream watermarks")
)
