package delimited_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/delimited"
)

// TestWhatIsAppendedIsCut again, one after the other, strings as bytes.
func TestWhatIsAppendedIsCut(t *testing.T) {
	texts := []string{"", "a", "\x00", strings.Repeat("long", 100)}
	var b []byte
	for _, text := range texts {
		b = delimited.Append(b, text)
		b = delimited.Append(b, []byte(text))
	}
	for _, text := range texts {
		for range 2 {
			field, rest, ok := delimited.Cut(b)
			if !ok || string(field) != text {
				t.Fatalf("cut %q, %v, want %q", field, ok, text)
			}
			b = rest
		}
	}
	if len(b) != 0 {
		t.Errorf("%q is left", b)
	}
}

// TestWhatIsCutShortIsRefused, be it in the length or behind it, and a length that no
// int holds.
func TestWhatIsCutShortIsRefused(t *testing.T) {
	whole := delimited.Append(nil, bytes.Repeat([]byte{7}, 200))
	for n := range whole {
		if field, _, ok := delimited.Cut(whole[:n]); ok {
			t.Errorf("%d bytes of %d: cut %q", n, len(whole), field)
		}
	}
	for _, size := range []uint64{4, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64} {
		if field, _, ok := delimited.Cut(append(binary.AppendUvarint(nil, size), 1, 2, 3)); ok {
			t.Errorf("a length of %d before 3 bytes: cut %q", size, field)
		}
	}
	if _, _, ok := delimited.Cut(bytes.Repeat([]byte{0xff}, 11)); ok {
		t.Error("a varint of more than 64 bits is taken")
	}
}
