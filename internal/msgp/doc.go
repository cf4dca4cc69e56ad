// Package msgp reads and appends MessagePack without reflection and without
// allocation. It is what a type uses that writes its own codec.
//
// A Reader walks over one encoded value. Its error is sticky: after the first
// problem every read returns the zero value, so that a decoder reads field
// after field and looks at Err where it wants to name one:
//
//	r := msgp.NewReader(b)
//	for range r.MapLen() {
//		switch r.Str() {
//		case "model":
//			v.Model = r.Str()
//		default:
//			r.Skip()
//		}
//	}
//	return v, r.Close()
//
// The Append functions are the other direction and work as the built-in
// append does. They write the shortest form of a length or an integer, so
// equal values have equal bytes.
//
// # What it accepts
//
//   - Int takes every integer form whose value fits an int64.
//   - Float takes both float forms and every integer form: writers in languages
//     with one kind of number send 12 for 12.0.
//   - Str takes strings only, Bytes takes binary and, as writers from before
//     the binary type do, strings.
//
// # Caveats
//
// Strings and byte slices alias the input (see codec.Codec on what that asks of
// the caller). A length is never trusted: nothing is allocated for it, and one
// that runs past the end of the input is ErrTruncated. Nesting deeper than
// MaxDepth is refused, so that hostile input cannot exhaust the stack.
//
// The format is https://github.com/msgpack/msgpack/blob/master/spec.md.
package msgp
