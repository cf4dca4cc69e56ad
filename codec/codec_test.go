package codec_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/codec/codectest"
)

// source has the shape of the DSL's functions: both types are inferred from the
// codecs. That these calls compile is the test.
func source[K, V any](_ codec.Codec[K], _ codec.Codec[V]) (k K, v V) { return k, v }

func TestTypesAreInferred(t *testing.T) {
	type event struct{ Name string }
	eventCodec := codec.Msgpack[event](codec.Strict())
	k, v := source(codec.String, codec.Int64)
	k2, v2 := source(codec.UUID, eventCodec)
	k3, v3 := source(codec.Bytes, codec.JSON[[]event]())
	k4, v4 := source(codectest.Poison(codec.Codec[string](codec.String)), codec.Time)
	for _, pair := range [][2]any{
		{k, ""}, {v, int64(0)}, {k2, [16]byte{}}, {v2, event{}},
		{k3, []byte(nil)}, {v3, []event(nil)}, {k4, ""}, {v4, time.Time{}},
	} {
		if got, want := reflect.TypeOf(pair[0]), reflect.TypeOf(pair[1]); got != want {
			t.Errorf("inferred %v, want %v", got, want)
		}
	}
}

// golden checks the bytes of a value, in hexadecimal.
func golden[T any](t *testing.T, c codec.Codec[T], v T, want string) {
	t.Helper()
	b, err := c.Append(nil, v)
	if got := hex.EncodeToString(b); got != want || err != nil {
		t.Errorf("Append(%v) = %s, %v, want %s", v, got, err, want)
	}
	codectest.RoundTrip(t, c, v)
}

func TestGoldenBytes(t *testing.T) {
	id := [16]byte{0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00}
	golden(t, codec.String, "gpt-é", "6770742dc3a9")
	golden(t, codec.String, "", "")
	golden(t, codec.Bytes, []byte{0, 255}, "00ff")
	golden(t, codec.Int32, -2, "fffffffe")
	golden(t, codec.Int64, 60_000, "000000000000ea60")
	golden(t, codec.Int64, math.MinInt64, "8000000000000000")
	golden(t, codec.Float64, -1.5, "bff8000000000000")
	golden(t, codec.Time, time.UnixMilli(-1).UTC(), "ffffffffffffffff")
	golden(t, codec.Time, time.Time{}, "ffffc77cedd32800")
	golden(t, codec.UUID, id, "123e4567e89b12d3a456426614174000")
	golden(t, codec.UUIDText, id, hex.EncodeToString([]byte("123e4567-e89b-12d3-a456-426614174000")))
}

func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		codectest.RoundTrip(t, codec.String, rapid.String().Draw(r, "string"))
		codectest.RoundTrip(t, codec.Int32, rapid.Int32().Draw(r, "int32"))
		codectest.RoundTrip(t, codec.Int64, rapid.Int64().Draw(r, "int64"))
		codectest.RoundTrip(t, codec.Float64, rapid.Float64().Draw(r, "float64"))
		codectest.RoundTrip(t, codec.Time, time.UnixMilli(rapid.Int64Range(-1e14, 1e14).Draw(r, "time")).UTC())
		id := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(r, "uuid"))
		codectest.RoundTrip(t, codec.UUID, id)
		codectest.RoundTrip(t, codec.UUIDText, id)
	})
}

// TestUUIDFormsSortAlike checks what the documentation of UUID promises.
func TestUUIDFormsSortAlike(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(r, "a"))
		b := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(r, "b"))
		textA, _ := codec.UUIDText.Append(nil, a)
		textB, _ := codec.UUIDText.Append(nil, b)
		if bytes.Compare(a[:], b[:]) != bytes.Compare(textA, textB) {
			r.Fatalf("%x and %x sort otherwise as text", a, b)
		}
	})
}

func TestWrongLengths(t *testing.T) {
	for name, err := range map[string]error{
		"int32":     second(codec.Int32.Decode(make([]byte, 3))),
		"int64":     second(codec.Int64.Decode(make([]byte, 9))),
		"float64":   second(codec.Float64.Decode(nil)),
		"time":      second(codec.Time.Decode(make([]byte, 4))),
		"UUID":      second(codec.UUID.Decode(make([]byte, 36))),
		"UUID text": second(codec.UUIDText.Decode(make([]byte, 16))),
	} {
		if !errors.Is(err, codec.ErrDecode) {
			t.Errorf("%s: got %v, want ErrDecode", name, err)
		}
	}
	_, err := codec.Int64.Decode([]byte("abc"))
	if want := "codec: cannot decode an int64 from 3 bytes: want 8"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	const id = "123e4567-e89b-12d3-a456-426614174000"
	for i := range id {
		b := []byte(id)
		b[i] = 'x'
		codectest.Refuses(t, codec.UUIDText, b)
	}
	upper, err := codec.UUIDText.Decode(bytes.ToUpper([]byte(id)))
	if lower, _ := codec.UUIDText.Decode([]byte(id)); upper != lower || err != nil {
		t.Errorf("upper case gives %x, %v", upper, err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestPoisonShowsAliases checks both ways: a value that aliases its input is
// spoilt, and one that does not is not.
func TestPoisonShowsAliases(t *testing.T) {
	poisoned := codectest.Poison(codec.Codec[string](codec.String))
	input := []byte("model")
	kept, err := poisoned.Decode(input)
	if err != nil || kept != "model" {
		t.Fatalf("Decode = %q, %v", kept, err)
	}
	if n := poisoned.Scribble(); n != 1 || kept != "\xdb\xdb\xdb\xdb\xdb" || string(input) != "model" {
		t.Errorf("%d inputs, kept %q, input %q", n, kept, input)
	}
	if n := poisoned.Scribble(); n != 0 {
		t.Errorf("%d inputs scribbled over twice", n)
	}
	numbers := codectest.Poison(codec.Codec[int64](codec.Int64))
	n, err := numbers.Decode([]byte{0, 0, 0, 0, 0, 0, 0, 7})
	if numbers.Scribble(); n != 7 || err != nil {
		t.Errorf("a number became %d, %v", n, err)
	}
}
