package codec

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// MsgpackAppender is a type that writes its own msgpack, without reflection:
// T, or *T, has the method.
//
// A struct that embeds such a type inherits the method, and with it an encoding
// that leaves its other fields out; it must define its own.
type MsgpackAppender interface {
	// AppendMsgpack appends one msgpack value to dst. It does not keep dst.
	AppendMsgpack(dst []byte) ([]byte, error)
}

// MsgpackParser is a type that reads its own msgpack, without reflection: *T has
// the method.
type MsgpackParser interface {
	// ParseMsgpack sets the receiver, which is zero, from the msgpack value at
	// the start of b and returns what follows it. The receiver may alias b. If
	// strict, a field that the type does not have is an error, else it is
	// skipped.
	ParseMsgpack(b []byte, strict bool) (rest []byte, err error)
}

// Msgpack returns the codec that writes T as one msgpack value. Decode refuses
// whatever follows it.
//
// If T offers MsgpackAppender, its own method writes, and if it offers
// MsgpackParser, its own method reads. What it does not offer,
// github.com/vmihailenco/msgpack/v5 does by reflection: a struct is a map with
// the names of its fields, from the tag "msgpack" or else "json"; integers take
// as few bytes as they need; fields with omitempty are left out when zero; keys
// of map[string]string, map[string]bool and map[string]any are sorted, those of
// other maps are not. By reflection, values may nest 256 deep, and of extension
// types only timestamps (time.Time) are read, in values of up to 256 KiB.
//
// The codec is made once and shared; it keeps a pool of scratch values.
func Msgpack[T any](opts ...Option) Codec[T] {
	return newMsgpack[T](makeOptions(opts), true)
}

func newMsgpack[T any](o options, ownMethods bool) *msgpackCodec[T] {
	c := &msgpackCodec[T]{options: o}
	if ownMethods {
		_, c.appends = any((*T)(nil)).(MsgpackAppender)
		_, c.parses = any((*T)(nil)).(MsgpackParser)
	}
	c.scratch.New = func() any {
		s := &msgpackScratch[T]{enc: msgpack.NewEncoder(nil), dec: msgpack.NewDecoder(nil)}
		s.parser, _ = any(&s.value).(MsgpackParser)
		s.appender, _ = any(&s.value).(MsgpackAppender)
		return s
	}
	return c
}

type msgpackCodec[T any] struct {
	options
	appends, parses bool
	scratch         sync.Pool
}

// msgpackScratch holds a value with an address that methods can be called on
// through an interface without allocating one for each record, and the
// encoder and decoder for types without such methods.
type msgpackScratch[T any] struct {
	value    T
	parser   MsgpackParser
	appender MsgpackAppender
	out      appender
	in       bytes.Reader
	enc      *msgpack.Encoder
	dec      *msgpack.Decoder
}

func (c *msgpackCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	s := c.scratch.Get().(*msgpackScratch[T])
	s.value = v
	out, err := c.append(s, dst)
	c.release(s)
	if err != nil {
		return dst, fmt.Errorf("%w %T as msgpack: %w", ErrEncode, v, err)
	}
	return out, nil
}

func (c *msgpackCodec[T]) append(s *msgpackScratch[T], dst []byte) ([]byte, error) {
	if c.appends {
		return s.appender.AppendMsgpack(dst)
	}
	s.out.b = dst
	s.enc.Reset(&s.out)
	s.enc.SetCustomStructTag("json")
	s.enc.SetSortMapKeys(true)
	s.enc.UseCompactInts(true)
	err := s.enc.Encode(&s.value)
	return s.out.b, err
}

func (c *msgpackCodec[T]) Decode(b []byte) (T, error) {
	s := c.scratch.Get().(*msgpackScratch[T])
	err := c.decode(s, b)
	v := s.value
	c.release(s)
	if err != nil {
		var zero T
		return zero, decodeError(fmt.Sprintf("%T as msgpack", zero), b, err)
	}
	return v, nil
}

func (c *msgpackCodec[T]) decode(s *msgpackScratch[T], b []byte) error {
	if c.parses {
		rest, err := s.parser.ParseMsgpack(b, c.strict)
		if err == nil && len(rest) > 0 {
			err = errTrailing
		}
		return err
	}
	if err := checkMsgpack(b); err != nil {
		return err
	}
	s.in.Reset(b)
	s.dec.Reset(&s.in)
	s.dec.SetCustomStructTag("json")
	s.dec.DisallowUnknownFields(c.strict)
	return decodeReflecting(s.dec, &s.value)
}

// decodeReflecting makes errors of the panics that reflection can end in, such
// as a map whose keys turn out not to be comparable.
func decodeReflecting(dec *msgpack.Decoder, v any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return dec.Decode(v)
}

// release forgets the value, so that the pool pins nothing.
func (c *msgpackCodec[T]) release(s *msgpackScratch[T]) {
	var zero T
	s.value, s.out.b = zero, nil
	s.in.Reset(nil)
	c.scratch.Put(s)
}
