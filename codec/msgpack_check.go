package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The reflecting decoder of msgpack/v5 believes what its input claims: it makes
// room for as many map entries as a head of five bytes says, and recurses as
// deeply as values nest. Both end the process, which no program can recover
// from. So checkMsgpack walks over an input first.

const (
	// maxDepth is how deep the maps and arrays of a value may nest.
	maxDepth = 256

	// maxExtended is the size up to which a value may hold extension types.
	// Where the decoder wants a map it takes an extension for a wrapper around
	// one and reads on inside it, where the check saw plain bytes; this bounds
	// how deep it can get there.
	maxExtended = 256 << 10
)

var (
	errMsgpackShort = errors.New("cut short")
	errMsgpackDeep  = fmt.Errorf("nested deeper than %d", maxDepth)
	errMsgpackCode  = errors.New("code 0xc1 is never used")
	errMsgpackExt   = fmt.Errorf("extension type: only timestamps, in values of up to %d bytes, are read", maxExtended)
)

// checkMsgpack returns an error unless b is exactly one msgpack value whose
// counts and nesting the decoder can be trusted with. It does not recurse.
func checkMsgpack(b []byte) error {
	var open [maxDepth]uint64 // how many values each open map or array lacks
	size, depth := len(b), 0
	for {
		if len(b) == 0 {
			return errMsgpackShort
		}
		c := b[0]
		b = b[1:]
		var content, values uint64
		switch {
		case c <= 0x7f, c >= 0xe0:
		case c <= 0x8f:
			values = 2 * uint64(c&0x0f)
		case c <= 0x9f:
			values = uint64(c & 0x0f)
		case c <= 0xbf:
			content = uint64(c & 0x1f)
		default:
			s := msgpackSizes[c-0xc0]
			content = uint64(s.fixed)
			if len(b) < int(s.length) {
				return errMsgpackShort
			}
			n := uint64(0)
			switch s.length {
			case 1:
				n = uint64(b[0])
			case 2:
				n = uint64(binary.BigEndian.Uint16(b))
			case 4:
				n = uint64(binary.BigEndian.Uint32(b))
			}
			b = b[s.length:]
			if c >= 0xdc {
				values = n
				if c >= 0xde {
					values = 2 * n
				}
			} else {
				content += n
			}
			switch {
			case c == 0xc1:
				return errMsgpackCode
			case s.extension && (size > maxExtended || content > 13 || len(b) > 0 && b[0] != 0xff):
				return errMsgpackExt
			}
		}
		if content > uint64(len(b)) || values > uint64(len(b)) {
			return errMsgpackShort
		}
		b = b[content:]
		if values > 0 {
			if depth == maxDepth {
				return errMsgpackDeep
			}
			open[depth] = values
			depth++
			continue
		}
		for depth > 0 {
			if open[depth-1]--; open[depth-1] > 0 {
				break
			}
			depth--
		}
		if depth == 0 {
			break
		}
	}
	if len(b) > 0 {
		return errTrailing
	}
	return nil
}

// msgpackSizes says for the codes from 0xc0 to 0xdf how many bytes of length
// follow, and how many of content besides what that length says.
var msgpackSizes = [32]struct {
	length, fixed uint8
	extension     bool
}{
	0x04: {length: 1}, 0x05: {length: 2}, 0x06: {length: 4}, // bin
	0x07: {1, 1, true}, 0x08: {2, 1, true}, 0x09: {4, 1, true}, // ext
	0x0a: {fixed: 4}, 0x0b: {fixed: 8}, // float
	0x0c: {fixed: 1}, 0x0d: {fixed: 2}, 0x0e: {fixed: 4}, 0x0f: {fixed: 8}, // uint
	0x10: {fixed: 1}, 0x11: {fixed: 2}, 0x12: {fixed: 4}, 0x13: {fixed: 8}, // int
	0x14: {0, 2, true}, 0x15: {0, 3, true}, 0x16: {0, 5, true}, 0x17: {0, 9, true}, 0x18: {0, 17, true}, // fixext
	0x19: {length: 1}, 0x1a: {length: 2}, 0x1b: {length: 4}, // str
	0x1c: {length: 2}, 0x1d: {length: 4}, 0x1e: {length: 2}, 0x1f: {length: 4}, // array, map
}
