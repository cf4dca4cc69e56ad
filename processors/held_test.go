package processors

import (
	"bytes"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/window"
)

func TestHeldRoundTrip(t *testing.T) {
	c := HeldCodec[string](codec.String)
	result := func(t *rapid.T) *HeldResult[string] {
		if rapid.Bool().Draw(t, "nil") {
			return nil
		}
		r := &HeldResult[string]{
			Value: rapid.String().Draw(t, "value"), Time: rapid.Int64().Draw(t, "time"),
			Pane: window.Pane{
				Kind: window.PaneKind(rapid.IntRange(0, 3).Draw(t, "kind")), Sequence: rapid.Int64Range(0, window.MaxTime).Draw(t, "sequence"),
				Final: rapid.Bool().Draw(t, "final"), Retracted: rapid.Bool().Draw(t, "retracted"),
			},
		}
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			h := Header{Key: rapid.String().Draw(t, "key")}
			if rapid.Bool().Draw(t, "not null") {
				h.Value = append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "header")...)
			}
			r.Headers = append(r.Headers, h)
		}
		return r
	}
	rapid.Check(t, func(t *rapid.T) {
		h := Held[string]{Time: rapid.Int64().Draw(t, "place"), Retraction: result(t), Result: result(t)}
		b, err := c.Append([]byte("before"), h)
		if err != nil || !bytes.HasPrefix(b, []byte("before")) {
			t.Fatalf("%q, %v", b, err)
		}
		b = b[len("before"):]
		got, err := c.Decode(b)
		if h.size = len(b); err != nil || !reflect.DeepEqual(got, h) {
			t.Fatalf("have %+v, %v; want %+v", got, err, h)
		}
		for n := range b {
			if _, err := c.Decode(b[:n]); err == nil {
				t.Fatalf("%d of %d bytes decode", n, len(b))
			}
		}
	})
}

// TestHeldKeysSort: as key, start and end do, negative ones too.
func TestHeldKeysSort(t *testing.T) {
	c := HeldKeyCodec[string](codec.String)
	var before []byte
	for _, k := range []HeldKey[string]{
		{"a", window.Window{Start: -5, End: 10}}, {"a", window.Window{Start: 5, End: 9}}, {"a", window.Window{Start: 5, End: 10}},
		{"b", window.Window{Start: -5, End: -1}},
	} {
		b, err := c.Append(nil, k)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Decode(b); err != nil || got != k {
			t.Errorf("have %+v, %v; want %+v", got, err, k)
		}
		if bytes.Compare(before, b) >= 0 {
			t.Errorf("%+v does not come after the one before", k)
		}
		before = b
	}
	if _, err := c.Decode(before[:15]); err == nil {
		t.Error("a key without a window decodes")
	}
	if _, err := codec.ParseKey(c, `{"key":"a"}`); err == nil {
		t.Error("a query can ask for a key, and would look in the wrong task")
	}
}
