package llm

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// Event is what all five event types begin with.
type Event struct {
	// Timestamp is when the event happened, in Unix milliseconds; the event
	// time of its record.
	Timestamp int64
	// RequestID names the request that the event belongs to. Events of
	// different types about the same request share it.
	RequestID RequestID
	// SessionID groups the requests of one conversation, if there is one.
	SessionID Optional[string]
	// Model names the model that served the request.
	Model string
}

// RequestID is a UUID in its 16 bytes.
type RequestID [16]byte

// ErrRequestID means that a text is not a UUID.
var ErrRequestID = errors.New("want a UUID like 8d8ac610-566d-4ef0-9c22-186b2a5ed793")

// ParseRequestID reads the 36-character form of a UUID, in either case.
func ParseRequestID(s string) (RequestID, error) {
	var id RequestID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, fmt.Errorf("request id %.40q: %w", s, ErrRequestID)
	}
	compact := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(id[:], []byte(compact)); err != nil {
		return RequestID{}, fmt.Errorf("request id %.40q: %w", s, ErrRequestID)
	}
	return id, nil
}

// String returns the 36-character form of a UUID, in lower case.
func (id RequestID) String() string {
	return string(id.append(make([]byte, 0, 36)))
}

func (id RequestID) append(dst []byte) []byte {
	for i, part := range [][2]int{{0, 4}, {4, 6}, {6, 8}, {8, 10}, {10, 16}} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, id[part[0]:part[1]])
	}
	return dst
}

// Optional is a value or its absence, without a pointer. The zero Optional is
// absent. An absent number is not zero: it enters no sum and no mean.
type Optional[T any] struct {
	value T
	ok    bool
}

// Some returns a present value.
func Some[T any](v T) Optional[T] { return Optional[T]{value: v, ok: true} }

// Get returns the value and true, or the zero value and false.
func (o Optional[T]) Get() (T, bool) { return o.value, o.ok }

// Or returns the value if it is present, else absent.
func (o Optional[T]) Or(absent T) T {
	if o.ok {
		return o.value
	}
	return absent
}

// String returns the value as fmt prints it, or "absent".
func (o Optional[T]) String() string {
	if o.ok {
		return fmt.Sprint(o.value)
	}
	return "absent"
}
