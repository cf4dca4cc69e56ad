package assign

import (
	"errors"
	"fmt"
)

// Errors of decoding what another member sent.
var (
	// ErrMalformed: the bytes are no subscription or assignment of this
	// protocol. Some other program joined the group; give the application
	// another name, or stop that program.
	ErrMalformed = errors.New("assign: malformed")
	// ErrVersion: the sender wrote a version that this program does not know. It
	// comes as a VersionError.
	ErrVersion = errors.New("assign: unknown version")
)

// VersionError is returned for bytes of a version that this program cannot read.
// It wraps ErrVersion. A newer program writes the version that the whole group
// reads (Assignment.Common), so this means that it was told not to, or that this
// program is too old to be in the same group.
type VersionError struct {
	What   string // "subscription" or "assignment"
	Got    uint8  // the version of the bytes
	Newest uint8  // the newest version that this program reads
}

// Error says what was found and what to do.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%v: %s of version %d, this program reads 1 to %d: upgrade it before the others go on",
		ErrVersion, e.What, e.Got, e.Newest)
}

// Unwrap returns ErrVersion.
func (e *VersionError) Unwrap() error { return ErrVersion }
