package processors

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/internal/delimited"
	"github.com/millrace/millrace/window"
)

// Held is what a buffer keeps of one key, or of one key and window.
type Held[A any] struct {
	// Time is the entry's place in the buffer, in Unix milliseconds.
	Time int64 `json:"time"`
	// Retraction takes back what was sent of the key before; nil for nothing.
	Retraction *HeldResult[A] `json:"retraction,omitempty"`
	// Result is the one to send; nil if it was taken back.
	Result *HeldResult[A] `json:"result,omitempty"`

	// size is how many bytes it was decoded from.
	size int
}

// HeldResult is a result that waits.
type HeldResult[A any] struct {
	Value   A           `json:"value"`
	Time    int64       `json:"time"`
	Pane    window.Pane `json:"pane"`
	Headers []Header    `json:"headers,omitempty"`
}

// The encoding of a Held is a byte, version in the high half and flags in the low
// one; its time; and the results that the flags say. A result is its time, the kind
// of its pane, the pane's sequence number and flags; the number of headers, and for
// each its key and value; and the value. Keys and values come behind their lengths.
// Numbers are varints, and unsigned but for times.
const (
	heldVersion    = 1 << 4
	heldResult     = 1 << 0
	heldRetraction = 1 << 1

	heldFinal     = 1 << 0
	heldRetracted = 1 << 1
)

var errHeld = errors.New("entry of a buffer is cut short or of an unknown version")

// heldCodec writes a Held with the codec of its values.
type heldCodec[A any] struct{ value codec.Codec[A] }

// HeldCodec returns the codec of the entries of a buffer.
func HeldCodec[A any](value codec.Codec[A]) codec.Codec[Held[A]] { return heldCodec[A]{value} }

func (c heldCodec[A]) Append(dst []byte, h Held[A]) ([]byte, error) {
	flags := byte(heldVersion)
	if h.Result != nil {
		flags |= heldResult
	}
	if h.Retraction != nil {
		flags |= heldRetraction
	}
	out := binary.AppendVarint(append(dst, flags), h.Time)
	var err error
	for _, r := range [...]*HeldResult[A]{h.Retraction, h.Result} {
		if r == nil {
			continue
		}
		if out, err = c.appendResult(out, r); err != nil {
			return dst, err
		}
	}
	return out, nil
}

func (c heldCodec[A]) appendResult(dst []byte, r *HeldResult[A]) ([]byte, error) {
	var flags uint64
	if r.Pane.Final {
		flags |= heldFinal
	}
	if r.Pane.Retracted {
		flags |= heldRetracted
	}
	dst = binary.AppendVarint(dst, r.Time)
	for _, n := range [...]uint64{uint64(r.Pane.Kind), uint64(r.Pane.Sequence), flags, uint64(len(r.Headers))} {
		dst = binary.AppendUvarint(dst, n)
	}
	for _, h := range r.Headers {
		dst = delimited.Append(dst, h.Key)
		// A null value is not an empty one.
		size := uint64(0)
		if h.Value != nil {
			size = uint64(len(h.Value)) + 1
		}
		dst = append(binary.AppendUvarint(dst, size), h.Value...)
	}
	value, err := c.value.Append(nil, r.Value)
	if err != nil {
		return nil, err
	}
	return delimited.Append(dst, value), nil
}

func (c heldCodec[A]) Decode(b []byte) (h Held[A], err error) {
	h.size = len(b)
	d := heldReader{rest: b}
	flags := d.byte()
	if flags&^(heldResult|heldRetraction) != heldVersion {
		return Held[A]{}, errHeld
	}
	h.Time = d.signed()
	if flags&heldRetraction != 0 {
		if h.Retraction, err = c.decodeResult(&d); err != nil {
			return Held[A]{}, err
		}
	}
	if flags&heldResult != 0 {
		if h.Result, err = c.decodeResult(&d); err != nil {
			return Held[A]{}, err
		}
	}
	if d.bad || len(d.rest) > 0 {
		return Held[A]{}, errHeld
	}
	return h, nil
}

func (c heldCodec[A]) decodeResult(d *heldReader) (*HeldResult[A], error) {
	r := &HeldResult[A]{Time: d.signed()}
	r.Pane.Kind, r.Pane.Sequence = window.PaneKind(d.unsigned()), int64(d.unsigned())
	flags := d.unsigned()
	r.Pane.Final, r.Pane.Retracted = flags&heldFinal != 0, flags&heldRetracted != 0
	headers := d.unsigned()
	for range headers {
		if d.bad {
			return nil, errHeld
		}
		h := Header{Key: string(d.bytes(d.unsigned()))}
		if size := d.unsigned(); size > 0 {
			h.Value = d.bytes(size - 1)
		}
		r.Headers = append(r.Headers, h)
	}
	value := d.bytes(d.unsigned())
	if d.bad {
		return nil, errHeld
	}
	var err error
	r.Value, err = c.value.Decode(value)
	return r, err
}

// Lineage is that of the values: see codec.LineageOf.
func (c heldCodec[A]) Lineage() codec.Lineage { return codec.LineageOf(c.value) }

// OldestIn is that of codec.OldestIn. What cannot be read is 0, so that whoever finds
// it decodes it and gets the error.
func (c heldCodec[A]) OldestIn(b []byte) int {
	raw, err := heldCodec[[]byte]{codec.Bytes}.Decode(b)
	if err != nil {
		return 0
	}
	oldest := codec.LineageOf(c.value).Current
	for _, r := range [...]*HeldResult[[]byte]{raw.Retraction, raw.Result} {
		if r != nil {
			if v := codec.OldestIn(c.value, r.Value); v < oldest || v > codec.LineageOf(c.value).Current {
				oldest = v
			}
		}
	}
	return oldest
}

// heldReader reads what heldCodec writes. After a mistake it is bad, and returns
// zeros.
type heldReader struct {
	rest []byte
	bad  bool
}

func (d *heldReader) byte() byte {
	b := d.bytes(1)
	if d.bad {
		return 0
	}
	return b[0]
}

func (d *heldReader) bytes(n uint64) []byte {
	if d.bad || n > uint64(len(d.rest)) {
		d.bad = true
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *heldReader) unsigned() uint64 {
	v, n := binary.Uvarint(d.rest)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *heldReader) signed() int64 {
	v, n := binary.Varint(d.rest)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// HeldKey is the key of a buffer of windows.
type HeldKey[K any] struct {
	Key    K             `json:"key"`
	Window window.Window `json:"window"`
}

// UnmarshalJSON refuses: which task holds an entry follows from the inner key, so
// that a query finds it by listing all of them.
func (HeldKey[K]) UnmarshalJSON([]byte) error {
	return errors.New("the entries of a buffer of windows can only be listed")
}

var _ json.Unmarshaler = HeldKey[string]{}

// heldKeyCodec writes the inner key, and the window's start and end so that bytes
// sort as the numbers do.
type heldKeyCodec[K any] struct{ key codec.Codec[K] }

// HeldKeyCodec returns the codec of the keys of a buffer of windows.
func HeldKeyCodec[K any](key codec.Codec[K]) codec.Codec[HeldKey[K]] { return heldKeyCodec[K]{key} }

func (c heldKeyCodec[K]) Append(dst []byte, k HeldKey[K]) ([]byte, error) {
	out, err := c.key.Append(dst, k.Key)
	if err != nil {
		return dst, err
	}
	out = binary.BigEndian.AppendUint64(out, uint64(k.Window.Start)^(1<<63))
	return binary.BigEndian.AppendUint64(out, uint64(k.Window.End)^(1<<63)), nil
}

func (c heldKeyCodec[K]) Decode(b []byte) (k HeldKey[K], err error) {
	n := len(b) - 16
	if n < 0 {
		return k, fmt.Errorf("key of %d bytes has no window", len(b))
	}
	k.Window.Start = int64(binary.BigEndian.Uint64(b[n:]) ^ (1 << 63))
	k.Window.End = int64(binary.BigEndian.Uint64(b[n+8:]) ^ (1 << 63))
	k.Key, err = c.key.Decode(b[:n:n])
	return k, err
}
