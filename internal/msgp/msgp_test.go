package msgp_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/msgp"
)

func Example() {
	b := msgp.AppendMapLen(nil, 2)
	b = msgp.AppendInt(msgp.AppendStr(b, "tokens"), 320)
	b = msgp.AppendBool(msgp.AppendStr(b, "cached"), true)

	r := msgp.NewReader(b)
	for range r.MapLen() {
		switch r.Str() {
		case "tokens":
			fmt.Println("tokens:", r.Int())
		default:
			r.Skip()
		}
	}
	fmt.Println(r.Close())
	// Output:
	// tokens: 320
	// <nil>
}

// TestIntegersAgreeWithV5 covers every width at its edges, in both directions
// and in every form that the other library writes.
func TestIntegersAgreeWithV5(t *testing.T) {
	var edges []int64
	for shift := range 63 {
		for d := int64(-2); d <= 2; d++ {
			edges = append(edges, int64(1)<<shift+d, -(int64(1)<<shift)+d)
		}
	}
	edges = append(edges, math.MinInt64, math.MaxInt64)
	for _, want := range edges {
		b := msgp.AppendInt(nil, want)
		var got int64
		if err := msgpack.Unmarshal(b, &got); err != nil || got != want {
			t.Errorf("v5 reads %x as %d, %v; want %d", b, got, err, want)
		}
		for _, compact := range []bool{false, true} {
			var buf bytes.Buffer
			enc := msgpack.NewEncoder(&buf)
			enc.UseCompactInts(compact)
			if err := enc.Encode(want); err != nil {
				t.Fatal(err)
			}
			r := msgp.NewReader(buf.Bytes())
			if got := r.Int(); got != want || r.Close() != nil {
				t.Errorf("Int(%x) = %d, %v; want %d", buf.Bytes(), got, r.Err(), want)
			}
		}
	}
}

func TestValuesAgreeWithV5(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s") + strings.Repeat("x", rapid.SampledFrom([]int{0, 31, 255, 256, 65536}).Draw(t, "pad"))
		f := rapid.Float64().Draw(t, "f")
		f32 := rapid.Float32().Draw(t, "f32")
		flag := rapid.Bool().Draw(t, "flag")
		data := []byte(s)

		b := msgp.AppendArrayLen(nil, 6)
		b = msgp.AppendStr(b, s)
		b = msgp.AppendBytes(b, data)
		b = msgp.AppendFloat(b, f)
		b = msgp.AppendFloat(b, float64(f32))
		b = msgp.AppendBool(b, flag)
		b = msgp.AppendNil(b)
		theirs, err := msgpack.Marshal([]any{s, data, f, float64(f32), flag, nil})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, theirs) {
			t.Fatalf("bytes differ:\n%x\n%x", b, theirs)
		}

		if theirs, err = msgpack.Marshal([]any{s, data, f, f32, flag, nil}); err != nil {
			t.Fatal(err)
		}
		r := msgp.NewReader(theirs)
		if n := r.ArrayLen(); n != 6 {
			t.Fatalf("ArrayLen = %d", n)
		}
		if got := r.Str(); got != s {
			t.Fatalf("Str = %q, want %q", got, s)
		}
		if got := r.Bytes(); !bytes.Equal(got, data) {
			t.Fatalf("Bytes = %x, want %x", got, data)
		}
		if got := r.Float(); got != f {
			t.Fatalf("Float = %v, want %v", got, f)
		}
		if got := r.Float(); got != float64(f32) {
			t.Fatalf("Float = %v, want %v", got, f32)
		}
		if got := r.Bool(); got != flag {
			t.Fatalf("Bool = %v", got)
		}
		if !r.Nil() || r.Close() != nil {
			t.Fatalf("Nil or Close: %v", r.Err())
		}
	})
}

// TestSkipEveryCode builds a value of every code and checks that Skip takes
// exactly its bytes, and reports each shorter input as truncated.
func TestSkipEveryCode(t *testing.T) {
	bodies := map[byte]int{ // bytes after the code, where all of them are 0
		0xc4: 1, 0xc5: 2, 0xc6: 4, 0xc7: 2, 0xc8: 3, 0xc9: 5, 0xca: 4, 0xcb: 8,
		0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8, 0xd0: 1, 0xd1: 2, 0xd2: 4, 0xd3: 8,
		0xd4: 2, 0xd5: 3, 0xd6: 5, 0xd7: 9, 0xd8: 17, 0xd9: 1, 0xda: 2, 0xdb: 4,
		0xdc: 2, 0xdd: 4, 0xde: 2, 0xdf: 4,
	}
	for c := range 256 {
		n := bodies[byte(c)]
		switch {
		case c&0xf0 == 0x80: // fixmap: pairs of zeros
			n = 2 * (c & 0x0f)
		case c&0xf0 == 0x90: // fixarray
			n = c & 0x0f
		case c&0xe0 == 0xa0: // fixstr
			n = c & 0x1f
		}
		value := append([]byte{byte(c)}, make([]byte, n)...)
		r := msgp.NewReader(append(bytes.Clone(value), 0xc3))
		r.Skip()
		if c == 0xc1 {
			if !errors.Is(r.Err(), msgp.ErrType) {
				t.Errorf("code c1: %v", r.Err())
			}
			continue
		}
		if !r.Bool() || r.Close() != nil {
			t.Errorf("code %x: what follows is not read: %v", c, r.Err())
		}
		for cut := range value {
			r := msgp.NewReader(value[:cut])
			if r.Skip(); !errors.Is(r.Err(), msgp.ErrTruncated) {
				t.Errorf("code %x cut to %d bytes: %v", c, cut, r.Err())
			}
		}
	}
}

func TestMisuseIsReported(t *testing.T) {
	deep := bytes.Repeat([]byte{0x91}, msgp.MaxDepth+2)
	cases := []struct {
		name string
		b    []byte
		read func(*msgp.Reader)
		want error
		text string
	}{
		{"int of string", msgp.AppendStr(nil, "x"), func(r *msgp.Reader) { r.Int() }, msgp.ErrType, "wrong type: want an integer, found a string"},
		{"float of nil", msgp.AppendNil(nil), func(r *msgp.Reader) { r.Float() }, msgp.ErrType, "wrong type: want a number, found nil"},
		{"whole of fraction", msgp.AppendFloat(nil, 1.5), func(r *msgp.Reader) { r.Whole() }, msgp.ErrType, "wrong type: want an integer, found the number 1.5"},
		{"whole of infinity", msgp.AppendFloat(nil, math.Inf(1)), func(r *msgp.Reader) { r.Whole() }, msgp.ErrType, "wrong type: want an integer, found the number +Inf"},
		{"string of binary", msgp.AppendBytes(nil, []byte("x")), func(r *msgp.Reader) { r.Str() }, msgp.ErrType, "wrong type: want a string, found binary data"},
		{"binary of int", []byte{1}, func(r *msgp.Reader) { r.Bytes() }, msgp.ErrType, "wrong type: want binary data, found an integer"},
		{"bool of int", []byte{1}, func(r *msgp.Reader) { r.Bool() }, msgp.ErrType, "wrong type: want a boolean, found an integer"},
		{"map of array", []byte{0x90}, func(r *msgp.Reader) { r.MapLen() }, msgp.ErrType, "wrong type: want a map, found an array"},
		{"array of map", []byte{0x80}, func(r *msgp.Reader) { r.ArrayLen() }, msgp.ErrType, "wrong type: want an array, found a map"},
		{"uint64", []byte{0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0}, func(r *msgp.Reader) { r.Int() }, msgp.ErrOverflow, "the integer does not fit 64 signed bits: 9223372036854775808"},
		{"trailing", []byte{1, 2}, func(r *msgp.Reader) { r.Int() }, msgp.ErrTrailing, "bytes after the end of the value: 1 of them at offset 1"},
		{"deep", deep, func(r *msgp.Reader) { r.Skip() }, msgp.ErrDepth, "nested too deep: more than 64 levels"},
		{"huge string", []byte{0xdb, 0xff, 0xff, 0xff, 0xff}, func(r *msgp.Reader) { r.Str() }, msgp.ErrTruncated, "the input ends inside a value of 5 bytes"},
		{"huge map", []byte{0xdf, 0xff, 0xff, 0xff, 0xff}, func(r *msgp.Reader) { r.MapLen() }, msgp.ErrTruncated, "the input ends inside a value of 5 bytes"},
		{"nothing", nil, func(r *msgp.Reader) { r.Int() }, msgp.ErrTruncated, "the input ends inside a value of 0 bytes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := msgp.NewReader(c.b)
			c.read(&r)
			err := r.Close()
			if !errors.Is(err, c.want) || err.Error() != c.text {
				t.Errorf("got %q, want %q", err, c.text)
			}
		})
	}
}

func TestWholeTakesFloats(t *testing.T) {
	r := msgp.NewReader(msgp.AppendFloat(msgp.AppendFloat(nil, 1.7e12), -3))
	if a, b := r.Whole(), r.Whole(); a != 1_700_000_000_000 || b != -3 || r.Close() != nil {
		t.Errorf("%d, %d, %v", a, b, r.Err())
	}
}

// FuzzSkip checks that whatever Skip accepts, the other library accepts too,
// and that no input makes the Reader panic.
func FuzzSkip(f *testing.F) {
	f.Add(msgp.AppendStr(msgp.AppendMapLen(nil, 1), "k"))
	f.Add([]byte{0xdf, 0xff, 0xff, 0xff, 0xff, 1, 2, 3})
	f.Add([]byte{0xc9, 0, 0, 0, 1, 5, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := msgp.NewReader(b)
		r.Skip()
		if r.Close() != nil {
			return
		}
		if err := msgpack.NewDecoder(bytes.NewReader(b)).Skip(); err != nil {
			t.Errorf("accepted %x, which v5 refuses: %v", b, err)
		}
	})
}
