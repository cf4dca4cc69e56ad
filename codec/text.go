package codec

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// base64Prefix begins the text form of bytes that are no readable text.
const base64Prefix = "base64:"

// ParseKey turns the text form of a key, as it stands in a URL, into the bytes
// that c writes for it. The text form of a string is the string itself; of
// bytes, their UTF-8 text, or "base64:" and standard Base64; of numbers,
// decimal; of a [16]byte, a UUID; of a time, RFC 3339 or Unix milliseconds; of
// any other type, JSON. The error says what is wanted and wraps ErrText.
func ParseKey[T any](c Codec[T], text string) ([]byte, error) {
	var v T
	if want, err := parseText(text, &v); err != nil {
		return nil, fmt.Errorf("%w %q: want %s: %w", ErrText, text, want, err)
	}
	return c.Append(nil, v)
}

// parseText sets *p from text. If that fails it returns what it wanted.
func parseText(text string, p any) (want string, err error) {
	switch p := p.(type) {
	case *string:
		*p = text
		return "", nil
	case *[]byte:
		*p = []byte(text)
		if encoded, ok := strings.CutPrefix(text, base64Prefix); ok {
			*p, err = base64.StdEncoding.DecodeString(encoded)
		}
		return "text, or " + base64Prefix + " and Base64", err
	case *int32:
		n, err := strconv.ParseInt(text, 10, 32)
		*p = int32(n)
		return "an integer of 32 bits", err
	case *int64:
		*p, err = strconv.ParseInt(text, 10, 64)
		return "an integer of 64 bits", err
	case *float64:
		*p, err = strconv.ParseFloat(text, 64)
		return "a number", err
	case *[16]byte:
		*p, err = parseUUIDText(text)
		return "a UUID", err
	case *time.Time:
		*p, err = parseTime(text)
		return "a time as RFC 3339 or Unix milliseconds", err
	}
	return "JSON", json.Unmarshal([]byte(text), p)
}

func parseTime(text string) (time.Time, error) {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.UnixMilli(ms), nil
	}
	return time.Parse(time.RFC3339Nano, text)
}

// JSONValue turns the bytes of a key or value into a value that encoding/json
// writes as people expect: a UUID as its text, bytes as text (with "base64:"
// where they are none), NaN and infinities, which JSON lacks, as strings, times
// that RFC 3339 lacks as Unix milliseconds, all others as they are. What it
// returns for a key, written as text, ParseKey takes back; but of a string that
// is not UTF-8, JSON writes U+FFFD for what is not. The result may alias b.
func JSONValue[T any](c Codec[T], b []byte) (any, error) {
	v, err := c.Decode(b)
	if err != nil {
		return nil, err
	}
	switch v := any(v).(type) {
	case [16]byte:
		return string(appendUUIDText(nil, v)), nil
	case []byte:
		if utf8.Valid(v) && !strings.HasPrefix(string(v), base64Prefix) {
			return string(v), nil
		}
		return base64Prefix + base64.StdEncoding.EncodeToString(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return strconv.FormatFloat(v, 'g', -1, 64), nil
		}
	case time.Time:
		if year := v.Year(); year < 0 || year > 9999 { // RFC 3339 ends there
			return strconv.FormatInt(v.UnixMilli(), 10), nil
		}
	}
	return v, nil
}
