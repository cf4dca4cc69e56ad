package llm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/msgp"
)

// ErrJSON means that bytes are no JSON object, or that a value has no JSON.
var ErrJSON = errors.New("no valid JSON")

// jsonCodec is the JSON form of a type that has a MessagePack form: it
// transcodes, so that both forms have the same fields, checks and errors. The
// 16 bytes of request_id become a UUID in text and back.
type jsonCodec[T any] struct{ binary codec.Codec[T] }

func (c jsonCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	b, err := c.binary.Append(make([]byte, 0, 512), v)
	if err != nil {
		return dst, err
	}
	r := msgp.NewReader(b)
	out, err := appendJSON(dst, &r, "")
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (c jsonCodec[T]) Decode(b []byte) (T, error) {
	packed, err := packJSON(b)
	if err != nil {
		var zero T
		return zero, err
	}
	return c.binary.Decode(packed)
}

// appendJSON appends the next value of r, the value of the named field. r holds
// what the codecs of this package write.
func appendJSON(dst []byte, r *msgp.Reader, field string) ([]byte, error) {
	switch kind := r.Kind(); kind {
	case msgp.NilKind:
		r.Nil()
		return append(dst, "null"...), nil
	case msgp.Boolean:
		return strconv.AppendBool(dst, r.Bool()), nil
	case msgp.Integer:
		return strconv.AppendInt(dst, r.Int(), 10), nil
	case msgp.Float:
		f := r.Float()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return dst, fmt.Errorf("llm: field %q: %w for %v", field, ErrJSON, f)
		}
		return appendJSONFloat(dst, f), nil
	case msgp.String:
		return appendJSONString(dst, r.Str()), nil
	case msgp.Binary:
		return append(RequestID(r.Bytes()).append(append(dst, '"')), '"'), nil
	case msgp.Map:
		dst = append(dst, '{')
		for i := range r.MapLen() {
			if i > 0 {
				dst = append(dst, ',')
			}
			name := r.Str()
			dst = append(appendJSONString(dst, name), ':')
			var err error
			if dst, err = appendJSON(dst, r, name); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	case msgp.Array:
		dst = append(dst, '[')
		for i := range r.ArrayLen() {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendJSON(dst, r, field); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	default:
		return dst, fmt.Errorf("llm: field %q: %w for %v", field, ErrJSON, kind)
	}
}

// appendJSONFloat writes the shortest text that reads back as f, in the form
// of ECMAScript as encoding/json does.
func appendJSONFloat(dst []byte, f float64) []byte {
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

// appendJSONString writes a string in quotes. Bytes that are not UTF-8 become
// U+FFFD.
func appendJSONString(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += size
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= ' ':
			dst = append(dst, c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
	}
	return append(dst, '"')
}

// packJSON turns one JSON value into MessagePack.
func packJSON(b []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	token, err := d.Token()
	if err != nil {
		return nil, badJSON(err)
	}
	dst, err := packToken(make([]byte, 0, len(b)), d, token, 0)
	if err != nil {
		return nil, err
	}
	if _, err = d.Token(); err != io.EOF {
		return nil, fmt.Errorf("llm: %w: more after the value, at offset %d", ErrJSON, d.InputOffset())
	}
	return dst, nil
}

// packToken packs the value that begins with token, depth levels deep.
func packToken(dst []byte, d *json.Decoder, token json.Token, depth int) ([]byte, error) {
	switch v := token.(type) {
	case nil:
		return msgp.AppendNil(dst), nil
	case bool:
		return msgp.AppendBool(dst, v), nil
	case string:
		return msgp.AppendStr(dst, v), nil
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil && (n != 0 || v[0] != '-') {
			return msgp.AppendInt(dst, n), nil
		}
		f, err := v.Float64()
		if err != nil {
			return nil, fmt.Errorf("llm: %w: the number %.40s is too large", ErrJSON, v)
		}
		return msgp.AppendFloat(dst, f), nil
	case json.Delim:
		if depth == msgp.MaxDepth {
			return nil, fmt.Errorf("llm: %w: nested deeper than %d levels", ErrJSON, depth)
		}
		return packNested(dst, d, v == '{', depth)
	}
	return nil, fmt.Errorf("llm: %w: unexpected %v", ErrJSON, token)
}

// packNested packs an object or an array behind its opening token. The number
// of members goes in at the end, in the widest form of the head.
func packNested(dst []byte, d *json.Decoder, object bool, depth int) ([]byte, error) {
	head := len(dst)
	dst = append(dst, 0xdd, 0, 0, 0, 0) // array32
	if object {
		dst[head] = 0xdf // map32
	}
	count := uint32(0)
	for ; d.More(); count++ {
		token, err := d.Token()
		if err != nil {
			return nil, badJSON(err)
		}
		isID := false
		if object {
			name, _ := token.(string)
			isID = depth == 0 && name == "request_id"
			dst = msgp.AppendStr(dst, name)
			if token, err = d.Token(); err != nil {
				return nil, badJSON(err)
			}
		}
		if text, ok := token.(string); isID && ok {
			id, err := ParseRequestID(text)
			if err != nil {
				return nil, err
			}
			dst = msgp.AppendBytes(dst, id[:])
			continue
		}
		if dst, err = packToken(dst, d, token, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil { // the closing one
		return nil, badJSON(err)
	}
	binary.BigEndian.PutUint32(dst[head+1:], count)
	return dst, nil
}

func badJSON(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("llm: %w: %w", ErrJSON, err)
}
