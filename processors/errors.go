package processors

import "errors"

// Errors of sending. Those of user code and codecs are [NodeError].
var (
	// ErrTooLarge: a record is larger than the topic takes. It is judged by
	// the error policy, like an error of user code.
	ErrTooLarge = errors.New("record is too large")

	// ErrOutlet: a record could not be sent for a reason that the record is
	// not to blame for. No policy skips it.
	ErrOutlet = errors.New("cannot send")

	// ErrNoTopic: a topic does not exist. If its name was computed from the record
	// it is judged by the error policy; a fixed one is missing for all records.
	ErrNoTopic = errors.New("there is no such topic")

	// ErrBufferFull: more results wait for their time than the buffer may hold.
	// No policy skips it.
	ErrBufferFull = errors.New("buffer is full")

	// errEmptyTopic is returned for a computed topic that is empty.
	errEmptyTopic = errors.New("the computed topic is empty: return a topic's name, or filter the record out before the sink")
)
