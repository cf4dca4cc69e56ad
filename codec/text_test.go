package codec_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/codec"
)

type pair struct {
	A string `json:"a"`
	B int    `json:"b"`
}

// parses checks that text is the same key as v.
func parses[T any](t *testing.T, c codec.Codec[T], text string, v T) {
	t.Helper()
	want, err := c.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := codec.ParseKey(c, text); string(got) != string(want) || err != nil {
		t.Errorf("ParseKey(%q) = %x, %v, want %x", text, got, err, want)
	}
}

// fails checks that text is no key, and what the error says is wanted.
func fails[T any](t *testing.T, c codec.Codec[T], text, want string) {
	t.Helper()
	got, err := codec.ParseKey(c, text)
	if !errors.Is(err, codec.ErrText) || !strings.Contains(err.Error(), "want "+want) || got != nil {
		t.Errorf("ParseKey(%q) = %x, %v, want an error that wants %s", text, got, err, want)
	}
}

func TestParseKey(t *testing.T) {
	id := [16]byte{0x12, 0x3e, 0x45, 0x67, 15: 1}
	const idText = "123e4567-0000-0000-0000-000000000001"
	parses(t, codec.String, "gpt 4/ü", "gpt 4/ü")
	parses(t, codec.String, "12", "12")
	parses(t, codec.Int32, "-7", -7)
	parses(t, codec.Int64, "9223372036854775807", math.MaxInt64)
	parses(t, codec.Float64, "1e3", 1000)
	parses(t, codec.UUID, idText, id)
	parses(t, codec.UUIDText, strings.ToUpper(idText), id)
	parses(t, codec.Time, "2026-01-01T00:00:00.5+01:00", time.UnixMilli(1767222000500))
	parses(t, codec.Time, "1767222000500", time.UnixMilli(1767222000500))
	parses(t, codec.Bytes, "text", []byte("text"))
	parses(t, codec.Bytes, "base64:AP8=", []byte{0, 255})
	parses(t, codec.Msgpack[pair](), `{"a":"x","b":3}`, pair{"x", 3})
	parses(t, codec.JSON[bool](), "true", true)

	fails(t, codec.Int32, "2147483648", "an integer of 32 bits")
	fails(t, codec.Int64, "x", "an integer of 64 bits")
	fails(t, codec.Float64, "", "a number")
	fails(t, codec.UUID, idText[1:], "a UUID")
	fails(t, codec.Time, "yesterday", "a time as RFC 3339")
	fails(t, codec.Bytes, "base64:%", "text, or base64:")
	fails(t, codec.Msgpack[pair](), "a=1", "JSON")
}

func TestJSONValue(t *testing.T) {
	for _, c := range []struct {
		name string
		got  func() (any, error)
		want string
	}{
		{"string", func() (any, error) { return codec.JSONValue(codec.String, []byte("a")) }, `"a"`},
		{"int", func() (any, error) { return codec.JSONValue(codec.Int64, make([]byte, 8)) }, `0`},
		{"uuid", func() (any, error) { return codec.JSONValue(codec.UUID, make([]byte, 16)) }, `"00000000-0000-0000-0000-000000000000"`},
		{"time", func() (any, error) { return codec.JSONValue(codec.Time, make([]byte, 8)) }, `"1970-01-01T00:00:00Z"`},
		{"last year", func() (any, error) {
			return codec.JSONValue(codec.Time, binary.BigEndian.AppendUint64(nil, 253402300800000))
		}, `"253402300800000"`},
		{"first year", func() (any, error) {
			return codec.JSONValue(codec.Time, binary.BigEndian.AppendUint64(nil, 1<<63))
		}, `"-9223372036854775808"`},
		{"text", func() (any, error) { return codec.JSONValue(codec.Bytes, []byte("a")) }, `"a"`},
		{"bytes", func() (any, error) { return codec.JSONValue(codec.Bytes, []byte{0xff}) }, `"base64:/w=="`},
		{"NaN", func() (any, error) {
			return codec.JSONValue(codec.Float64, []byte{0x7f, 0xf8, 0, 0, 0, 0, 0, 0})
		}, `"NaN"`},
		{"struct", func() (any, error) {
			return codec.JSONValue(codec.JSON[pair](), []byte(`{"b":1,"a":"x"}`))
		}, `{"a":"x","b":1}`},
	} {
		v, err := c.got()
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if b, err := json.Marshal(v); string(b) != c.want || err != nil {
			t.Errorf("%s: %s, %v, want %s", c.name, b, err, c.want)
		}
	}
	if v, err := codec.JSONValue(codec.Int64, []byte("x")); !errors.Is(err, codec.ErrDecode) {
		t.Errorf("bad bytes gave %v, %v", v, err)
	}
}

func TestBytesAsTextAndBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		b := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Just([]byte("base64:AA=="))).Draw(r, "bytes")
		v, err := codec.JSONValue(codec.Bytes, b)
		if err != nil {
			r.Fatal(err)
		}
		if back, err := codec.ParseKey(codec.Bytes, v.(string)); string(back) != string(b) || err != nil {
			r.Fatalf("%q became %q and %q, %v", b, v, back, err)
		}
	})
}
