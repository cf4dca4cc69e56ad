package codec

import (
	"encoding/hex"
	"errors"
)

var (
	// UUID is the 16 bytes of a UUID as they are. It is less than half as long
	// as UUIDText and sorts alike.
	UUID uuidCodec

	// UUIDText is a UUID as its text of 36 characters, in lower case (Kafka:
	// UUIDSerializer). Decode takes upper case too. It is the one to use on
	// topics that Java programs write or read.
	UUIDText uuidTextCodec
)

type uuidCodec struct{}

func (uuidCodec) Append(dst []byte, v [16]byte) ([]byte, error) { return append(dst, v[:]...), nil }

func (uuidCodec) Decode(b []byte) ([16]byte, error) {
	if len(b) != 16 {
		return [16]byte{}, lengthError("a UUID", b, 16)
	}
	return [16]byte(b), nil
}

type uuidTextCodec struct{}

func (uuidTextCodec) Append(dst []byte, v [16]byte) ([]byte, error) {
	return appendUUIDText(dst, v), nil
}

func (uuidTextCodec) Decode(b []byte) ([16]byte, error) {
	v, err := parseUUIDText(b)
	if err != nil {
		return [16]byte{}, decodeError("a UUID's text", b, err)
	}
	return v, nil
}

// uuidGroups are the bounds, in bytes, of the five groups of a UUID's text.
var uuidGroups = [...][2]int{{0, 4}, {4, 6}, {6, 8}, {8, 10}, {10, 16}}

var errUUIDText = errors.New("want 8-4-4-4-12 hexadecimal digits")

func appendUUIDText(dst []byte, v [16]byte) []byte {
	for i, g := range uuidGroups {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, v[g[0]:g[1]])
	}
	return dst
}

func parseUUIDText[B string | []byte](text B) (v [16]byte, err error) {
	if len(text) != 36 {
		return [16]byte{}, errUUIDText
	}
	at := 0
	for i, g := range uuidGroups {
		if i > 0 {
			if text[at] != '-' {
				return [16]byte{}, errUUIDText
			}
			at++
		}
		for j := g[0]; j < g[1]; j++ {
			high, low := hexDigit(text[at]), hexDigit(text[at+1])
			if high < 0 || low < 0 {
				return [16]byte{}, errUUIDText
			}
			v[j] = byte(high<<4 | low)
			at += 2
		}
	}
	return v, nil
}

// hexDigit returns the value of c, or -1.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
