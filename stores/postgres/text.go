package postgres

import (
	"bytes"
	"encoding/json"
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

// keyText returns the text form of a key, as it stands in the URLs of queries.
func keyText(key any) (string, error) {
	v, err := plain(key)
	if err != nil {
		return "", err
	}
	if s, ok := v.(string); ok {
		return cleanText(s), nil
	}
	b, err := codec.JSON[any]().Append(nil, v)
	return cleanText(string(b)), err
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
	if err != nil || bytes.Contains(b, []byte(`\u0000`)) {
		return nil
	}
	return json.RawMessage(bytes.ToValidUTF8(b, []byte("\uFFFD")))
}
