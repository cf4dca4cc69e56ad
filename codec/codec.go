package codec

// Codec turns values of one type into bytes and back.
//
// A Codec is stateless and safe for use by several goroutines at once.
type Codec[T any] interface {
	// Append appends the encoding of v to dst and returns the longer slice,
	// as the built-in append does. On an error the returned slice is dst,
	// unchanged in length.
	Append(dst []byte, v T) ([]byte, error)

	// Decode returns the value that b encodes. The result may alias b: a
	// string or a byte slice in it can point into b. The caller therefore
	// never changes b afterwards, and whoever keeps a small part of the
	// result for long clones that part, or else it pins the whole of b (on
	// the record path, a fetched batch).
	Decode(b []byte) (T, error)
}
