package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// JSON returns the codec that writes T as encoding/json does, but leaves <, >
// and & as they are. Decode refuses whatever follows the value. It is for
// topics that people or other languages read; Msgpack is several times faster.
func JSON[T any](opts ...Option) Codec[T] {
	return jsonCodec[T]{makeOptions(opts)}
}

type jsonCodec[T any] struct {
	options
}

func (jsonCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	a := appender{dst}
	enc := json.NewEncoder(&a)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return dst, fmt.Errorf("%w %T as JSON: %w", ErrEncode, v, err)
	}
	return a.b[:len(a.b)-1], nil // without the encoder's newline
}

var errTrailing = errors.New("bytes left over behind the value")

func (c jsonCodec[T]) Decode(b []byte) (T, error) {
	var v T
	if err := c.decode(b, &v); err != nil {
		var zero T
		return zero, decodeError(fmt.Sprintf("%T as JSON", zero), b, err)
	}
	return v, nil
}

func (c jsonCodec[T]) decode(b []byte, v *T) error {
	if !c.strict {
		return json.Unmarshal(b, v)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errTrailing
	}
	return nil
}
