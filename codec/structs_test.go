package codec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/msgp"
)

// reading is encoded by reflection.
type reading struct {
	Model  string   `msgpack:"model"`
	Count  int64    `msgpack:"count"`
	Share  float64  `json:"share"`
	Name   string   `msgpack:"name,omitempty"`
	Nested []nested `msgpack:"nested"`
}

type nested struct {
	ID [2]byte           `msgpack:"id"`
	M  map[string]string `msgpack:"m"`
}

// point has methods of its own that write the same as reflection would.
type point struct {
	X int64  `msgpack:"x"`
	S string `msgpack:"s"`
}

func (p point) AppendMsgpack(dst []byte) ([]byte, error) {
	if p.S == "bad" {
		return append(dst, "half"...), errBadPoint
	}
	dst = msgp.AppendMapLen(dst, 2)
	dst = msgp.AppendInt(msgp.AppendStr(dst, "x"), p.X)
	return msgp.AppendStr(msgp.AppendStr(dst, "s"), p.S), nil
}

func (p *point) ParseMsgpack(b []byte, strict bool) ([]byte, error) {
	r := msgp.NewReader(b)
	for range r.MapLen() {
		switch name := r.Str(); {
		case name == "x":
			p.X = r.Int()
		case name == "s":
			p.S = r.Str()
		case strict:
			return nil, errBadPoint
		default:
			r.Skip()
		}
	}
	return nil, r.Close()
}

var errBadPoint = errors.New("bad point")

// remainder leaves bytes behind.
type remainder struct{}

func (*remainder) ParseMsgpack(b []byte, _ bool) ([]byte, error) { return b[1:], nil }

func anyPoint(r *rapid.T) point {
	return point{rapid.Int64().Draw(r, "x"), rapid.StringMatching(`.{0,300}`).Draw(r, "s")}
}

// TestMsgpackPathsAgree writes and reads each value by reflection and by its own
// methods, crosswise.
func TestMsgpackPathsAgree(t *testing.T) {
	own, reflecting := newMsgpack[point](options{}, true), newMsgpack[point](options{}, false)
	if !own.appends || !own.parses || reflecting.appends || reflecting.parses {
		t.Fatal("the codecs do not take the paths that this test compares")
	}
	rapid.Check(t, func(r *rapid.T) {
		p := anyPoint(r)
		if p.S == "bad" {
			return
		}
		a, errA := own.Append(nil, p)
		b, errB := reflecting.Append(nil, p)
		if !bytes.Equal(a, b) || errA != nil || errB != nil {
			r.Fatalf("%+v: %x, %v by its method; %x, %v by reflection", p, a, errA, b, errB)
		}
		x, errX := own.Decode(b)
		y, errY := reflecting.Decode(a)
		if x != p || y != p || errX != nil || errY != nil {
			r.Fatalf("%+v came back as %+v, %v and %+v, %v", p, x, errX, y, errY)
		}
	})
}

func TestMsgpackGolden(t *testing.T) {
	c := Msgpack[reading]()
	v := reading{Model: "m", Count: 300, Share: 0.5, Nested: []nested{{ID: [2]byte{1, 2}, M: map[string]string{"b": "2", "a": "1"}}}}
	const want = "84" + "a56d6f64656c" + "a16d" + "a5636f756e74" + "cd012c" + "a57368617265" + "cb3fe0000000000000" +
		"a66e6573746564" + "91" + "82" + "a26964" + "c4020102" + "a16d" + "82" + "a161a131" + "a162a132"
	b, err := c.Append(nil, v)
	if got := hex.EncodeToString(b); got != want || err != nil {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	back, err := c.Decode(b)
	if err != nil || back.Share != 0.5 || back.Nested[0].M["b"] != "2" || back.Nested[0].ID != [2]byte{1, 2} {
		t.Errorf("came back as %+v, %v", back, err)
	}
}

// TestStrictAndLenient gives every kind of codec a field that its type lacks.
func TestStrictAndLenient(t *testing.T) {
	unknown, err := msgpack.Marshal(map[string]any{"model": "m", "new": []int{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	point3 := msgp.AppendInt(msgp.AppendStr(msgp.AppendMapLen(nil, 1), "z"), 3)
	check := func(name string, decode func() error, strict bool) {
		t.Helper()
		if err := decode(); strict != errors.Is(err, ErrDecode) || !strict && err != nil {
			t.Errorf("%s, strict %v: %v", name, strict, err)
		}
	}
	for _, strict := range []bool{false, true} {
		var opts []Option
		if strict {
			opts = append(opts, Strict())
		}
		check("msgpack", func() error { _, err := Msgpack[reading](opts...).Decode(unknown); return err }, strict)
		check("own msgpack", func() error { _, err := Msgpack[point](opts...).Decode(point3); return err }, strict)
		check("JSON", func() error { _, err := JSON[nested](opts...).Decode([]byte(`{"new":1}`)); return err }, strict)
	}
}

func TestTrailingBytes(t *testing.T) {
	value, err := Msgpack[reading]().Append(nil, reading{})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"msgpack":     decodeOnly(Msgpack[reading](), append(value, 0xc0)),
		"own msgpack": decodeOnly(Msgpack[remainder](), []byte{1, 2}),
		"JSON":        decodeOnly(JSON[int](), []byte("1 2")),
		"strict JSON": decodeOnly(JSON[int](Strict()), []byte("1 2")),
		"brace":       decodeOnly(JSON[int](Strict()), []byte("1}")),
	} {
		if !errors.Is(err, ErrDecode) {
			t.Errorf("%s: got %v, want ErrDecode", name, err)
		}
	}
	for _, c := range []Codec[int]{JSON[int](), JSON[int](Strict())} {
		if v, err := c.Decode([]byte(" 12\n")); v != 12 || err != nil {
			t.Errorf("white space around a value: %d, %v", v, err)
		}
	}
}

func decodeOnly[T any](c Codec[T], b []byte) error {
	_, err := c.Decode(b)
	return err
}

func TestErrorsSayWhat(t *testing.T) {
	_, err := Msgpack[reading]().Decode([]byte("\xa1x"))
	if err == nil || !strings.HasPrefix(err.Error(), "codec: cannot decode codec.reading as msgpack from 2 bytes: ") {
		t.Errorf("got %v", err)
	}
	dst := []byte("kept")
	out, err := Msgpack[point]().Append(dst, point{S: "bad"})
	if !errors.Is(err, ErrEncode) || !errors.Is(err, errBadPoint) || string(out) != "kept" {
		t.Errorf("Append = %q, %v", out, err)
	}
	out, err = JSON[float64]().Append(dst, math.NaN())
	if !errors.Is(err, ErrEncode) || string(out) != "kept" {
		t.Errorf("Append = %q, %v", out, err)
	}
	out, err = Msgpack[chan int]().Append(dst, make(chan int))
	if !errors.Is(err, ErrEncode) || string(out) != "kept" {
		t.Errorf("Append = %q, %v", out, err)
	}
}

// TestHostileMsgpack gives the reflecting decoder what would exhaust the stack or
// the memory if it were believed.
func TestHostileMsgpack(t *testing.T) {
	deep := bytes.Repeat([]byte{0x91}, 64<<20)
	field := msgp.AppendStr(msgp.AppendMapLen(nil, 1), "f")
	type open struct {
		F any            `msgpack:"f"`
		M map[string]any `msgpack:"m"`
	}
	for name, c := range map[string]struct {
		bytes []byte
		want  error
	}{
		"nesting":            {deep, errMsgpackDeep},
		"nested field":       {append(bytes.Clone(field), deep...), errMsgpackDeep},
		"huge map":           {[]byte("\xdf\xff\xff\xff\xff"), errMsgpackShort},
		"huge map in field":  {append(bytes.Clone(field), "\xdf\x7f\xff\xff\xff"...), errMsgpackShort},
		"huge array":         {[]byte("\xdd\xff\xff\xff\xff"), errMsgpackShort},
		"huge string":        {[]byte("\xdb\xff\xff\xff\xffx"), errMsgpackShort},
		"nothing":            {nil, errMsgpackShort},
		"no length":          {[]byte{0xda, 0}, errMsgpackShort},
		"never used":         {[]byte{0xc1}, errMsgpackCode},
		"extension":          {[]byte("\xd6\x05aaaa"), errMsgpackExt},
		"long timestamp":     {[]byte("\xc7\x0d\xff1234567890123"), errMsgpackExt},
		"large, with a time": {append(msgp.AppendBytes(msgp.AppendArrayLen(nil, 2), make([]byte, 1<<20)), "\xd6\xff\x00\x00\x00\x01"...), errMsgpackExt},
		"two values":         {[]byte{1, 2}, errTrailing},
	} {
		if err := decodeOnly(Msgpack[open](), c.bytes); !errors.Is(err, c.want) || !errors.Is(err, ErrDecode) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if err := decodeOnly(Msgpack[any](), deep[:maxDepth]); !errors.Is(err, errMsgpackShort) {
		t.Errorf("at the greatest depth: %v", err)
	}
	if err := decodeOnly(Msgpack[any](), append(deep[:maxDepth:maxDepth], 1)); err != nil {
		t.Errorf("at the greatest depth: %v", err)
	}
	if err := decodeOnly(Msgpack[[]byte](), msgp.AppendBytes(nil, make([]byte, 2<<20))); err != nil {
		t.Errorf("a large flat value: %v", err)
	}
	if err := decodeOnly(Msgpack[map[any]int](), []byte{0x81, 0x91, 1, 1}); !errors.Is(err, ErrDecode) {
		t.Errorf("a key that cannot be one: %v", err)
	}
}

// TestDeepestWrapped is the deepest that a value gets past the check: a
// timestamp where a map is wanted turns what follows, bytes to the check, into
// arrays.
func TestDeepestWrapped(t *testing.T) {
	// To the check: {"n": timestamp, long string: 1}. To the decoder n is a map
	// whose f is an array of a string, which swallows the head of the long one,
	// and of nested arrays.
	b := []byte("\x82\xa1n\xd7\xff\x82\xa1f\x92\xa8xxx")
	long := maxExtended - len(b) - 6
	b = append(b, 0xdb, byte(long>>24), byte(long>>16), byte(long>>8), byte(long))
	b = append(append(b, bytes.Repeat([]byte{0x91}, long)...), 1)
	if err := checkMsgpack(b); err != nil || len(b) != maxExtended {
		t.Fatalf("%d bytes do not pass the check: %v", len(b), err)
	}
	err := decodeOnly(Msgpack[struct {
		N map[string]any `msgpack:"n"`
	}](), b)
	if !errors.Is(err, ErrDecode) || !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end of the input, after all of it was descended", err)
	}
}

func TestMsgpackTimes(t *testing.T) {
	type event struct {
		At   time.Time
		Next *time.Time
		In   time.Duration
	}
	for _, at := range []time.Time{time.Unix(1, 0), time.Unix(1, 5), time.Unix(1<<40, 5), time.Unix(-1, 0)} {
		v := event{At: at, Next: &at, In: time.Second}
		b, err := Msgpack[event]().Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Msgpack[event]().Decode(b)
		if err != nil || !got.At.Equal(at) || !got.Next.Equal(at) || got.In != time.Second {
			t.Errorf("%+v came back as %+v, %v", v, got, err)
		}
	}
}

// TestCheckAcceptsWhatIsWritten compares the check with the library's encoder.
func TestCheckAcceptsWhatIsWritten(t *testing.T) {
	values := rapid.Deferred(func() *rapid.Generator[any] {
		return rapid.OneOf(
			rapid.Map(rapid.Int64(), func(v int64) any { return v }),
			rapid.Map(rapid.Uint64(), func(v uint64) any { return v }),
			rapid.Map(rapid.Float32(), func(v float32) any { return v }),
			rapid.Map(rapid.Float64(), func(v float64) any { return v }),
			rapid.Map(rapid.Bool(), func(v bool) any { return v }),
			rapid.Map(rapid.StringN(0, 300, 70_000), func(v string) any { return v }),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 300), func(v []byte) any { return v }),
			rapid.Map(rapid.SliceOfN(rapid.Int8(), 0, 40), func(v []int8) any { return v }),
			rapid.Map(rapid.MapOfN(rapid.String(), rapid.Int(), 0, 40), func(v map[string]int) any { return v }),
			rapid.Map(rapid.Int64(), func(v int64) any { return time.Unix(v%1e12, v&0xfffff) }),
		)
	})
	rapid.Check(t, func(t *rapid.T) {
		b, err := msgpack.Marshal(rapid.SliceOfN(values, 0, 5).Draw(t, "values"))
		if err != nil {
			t.Fatal(err)
		}
		if err := checkMsgpack(b); err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		for n := range b {
			if checkMsgpack(b[:n]) == nil {
				t.Fatalf("%x is whole without its last %d bytes", b, len(b)-n)
			}
		}
	})
}

func TestJSONGolden(t *testing.T) {
	b, err := JSON[map[string]string]().Append([]byte("x"), map[string]string{"b": "<&>", "a": ""})
	if want := `x{"a":"","b":"<&>"}`; string(b) != want || err != nil {
		t.Errorf("got %s, %v, want %s", b, err, want)
	}
}

func FuzzMsgpackDecode(f *testing.F) {
	c, strict := Msgpack[reading](), Msgpack[any](Strict())
	value, err := c.Append(nil, reading{Model: "m", Nested: []nested{{}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add([]byte{0xdf, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xc7, 0x00, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = strict.Decode(b)
		v, err := c.Decode(b)
		if err != nil {
			return
		}
		if _, err := c.Append(nil, v); err != nil {
			t.Fatalf("%+v was decoded but cannot be encoded: %v", v, err)
		}
	})
}
