package llm

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// ordered reads a Performance whose fields come in the order in which
// performanceCodec writes them, which is that of the documentation and so of
// most producers. It compares each name with the one that must be next instead
// of searching, which takes a third of the time of the general decoder. At the
// first thing it does not expect it gives up, and the general decoder reads
// the value from its start: whatever ordered accepts, that accepts with the
// same result.
type ordered struct {
	b []byte // what has not been read
}

// name consumes a field's name, given with its length as the first byte.
func (o *ordered) name(encoded string) bool {
	if len(o.b) >= len(encoded) && string(o.b[:len(encoded)]) == encoded {
		o.b = o.b[len(encoded):]
		return true
	}
	return false
}

// int consumes an integer that is not negative.
func (o *ordered) int(v *int64) bool {
	b := o.b
	if len(b) < 8 { // less than an integer and the field "error" behind it
		return false
	}
	switch c := b[0]; c {
	case 0xcc:
		*v, o.b = int64(b[1]), b[2:]
	case 0xcd:
		*v, o.b = int64(binary.BigEndian.Uint16(b[1:])), b[3:]
	case 0xce:
		*v, o.b = int64(binary.BigEndian.Uint32(b[1:])), b[5:]
	case 0xcf, 0xd3:
		if len(b) < 9 {
			return false
		}
		u := binary.BigEndian.Uint64(b[1:])
		*v, o.b = int64(u), b[9:]
		return u <= math.MaxInt64
	default:
		*v, o.b = int64(c), b[1:]
		return c <= 0x7f
	}
	return true
}

// float consumes a float64.
func (o *ordered) float(v *float64) bool {
	b := o.b
	if len(b) < 9 || b[0] != 0xcb {
		return false
	}
	*v, o.b = math.Float64frombits(binary.BigEndian.Uint64(b[1:])), b[9:]
	return true
}

// str consumes a string of up to 31 bytes.
func (o *ordered) str(v *string) bool {
	b := o.b
	if len(b) == 0 || b[0]&0xe0 != 0xa0 {
		return false
	}
	n := int(b[0]&0x1f) + 1
	if len(b) < n {
		return false
	}
	*v, o.b = unsafe.String(unsafe.SliceData(b[1:n]), n-1), b[n:]
	return true
}

// performance reads a whole value and says whether it could.
func (o *ordered) performance(v *Performance) bool {
	b := o.b
	if len(b) == 0 || b[0]&0xf0 != 0x80 {
		return false
	}
	fields := int(b[0] & 0x0f)
	o.b = b[1:]
	if !o.name("\xa9timestamp") || !o.int(&v.Timestamp) || !o.name("\xaarequest_id") {
		return false
	}
	if b = o.b; len(b) < 18 || b[0] != 0xc4 || b[1] != 16 {
		return false
	}
	v.RequestID, o.b = RequestID(b[2:18]), b[18:]
	if o.name("\xaasession_id") {
		if v.SessionID.ok = o.str(&v.SessionID.value); !v.SessionID.ok {
			return false
		}
		fields--
	}
	if !o.name("\xa5model") || !o.str(&v.Model) ||
		!o.name("\xaalatency_ms") || !o.float(&v.LatencyMS) ||
		!o.name("\xadprompt_tokens") || !o.int(&v.PromptTokens) ||
		!o.name("\xb1completion_tokens") || !o.int(&v.CompletionTokens) {
		return false
	}
	if o.name("\xa8cost_usd") {
		if v.CostUSD.ok = o.float(&v.CostUSD.value); !v.CostUSD.ok {
			return false
		}
		fields--
	}
	if !o.name("\xa5error") || len(o.b) == 0 || o.b[0]&^1 != 0xc2 {
		return false
	}
	v.Error, o.b = o.b[0] == 0xc3, o.b[1:]
	if o.name("\xa7quality") {
		if v.Quality.ok = o.float(&v.Quality.value); !v.Quality.ok {
			return false
		}
		fields--
	}
	return fields == 7 && len(o.b) == 0
}
