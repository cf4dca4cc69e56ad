package codectest_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/codec/codectest"
)

// Example keeps a decoded string, which points into the input, for longer than
// it may.
func Example() {
	models := codectest.Poison[string](codec.String)
	kept, err := models.Decode([]byte("abc"))
	fmt.Printf("%q %v\n", kept, err)
	models.Scribble()
	fmt.Printf("%q\n", kept)
	// Output:
	// "abc" <nil>
	// "\xdb\xdb\xdb"
}

// recorder counts the errors that a helper reports.
type recorder struct {
	testing.TB
	errors int
}

func (*recorder) Helper()                 {}
func (r *recorder) Errorf(string, ...any) { r.errors++ }

// broken is a codec with one fault.
type broken struct{ fault string }

func (c broken) Append(dst []byte, v string) ([]byte, error) {
	switch c.fault {
	case "fails":
		return dst, errors.New("no")
	case "overwrites":
		return []byte(v), nil
	}
	return append(dst, v...), nil
}

func (c broken) Decode(b []byte) (string, error) {
	switch c.fault {
	case "refuses":
		return "", errors.New("no")
	case "changes":
		s := string(b)
		clear(b)
		return s, nil
	case "shortens":
		return string(b[:len(b)/2]), nil
	}
	return string(b), nil
}

func TestRoundTripFindsFaults(t *testing.T) {
	for _, fault := range []string{"fails", "overwrites", "refuses", "changes", "shortens"} {
		r := &recorder{TB: t}
		codectest.RoundTrip[string](r, broken{fault}, "value")
		if r.errors == 0 {
			t.Errorf("a codec that %s passes", fault)
		}
	}
	r := &recorder{TB: t}
	codectest.RoundTrip[string](r, broken{}, "value", "")
	if codectest.Refuses[string](r, broken{"refuses"}, []byte("x")); r.errors != 0 {
		t.Errorf("%d errors of a good codec", r.errors)
	}
	if codectest.Refuses[string](r, broken{}, []byte("x")); r.errors != 1 {
		t.Error("Refuses does not see that bytes were decoded")
	}
}
