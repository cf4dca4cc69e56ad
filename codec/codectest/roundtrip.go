package codectest

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/millrace/millrace/codec"
)

// RoundTrip checks that c keeps the contract of Codec for each of the values:
// Append leaves what was in dst and appends the same bytes each time; Decode
// returns a value equal to the first (in the sense of reflect.DeepEqual) and
// leaves its input as it was; and bytes cut short never panic.
func RoundTrip[T any](t testing.TB, c codec.Codec[T], values ...T) {
	t.Helper()
	for _, v := range values {
		b, err := c.Append(nil, v)
		if err != nil {
			t.Errorf("Append(%#v): %v", v, err)
			continue
		}
		prefix := []byte("prefix")
		longer, err := c.Append(prefix[:len(prefix):len(prefix)], v)
		if err != nil || !bytes.HasPrefix(longer, prefix) || !bytes.Equal(longer[len(prefix):], b) {
			t.Errorf("Append(%q, %#v) = %q, %v; want the prefix and %q", prefix, v, longer, err, b)
		}
		before := bytes.Clone(b)
		got, err := c.Decode(b)
		if err != nil {
			t.Errorf("Decode(%q) of %#v: %v", b, v, err)
			continue
		}
		if !reflect.DeepEqual(got, v) {
			t.Errorf("Decode(%q) = %#v, want %#v", b, got, v)
		}
		if !bytes.Equal(b, before) {
			t.Errorf("Decode changed its input from %q to %q", before, b)
		}
		for n := range b {
			_, _ = c.Decode(b[:n:n])
		}
	}
}

// Refuses checks that c decodes none of the inputs.
func Refuses[T any](t testing.TB, c codec.Codec[T], inputs ...[]byte) {
	t.Helper()
	for _, b := range inputs {
		if v, err := c.Decode(b); err == nil {
			t.Errorf("Decode(%q) = %#v, want an error", b, v)
		}
	}
}
