package postgres

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestKeysThatAreNoText stand as their bytes.
func TestKeysThatAreNoText(t *testing.T) {
	for want, key := range map[string]any{
		"model":   "model",
		"a\uFFFD": "a\x00\xff",
		"7":       int64(7),
		"6b":      func() {}, // JSON cannot say it
	} {
		if got := keyText(key, []byte("k")); got != want {
			t.Errorf("%T: %q, want %q", key, got, want)
		}
	}
}

// TestJSONThatPostgreSQLRefuses is left out; what it takes is not.
func TestJSONThatPostgreSQLRefuses(t *testing.T) {
	for text, want := range map[string]bool{
		`{"a":"\ud83d\ude00 \\u0000 \"","b":[1,-2.5e10,true,null]}`: true,
		`"\\\\ud800"`:    true,
		`"a\u0000"`:      false,
		`{"\u0000":1}`:   false,
		`"\ud800"`:       false,
		`"\ud800 "`:      false,
		`"\ud800\n"`:     false,
		`"\ud800\ud800"`: false,
		`"\udc00"`:       false,
		`[1e9999]`:       true,
		`[1e-0000002]`:   true,
		`[1e200000]`:     false,
		`[1E-200000]`:    false,
		`[` + strings.Repeat("7", maxDigits+1) + `]`:                                     false,
		strings.Repeat(`[`, maxDepth) + strings.Repeat(`]`, maxDepth):                    true,
		strings.Repeat(`[`, maxDepth+1) + strings.Repeat(`]`, maxDepth+1):                false,
		`{"deep":"` + strings.Repeat(`[`, 2*maxDepth) + strings.Repeat("7", 2000) + `"}`: true,
	} {
		if !json.Valid([]byte(text)) {
			t.Errorf("%.60s is no JSON", text)
		}
		if got := jsonOf(json.RawMessage(text)) != nil; got != want {
			t.Errorf("%.60s: kept %t, want %t", text, got, want)
		}
	}
}
