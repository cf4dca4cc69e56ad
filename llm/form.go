package llm

import (
	"fmt"

	"github.com/millrace/millrace/internal/msgp"
	"github.com/millrace/millrace/window"
)

// formCodec is the MessagePack form of a result: a map with the fields that
// fields names. Decoding is lenient towards unknown fields; one that is missing
// is an error. Decoded strings alias the input.
type formCodec[T any] struct {
	name   string
	fields func(*form, *T)
}

func (c formCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	f := form{mode: writing, out: dst, nulls: true}
	f.object(func(f *form) { c.fields(f, &v) })
	return f.out, nil
}

func (c formCodec[T]) Decode(b []byte) (T, error) {
	var v, none T
	r := msgp.NewReader(b)
	f := form{mode: reading, r: &r, of: c.name}
	f.object(func(f *form) { c.fields(f, &v) })
	if f.err == nil {
		if err := r.Close(); err != nil {
			f.err = &FieldError{c.name, "", err}
		}
	}
	if f.err != nil {
		return none, f.err
	}
	return v, nil
}

// marshal returns the JSON object of some fields, without those that are absent:
// for the answers of queries.
func marshal(fields func(*form)) ([]byte, error) {
	f := form{mode: writing}
	f.object(fields)
	r := msgp.NewReader(f.out)
	return appendJSON(make([]byte, 0, 512), &r, "")
}

// form writes the fields of a value or reads them, from one description: a
// function that names each field with a pointer to it. To write, the function
// runs twice, first to count; to read, once for each field that is there, and
// once more to see what is missing. At most 32 fields an object.
type form struct {
	mode formMode
	// nulls: absent values are written as null rather than left out.
	nulls bool
	out   []byte

	r   *msgp.Reader
	of  string // the type that is read
	err error

	index int    // of the next field
	seen  uint32 // bit i stands for field i
	want  string // the field to read
	found bool
}

type formMode uint8

const (
	counting formMode = iota
	writing
	reading
	checking
)

// field begins a field, and reports whether its value is to be written or read
// now.
func (f *form) field(name string) bool {
	i := f.index
	f.index++
	switch f.mode {
	case writing:
		f.out = msgp.AppendStr(f.out, name)
		return true
	case reading:
		if name != f.want || f.found {
			return false
		}
		f.found = true
		f.seen |= 1 << i
		return true
	case checking:
		if f.err == nil && f.seen>>i&1 == 0 {
			f.fail(name, ErrMissing)
		}
	}
	return false
}

func (f *form) fail(name string, err error) {
	if f.err == nil {
		f.err = &FieldError{f.of, name, err}
	}
}

// object writes or reads a map of the fields that fields names.
func (f *form) object(fields func(*form)) {
	outer := *f
	if f.mode == writing {
		f.mode, f.index = counting, 0
		fields(f)
		f.out = msgp.AppendMapLen(f.out, f.index)
		f.mode = writing
		fields(f)
	} else {
		f.seen = 0
		for range f.r.MapLen() {
			f.want, f.index, f.found = f.r.Str(), 0, false
			if f.err != nil || f.r.Err() != nil {
				break
			}
			if fields(f); !f.found {
				f.r.Skip()
			}
		}
		if err := f.r.Err(); err != nil {
			f.fail(f.want, err)
		}
		f.mode, f.index = checking, 0
		fields(f)
	}
	f.mode, f.index, f.seen, f.want, f.found = outer.mode, outer.index, outer.seen, outer.want, outer.found
}

func (f *form) int(name string, v *int64) {
	if !f.field(name) {
		return
	}
	if f.mode == writing {
		f.out = msgp.AppendInt(f.out, *v)
		return
	}
	*v = f.r.Whole()
}

func (f *form) bool(name string, v *bool) {
	if !f.field(name) {
		return
	}
	if f.mode == writing {
		f.out = msgp.AppendBool(f.out, *v)
		return
	}
	*v = f.r.Bool()
}

func (f *form) str(name string, v *string) {
	if !f.field(name) {
		return
	}
	if f.mode == writing {
		f.out = msgp.AppendStr(f.out, *v)
		return
	}
	*v = f.r.Str()
}

// number is a float64 that may be absent, which is null.
func (f *form) number(name string, v *Optional[float64]) {
	if f.mode <= writing && !f.nulls && !v.ok || !f.field(name) {
		return
	}
	switch {
	case f.mode == writing:
		f.out = appendMean(f.out, v.value, v.ok)
	case f.r.Nil():
		*v = Optional[float64]{}
	default:
		*v = Some(f.r.Float())
	}
}

// whole is an int64 that may be absent, which is null.
func (f *form) whole(name string, v *Optional[int64]) {
	if f.mode <= writing && !f.nulls && !v.ok || !f.field(name) {
		return
	}
	switch {
	case f.mode == writing && v.ok:
		f.out = msgp.AppendInt(f.out, v.value)
	case f.mode == writing:
		f.out = msgp.AppendNil(f.out)
	case f.r.Nil():
		*v = Optional[int64]{}
	default:
		*v = Some(f.r.Whole())
	}
}

func (f *form) pane(name string, v *window.PaneKind) {
	if !f.field(name) {
		return
	}
	if f.mode == writing {
		f.out = msgp.AppendStr(f.out, v.String())
		return
	}
	if text := f.r.Str(); f.r.Err() == nil {
		if err := v.UnmarshalText([]byte(text)); err != nil {
			f.fail(name, err)
		}
	}
}

// group is an object within an object.
func (f *form) group(name string, fields func(*form)) {
	if f.field(name) {
		f.object(fields)
	}
}

// list is an array of objects.
func list[T any](f *form, name string, values *[]T, fields func(*form, *T)) {
	if !f.field(name) {
		return
	}
	if f.mode == writing {
		f.out = msgp.AppendArrayLen(f.out, len(*values))
		for i := range *values {
			f.object(func(f *form) { fields(f, &(*values)[i]) })
		}
		return
	}
	*values = nil
	for range f.r.ArrayLen() {
		var v T
		f.object(func(f *form) { fields(f, &v) })
		if f.err != nil {
			return
		}
		*values = append(*values, v)
	}
}

// counts is an object whose fields are the names that were counted.
func (f *form) counts(name string, v *[]Count) {
	if !f.field(name) {
		return
	}
	if f.mode == writing {
		f.out = msgp.AppendMapLen(f.out, len(*v))
		for _, c := range *v {
			f.out = msgp.AppendInt(msgp.AppendStr(f.out, c.Name), c.Count)
		}
		return
	}
	*v = nil
	for range f.r.MapLen() {
		c := Count{Name: f.r.Str(), Count: f.r.Whole()}
		if f.r.Err() != nil {
			return
		}
		*v = append(*v, c)
	}
}

// Count is how often a name came.
type Count struct {
	Name  string
	Count int64
}

// String returns "name: count".
func (c Count) String() string { return fmt.Sprintf("%s: %d", c.Name, c.Count) }

// counted lists what names has, with the others, if there are any, under
// OtherNames at the end.
func counted(n *names) []Count {
	var all []Count
	for _, c := range n.all {
		all = append(all, Count{c.name, c.count})
	}
	if n.others > 0 {
		all = append(all, Count{OtherNames, n.others})
	}
	return all
}

// OtherNames stands for the names beyond the first 32 in alphabetical order.
const OtherNames = "(other)"
