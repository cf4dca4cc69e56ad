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

	// ErrBufferFull: more results wait for their time than the buffer may hold.
	// No policy skips it.
	ErrBufferFull = errors.New("buffer is full")

	// errNoTopic is returned for a computed topic that is empty.
	errNoTopic = errors.New("the computed topic is empty: return a topic's name, or filter the record out before the sink")
)
