package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime/debug"
)

// This file is about values whose type changes from one version of a program to
// the next, while what the earlier one wrote is still there. Each value tells its
// version: those of version 1 are as their codec writes them, without a mark, so
// that what was written before there were versions is of version 1. Later ones begin
// with a mark, which is the versionMark and the version as a varint.
//
// No text in UTF-8, no JSON and no msgpack begins with the byte 0xc1, and of other
// bytes one value in 2^56 with the whole of the mark.
const versionMark = "\xc1mr-ver"

// Errors of values with versions.
var (
	// ErrVersion: a value is of a version that the program does not read: it is newer
	// than the program, or the step that would upgrade it is gone.
	ErrVersion = errors.New("codec: version of a value that this program does not read")

	// ErrUpgrade: the step from one version to the next has failed.
	ErrUpgrade = errors.New("codec: cannot upgrade a value")
)

// Step turns values of one version into those of the next. It is made by From.
type Step struct {
	from    int
	form    string
	in, out reflect.Type
	decode  func([]byte) (any, error)
	upgrade func(any) (any, error)
	whole   bool // nothing is nil
}

// From returns the step from a version to the next one: old reads the values of that
// version, and upgrade turns one into what the next version has in its place.
// upgrade may be called any number of times for one value and must then return the
// same; several goroutines call it at once. Its error, or panic, is an ErrUpgrade.
func From[Old, New any](version int, old Codec[Old], upgrade func(Old) (New, error)) Step {
	return Step{
		from: version, form: Form(old), in: reflect.TypeFor[Old](), out: reflect.TypeFor[New](),
		decode: func(b []byte) (any, error) { return old.Decode(b) },
		upgrade: func(v any) (any, error) {
			value, _ := v.(Old) // else it is a nil of an interface
			return upgrade(value)
		},
		whole: old != nil && upgrade != nil,
	}
}

// Versioned returns a codec that writes values of a version, which is at least 1,
// and reads them and older ones: the steps lead from the oldest that is read to this
// one, without a gap. It is for the values of stores and repartition topics. The page
// docs/state.md says when a step may go.
//
// Version 1 is what there was before: its bytes are those of its codec. A value of a
// later version begins with a mark of eight bytes (more from version 128 on). A
// value of a version that is not read is an ErrVersion.
//
// What does not fit together, such as a step that is missing in the middle, is found
// by Check, which topologies call when they are built.
func Versioned[T any](version int, current Codec[T], steps ...Step) Codec[T] {
	c := &versionedCodec[T]{current: current, version: version, oldest: version - len(steps), steps: steps}
	c.mistake = c.check()
	if version > 1 {
		c.mark = binary.AppendUvarint([]byte(versionMark), uint64(version))
	}
	return c
}

type versionedCodec[T any] struct {
	current         Codec[T]
	version, oldest int
	steps           []Step // from oldest on
	mark            []byte
	mistake         error
}

// check says what is wrong with the steps.
func (c *versionedCodec[T]) check() error {
	switch {
	case c.version < 1 || c.version > math.MaxInt32:
		return fmt.Errorf("codec.Versioned: version %d: want at least 1", c.version)
	case c.current == nil:
		return fmt.Errorf("codec.Versioned: version %d has no codec", c.version)
	case c.oldest < 1:
		return fmt.Errorf("codec.Versioned: %d steps lead to version %d: the first version is 1", len(c.steps), c.version)
	}
	for i, s := range c.steps {
		next := reflect.TypeFor[T]()
		if i+1 < len(c.steps) {
			next = c.steps[i+1].in
		}
		switch {
		case s.from != c.oldest+i:
			return fmt.Errorf("codec.Versioned: the steps to version %d are not from one version to the next: step %d is from version %d, want %d", c.version, i+1, s.from, c.oldest+i)
		case !s.whole:
			return fmt.Errorf("codec.Versioned: the step from version %d has no codec or no function", s.from)
		case s.out != next:
			return fmt.Errorf("codec.Versioned: the step from version %d makes a %v, and version %d is a %v", s.from, s.out, s.from+1, next)
		}
	}
	return nil
}

func (c *versionedCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	if c.mistake != nil {
		return dst, fmt.Errorf("%w: %w", ErrEncode, c.mistake)
	}
	out, err := c.current.Append(append(dst, c.mark...), v)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (c *versionedCodec[T]) Decode(b []byte) (v T, err error) {
	if c.mistake != nil {
		return v, fmt.Errorf("%w: %w", ErrDecode, c.mistake)
	}
	version, value := splitVersion(b)
	if version == c.version {
		return c.current.Decode(value)
	}
	if version < c.oldest || version > c.version {
		return v, versionError(version, c.oldest, c.version)
	}
	return c.upgrade(version, value)
}

// upgrade reads a value of an older version.
func (c *versionedCodec[T]) upgrade(version int, b []byte) (out T, err error) {
	at := version
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		if err != nil {
			err = fmt.Errorf("%w from version %d to %d: %w", ErrUpgrade, at, at+1, err)
		}
	}()
	steps := c.steps[version-c.oldest:]
	v, err := steps[0].decode(b)
	for i := 0; err == nil && i < len(steps); i++ {
		at = steps[i].from
		v, err = steps[i].upgrade(v)
	}
	if err != nil {
		return out, err
	}
	out, _ = v.(T) // else it is a nil of an interface
	return out, nil
}

// Form is that of the codec and, from version 2 on, the version: a program that
// knows nothing of versions must not take over what has some.
func (c *versionedCodec[T]) Form() string { return versionForm(Form(c.current), c.version) }

// Lineage is that of LineageOf.
func (c *versionedCodec[T]) Lineage() Lineage {
	l := Lineage{Oldest: c.oldest, Current: c.version}
	for _, s := range c.steps {
		l.forms = append(l.forms, versionForm(s.form, s.from))
	}
	l.forms = append(l.forms, c.Form())
	return l
}

// OldestIn is that of OldestIn.
func (c *versionedCodec[T]) OldestIn(b []byte) int {
	version, _ := splitVersion(b)
	return version
}

func (c *versionedCodec[T]) checked() error { return c.mistake }

// Lineage says which versions of a value a codec reads, and which it writes.
type Lineage struct {
	// Oldest is the first version that is read, Current the one that is written.
	Oldest, Current int

	forms []string
}

// LineageOf returns that of a codec: version 1 alone if it is none of Versioned. A
// codec of your own that writes values by another one has a method Lineage that
// returns that one's, and a method OldestIn.
func LineageOf(c any) Lineage {
	if v, ok := c.(interface{ Lineage() Lineage }); ok {
		return v.Lineage()
	}
	return Lineage{Oldest: 1, Current: 1, forms: []string{Form(c)}}
}

// Form returns the name of the form of a version: see the function Form. It is "" for
// a version that is not read.
func (l Lineage) Form(version int) string {
	if i := version - l.Oldest; i >= 0 && i < len(l.forms) {
		return l.forms[i]
	}
	return ""
}

// OldestIn returns the version of an encoded value, or the oldest one in it if the
// codec puts several into one, by its method OldestIn(b []byte) int. Without a method
// of that name it is 1.
func OldestIn(c any, b []byte) int {
	if v, ok := c.(interface{ OldestIn([]byte) int }); ok {
		return v.OldestIn(b)
	}
	return 1
}

// Check returns what is wrong with a codec of Versioned; nil for any other.
func Check(c any) error {
	if v, ok := c.(interface{ checked() error }); ok {
		return v.checked()
	}
	return nil
}

// splitVersion takes the mark off a value. What follows no version is no mark.
func splitVersion(b []byte) (version int, value []byte) {
	if len(b) <= len(versionMark) || string(b[:len(versionMark)]) != versionMark {
		return 1, b
	}
	v, n := binary.Uvarint(b[len(versionMark):])
	if n <= 0 || v < 2 || v > math.MaxInt32 {
		return 1, b
	}
	return int(v), b[len(versionMark)+n:]
}

func versionForm(form string, version int) string {
	switch {
	case version == 1:
		return form
	case form == "":
		return fmt.Sprintf("v%d", version)
	}
	return fmt.Sprintf("%s v%d", form, version)
}

// versionError says what to do about a version that is not read.
func versionError(version, oldest, current int) error {
	if version > current {
		return fmt.Errorf("%w: it is of version %d, and the program writes version %d: run the program that wrote it, or a newer one", ErrVersion, version, current)
	}
	return fmt.Errorf("%w: it is of version %d, and the program reads from version %d on: give codec.Versioned the steps from version %d on", ErrVersion, version, oldest, version)
}
