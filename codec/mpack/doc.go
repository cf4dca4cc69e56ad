// Package mpack holds the pieces of which a type's AppendMsgpack and
// ParseMsgpack methods are made (see codec.Msgpack): functions that append
// msgpack values to a slice, and a Reader that takes them from one. Neither
// allocates.
//
// What is appended takes as few bytes as the value needs, like the encoding by
// reflection of package codec, so both paths write the same bytes.
//
// Strings and bytes that a Reader returns alias its input. Integers are checked
// for range. A count that a map or array claims is checked against the bytes
// that are left, so that it can be trusted as a capacity. Timestamps and other
// extension types are skipped but not read.
//
// The format is that of https://github.com/msgpack/msgpack/blob/master/spec.md.
package mpack
