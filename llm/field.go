package llm

import (
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/millrace/millrace/internal/msgp"
)

// What can be wrong with a field beside its encoding. Each comes wrapped in a
// FieldError.
var (
	// ErrMissing means that a required field is not there.
	ErrMissing = errors.New("required, but missing")
	// ErrUnknownField means that the type has no such field.
	ErrUnknownField = errors.New("unknown field")
	// ErrDuplicateField means that a field is there twice.
	ErrDuplicateField = errors.New("given twice")
	// ErrRange means that a value is outside the range of its field.
	ErrRange = errors.New("out of range")
)

// FieldError says which field of which type is wrong, and how. Err is or wraps
// one of the errors above, ErrRequestID, or one of the encoding.
type FieldError struct {
	Type  string // "performance", "result" and so on
	Field string // empty if the value as a whole is wrong
	Err   error
}

func (e *FieldError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("llm: %s: %v", e.Type, e.Err)
	}
	return fmt.Sprintf("llm: %s: field %.64q: %v", e.Type, e.Field, e.Err)
}

// Unwrap returns what is wrong with the field.
func (e *FieldError) Unwrap() error { return e.Err }

// schema describes the fields of a type to its decoder. A field is known by
// its index. At most 32 fields.
type schema struct {
	name     string
	fields   []string
	required uint32 // bit i stands for fields[i]
}

// decoder reads a map of fields. Use: loop while next is true, switch over
// name, read the field with its method and index, call unknown otherwise;
// finish returns the first problem. It lives on the stack of Decode.
type decoder struct {
	r      msgp.Reader
	schema *schema
	name   string // of the field that was begun last
	left   int    // fields to come
	seen   uint32
	strict bool
	err    error
}

func newDecoder(b []byte, s *schema, strict bool) decoder {
	d := decoder{r: msgp.NewReader(b), schema: s, strict: strict}
	d.left = d.r.MapLen()
	return d
}

// next begins the next field and says whether there is one.
func (d *decoder) next() bool {
	if d.err != nil || d.left == 0 || d.r.Err() != nil {
		return false
	}
	d.left--
	name := d.r.Str()
	if d.r.Err() != nil {
		d.name = ""
		return false
	}
	d.name = name
	return true
}

// mark notes that the field with this index is there.
func (d *decoder) mark(i int) {
	bit := uint32(1) << i
	if d.strict && d.seen&bit != 0 {
		d.fail(ErrDuplicateField)
	}
	d.seen |= bit
}

func (d *decoder) int(i int) int64 {
	d.mark(i)
	return d.integer()
}

// integer reads an integer; if not strict, also a float without a fraction, as
// which some writers send integers beyond 32 bits.
func (d *decoder) integer() int64 {
	if d.strict {
		return d.r.Int()
	}
	return d.r.Whole()
}

func (d *decoder) float(i int) float64 {
	d.mark(i)
	return d.r.Float()
}

func (d *decoder) bool(i int) bool {
	d.mark(i)
	return d.r.Bool()
}

func (d *decoder) str(i int) string {
	d.mark(i)
	return d.r.Str()
}

// The optional forms take nil for absent.

func (d *decoder) optionalInt(i int) Optional[int64] {
	if d.mark(i); d.r.Nil() {
		return Optional[int64]{}
	}
	return Some(d.integer())
}

func (d *decoder) optionalFloat(i int) Optional[float64] {
	if d.mark(i); d.r.Nil() {
		return Optional[float64]{}
	}
	return Some(d.r.Float())
}

func (d *decoder) optionalStr(i int) Optional[string] {
	if d.mark(i); d.r.Nil() {
		return Optional[string]{}
	}
	return Some(d.r.Str())
}

// The fields of Event have the first indices in every event's schema.
const (
	fieldTimestamp = iota
	fieldRequestID
	fieldSessionID
	fieldModel
	firstOwnField
)

const eventRequired = 1<<fieldTimestamp | 1<<fieldRequestID | 1<<fieldModel

// event reads the field if it is one of those that all events have, and else
// passes over it.
func (d *decoder) event(e *Event) {
	switch d.name {
	case "timestamp":
		e.Timestamp = d.int(fieldTimestamp)
	case "request_id":
		d.mark(fieldRequestID)
		if b := d.r.Bytes(); len(b) == len(e.RequestID) {
			e.RequestID = RequestID(b)
		} else if d.r.Err() == nil {
			d.fail(fmt.Errorf("%w: want 16 bytes, found %d", ErrRange, len(b)))
		}
	case "session_id":
		e.SessionID = d.optionalStr(fieldSessionID)
	case "model":
		e.Model = d.str(fieldModel)
	default:
		d.unknown()
	}
}

// unknown passes over a field that the type does not have.
func (d *decoder) unknown() {
	if d.strict {
		d.fail(ErrUnknownField)
		return
	}
	d.r.Skip()
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = &FieldError{d.schema.name, d.name, err}
	}
}

// finish returns the first problem of the whole value.
func (d *decoder) finish() error {
	if d.err != nil {
		return d.err
	}
	if err := d.r.Err(); err != nil {
		return &FieldError{d.schema.name, d.name, err}
	}
	if err := d.r.Close(); err != nil {
		return &FieldError{d.schema.name, "", err}
	}
	if missing := d.schema.required &^ d.seen; missing != 0 {
		return &FieldError{d.schema.name, d.schema.fields[bits.TrailingZeros32(missing)], ErrMissing}
	}
	return nil
}

// checker collects the first value that is out of its range.
type checker struct {
	name string
	err  error
}

func (c *checker) fail(field string, v any, want string) {
	if c.err == nil {
		c.err = &FieldError{c.name, field, fmt.Errorf("%w: %v, want %s", ErrRange, v, want)}
	}
}

func (c *checker) event(e *Event) {
	c.notNegative("timestamp", e.Timestamp)
	c.notEmpty("model", e.Model)
}

func (c *checker) notNegative(field string, v int64) {
	if v < 0 {
		c.fail(field, v, "0 or more")
	}
}

func (c *checker) notEmpty(field, v string) {
	if v == "" {
		c.fail(field, `""`, "a name")
	}
}

// amount checks a quantity: finite and not negative.
func (c *checker) amount(field string, v float64) {
	if !(v >= 0 && v <= math.MaxFloat64) {
		c.fail(field, v, "a finite number, 0 or more")
	}
}

// fraction checks a share of a whole.
func (c *checker) fraction(field string, v float64) {
	if !(v >= 0 && v <= 1) {
		c.fail(field, v, "0 to 1")
	}
}

func appendEvent(dst []byte, e *Event) []byte {
	dst = msgp.AppendInt(msgp.AppendStr(dst, "timestamp"), e.Timestamp)
	dst = msgp.AppendBytes(msgp.AppendStr(dst, "request_id"), e.RequestID[:])
	if id, ok := e.SessionID.Get(); ok {
		dst = msgp.AppendStr(msgp.AppendStr(dst, "session_id"), id)
	}
	return msgp.AppendStr(msgp.AppendStr(dst, "model"), e.Model)
}

// present counts the optional fields that are there.
func present(oks ...bool) int {
	n := 0
	for _, ok := range oks {
		if ok {
			n++
		}
	}
	return n
}
