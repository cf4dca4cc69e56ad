package codec

import (
	"errors"
	"fmt"
)

// Errors of this package. They are wrapped with what was wrong; match them with
// errors.Is. An error of the user's own types or of a library is in the chain
// too.
var (
	// ErrDecode: the bytes are not what the codec, or the format, expects.
	ErrDecode = errors.New("codec: cannot decode")

	// ErrEncode: the value has no encoding.
	ErrEncode = errors.New("codec: cannot encode")

	// ErrText: a text that ParseKey was given is no key of the type wanted.
	ErrText = errors.New("codec: bad key text")
)

// decodeError says what could not be made from how many bytes.
func decodeError(what string, b []byte, cause error) error {
	return fmt.Errorf("%w %s from %d bytes: %w", ErrDecode, what, len(b), cause)
}

// lengthError says that a fixed-length form has another length.
func lengthError(what string, b []byte, want int) error {
	return fmt.Errorf("%w %s from %d bytes: want %d", ErrDecode, what, len(b), want)
}
