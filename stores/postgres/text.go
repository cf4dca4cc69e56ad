package postgres

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/codec"
)

// decoded is a codec of a value that is decoded already.
type decoded struct{ v any }

func (decoded) Append(dst []byte, _ any) ([]byte, error) { return dst, nil }
func (d decoded) Decode([]byte) (any, error)             { return d.v, nil }

// plain returns a key or value in the form of codec.JSONValue. Aggregates come as
// pointers.
func plain(v any) (any, error) {
	switch p := v.(type) {
	case *float64:
		v = *p
	case *[]byte:
		v = *p
	case *[16]byte:
		v = *p
	case *time.Time:
		v = *p
	}
	return codec.JSONValue[any](decoded{v}, nil)
}

// keyText returns the text form of a key, as it stands in the URLs of queries; that
// of a key that has none is its bytes in hexadecimal.
func keyText(key any, encoded []byte) string {
	v, err := plain(key)
	if err != nil {
		return hex.EncodeToString(encoded)
	}
	if s, ok := v.(string); ok {
		return cleanText(s)
	}
	b, err := codec.JSON[any]().Append(nil, v)
	if err != nil {
		return hex.EncodeToString(encoded)
	}
	return cleanText(string(b))
}

// cleanText leaves out what PostgreSQL takes for no text.
func cleanText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

// jsonOf returns the JSON of a value; nil for one that JSON, or PostgreSQL's kind
// of it, cannot say.
func jsonOf(value any) any {
	v, err := plain(value)
	if err != nil {
		return nil
	}
	b, err := codec.JSON[any]().Append(nil, v)
	if err != nil || !isJSONB(b) {
		return nil
	}
	return json.RawMessage(bytes.ToValidUTF8(b, []byte("\uFFFD")))
}

// What jsonb takes is bounded by its numeric type and by the server's stack; these
// bounds lie well within both.
const maxDigits, maxExponentDigits, maxDepth = 1000, 4, 1000

// isJSONB reports whether PostgreSQL's jsonb takes b, which is valid JSON: it
// refuses the character 0, halves of surrogate pairs, numbers that its numeric type
// cannot hold, and what is nested too deep.
func isJSONB(b []byte) bool {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			n, ok := textOf(b[i+1:])
			if !ok {
				return false
			}
			i += n
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case c == '}' || c == ']':
			depth--
		case c == '-' || c >= '0' && c <= '9':
			n := i
			for n < len(b) && strings.IndexByte("+-.eE0123456789", b[n]) >= 0 {
				n++
			}
			number := b[i:n]
			digits := number
			if e := bytes.IndexAny(number, "eE"); e >= 0 {
				digits = number[:e]
				if exponent := bytes.TrimLeft(number[e+1:], "+-0"); len(exponent) > maxExponentDigits {
					return false
				}
			}
			if len(digits) > maxDigits {
				return false
			}
			i = n - 1
		}
	}
	return true
}

// textOf returns the length of a JSON string behind its first quotation mark, with
// the last one, and whether jsonb takes it.
func textOf(b []byte) (n int, ok bool) {
	high := false // the last character was the first half of a pair
	for i := 0; i < len(b); {
		if b[i] != '\\' || b[i+1] != 'u' {
			if high {
				return 0, false
			}
			if b[i] == '"' {
				return i + 1, true
			}
			if b[i] == '\\' {
				i++
			}
			i++
			continue
		}
		code, err := strconv.ParseUint(string(b[i+2:i+6]), 16, 16)
		low := code >= 0xDC00 && code < 0xE000
		if err != nil || code == 0 || low != high {
			return 0, false
		}
		high = code >= 0xD800 && code < 0xDC00
		i += 6
	}
	return 0, false
}
