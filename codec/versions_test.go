package codec_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

type (
	sum1 struct{ Sum int64 }
	sum2 struct{ Sum, Count int64 }
	sum3 struct {
		Sum   float64
		Count int64
	}
)

func from1() codec.Step {
	return codec.From(1, codec.JSON[sum1](), func(s sum1) (sum2, error) { return sum2{Sum: s.Sum}, nil })
}

func from2() codec.Step {
	return codec.From(2, codec.Msgpack[sum2](), func(s sum2) (sum3, error) {
		if s.Count < 0 {
			return sum3{}, errors.New("negative")
		}
		return sum3{Sum: float64(s.Sum) / 100, Count: 100 / (100 - s.Count)}, nil
	})
}

func encode[T any](t *testing.T, c codec.Codec[T], v T) []byte {
	t.Helper()
	b, err := c.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestEachVersionIsReadByThoseThatHaveItsStep: and by no others.
func TestEachVersionIsReadByThoseThatHaveItsStep(t *testing.T) {
	v1 := encode(t, codec.JSON[sum1](), sum1{Sum: 250})
	if b := encode(t, codec.Versioned(1, codec.JSON[sum1]()), sum1{Sum: 250}); !bytes.Equal(b, v1) {
		t.Errorf("version 1 is %q, want what its codec writes: %q", b, v1)
	}
	second := codec.Versioned(2, codec.Msgpack[sum2](), from1())
	v2 := encode(t, second, sum2{250, 0})
	third := codec.Versioned(3, codec.Msgpack[sum3](), from1(), from2())
	v3 := encode(t, third, sum3{2.5, 1})
	for i, b := range [][]byte{v1, v2, v3} {
		if v := codec.OldestIn(third, b); v != i+1 {
			t.Errorf("%q is of version %d, want %d", b, v, i+1)
		}
		got, err := third.Decode(b)
		if want := (sum3{2.5, 1}); err != nil || got != want {
			t.Errorf("version %d reads as %v, %v, want %v", i+1, got, err, want)
		}
	}
	if got, err := second.Decode(v1); err != nil || got != (sum2{250, 0}) {
		t.Errorf("%v, %v", got, err)
	}
	refused := func(err error, part string) {
		t.Helper()
		if !errors.Is(err, codec.ErrVersion) || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want %q", err, part)
		}
	}
	_, err := second.Decode(v3)
	refused(err, "it is of version 3, and the program writes version 2")
	_, err = codec.Versioned(3, codec.Msgpack[sum3](), from2()).Decode(v1)
	refused(err, "the steps from version 1 on")
	// A program from before there were versions must not read what has one.
	for _, plain := range []func([]byte) error{
		func(b []byte) error { _, err := codec.Msgpack[sum3]().Decode(b); return err },
		func(b []byte) error { _, err := codec.JSON[sum3]().Decode(b); return err },
	} {
		if plain(v3) == nil {
			t.Errorf("%q was read without its mark", v3)
		}
	}
}

func TestAStepThatFailsSaysWhich(t *testing.T) {
	third := codec.Versioned(3, codec.Msgpack[sum3](), from1(), from2())
	second := codec.Versioned(2, codec.Msgpack[sum2](), from1())
	for name, c := range map[string]struct {
		bytes []byte
		part  string
	}{
		"error": {encode(t, second, sum2{1, -1}), "from version 2 to 3: negative"},
		"panic": {encode(t, second, sum2{1, 100}), "from version 2 to 3: panic: runtime error: integer divide by zero"},
		"bytes": {[]byte("{"), "from version 1 to 2: codec: cannot decode"},
	} {
		if _, err := third.Decode(c.bytes); !errors.Is(err, codec.ErrUpgrade) || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: error %v, want %q", name, err, c.part)
		}
	}
}

func TestStepsThatDoNotFitAreFound(t *testing.T) {
	var none codec.Codec[sum3]
	for part, c := range map[string]codec.Codec[sum3]{
		"want at least 1":                                 codec.Versioned(0, codec.JSON[sum3]()),
		"version 2 has no codec":                          codec.Versioned(2, none),
		"the first version is 1":                          codec.Versioned(2, codec.JSON[sum3](), from1(), from2()),
		"step 1 is from version 1, want 2":                codec.Versioned(3, codec.JSON[sum3](), from1()),
		"step 1 is from version 2, want 1":                codec.Versioned(3, codec.JSON[sum3](), from2(), from1()),
		"makes a codec_test.sum2, and version 2 is a":     codec.Versioned(2, codec.JSON[sum3](), from1()),
		"the step from version 2 has no codec or no func": codec.Versioned(3, codec.JSON[sum3](), codec.From[sum2, sum3](2, nil, nil)),
	} {
		if err := codec.Check(c); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v, want %q", err, part)
		}
		if _, err := c.Append(nil, sum3{}); !errors.Is(err, codec.ErrEncode) {
			t.Errorf("Append: %v", err)
		}
		if _, err := c.Decode(nil); !errors.Is(err, codec.ErrDecode) {
			t.Errorf("Decode: %v", err)
		}
	}
	for _, c := range []any{codec.String, codec.Versioned(3, codec.JSON[sum3](), from2())} {
		if err := codec.Check(c); err != nil {
			t.Error(err)
		}
	}
}

func TestFormsTellVersions(t *testing.T) {
	third := codec.LineageOf(codec.Versioned(3, codec.Msgpack[sum3](), from1(), from2()))
	var forms []string
	for v := range 5 {
		forms = append(forms, third.Form(v))
	}
	if want := []string{"", "json", "msgpack v2", "msgpack v3", ""}; !reflect.DeepEqual(forms, want) || third.Oldest != 1 || third.Current != 3 {
		t.Errorf("%q, %+v, want %q", forms, third, want)
	}
	plain := codec.LineageOf(codec.String)
	if plain.Oldest != 1 || plain.Current != 1 || plain.Form(1) != "bytes" {
		t.Errorf("%+v", plain)
	}
	if f := codec.Form(codec.Versioned(2, codec.Codec[sum2](nameless{}), from1())); f != "v2" {
		t.Errorf("form %q", f)
	}
}

// nameless is a codec that does not tell its form.
type nameless struct{}

func (nameless) Append(dst []byte, _ sum2) ([]byte, error) { return dst, nil }
func (nameless) Decode([]byte) (sum2, error)               { return sum2{}, nil }

// A type gets a field. What was written before reads as if it had been there.
func ExampleVersioned() {
	type before struct{ Name string }
	type after struct{ First, Last string }
	names := codec.Versioned(2, codec.JSON[after](),
		codec.From(1, codec.JSON[before](), func(b before) (after, error) {
			first, last, _ := strings.Cut(b.Name, " ")
			return after{first, last}, nil
		}))
	v, err := names.Decode([]byte(`{"Name":"Ada Lovelace"}`))
	fmt.Println(v.Last, err)
	// Output: Lovelace <nil>
}

// TestAStepTakesNothing: a value of an interface type may be nil.
func TestAStepTakesNothing(t *testing.T) {
	given := false
	step := codec.From(1, codec.JSON[any](), func(v any) (any, error) { given = true; return v, nil })
	v, err := codec.Versioned[any](2, codec.JSON[any](), step).Decode([]byte("null"))
	if v != nil || err != nil || !given {
		t.Errorf("null became %v, %v; the step was called: %v", v, err, given)
	}
}
