package redis

import (
	"bytes"
	"encoding/json"
	"strings"
)

// appendFields appends the names and values of the fields of a result.
func appendFields(dst []string, value []byte) []string {
	if value == nil {
		return dst
	}
	n := len(dst)
	dst, ok := appendObject(dst, "", value)
	if !ok || len(dst)-n > 2*mostFields {
		return append(dst[:n], "value", string(value))
	}
	return dst
}

// appendObject appends the members of a JSON object, with a prefix before their
// names. It reports false for what is none.
func appendObject(dst []string, prefix string, value []byte) (out []string, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(value))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return dst, false
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return dst, false
		}
		var member json.RawMessage
		if err := dec.Decode(&member); err != nil {
			return dst, false
		}
		key := prefix + name.(string) // the name of a member is a string
		switch {
		case strings.HasPrefix(key, "@"): // such are the replica's own
		case member[0] == '{':
			if dst, ok = appendObject(dst, key+".", member); !ok {
				return dst, false
			}
		default:
			if text, ok := scalar(member); ok {
				dst = append(dst, key, text)
			}
		}
	}
	_, err := dec.Token()
	return dst, err == nil && !dec.More()
}

// scalar returns the text of a JSON value that is no object; of null there is
// none.
func scalar(member json.RawMessage) (text string, ok bool) {
	if string(member) == "null" {
		return "", false
	}
	if member[0] != '"' {
		return string(member), true
	}
	if json.Unmarshal(member, &text) != nil {
		return string(member), true
	}
	return text, true
}
